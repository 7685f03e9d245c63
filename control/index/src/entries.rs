//! ServiceEntries and WorkloadEntries become workloads: ones that are no pods. They are reached in plain text.

use crate::cluster::Cluster;
use crate::facts::service::{Backend, TargetPort};
use crate::facts::workload_entry::{EntryFacts, Place};
use crate::name::Name;
use crate::traffic::Said;
use crate::workload::asked_of_endpoints;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::names::{NodeName, ServiceName, WorkloadUid};
use weft_core::workload::{Health, NetworkMode, PortPair, TunnelProtocol, Workload, WorkloadKind};

/// The endpoints of a ServiceEntry. One that is a pod's own address is left to the pod; one that is a name has no address:
/// waypoints look it up.
pub(crate) fn of_service_entry(cluster: &Cluster, said: &Said, name: &Name) -> Vec<Workload> {
    let Some(entry) = cluster.entries.services.get(name) else {
        return Vec::new();
    };
    let owned = entry.services.iter().filter(|(host, _)| cluster.entries.owner(host) == Some(name));
    let backends: Vec<&Backend> = owned.map(|(_, facts)| &facts.backend).collect();
    let mut found: Vec<Workload> = Vec::new();
    let listed = entry.endpoints.iter().map(|facts| (facts, None));
    let hosts = entry.looked_up.iter().map(|(host, facts)| (facts, Some(host)));
    for (facts, host) in listed.chain(hosts) {
        // A host that is its own endpoint serves nobody else.
        let own = |backend: &&&Backend| host.is_none_or(|host| backend.name.hostname == host.name);
        let services: Vec<_> = backends.iter().filter(own).map(|backend| served(backend, facts)).collect();
        if host.is_some() && services.is_empty() {
            continue;
        }
        let uid = |end: &str| uid(cluster, "ServiceEntry", name, end);
        let first = uid(&facts.place.to_string());
        let Some(one) = workload(cluster, said, first, name, facts, services) else { continue };
        let at_one_place: Vec<&Workload> =
            found.iter().filter(|known| is_at_one_place(known, &one)).collect();
        // Said twice it is no other one.
        if at_one_place.iter().any(|known| known.services == one.services && known.labels == one.labels) {
            continue;
        }
        let one = match at_one_place.len() {
            0 => one,
            // By other ports, or with other labels.
            before => Workload { uid: uid(&format!("{}/{}", facts.place, before + 1)), ..one },
        };
        found.push(one);
    }
    found
}

fn is_at_one_place(one: &Workload, other: &Workload) -> bool {
    one.addresses == other.addresses && one.hostname == other.hostname
}

/// The workload of a WorkloadEntry, which serves the services whose selectors it meets.
pub(crate) fn of_workload_entry(cluster: &Cluster, said: &Said, name: &Name) -> Option<Workload> {
    let facts = cluster.entries.workloads.get(name)?;
    let selected = cluster.service_selectors.matching(&name.namespace, &facts.labels);
    // Where slices say who serves a Service, they say it of everybody.
    let selected = selected.iter().filter(|service| !cluster.slices.serve(service));
    let services = selected.filter_map(|service| cluster.services.get(service));
    let services = services.map(|service| served(&service.backend, facts)).collect();
    workload(cluster, said, uid(cluster, "WorkloadEntry", name, ""), name, facts, services)
}

fn uid(cluster: &Cluster, kind: &str, Name { namespace, name }: &Name, end: &str) -> WorkloadUid {
    let own = &cluster.config.cluster;
    let uid = format!("{own}/networking.istio.io/{kind}/{namespace}/{name}/{end}");
    WorkloadUid::new(uid.trim_end_matches('/'))
}

/// The ports of a service that it serves: its own by the port's name, else the service's.
fn served(backend: &Backend, facts: &EntryFacts) -> (ServiceName, Vec<PortPair>) {
    let target = |name: &str, target: &TargetPort| match (facts.ports.get(name), target) {
        (Some(port), _) => Some(*port),
        (None, TargetPort::Number(port)) => Some(*port),
        (None, TargetPort::Named(own)) => facts.ports.get(&**own).copied(),
    };
    let pairs = backend.ports.iter().filter_map(|port| {
        let target_port = target(&port.name, &port.target)?;
        Some(PortPair { service_port: port.service_port, target_port })
    });
    (backend.name.clone(), pairs.collect())
}

fn workload(
    cluster: &Cluster,
    said: &Said,
    uid: WorkloadUid,
    name: &Name,
    facts: &EntryFacts,
    services: Vec<(ServiceName, Vec<PortPair>)>,
) -> Option<Workload> {
    if facts.place.addr().is_some_and(|ip| cluster.pods.at(ip).is_some()) {
        return None;
    }
    let config = &cluster.config;
    let asked = asked_of_endpoints(cluster, said, &services);
    let asked = asked.iter().filter_map(|name| facts.labels.get_key_value(name));
    Some(Workload {
        uid,
        name: name.name.clone(),
        namespace: name.namespace.clone(),
        addresses: facts.place.addr().into_iter().copied().collect(),
        hostname: match &facts.place {
            Place::Named(host) => host.clone(),
            Place::Addr(_) => Arc::default(),
        },
        network: config.network.clone(),
        protocol: TunnelProtocol::Plain,
        // Nobody has proven who it is, and nobody asks: it is reached in plain text.
        identity: Identity::new(
            config.trust_domain.clone(),
            name.namespace.clone(),
            facts.service_account.clone(),
        )
        .ok()?,
        waypoint: None,
        network_gateway: None,
        node: NodeName::new(""),
        canonical_name: name.name.clone(),
        canonical_revision: "latest".into(),
        kind: WorkloadKind::Pod,
        workload_name: name.name.clone(),
        native_tunnel: false,
        application_tunnel: None,
        labels: asked.map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
        services,
        policies: Vec::new(),
        health: Health::Healthy,
        cluster: config.cluster.clone(),
        locality: facts.locality.clone(),
        network_mode: NetworkMode::Standard,
        weight: facts.weight,
        node_tunnel: None,
        terminating: false,
    })
}
