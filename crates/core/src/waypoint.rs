//! Waypoints: which one stands before a destination, and who speaks for it.

use crate::balance::{Chance, Choice, choose};
use crate::service::Service;
use crate::snapshot::{Snapshot, Target};
use crate::workload::{GatewayAddr, GatewayDestination, Health, Workload};
use std::sync::Arc;

/// Chooses an instance of a waypoint for a client. `None` if discovery knows none that serves: what needs it is refused,
/// never let past it.
pub fn choose_waypoint<'a>(
    snapshot: &'a Snapshot,
    gateway: &GatewayAddr,
    client: &Workload,
    chance: &mut impl Chance,
) -> Option<&'a Arc<Workload>> {
    match &gateway.destination {
        GatewayDestination::Service(name) => {
            let service = snapshot.service(name)?;
            choose_of(snapshot, service, gateway.hbone_port, client, chance)
        }
        GatewayDestination::Addr(addr) => {
            match snapshot.target_at(addr, gateway.hbone_port, &client.namespace)? {
                Target::Service(service) => choose_of(snapshot, service, gateway.hbone_port, client, chance),
                Target::Workload(workload) => Some(workload).filter(|one| one.health == Health::Healthy),
            }
        }
    }
}

fn choose_of<'a>(
    snapshot: &'a Snapshot,
    service: &Service,
    service_port: u16,
    client: &Workload,
    chance: &mut impl Chance,
) -> Option<&'a Arc<Workload>> {
    let choice = Choice { service, service_port, client, sticky: None };
    choose(&choice, snapshot.endpoints(&service.name), chance).map(|(workload, _)| workload)
}

/// Whether a workload is an instance of a waypoint.
pub fn is_instance(snapshot: &Snapshot, gateway: &GatewayAddr, workload: &Workload) -> bool {
    let serves = |service: &Service| workload.services.iter().any(|(name, _)| *name == service.name);
    match &gateway.destination {
        GatewayDestination::Service(name) => snapshot.service(name).is_some_and(|service| serves(service)),
        GatewayDestination::Addr(addr) => {
            match snapshot.target_at(addr, gateway.hbone_port, &workload.namespace) {
                Some(Target::Service(service)) => serves(service),
                Some(Target::Workload(_)) | None => {
                    workload.network == addr.network && workload.addresses.contains(&addr.ip)
                }
            }
        }
    }
}

/// Whether a workload is an instance of a waypoint that stands before this port of a destination: it may say for whom it
/// speaks, and nothing else may.
pub fn stands_before(snapshot: &Snapshot, speaker: &Workload, destination: &Workload, port: u16) -> bool {
    waypoints_of(snapshot, destination, port).any(|gateway| is_instance(snapshot, gateway, speaker))
}

/// The waypoints that a destination's traffic to a port may come through: its own, and those of its services there.
pub fn waypoints_of<'a>(
    snapshot: &'a Snapshot,
    destination: &'a Workload,
    port: u16,
) -> impl Iterator<Item = &'a GatewayAddr> {
    let of_services =
        services_at(snapshot, destination, port).filter_map(|service| service.waypoint.as_ref());
    destination.waypoint.iter().chain(of_services)
}

/// Whether a connection to this port of a destination has to come from its waypoint: it enforces policy there, and who
/// came past it would come past the policy.
pub fn is_guarded(snapshot: &Snapshot, destination: &Workload, port: u16) -> bool {
    services_at(snapshot, destination, port).any(|service| service.guarded)
}

/// Only those of its own namespace: anybody may write a slice that names a pod of others, and then a waypoint of his own
/// would stand before that pod.
fn services_at<'a>(
    snapshot: &'a Snapshot,
    destination: &'a Workload,
    port: u16,
) -> impl Iterator<Item = &'a Arc<Service>> {
    let here =
        destination.services.iter().filter(move |(_, ports)| ports.iter().any(|one| one.target_port == port));
    let own = here.filter(|(name, _)| name.namespace == destination.namespace);
    own.filter_map(|(name, _)| snapshot.service(name))
}
