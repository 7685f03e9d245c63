//! Telemetries: what they say to waypoints, which waypoints are told of each, and what is wrong with what they name.
//!
//! As in Istio, one without a target is for its namespace's waypoints, and one of a root namespace for all. Node proxies,
//! which see no requests, obey none.

mod words;

use crate::cluster::Cluster;
use crate::config::IndexConfig;
use crate::facts;
use crate::name::Name;
use crate::policy::Target;
use crate::policy::authorization::target;
use crate::requests;
use crate::waypoint;
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_control_api::istio::telemetry::Telemetry as Written;
use weft_control_api::problem::Note;
use weft_core::names::{GatewayName, PolicyName};
use weft_l7::policy::PolicyScope;
use weft_l7::telemetry::{Logging, MetricOverride, Reach, Telemetry, Tracing};

/// A Telemetry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TelemetryFacts {
    pub(crate) aim: Aim,
    pub(crate) home: Home,
    /// Seconds since 1970.
    created: i64,
    said: Said,
}

/// What it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Nothing: it is for all of its namespace, or of the mesh.
    Wide,
    /// These, each with the path of its field.
    Targets(Vec<(Target, String)>),
}

/// Where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// In a root namespace.
    Root,
    /// In this one.
    Namespace(Arc<str>),
}

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    tracing: Vec<Tracing>,
    metrics: Vec<MetricOverride>,
    logging: Vec<Logging>,
}

impl Aim {
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        let list = match self {
            Self::Wide => &[][..],
            Self::Targets(list) => list,
        };
        list.iter().map(|(target, _)| target)
    }
}

/// Reads one. An error among the notes refuses it.
pub(crate) fn read(
    one: &Written,
    name: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> TelemetryFacts {
    let spec = &one.spec;
    if spec
        .selector
        .as_ref()
        .is_some_and(|selector| selector.match_labels.as_ref().is_some_and(|labels| !labels.is_empty()))
    {
        let reason =
            "selects pods, whose proxies see no requests: name the waypoint or the Service with targetRefs";
        notes.push(Note::error("spec.selector", reason));
    }
    let written = match &spec.target_ref {
        Some(one) => ("spec.targetRef", std::slice::from_ref(one)),
        None => ("spec.targetRefs", &spec.target_refs[..]),
    };
    let targets = target::read_all(written, name, config, notes);
    let is_root = config.is_root(&name.namespace);
    TelemetryFacts {
        aim: if written.1.is_empty() { Aim::Wide } else { Aim::Targets(targets) },
        home: if is_root { Home::Root } else { Home::Namespace(name.namespace.clone()) },
        created: facts::created(&one.metadata),
        said: words::read(spec, &config.providers, notes),
    }
}

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
        Target::Service(service) => {
            let facts = cluster.services.get(service);
            let Some(facts) = facts else {
                return Some(format!("there is no Service {service}: the Telemetry has no effect on it"));
            };
            let bound = waypoint::of_service(cluster, service, facts);
            bound.is_none().then(|| {
                format!("no waypoint stands before Service {service}: the Telemetry has no effect on it")
            })
        }
    }
}
