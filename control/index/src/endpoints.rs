//! Which services a pod serves, and on which ports.

use crate::cluster::Cluster;
use crate::cluster::pods::own_addresses;
use crate::facts::endpoint_slice::{Endpoint, SliceFacts};
use crate::facts::pod::PodFacts;
use crate::facts::service::{Backend, TargetPort};
use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use weft_core::names::ServiceName;
use weft_core::workload::{Health, PortPair};

/// What EndpointSlices and selectors say of one pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) services: Vec<(ServiceName, Vec<PortPair>)>,
    /// A slice says that it does not serve.
    pub(crate) unhealthy: bool,
    /// A slice says that it is leaving.
    pub(crate) terminating: bool,
}

/// Finds the services of a pod. Where slices exist for a service they decide; else its selector does.
pub(crate) fn of_pod(cluster: &Cluster, pod: &PodFacts) -> Served {
    let mut by_service = BTreeMap::<ServiceName, Vec<PortPair>>::new();
    let mut served = Served::default();
    for name in cluster.service_selectors.matching(&pod.name.namespace, &pod.labels) {
        if let Some(service) = cluster.services.get(&name).filter(|_| !cluster.slices.serve(&name)) {
            by_service.insert(service.backend.name.clone(), selected_ports(&service.backend, pod));
        }
    }
    for (slice, endpoint) in slice_endpoints(cluster, pod) {
        let service = slice.service.as_ref().and_then(|name| cluster.services.get(name));
        let Some(service) = service else {
            continue;
        };
        served.unhealthy |= endpoint.health == Health::Unhealthy;
        served.terminating |= endpoint.terminating;
        let ports = by_service.entry(service.backend.name.clone()).or_default();
        for pair in slice_ports(&service.backend, slice) {
            if !ports.contains(&pair) {
                ports.push(pair);
            }
        }
    }
    served.services = by_service.into_iter().collect();
    served
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
