//! What matters of a Pod.

use crate::config::IndexConfig;
use crate::facts::enrolment::{self, Wish};
use crate::facts::waypoint::{self, Use};
use crate::facts::{owner, port, said, versions};
use crate::name::Name;
use crate::selector::Labels;
use std::net::IpAddr;
use std::sync::Arc;
use weft_control_api::k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use weft_control_api::problem::Note;
use weft_core::enrolment::{Acceleration, Existing};
use weft_core::identity::Identity;
use weft_core::names::NodeName;
use weft_core::workload::WorkloadKind;

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodFacts {
    pub(crate) name: Name,
    pub(crate) uid: Arc<str>,
    pub(crate) labels: Labels,
    pub(crate) node: NodeName,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) life: Life,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    pub(crate) host_network: bool,
    pub(crate) sidecar: bool,
    pub(crate) wish: Option<Wish>,
    /// What the pod itself says.
    pub(crate) waypoint: Option<Use>,
    pub(crate) identity: Identity,
    /// `hostname` and `subdomain`, where both are set.
    pub(crate) dns: Option<(Arc<str>, Arc<str>)>,
    pub(crate) kind: WorkloadKind,
    pub(crate) workload_name: Arc<str>,
    pub(crate) canonical_name: Arc<str>,
    pub(crate) canonical_revision: Arc<str>,
    /// TCP ports of its containers that have a name.
    pub(crate) named_ports: Vec<(Arc<str>, u16)>,
    pub(crate) netns: Option<Arc<str>>,
    /// Of Weft's own dialect of the tunnel, if it ends tunnels itself.
    pub(crate) tunnel_versions: Vec<u16>,
    /// What the pod itself says.
    pub(crate) acceleration: Option<Acceleration>,
    /// What the pod itself says.
    pub(crate) existing: Option<Existing>,
}

/// Whether a pod still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Live,
    /// Succeeded or failed; its address may belong to another pod by now.
    Over,
}

/// Reads a pod. `None` only if a note says why.
pub(crate) fn read(pod: &Pod, name: &Name, config: &IndexConfig, notes: &mut Vec<Note>) -> Option<PodFacts> {
    let no_spec = PodSpec::default();
    let no_status = PodStatus::default();
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let (kind, workload_name) = owner::read(&pod.metadata, &labels);
    let (canonical_name, canonical_revision) = canonical(&labels, &workload_name);
    let life = match status.phase.as_deref() {
        Some("Succeeded" | "Failed") => Life::Over,
        _ => Life::Live,
    };
    Some(PodFacts {
        name: name.clone(),
        uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
        node: NodeName::new(spec.node_name.as_deref().unwrap_or_default()),
        addresses: addresses(status, notes),
        life,
        ready: is_ready(status),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        host_network: spec.host_network == Some(true),
        sidecar: containers(spec).any(|container| container.name == "istio-proxy"),
        wish: enrolment::read(&labels, notes),
        waypoint: waypoint::read(&labels, &name.namespace, notes),
        identity: identity(spec, name, config, notes)?,
        dns: spec.hostname.as_deref().map(Into::into).zip(spec.subdomain.as_deref().map(Into::into)),
        kind,
        workload_name,
        canonical_name,
        canonical_revision,
        named_ports: named_ports(spec, notes),
        netns: annotation(pod, "weft.dev/netns").map(Into::into),
        tunnel_versions: versions::read(&pod.metadata, notes),
        acceleration: said::read(&pod.metadata, notes),
        existing: said::read(&pod.metadata, notes),
        labels,
    })
}

fn identity(spec: &PodSpec, name: &Name, config: &IndexConfig, notes: &mut Vec<Note>) -> Option<Identity> {
    let account = spec.service_account_name.as_deref().filter(|account| !account.is_empty());
    let account = account.unwrap_or("default");
    match Identity::new(config.trust_domain.clone(), name.namespace.clone(), account) {
        Ok(identity) => Some(identity),
        Err(bad) => {
            notes.push(Note::error("spec.serviceAccountName", bad.to_string()));
            None
        }
    }
}

fn addresses(status: &PodStatus, notes: &mut Vec<Note>) -> Vec<IpAddr> {
    let listed = status.pod_ips.iter().flatten().enumerate();
    let listed = listed.map(|(index, one)| (format!("status.podIPs[{index}].ip"), one.ip.as_str()));
    let single = status.pod_ip.as_deref().map(|ip| ("status.podIP".to_owned(), ip));
    let mut found = Vec::new();
    for (field, text) in listed.chain(single).filter(|(_, text)| !text.is_empty()) {
        match text.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(ip) if found.contains(&ip) => {}
            Ok(ip) => found.push(ip),
            Err(_) => notes.push(Note::error(field, format!("{text:?} is no address"))),
        }
    }
    found
}

/// A manifest without conditions stands for a pod that runs; a kubelet always writes them.
fn is_ready(status: &PodStatus) -> bool {
    if !matches!(status.phase.as_deref(), None | Some("" | "Running")) {
        return false;
    }
    match status.conditions.as_deref() {
        None | Some([]) => true,
        Some(all) => all.iter().any(|one| one.type_ == "Ready" && one.status == "True"),
    }
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

fn named_ports(spec: &PodSpec, notes: &mut Vec<Note>) -> Vec<(Arc<str>, u16)> {
    let mut found: Vec<(Arc<str>, u16)> = Vec::new();
    for container in containers(spec) {
        for one in container.ports.iter().flatten().filter(|one| port::is_tcp(one.protocol.as_deref())) {
            let field = || format!("spec.containers[{}].ports", container.name);
            let number = port::number(one.container_port, field, notes);
            let name = one.name.as_deref().filter(|name| !name.is_empty());
            // Of two ports with one name the first counts, as in Kubernetes.
            if let Some(name) = name.filter(|name| !found.iter().any(|(known, _)| **known == **name)) {
                found.push((name.into(), number));
            }
        }
    }
    found
}

fn canonical(labels: &Labels, workload_name: &Arc<str>) -> (Arc<str>, Arc<str>) {
    let first = |names: &[&str]| {
        names.iter().find_map(|name| labels.get(*name)).map(|value| Arc::<str>::from(value.as_str()))
    };
    let name = first(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]);
    let revision = first(&["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"]);
    (name.unwrap_or_else(|| workload_name.clone()), revision.unwrap_or_else(|| "latest".into()))
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}
