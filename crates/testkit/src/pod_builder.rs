//! A pod to be: what its manifest will say and what it will run; and making many at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use crate::app::App;
use crate::cluster::{Pairs, PodRecord, node_name};
use crate::network::{self, Wire};
use crate::plan::PODS_PER_NODE_MAX;
use crate::pod::{Pod, wait_for_port};
use crate::shared::{Place, Shared};

/// A pod to be.
#[derive(Clone, Debug)]
#[must_use = "a pod begins with start()"]
pub struct PodBuilder {
    shared: Arc<Shared>,
    node: usize,
    said_node: Option<usize>,
    namespace: String,
    name: String,
    labels: Pairs,
    annotations: Pairs,
    service_account: String,
    dns: Option<(String, String)>,
    ports: Vec<(String, u16)>,
    ready: bool,
    apps: Vec<App>,
}

impl PodBuilder {
    pub(crate) fn new(shared: Arc<Shared>, node: usize, namespace: &str, name: &str) -> Self {
        Self {
            shared,
            node,
            said_node: None,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: Pairs::new(),
            annotations: Pairs::new(),
            service_account: "default".to_owned(),
            dns: None,
            ports: Vec::new(),
            ready: true,
            apps: Vec::new(),
        }
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Adds labels.
    pub fn labels<const N: usize>(self, labels: [(&str, &str); N]) -> Self {
        labels.into_iter().fold(self, |pod, (key, value)| pod.label(key, value))
    }

    /// Its manifest names another node than the one it runs on: one without a mesh of ours, if there is none of this
    /// number.
    pub fn said_to_run_on(mut self, node: usize) -> Self {
        self.said_node = Some(node);
        self
    }

    /// Adds an annotation.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Keeps the pod out of the mesh, whatever its namespace says.
    pub fn outside(self) -> Self {
        self.label("weft.dev/mesh", "disabled")
    }

    /// Runs as this service account instead of `default`.
    pub fn service_account(mut self, name: &str) -> Self {
        name.clone_into(&mut self.service_account);
        self
    }

    /// Has a name of its own below a headless Service, as the pods of a StatefulSet have: its own name, and the Service's.
    pub fn named_below(mut self, service: &str) -> Self {
        self.dns = Some((self.name.clone(), service.to_owned()));
        self
    }

    /// Lists a container port by name, for Services with a named target port.
    pub fn port(mut self, name: &str, number: u16) -> Self {
        self.ports.push((name.to_owned(), number));
        self
    }

    /// Begins without the Ready condition.
    pub fn not_ready(mut self) -> Self {
        self.ready = false;
        self
    }

    /// Runs an application (several, if called again) and lists its port.
    pub fn app(mut self, app: App) -> Self {
        self.ports.extend(app.port.clone());
        self.apps.push(app);
        self
    }

    /// Makes the pod, writes its manifest and waits until its applications listen.
    pub fn start(self) -> Result<Pod> {
        let mut pods = Self::start_all(&[self])?;
        pods.pop().context("one pod was asked for")
    }

    /// Makes many pods at once, which is much faster than one after the other.
    pub fn start_all(builders: &[Self]) -> Result<Vec<Pod>> {
        let Some(first) = builders.first() else { return Ok(Vec::new()) };
        let shared = Arc::clone(&first.shared);
        let _growing = shared.grow()?;
        let (mut pods, mut wires) = (Vec::new(), BTreeMap::<usize, Vec<Wire>>::new());
        for builder in builders {
            let (pod, wire) = builder.place(&shared)?;
            wires.entry(builder.node).or_default().push(wire);
            pods.push(pod);
        }
        for (node, wires) in &wires {
            network::add_pods(&shared.netns_name(&node_name(*node)), *node, shared.plan, wires)?;
        }
        let records = builders.iter().zip(&pods).map(|(builder, pod)| builder.record(pod)).collect();
        let processes = builders
            .iter()
            .zip(&pods)
            .map(|(builder, pod)| builder.apps.iter().map(|app| pod.launch(app)).collect::<Result<Vec<_>>>());
        let processes = processes.collect::<Result<Vec<_>>>()?;
        for (builder, running) in builders.iter().zip(&processes) {
            builder.apps.iter().zip(running).try_for_each(|(app, process)| wait_for_port(app, process))?;
        }
        // A pod shows up in the cluster once it is there.
        shared.cluster.lock().apply_pods(records)?;
        Ok(pods)
    }

    fn place(&self, shared: &Arc<Shared>) -> Result<(Pod, Wire)> {
        let slot = shared.cluster.lock().next_pod_slot(self.node);
        ensure!(slot <= PODS_PER_NODE_MAX, "a node has room for {PODS_PER_NODE_MAX} pods");
        let plan = shared.plan;
        let (four, six) = (plan.pod4(self.node, slot), plan.pod6(self.node, slot));
        let full_name = format!("{}.{}", self.namespace, self.name);
        let pod = Pod {
            node: self.node,
            slot,
            key: (self.namespace.clone(), self.name.clone()),
            ips: [four.into(), six.into()],
            place: Place {
                netns: shared.netns(&full_name),
                cgroup: shared.cgroup(&format!("{}/{full_name}", node_name(self.node)))?,
                resolv: Some(shared.resolv(&self.namespace)?),
            },
            shared: Arc::clone(shared),
        };
        let wire =
            Wire { netns: shared.netns_name(&full_name), host_device: network::host_device(slot), four, six };
        Ok((pod, wire))
    }

    fn record(&self, pod: &Pod) -> PodRecord {
        let mut annotations = self.annotations.clone();
        // A test may have said something else, to see what becomes of it.
        let netns = || pod.place.netns.display().to_string();
        annotations.entry("weft.dev/netns".to_owned()).or_insert_with(netns);
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        PodRecord {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: format!("{:08x}-0000-4000-8000-{:06x}{:06x}", now as u32, self.node, pod.slot),
            node: self.said_node.unwrap_or(self.node),
            ips: pod.ips,
            labels: self.labels.clone(),
            annotations,
            service_account: self.service_account.clone(),
            dns: self.dns.clone(),
            ports: self.ports.clone(),
            ready: self.ready,
            terminating: false,
        }
    }
}
