//! Which services a pod serves, and on which ports.

use crate::cluster::Cluster;
use crate::cluster::pods::own_addresses;
use crate::facts::endpoint_slice::{Endpoint, SliceFacts};
use crate::facts::pod::PodFacts;
use crate::facts::service::{Backend, TargetPort};
use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use weft_core::names::ServiceName;
use weft_core::service::HealthPolicy;
use weft_core::workload::{Health, PortPair};

/// What EndpointSlices and selectors say of one pod.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) services: Vec<(ServiceName, Vec<PortPair>)>,
    pub(crate) health: Health,
    /// A slice says that it is leaving.
    pub(crate) terminating: bool,
}

/// One service of a pod.
struct Serving {
    ports: Vec<PortPair>,
    health: Health,
    policy: HealthPolicy,
}

/// Finds the services of a pod. Where slices exist for a service they decide; else its selector does, and the pod's
/// own readiness.
///
/// A pod may be ready for one service and not for another, and discovery has one word for a workload's health. So a
/// pod that is ready for some is told as healthy, and without the others: who cannot choose it need not know of it. A
/// pod that is ready for none is told with all, as not healthy. Services that take endpoints that are not ready ask
/// for no health, and have it in either case. That a pod leaves concerns all of its services.
pub(crate) fn of_pod(cluster: &Cluster, pod: &PodFacts) -> Served {
    let own = if pod.ready { Health::Healthy } else { Health::Unhealthy };
    let mut by_service = BTreeMap::<ServiceName, Serving>::new();
    let mut terminating = false;
    for name in cluster.service_selectors.matching(&pod.name.namespace, &pod.labels) {
        if let Some(service) = cluster.services.get(&name).filter(|_| !cluster.slices.serve(&name)) {
            let backend = &service.backend;
            let ports = selected_ports(backend, pod);
            by_service.insert(backend.name.clone(), Serving { ports, health: own, policy: backend.health });
        }
    }
    for (slice, endpoint) in slice_endpoints(cluster, pod) {
        let service = slice.service.as_ref().and_then(|name| cluster.services.get(name));
        let Some(service) = service else {
            continue;
        };
        // Anybody may write a slice that names a pod of others; what it says of the pod itself counts at home only.
        let own = service.backend.name.namespace == pod.name.namespace;
        terminating |= own && endpoint.terminating;
        let new = || Serving { ports: Vec::new(), health: Health::Healthy, policy: service.backend.health };
        let serving = by_service.entry(service.backend.name.clone()).or_insert_with(new);
        // It may stand in several slices of one service: one for each family, or while it moves.
        if endpoint.health == Health::Unhealthy {
            serving.health = Health::Unhealthy;
        }
        for pair in slice_ports(&service.backend, slice) {
            if !serving.ports.contains(&pair) {
                serving.ports.push(pair);
            }
        }
    }
    let health = health(own, by_service.values());
    by_service.retain(|_, one| {
        one.policy == HealthPolicy::All || one.health == Health::Healthy || health == Health::Unhealthy
    });
    let services = by_service.into_iter().map(|(name, one)| (name, one.ports)).collect();
    Served { services, health, terminating }
}

/// The pod's health: that for its services, if any of them asks.
fn health<'a>(own: Health, services: impl Iterator<Item = &'a Serving>) -> Health {
    let mut asking = services.filter(|one| one.policy == HealthPolicy::OnlyHealthy).peekable();
    if asking.peek().is_none() {
        return own;
    }
    if asking.any(|one| one.health == Health::Healthy) { Health::Healthy } else { Health::Unhealthy }
}

fn slice_endpoints<'a>(
    cluster: &'a Cluster,
    pod: &'a PodFacts,
) -> impl Iterator<Item = (&'a SliceFacts, &'a Endpoint)> {
    let at = own_addresses(pod).iter().flat_map(|ip| cluster.slices.at(ip));
    let names: BTreeSet<&Name> = cluster.slices.of_pod(&pod.name).chain(at).collect();
    let slices = names.into_iter().filter_map(|name| cluster.slices.get(name));
    slices.flat_map(|slice| {
        let is_pod = |endpoint: &&Endpoint| is_pod(cluster, pod, endpoint);
        slice.endpoints.iter().filter(is_pod).map(move |endpoint| (&**slice, endpoint))
    })
}

fn is_pod(cluster: &Cluster, pod: &PodFacts, endpoint: &Endpoint) -> bool {
    match &endpoint.pod {
        Some(name) => *name == pod.name,
        None => endpoint.addresses.iter().any(|ip| cluster.pods.at(ip) == Some(&pod.name)),
    }
}

fn selected_ports(backend: &Backend, pod: &PodFacts) -> Vec<PortPair> {
    let target = |target: &TargetPort| match target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Named(name) => {
            pod.named_ports.iter().find(|(known, _)| known == name).map(|(_, number)| *number)
        }
    };
    let pairs = backend.ports.iter().filter_map(|port| {
        Some(PortPair { service_port: port.service_port, target_port: target(&port.target)? })
    });
    pairs.collect()
}

/// The ports of a service that a slice's endpoints serve.
pub(crate) fn slice_ports(backend: &Backend, slice: &SliceFacts) -> Vec<PortPair> {
    let pairs = backend.ports.iter().filter_map(|port| {
        let target_port = slice.port(&port.name)?.or(match port.target {
            TargetPort::Number(number) => Some(number),
            TargetPort::Named(_) => None,
        })?;
        Some(PortPair { service_port: port.service_port, target_port })
    });
    pairs.collect()
}
