//! Telemetries: which waypoints are told of each, and what is wrong with what they name.
//!
//! As in Istio, one without a target is for its namespace's waypoints, and one of a root namespace for all.

use crate::cluster::Cluster;
use crate::name::Name;
use crate::policy::Target;
use crate::policy::telemetry::{Aim, Home, TelemetryFacts};
use crate::requests;
use crate::waypoint;
use std::collections::BTreeMap;
use weft_control_api::problem::Note;
use weft_core::names::{GatewayName, PolicyName};
use weft_l7::policy::PolicyScope;
use weft_l7::telemetry::{Reach, Telemetry};

/// One as each of its waypoints is told.
pub(crate) fn at_waypoints(cluster: &Cluster, name: &Name) -> BTreeMap<GatewayName, Telemetry> {
    let Some(facts) = cluster.telemetries.get(name) else {
        return BTreeMap::new();
    };
    let (reach, scopes) = match &facts.aim {
        Aim::Targets(_) => (Reach::Named, requests::scopes(cluster, facts.aim.targets())),
        Aim::Wide => {
            let waypoints = cluster.gateways.iter().filter(|(_, one)| one.waypoint.is_some());
            let here = waypoints.filter(|(gateway, _)| match &facts.home {
                Home::Root => true,
                Home::Namespace(namespace) => gateway.namespace == *namespace,
            });
            let reach = if facts.home == Home::Root { Reach::Mesh } else { Reach::Namespace };
            let all = here.map(|(gateway, _)| (waypoint::gateway_name(gateway), PolicyScope::Waypoint));
            (reach, all.collect())
        }
    };
    let telemetry = |scope| Telemetry {
        name: PolicyName::new(name.namespace.clone(), name.name.clone()),
        reach,
        scope,
        created: facts.created,
        tracing: facts.said.tracing.clone(),
        metrics: facts.said.metrics.clone(),
        logging: facts.said.logging.clone(),
    };
    scopes.into_iter().map(|(gateway, scope)| (gateway, telemetry(scope))).collect()
}

/// What is wrong with what one names, and which older one comes before it.
pub(crate) fn notes(cluster: &Cluster, name: &Name) -> Vec<Note> {
    let Some(facts) = cluster.telemetries.get(name) else {
        return Vec::new();
    };
    let order = |name: &Name, facts: &TelemetryFacts| (facts.created, name.to_string());
    let is_first = |other: &Name| {
        cluster.telemetries.get(other).is_some_and(|one| order(other, one) < order(name, facts))
    };
    let rivals = cluster.telemetries.rivals(name, facts);
    let first = rivals
        .into_iter()
        .filter(|other| is_first(other))
        .min_by_key(|other| cluster.telemetries.get(other).map(|one| order(other, one)));
    let mut notes = Vec::new();
    if let Some(first) = first {
        let reason =
            format!("Telemetry {first}, which is older, is for the same: this one has no effect there");
        notes.push(Note::warning("spec", reason));
    }
    if let Aim::Targets(list) = &facts.aim {
        notes.extend(
            list.iter()
                .filter_map(|(target, field)| Some(Note::warning(field.clone(), wrong(cluster, target)?))),
        );
    }
    notes
}

fn wrong(cluster: &Cluster, target: &Target) -> Option<String> {
    match target {
        Target::Class(_) => None,
        Target::Gateway(gateway) => cluster.waypoint(gateway).is_none().then(|| {
            format!("{gateway} is no Gateway of a class of waypoints: the Telemetry has no effect there")
        }),
        Target::Service(service) => wrong_service(cluster, service),
        Target::Entry(entry) => match cluster.entries.services.get(entry) {
            None => Some(format!("there is no ServiceEntry {entry}: the Telemetry has no effect on it")),
            Some(_) => cluster.entries.had_by(entry).find_map(|host| wrong_service(cluster, host)),
        },
    }
}

fn wrong_service(cluster: &Cluster, service: &Name) -> Option<String> {
    let facts = cluster.services.get(service);
    let Some(facts) = facts else {
        return Some(format!("there is no Service {service}: the Telemetry has no effect on it"));
    };
    let bound = waypoint::of_service(cluster, service, facts);
    bound
        .is_none()
        .then(|| format!("no waypoint stands before Service {service}: the Telemetry has no effect on it"))
}
