//! Facts become workloads, and pods for their agents.

use crate::cluster::Cluster;
use crate::endpoints::{self, Served};
use crate::facts::endpoint_slice::Endpoint;
use crate::facts::enrolment::Wish;
use crate::facts::pod::{Life, PodFacts};
use crate::facts::{self, said};
use crate::name::Name;
use crate::traffic::Said;
use crate::{peers, waypoint};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use weft_core::enrolment::{AgentPod, Membership};
use weft_core::identity::Identity;
use weft_core::names::{NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::workload::{
    Locality, NetworkMode, NodeTunnel, PortPair, TunnelPlace, TunnelProtocol, Workload, WorkloadKind,
};

/// The key of a pod's workload.
pub(crate) fn pod_uid(cluster: &str, pod: &Name) -> WorkloadUid {
    WorkloadUid::new(format!("{cluster}//Pod/{}/{}", pod.namespace, pod.name))
}

/// The key of a workload that only an EndpointSlice knows.
fn loose_uid(cluster: &str, slice: &Name, ip: IpAddr) -> WorkloadUid {
    let Name { namespace, name } = slice;
    WorkloadUid::new(format!("{cluster}/discovery.k8s.io/EndpointSlice/{namespace}/{name}/{ip}"))
}

/// Whether a pod's traffic belongs to the mesh (wire facts §4).
pub(crate) fn enrolment(cluster: &Cluster, pod: &PodFacts) -> Membership {
    if pod.host_network || pod.sidecar || waypoint::is_instance(cluster, pod) {
        return Membership::Outside;
    }
    let namespace = || cluster.namespaces.get(&pod.name.namespace).and_then(|namespace| namespace.wish);
    match pod.wish.or_else(namespace) {
        Some(Wish::In) => Membership::Enrolled,
        Some(Wish::Out) | None => Membership::Outside,
    }
}

/// The pod as its agent sees it; `None` if it runs nowhere.
pub(crate) fn agent_pod(cluster: &Cluster, pod: &PodFacts) -> Option<AgentPod> {
    if pod.life == Life::Over || pod.node.as_str().is_empty() {
        return None;
    }
    let namespace = cluster.namespaces.get(&pod.name.namespace);
    Some(AgentPod {
        workload: pod_uid(&cluster.config.cluster, &pod.name),
        pod_uid: pod.uid.clone(),
        namespace: pod.name.namespace.clone(),
        name: pod.name.name.clone(),
        node: pod.node.clone(),
        service_account: pod.identity.service_account().into(),
        addresses: pod.addresses.clone(),
        netns: pod.netns.clone(),
        membership: enrolment(cluster, pod),
        acceleration: said::for_pod(pod.acceleration, namespace.and_then(|namespace| namespace.acceleration)),
        existing: said::for_pod(pod.existing, namespace.and_then(|namespace| namespace.existing)),
        plain_text: peers::plain_text(cluster, pod),
    })
}

/// The pod as discovery tells it; `None` if it has no address or is over.
pub(crate) fn of_pod(cluster: &Cluster, said: &Said, pod: &PodFacts) -> Option<Workload> {
    if pod.life == Life::Over || pod.addresses.is_empty() {
        return None;
    }
    let Served { services, health, terminating } = endpoints::of_pod(cluster, pod);
    let enrolment = enrolment(cluster, pod);
    let native_tunnel = waypoint::is_instance(cluster, pod);
    let config = &cluster.config;
    Some(Workload {
        uid: pod_uid(&config.cluster, &pod.name),
        name: pod.name.name.clone(),
        namespace: pod.name.namespace.clone(),
        addresses: pod.addresses.clone(),
        hostname: hostname(cluster, pod),
        network: config.network.clone(),
        protocol: match enrolment {
            Membership::Enrolled => TunnelProtocol::Hbone,
            Membership::Outside if native_tunnel => TunnelProtocol::Hbone,
            Membership::Outside => TunnelProtocol::Plain,
        },
        identity: pod.identity.clone(),
        waypoint: waypoint::of_pod(cluster, pod),
        network_gateway: None,
        node: pod.node.clone(),
        canonical_name: pod.canonical_name.clone(),
        canonical_revision: pod.canonical_revision.clone(),
        kind: pod.kind,
        workload_name: pod.workload_name.clone(),
        native_tunnel,
        application_tunnel: None,
        labels: labels(cluster, said, pod, &services),
        services,
        policies: policies(cluster, pod),
        health,
        cluster: config.cluster.clone(),
        locality: cluster.nodes.get(&pod.node).map(|node| node.locality.clone()).unwrap_or_default(),
        network_mode: if pod.host_network { NetworkMode::HostNetwork } else { NetworkMode::Standard },
        weight: 1,
        node_tunnel: node_tunnel(cluster, pod, enrolment),
        terminating: pod.terminating || terminating,
    })
}

/// Those of a pod's labels that rules and routes ask for. Of an instance of a waypoint all of them: endpoints may be
/// preferred that are labelled as it is.
fn labels(
    cluster: &Cluster,
    said: &Said,
    pod: &PodFacts,
    services: &[(ServiceName, Vec<PortPair>)],
) -> BTreeMap<Arc<str>, Arc<str>> {
    let pair = |(name, value): (&String, &String)| (name.as_str().into(), value.as_str().into());
    if waypoint::is_instance(cluster, pod) {
        return pod.labels.iter().map(pair).collect();
    }
    let of_endpoints = asked_of_endpoints(cluster, said, services);
    let asked = said.labels_of_clients().chain(&of_endpoints);
    asked.filter_map(|name| pod.labels.get_key_value(name)).map(pair).collect()
}

/// Names of labels that rules ask endpoints of these services for.
pub(crate) fn asked_of_endpoints(
    cluster: &Cluster,
    said: &Said,
    services: &[(ServiceName, Vec<PortPair>)],
) -> BTreeSet<String> {
    let services = services.iter().map(|(service, _)| facts::service::object(service, &cluster.config));
    services.flat_map(|name| said.labels_of_endpoints(cluster, &name)).collect()
}

/// A pod with `hostname` and `subdomain` has a name of its own where that headless service exists.
fn hostname(cluster: &Cluster, pod: &PodFacts) -> Arc<str> {
    let Some((hostname, subdomain)) = &pod.dns else {
        return Arc::default();
    };
    let service = Name::new(pod.name.namespace.clone(), subdomain.clone());
    match cluster.services.get(&service) {
        Some(service) if service.backend.headless => {
            format!("{hostname}.{}", service.backend.name.hostname).into()
        }
        Some(_) | None => Arc::default(),
    }
}

/// An instance of a waypoint ends tunnels itself, and says itself what it speaks: its version need not be that of its
/// node's proxy. A pod that a NetworkPolicy selects keeps its tunnels to itself: between nodes' addresses, or within a
/// proxy, the network plugin would not see them (wire facts §1b).
fn node_tunnel(cluster: &Cluster, pod: &PodFacts, enrolment: Membership) -> Option<NodeTunnel> {
    if waypoint::is_instance(cluster, pod) {
        let versions = pod.tunnel_versions.clone();
        return (!versions.is_empty()).then_some(NodeTunnel { place: TunnelPlace::Workload, versions });
    }
    if enrolment == Membership::Outside {
        return None;
    }
    let tunnel = cluster.nodes.get(&pod.node).and_then(|node| node.tunnel.clone());
    if cluster.network_policies.matching(&pod.name.namespace, &pod.labels).is_empty() {
        return tunnel;
    }
    let versions = tunnel.map(|tunnel| tunnel.versions).unwrap_or_default();
    Some(NodeTunnel { place: TunnelPlace::Workload, versions })
}

fn policies(cluster: &Cluster, pod: &PodFacts) -> Vec<PolicyName> {
    let selected = cluster.authorizations.selectors.matching(&pod.name.namespace, &pod.labels);
    let selected = selected.into_iter().map(|name| PolicyName::new(name.namespace, name.name));
    selected.chain(peers::of_pod(cluster, pod)).collect()
}

/// The workloads that only an EndpointSlice knows: endpoints that are no pod of this cluster.
pub(crate) fn of_slice(cluster: &Cluster, slice_name: &Name) -> Vec<Workload> {
    let Some(slice) = cluster.slices.get(slice_name) else {
        return Vec::new();
    };
    let service = slice.service.as_ref().and_then(|name| cluster.services.get(name));
    let Some(service) = service else {
        return Vec::new();
    };
    let services = vec![(service.backend.name.clone(), endpoints::slice_ports(&service.backend, slice))];
    let mut found: Vec<Workload> = Vec::new();
    for endpoint in slice.loose() {
        for ip in endpoint.addresses.iter().filter(|ip| cluster.pods.at(ip).is_none()) {
            let workload = loose(cluster, slice_name, endpoint, *ip, services.clone());
            let new = workload.filter(|one| !found.iter().any(|known| known.uid == one.uid));
            found.extend(new);
        }
    }
    found
}

fn loose(
    cluster: &Cluster,
    slice: &Name,
    endpoint: &Endpoint,
    ip: IpAddr,
    services: Vec<(ServiceName, Vec<PortPair>)>,
) -> Option<Workload> {
    let config = &cluster.config;
    let node: &NodeName = &endpoint.node;
    let mut locality = cluster.nodes.get(node).map(|node| node.locality.clone()).unwrap_or_default();
    if !endpoint.zone.is_empty() {
        locality = Locality { zone: endpoint.zone.clone(), ..locality };
    }
    Some(Workload {
        uid: loose_uid(&config.cluster, slice, ip),
        name: slice.name.clone(),
        namespace: slice.namespace.clone(),
        addresses: vec![ip],
        hostname: Arc::default(),
        network: config.network.clone(),
        protocol: TunnelProtocol::Plain,
        // Nobody has proven who it is, and nobody asks: it is reached in plain text.
        identity: Identity::new(config.trust_domain.clone(), slice.namespace.clone(), "default").ok()?,
        waypoint: None,
        network_gateway: None,
        node: node.clone(),
        canonical_name: slice.name.clone(),
        canonical_revision: "latest".into(),
        kind: WorkloadKind::Pod,
        workload_name: slice.name.clone(),
        native_tunnel: false,
        application_tunnel: None,
        services,
        policies: Vec::new(),
        health: endpoint.health,
        cluster: config.cluster.clone(),
        locality,
        labels: Default::default(),
        network_mode: NetworkMode::Standard,
        weight: 1,
        node_tunnel: None,
        terminating: endpoint.terminating,
    })
}
