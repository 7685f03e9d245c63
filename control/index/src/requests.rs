//! Policies for requests: which waypoints are told of each, and what is wrong with what they name.

use crate::cluster::Cluster;
use crate::facts;
use crate::name::Name;
use crate::policy::{RequestFacts, Target};
use crate::waypoint;
use std::collections::BTreeMap;
use weft_control_api::problem::Note;
use weft_core::names::{GatewayName, PolicyName, ServiceName};
use weft_l7::policy::{Policy, PolicyScope};

fn of<'a>(cluster: &'a Cluster, name: &Name) -> Option<&'a RequestFacts> {
    cluster.authorizations.get(name)?.requests.as_ref()
}

/// A policy as each of its waypoints is told.
pub(crate) fn at_waypoints(cluster: &Cluster, name: &Name) -> BTreeMap<GatewayName, Policy> {
    let Some(facts) = of(cluster, name) else {
        return BTreeMap::new();
    };
    let policy = |scope| Policy {
        name: PolicyName::new(name.namespace.clone(), name.name.clone()),
        scope,
        action: facts.action,
        enforcement: facts.enforcement,
        ruleset: facts.ruleset.clone(),
    };
    let scopes = scopes(cluster, facts.targets.iter().map(|(target, _)| target));
    scopes.into_iter().map(|(gateway, scope)| (gateway, policy(scope))).collect()
}

/// The waypoints that some targets concern, and what of their requests.
pub(crate) fn scopes<'a>(
    cluster: &Cluster,
    targets: impl Iterator<Item = &'a Target>,
) -> BTreeMap<GatewayName, PolicyScope> {
    let mut scopes = BTreeMap::<GatewayName, PolicyScope>::new();
    for target in targets {
        match target {
            Target::Gateway(gateway) => {
                scopes.insert(waypoint::gateway_name(gateway), PolicyScope::Waypoint);
            }
            Target::Class(class) => {
                let of_class = cluster.gateways.iter().filter(|(_, facts)| facts.class == *class);
                let of_class = of_class.filter(|(_, facts)| facts.waypoint.is_some());
                let names = of_class.map(|(gateway, _)| waypoint::gateway_name(gateway));
                scopes.extend(names.map(|gateway| (gateway, PolicyScope::Waypoint)));
            }
            Target::Service(service) => add(cluster, service, &mut scopes),
            Target::Entry(entry) => {
                cluster.entries.had_by(entry).for_each(|host| add(cluster, host, &mut scopes));
            }
        }
    }
    scopes
}

/// A service, at the waypoint that stands before it.
fn add(cluster: &Cluster, service: &Name, scopes: &mut BTreeMap<GatewayName, PolicyScope>) {
    let bound = cluster.services.get(service);
    if let Some(gateway) = bound.and_then(|facts| waypoint::of_service(cluster, service, facts)) {
        let scope = scopes.entry(waypoint::gateway_name(gateway));
        widen(scope.or_insert(PolicyScope::Services(Vec::new())), service, cluster);
    }
}

fn widen(scope: &mut PolicyScope, service: &Name, cluster: &Cluster) {
    let service: ServiceName = facts::service::key(service, &cluster.config);
    match scope {
        PolicyScope::Waypoint => {}
        PolicyScope::Services(services) if services.contains(&service) => {}
        PolicyScope::Services(services) => services.push(service),
    }
}

/// What is wrong with what a policy names.
pub(crate) fn notes(cluster: &Cluster, name: &Name) -> Vec<Note> {
    let Some(facts) = of(cluster, name) else {
        return Vec::new();
    };
    let note = |(target, field): &(Target, String)| {
        let reason = wrong(cluster, target)?;
        Some(Note::warning(field.clone(), reason))
    };
    facts.targets.iter().filter_map(note).collect()
}

fn wrong(cluster: &Cluster, target: &Target) -> Option<String> {
    match target {
        Target::Class(_) => None,
        Target::Gateway(gateway) => match cluster.waypoint(gateway) {
            Some(_) => None,
            None => Some(format!(
                "{gateway} is no Gateway of a class of waypoints: the policy has no effect there"
            )),
        },
        Target::Service(service) => wrong_service(cluster, service),
        Target::Entry(entry) => match cluster.entries.services.get(entry) {
            None => Some(format!("there is no ServiceEntry {entry}: the policy has no effect on it")),
            Some(facts) => facts.services.iter().find_map(|(host, _)| {
                let other = cluster.entries.owner(host).filter(|owner| *owner != entry);
                let other = other.map(|other| {
                    format!("{} is the host of ServiceEntry {other}, which is older: the policy has no effect on it", host.name)
                });
                other.or_else(|| wrong_service(cluster, host))
            }),
        },
    }
}

fn wrong_service(cluster: &Cluster, service: &Name) -> Option<String> {
    let Some(facts) = cluster.services.get(service) else {
        return Some(format!("there is no Service {service}: the policy has no effect on it"));
    };
    if waypoint::of_service(cluster, service, facts).is_some() {
        None
    } else if waypoint::is_broken(cluster, service, facts) {
        Some(format!(
            "the waypoint that Service {service} asks for does not stand before it, so connections to its pods are refused"
        ))
    } else {
        Some(format!("no waypoint stands before Service {service}: the policy has no effect on it"))
    }
}
