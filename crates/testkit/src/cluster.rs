//! The Kubernetes objects of a world: what exists, and the manifests that say so. EndpointSlices follow from the
//! Services and the pods, as the endpoint controller would have it. No namespace or process is touched here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::manifests::Manifests;
use crate::plan::Plan;

/// Labels, annotations and selectors.
pub(crate) type Pairs = BTreeMap<String, String>;

/// A pod as its manifest shows it.
#[derive(Clone, Debug)]
pub(crate) struct PodRecord {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: usize,
    pub(crate) ips: [IpAddr; 2],
    pub(crate) labels: Pairs,
    pub(crate) annotations: Pairs,
    pub(crate) service_account: String,
    /// `hostname` and `subdomain`.
    pub(crate) dns: Option<(String, String)>,
    pub(crate) ports: Vec<(String, u16)>,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
}

/// A Service as its manifest shows it.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRecord {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: Pairs,
    pub(crate) annotations: Pairs,
    pub(crate) selector: Option<Pairs>,
    pub(crate) ports: Vec<PortRecord>,
    /// Other fields of the spec, as given.
    pub(crate) spec: Map<String, Value>,
    pub(crate) headless: bool,
    pub(crate) external_name: bool,
    pub(crate) publish_not_ready: bool,
    /// Addresses from the Service range.
    pub(crate) ips: [IpAddr; 2],
}

/// A Service's port; the target is a number or a name.
#[derive(Clone, Debug)]
pub(crate) struct PortRecord {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) target: Value,
    pub(crate) protocol: &'static str,
}

/// Everything that exists.
#[derive(Debug)]
pub(crate) struct Cluster {
    plan: Plan,
    manifests: Manifests,
    namespaces: BTreeSet<String>,
    service_accounts: BTreeSet<(String, String)>,
    pods: BTreeMap<(String, String), PodRecord>,
    services: BTreeMap<(String, String), ServiceRecord>,
    /// The slices written for each Service, by name.
    slices: BTreeMap<(String, String), BTreeMap<String, Value>>,
    service_slots: usize,
    pod_slots: BTreeMap<usize, usize>,
}

impl Cluster {
    pub(crate) fn new(plan: Plan, manifests: Manifests) -> Self {
        Self {
            plan,
            manifests,
            namespaces: BTreeSet::new(),
            service_accounts: BTreeSet::new(),
            pods: BTreeMap::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            service_slots: 0,
            pod_slots: BTreeMap::new(),
        }
    }

    /// The next free place on a node. Places are not used twice, so that an address never changes its owner.
    pub(crate) fn next_pod_slot(&mut self, node: usize) -> usize {
        let slot = self.pod_slots.entry(node).or_default();
        *slot += 1;
        *slot
    }

    pub(crate) fn next_service_ips(&mut self) -> [IpAddr; 2] {
        self.service_slots += 1;
        self.plan.service(self.service_slots)
    }

    pub(crate) fn service_ips(&self, namespace: &str, name: &str) -> Option<[IpAddr; 2]> {
        self.services.get(&(namespace.to_owned(), name.to_owned())).map(|service| service.ips)
    }

    /// Writes a namespace with these labels.
    pub(crate) fn apply_namespace(&mut self, name: &str, labels: &Pairs) -> Result<()> {
        self.namespaces.insert(name.to_owned());
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        });
        self.manifests.apply(&object).map(drop)
    }

    pub(crate) fn apply_node(&self, number: usize, region: &str, zone: &str, labels: &Pairs) -> Result<()> {
        let name = node_name(number);
        let mut all = labels.clone();
        all.insert("kubernetes.io/hostname".to_owned(), name.clone());
        all.insert("topology.kubernetes.io/region".to_owned(), region.to_owned());
        all.insert("topology.kubernetes.io/zone".to_owned(), zone.to_owned());
        let cidrs = self.plan.node_pods(number);
        let object = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": all, "annotations": {"weft.dev/tunnel-versions": "1"}},
            "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": self.plan.node4(number)},
                    {"type": "InternalIP", "address": self.plan.node6(number)},
                    {"type": "Hostname", "address": name},
                ],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        self.manifests.apply(&object).map(drop)
    }

    /// Writes pods, with the namespaces and service accounts that they need.
    pub(crate) fn apply_pods(&mut self, pods: Vec<PodRecord>) -> Result<()> {
        let touched: BTreeSet<String> = pods.iter().map(|pod| pod.namespace.clone()).collect();
        for pod in pods {
            if !self.namespaces.contains(&pod.namespace) {
                let labels = [("weft.dev/mesh".to_owned(), "enabled".to_owned())].into();
                self.apply_namespace(&pod.namespace, &labels)?;
            }
            let account = (pod.namespace.clone(), pod.service_account.clone());
            self.apply_account(account)?;
            self.manifests.apply(&pod_manifest(&pod))?;
            self.pods.insert((pod.namespace.clone(), pod.name.clone()), pod);
        }
        touched.iter().try_for_each(|namespace| self.refresh_slices(namespace))
    }

    /// Writes a pod that shares its node's network: never enrolled, no endpoints.
    pub(crate) fn apply_host_pod(&mut self, pod: &PodRecord) -> Result<()> {
        let account = (pod.namespace.clone(), pod.service_account.clone());
        self.apply_account(account)?;
        let mut object = pod_manifest(pod);
        object["spec"]["hostNetwork"] = json!(true);
        self.manifests.apply(&object).map(drop)
    }

    fn apply_account(&mut self, account: (String, String)) -> Result<()> {
        let object = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": account.1, "namespace": account.0},
        });
        if self.service_accounts.insert(account) {
            self.manifests.apply(&object)?;
        }
        Ok(())
    }

    /// Changes a pod's record and writes it again.
    pub(crate) fn change_pod(
        &mut self,
        key: &(String, String),
        change: impl FnOnce(&mut PodRecord),
    ) -> Result<()> {
        let pod = self.pods.get_mut(key).context("the pod has been deleted")?;
        change(pod);
        let pod = pod.clone();
        self.apply_pods(vec![pod])
    }

    pub(crate) fn pod_uid(&self, key: &(String, String)) -> Result<String> {
        self.pods.get(key).map(|pod| pod.uid.clone()).context("the pod has been deleted")
    }

    pub(crate) fn service_account(&self, key: &(String, String)) -> Result<String> {
        self.pods.get(key).map(|pod| pod.service_account.clone()).context("the pod has been deleted")
    }

    /// Removes a pod's manifest and endpoints.
    pub(crate) fn remove_pod(&mut self, key: &(String, String)) -> Result<()> {
        let Some(pod) = self.pods.remove(key) else {
            return Ok(());
        };
        self.manifests.remove(&pod_manifest(&pod))?;
        self.refresh_slices(&pod.namespace)
    }

    /// Writes a Service and its slices.
    pub(crate) fn apply_service(&mut self, service: ServiceRecord) -> Result<()> {
        self.manifests.apply(&service_manifest(&service))?;
        let namespace = service.namespace.clone();
        self.services.insert((service.namespace.clone(), service.name.clone()), service);
        self.refresh_slices(&namespace)
    }

    /// Removes a Service and its slices.
    pub(crate) fn remove_service(&mut self, namespace: &str, name: &str) -> Result<()> {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(service) = self.services.remove(&key) else {
            return Ok(());
        };
        self.manifests.remove(&service_manifest(&service))?;
        let slices = self.slices.remove(&key).unwrap_or_default();
        slices.values().try_for_each(|slice| self.manifests.remove(slice))
    }

    fn refresh_slices(&mut self, namespace: &str) -> Result<()> {
        for (key, service) in self.services.iter().filter(|((of, _), _)| of == namespace) {
            let wanted = self.slices_of(service);
            let known = self.slices.entry(key.clone()).or_default();
            for (name, slice) in &wanted {
                if known.get(name) != Some(slice) {
                    self.manifests.apply(slice)?;
                }
            }
            for (_, gone) in known.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
                self.manifests.remove(gone)?;
            }
            *known = wanted;
        }
        Ok(())
    }

    /// One slice for each family and each set of port numbers: pods may give one name to different ports.
    fn slices_of(&self, service: &ServiceRecord) -> BTreeMap<String, Value> {
        let mut slices = BTreeMap::new();
        let Some(selector) = &service.selector else { return slices };
        if service.external_name {
            return slices;
        }
        let selected = self.pods.values().filter(|pod| {
            pod.namespace == service.namespace
                && selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
        });
        let mut groups: BTreeMap<Vec<(usize, u16)>, Vec<&PodRecord>> = BTreeMap::new();
        for pod in selected {
            groups.entry(target_ports(service, pod)).or_default().push(pod);
        }
        for (family, kind) in ["IPv4", "IPv6"].iter().enumerate() {
            for (index, (ports, pods)) in groups.iter().enumerate() {
                let name = format!("{}-{}-{index}", service.name, kind.to_ascii_lowercase());
                slices.insert(name.clone(), slice_manifest(service, &name, kind, family, ports, pods));
            }
        }
        slices
    }
}

/// The name of a node.
pub(crate) fn node_name(number: usize) -> String {
    format!("node{number}")
}

/// Which of the Service's ports this pod serves, and where. A name that the pod does not have is left out.
fn target_ports(service: &ServiceRecord, pod: &PodRecord) -> Vec<(usize, u16)> {
    let number_of = |target: &Value| match target {
        Value::String(name) => pod.ports.iter().find(|(known, _)| known == name).map(|(_, number)| *number),
        number => number.as_u64().and_then(|number| u16::try_from(number).ok()),
    };
    let ports = service.ports.iter().enumerate();
    ports.filter_map(|(index, port)| Some((index, number_of(&port.target)?))).collect()
}

fn slice_manifest(
    service: &ServiceRecord,
    name: &str,
    kind: &str,
    family: usize,
    ports: &[(usize, u16)],
    pods: &[&PodRecord],
) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            let serving = pod.ready || service.publish_not_ready;
            let ready = service.publish_not_ready || pod.ready && !pod.terminating;
            json!({
                "addresses": [pod.ips[family]],
                "conditions": {"ready": ready, "serving": serving, "terminating": pod.terminating},
                "nodeName": node_name(pod.node),
                "targetRef": {"kind": "Pod", "name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            })
        })
        .collect();
    let ports: Vec<Value> = ports
        .iter()
        .map(|(index, number)| {
            let port = &service.ports[*index];
            json!({"name": port.name, "port": number, "protocol": port.protocol})
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name, "namespace": service.namespace,
            "labels": {
                "kubernetes.io/service-name": service.name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": kind, "ports": ports, "endpoints": endpoints,
    })
}

fn service_manifest(service: &ServiceRecord) -> Value {
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| {
            json!({"name": port.name, "port": port.port, "targetPort": port.target, "protocol": port.protocol})
        })
        .collect();
    let mut spec = Map::new();
    if !ports.is_empty() {
        spec.insert("ports".to_owned(), ports.into());
    }
    if let Some(selector) = &service.selector {
        spec.insert("selector".to_owned(), json!(selector));
    }
    if !service.external_name {
        let ips = if service.headless { vec!["None".to_owned()] } else { texts(&service.ips) };
        spec.insert("clusterIP".to_owned(), json!(ips[0]));
        spec.insert("clusterIPs".to_owned(), json!(ips));
        spec.insert("ipFamilyPolicy".to_owned(), json!("PreferDualStack"));
        spec.insert("ipFamilies".to_owned(), json!(["IPv4", "IPv6"]));
        spec.insert("type".to_owned(), json!("ClusterIP"));
    }
    if service.publish_not_ready {
        spec.insert("publishNotReadyAddresses".to_owned(), json!(true));
    }
    spec.extend(service.spec.clone());
    // A status is no part of a spec, but a load balancer's addresses are found there.
    let status = spec.remove("status").unwrap_or_else(|| json!({}));
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": service.name, "namespace": service.namespace,
            "labels": service.labels, "annotations": service.annotations,
        },
        "spec": spec, "status": status,
    })
}

fn pod_manifest(pod: &PodRecord) -> Value {
    let ports: Vec<Value> = pod
        .ports
        .iter()
        .map(|(name, number)| json!({"name": name, "containerPort": number, "protocol": "TCP"}))
        .collect();
    let ready = if pod.ready { "True" } else { "False" };
    let ips: Vec<Value> = pod.ips.iter().map(|ip| json!({"ip": ip})).collect();
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod.name, "namespace": pod.namespace, "uid": pod.uid,
            "labels": pod.labels, "annotations": pod.annotations,
        },
        "spec": {
            "nodeName": node_name(pod.node), "serviceAccountName": pod.service_account,
            "containers": [{"name": "app", "image": "weft.dev/testapp", "ports": ports}],
        },
        "status": {
            "phase": "Running", "podIP": pod.ips[0], "podIPs": ips,
            "conditions": [{"type": "Ready", "status": ready}],
        },
    });
    if let Some((hostname, subdomain)) = &pod.dns {
        object["spec"]["hostname"] = json!(hostname);
        object["spec"]["subdomain"] = json!(subdomain);
    }
    if pod.terminating {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    object
}

fn texts(ips: &[IpAddr]) -> Vec<String> {
    ips.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
