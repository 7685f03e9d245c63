//! What becomes of a Gateway that is a waypoint: whether it is taken, whether something serves it, and where.

use crate::cluster::Cluster;
use crate::facts::gateway::WaypointFacts;
use crate::facts::pod::Life;
use crate::facts::service;
use crate::name::Name;
use crate::selector::Within;
use weft_control_api::gateway_api::status::{
    AddressType, Condition, ConditionType, GatewayAddress, GatewayStatus, ListenerStatus, Reason,
};

/// The status of a Gateway; `None` for one that is no waypoint. `refused` is why its present version is not in force.
pub(crate) fn of(cluster: &Cluster, name: &Name, refused: Option<String>) -> Option<GatewayStatus> {
    let waypoint = cluster.waypoint(name)?;
    let accepted = match refused {
        None => Condition::holds(ConditionType::Accepted, Reason::Accepted, "it is a waypoint"),
        Some(why) => Condition::fails(
            ConditionType::Accepted,
            Reason::Invalid,
            format!("the last version that could be used stays: {why}"),
        ),
    };
    let programmed = programmed(ready(cluster, name));
    let generation = waypoint.generation;
    let conditions = || vec![accepted.clone().of(generation), programmed.clone().of(generation)];
    Some(GatewayStatus {
        addresses: addresses(cluster, name),
        conditions: conditions(),
        listeners: vec![listener(waypoint, conditions())],
    })
}

fn listener(waypoint: &WaypointFacts, conditions: Vec<Condition>) -> ListenerStatus {
    let resolved = Condition::holds(ConditionType::ResolvedRefs, Reason::ResolvedRefs, "it names nothing");
    ListenerStatus {
        name: waypoint.listener.to_string(),
        supported_kinds: Vec::new(),
        attached_routes: 0,
        conditions: conditions.into_iter().chain([resolved.of(waypoint.generation)]).collect(),
    }
}

fn programmed(ready: usize) -> Condition {
    if ready == 0 {
        let reason = "no instance is ready: what has to go through the waypoint is refused until one is";
        return Condition::fails(ConditionType::Programmed, Reason::Pending, reason);
    }
    Condition::holds(ConditionType::Programmed, Reason::Programmed, format!("ready instances: {ready}"))
}

/// How many instances take traffic.
fn ready(cluster: &Cluster, name: &Name) -> usize {
    let within = Within::Namespace(name.namespace.clone());
    let instances = cluster.pods.select(&within, &service::instances(name));
    let ready = instances
        .iter()
        .filter_map(|pod| cluster.pods.get(pod))
        .filter(|pod| pod.ready && pod.life == Life::Live && !pod.terminating && !pod.addresses.is_empty());
    ready.count()
}

/// The name of its service, and that one's addresses if somebody gave it some.
fn addresses(cluster: &Cluster, name: &Name) -> Vec<GatewayAddress> {
    let Some(facts) = cluster.services.get(name) else {
        return Vec::new();
    };
    let host = GatewayAddress { kind: AddressType::Hostname, value: facts.told.name.hostname.to_string() };
    let vips = facts.told.vips.iter().map(|vip| vip.range.addr().to_string());
    vips.map(|value| GatewayAddress { kind: AddressType::Ip, value }).chain([host]).collect()
}
