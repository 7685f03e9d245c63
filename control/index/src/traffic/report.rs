//! What becomes of an object that says something of traffic: problems for its author, and the conditions of its status.

use super::attached::{Group, Ports, Unattached, clients, groups, ports};
use super::backend::{Around, BadReference};
use super::gateway_route::{Family, GatewayRoute, UnknownFilter, service_of};
use super::{Audience, Said, istio_report, tls_policy};
use crate::cluster::Cluster;
use crate::facts::service::ServiceFacts;
use crate::name::Name;
use crate::waypoint;
use std::collections::HashMap;
use weft_control_api::gateway_api::reference::ParentReference;
use weft_control_api::gateway_api::status::{
    CONTROLLER, Condition, ConditionType, Reason, RouteParentStatus, RouteStatus, Status,
};
use weft_control_api::kind::{GATEWAY_GROUP, Kind, NETWORKING_GROUP, ObjectKey};
use weft_control_api::problem::Note;

/// What becomes of an object.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) notes: Vec<Note>,
    /// Of what is Gateway API's.
    pub(crate) status: Option<Status>,
}

/// What was found of services for reports of one change: what many routes have in common is found once.
#[derive(Debug, Default)]
pub(crate) struct Seen<'a>(HashMap<Name, Vec<Group<'a>>>);

impl<'a> Seen<'a> {
    fn groups(&mut self, said: &'a Said, service: &Name, facts: &ServiceFacts) -> &[Group<'a>] {
        self.0.entry(service.clone()).or_insert_with(|| groups(said, service, facts))
    }
}

/// True for the kinds that say something of services' traffic.
pub(crate) fn says(kind: Kind) -> bool {
    let others = matches!(
        kind,
        Kind::VirtualService | Kind::DestinationRule | Kind::BackendTrafficPolicy | Kind::BackendTlsPolicy
    );
    others || Family::of(kind).is_some()
}

/// What becomes of an object, the last good version of which `said` holds. `refused` is why its present version is not in
/// force.
pub(crate) fn report<'a>(
    cluster: &Cluster,
    said: &'a Said,
    audience: &Audience,
    (key, refused): (&ObjectKey, Option<&str>),
    seen: &mut Seen<'a>,
) -> Report {
    let name = Name::new(key.namespace.clone(), key.name.clone());
    match (Family::of(key.kind), key.kind) {
        (Some(family), _) => {
            let route = said.gateway_routes.get(&(family, name.clone()));
            let accepted = |route: &GatewayRoute, parent: &ParentReference| {
                accepted(cluster, said, &Asked { family, name: &name, route, parent }, seen)
            };
            route
                .map(|route| {
                    let around = said.around(cluster, family, &name, route);
                    of_route(cluster, &around, route, refused, accepted)
                })
                .unwrap_or_default()
        }
        (None, Kind::VirtualService) => {
            Report { notes: istio_report::of_virtual_service(cluster, said, &name), status: None }
        }
        (None, Kind::DestinationRule) => {
            Report { notes: istio_report::of_destination_rule(cluster, said, audience, &name), status: None }
        }
        (None, Kind::BackendTrafficPolicy) => Report {
            notes: istio_report::of_backend_traffic_policy(cluster, said, audience, &name),
            status: None,
        },
        (None, Kind::BackendTlsPolicy) => {
            let (notes, status) = tls_policy::report(cluster, said, audience, &name, refused);
            Report { notes, status: status.map(Status::Policy) }
        }
        (None, _) => Report::default(),
    }
}

fn of_route(
    cluster: &Cluster,
    around: &Around<'_>,
    route: &GatewayRoute,
    refused: Option<&str>,
    mut accepted: impl FnMut(&GatewayRoute, &ParentReference) -> Option<Result<(), NotAccepted>>,
) -> Report {
    let bad = bad_references(cluster, around, route);
    let unknown = route.unknown_filters();
    let mut notes: Vec<Note> = bad.iter().map(of_bad_reference).collect();
    notes.extend(unknown.iter().map(|(field, why)| Note::warning(field.clone(), why.to_string())));
    let resolved = resolved(&bad, &unknown);
    let mut parents = Vec::new();
    for (number, parent) in route.parents().iter().enumerate() {
        let Some(accepted) = accepted(route, parent) else { continue };
        if let Err(not) = &accepted {
            notes.push(Note::warning(format!("spec.parentRefs[{number}]"), not.text()));
        }
        let accepted = accepted.map_err(|not| (not.reason(), not.text()));
        let accepted = match (refused, unsupported(&unknown)) {
            (Some(why), _) => {
                Err((Reason::UnsupportedValue, format!("the last version that could be used stays: {why}")))
            }
            (None, Some(why)) => accepted.and(Err((Reason::UnsupportedValue, why))),
            (None, None) => accepted,
        };
        let accepted = match accepted {
            Ok(()) => Condition::holds(ConditionType::Accepted, Reason::Accepted, "the route is in force"),
            Err((reason, text)) => Condition::fails(ConditionType::Accepted, reason, text),
        };
        parents.push(RouteParentStatus {
            parent_ref: parent.clone(),
            controller_name: CONTROLLER,
            conditions: vec![accepted.of(route.generation), resolved.clone().of(route.generation)],
        });
    }
    if parents.is_empty() {
        // All of it is somebody else's business, such as an ingress controller's, who may know more kinds than this.
        return Report::default();
    }
    Report { notes, status: Some(Status::Route(RouteStatus { parents })) }
}

/// References that lead nowhere, by their fields.
pub(super) fn bad_references(
    cluster: &Cluster,
    around: &Around<'_>,
    route: &GatewayRoute,
) -> Vec<(String, BadReference)> {
    let backends = route.backends().into_iter();
    backends
        .filter_map(|(field, reference)| Some((field, around.check(cluster, &reference).err()?)))
        .collect()
}

/// What the author of one is told.
pub(super) fn of_bad_reference((field, why): &(String, BadReference)) -> Note {
    Note::warning(field.clone(), format!("{why}: its share gets 500"))
}

/// The first reference that leads nowhere says why.
fn resolved(bad: &[(String, BadReference)], unknown: &[(String, UnknownFilter)]) -> Condition {
    let extension = unknown.iter().find(|(_, filter)| matches!(filter, UnknownFilter::Extension { .. }));
    match (bad.first(), extension) {
        (Some((field, why)), _) => {
            Condition::fails(ConditionType::ResolvedRefs, why.reason(), format!("{field}: {why}"))
        }
        (None, Some((field, why))) => {
            Condition::fails(ConditionType::ResolvedRefs, Reason::InvalidKind, format!("{field}: {why}"))
        }
        (None, None) => Condition::holds(
            ConditionType::ResolvedRefs,
            Reason::ResolvedRefs,
            "everything that the route names is there",
        ),
    }
}

fn unsupported(unknown: &[(String, UnknownFilter)]) -> Option<String> {
    let other = unknown.iter().find(|(_, filter)| !matches!(filter, UnknownFilter::Extension { .. }));
    other.map(|(field, why)| format!("{field}: {why}"))
}

/// Why a route is not in force at a parent.
enum NotAccepted {
    NoService(Name),
    NoPort(Name),
    NoAddress(Name),
    OtherProtocol { service: Name, family: Family },
    NoWaypoint { service: Name, broken: bool },
    Waypoint(String),
    Entry(Name),
    Conflicted { service: Name, winner: Kind },
    Shadowed { service: Name, first: Name },
}

impl NotAccepted {
    fn reason(&self) -> Reason {
        match self {
            Self::NoService(_) | Self::NoPort(_) => Reason::NoMatchingParent,
            Self::NoAddress(_) | Self::OtherProtocol { .. } | Self::Entry(_) => Reason::UnsupportedValue,
            Self::NoWaypoint { .. } => Reason::NoWaypoint,
            Self::Waypoint(_) => Reason::NotAllowedByListeners,
            Self::Conflicted { .. } | Self::Shadowed { .. } => Reason::Conflicted,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::NoService(service) => {
                format!("there is no Service {service}: the route has no effect there")
            }
            Self::NoPort(service) => {
                format!("Service {service} has no such port: the route has no effect there")
            }
            Self::NoAddress(service) => {
                format!(
                    "Service {service} has no address of its own (it is headless or an ExternalName): the route has no \
                     effect there"
                )
            }
            Self::OtherProtocol { service, family: Family::Tls } => {
                format!(
                    "what is spoken there to Service {service} is HTTP, where no names of TLS are asked for: the route has no \
                     effect there; if it is TLS, say so in the port's appProtocol"
                )
            }
            Self::OtherProtocol { service, .. } => {
                format!(
                    "what is spoken there to Service {service} is TCP or TLS, of which no requests are read: the route has no \
                     effect there; if it is HTTP, say so in the port's appProtocol"
                )
            }
            Self::NoWaypoint { service, broken: false } => {
                format!(
                    "no waypoint stands before Service {service}: the route has no effect there; bind it with the label \
                     weft.dev/waypoint"
                )
            }
            Self::NoWaypoint { service, broken: true } => {
                format!(
                    "the waypoint that Service {service} asks for does not stand before it: the route has no effect there"
                )
            }
            Self::Waypoint(gateway) => {
                format!("Gateway {gateway} is a waypoint: routes are attached to Services, not to waypoints")
            }
            Self::Entry(entry) => {
                format!(
                    "routes of Gateway API are attached to Services, and not to ServiceEntry {entry}: the route has no effect \
                     there; a VirtualService of that namespace may be for the hosts"
                )
            }
            Self::Conflicted { service, winner } => {
                format!(
                    "Service {service} has routes of kind {winner} there, which are more specific: the route has no effect \
                     (GEP-1294)"
                )
            }
            Self::Shadowed { service, first } => {
                format!("TCPRoute {first}, which is older, takes all connections to Service {service} there")
            }
        }
    }
}

/// A route and one of its parents.
struct Asked<'a> {
    family: Family,
    name: &'a Name,
    route: &'a GatewayRoute,
    parent: &'a ParentReference,
}

/// Whether a route is in force at a parent. `None` for parents that are somebody else's business.
fn accepted<'a>(
    cluster: &Cluster,
    said: &'a Said,
    asked: &Asked<'_>,
    seen: &mut Seen<'a>,
) -> Option<Result<(), NotAccepted>> {
    let Asked { family, name, route, parent } = *asked;
    if let Some(entry) = entry_of(parent, &name.namespace) {
        return Some(Err(NotAccepted::Entry(entry)));
    }
    let Some(service) = service_of(parent, &name.namespace) else {
        return waypoint_parent(cluster, name, parent).map(|gateway| Err(NotAccepted::Waypoint(gateway)));
    };
    let Some(facts) = cluster.services.get(&service) else {
        return Some(Err(NotAccepted::NoService(service)));
    };
    let attached = match ports(parent, family, facts) {
        Ok(attached) => attached,
        Err(Unattached::NoPort) => return Some(Err(NotAccepted::NoPort(service))),
        Err(Unattached::NoAddress) => return Some(Err(NotAccepted::NoAddress(service))),
        Err(Unattached::OtherProtocol) => return Some(Err(NotAccepted::OtherProtocol { service, family })),
    };
    if waypoint::of_service(cluster, &service, facts).is_none() {
        let broken = waypoint::is_broken(cluster, &service, facts);
        return Some(Err(NotAccepted::NoWaypoint { service, broken }));
    }
    let groups = seen.groups(said, &service, facts);
    let audience = clients(name, &service);
    let here = groups.iter().filter(|group| group.clients == audience && meets(group, attached));
    let here: Vec<&Group<'_>> = here.collect();
    if !here.iter().any(|group| group.family == family) {
        let winner = here.iter().map(|group| group.family).min().unwrap_or(family).kind();
        return Some(Err(NotAccepted::Conflicted { service, winner }));
    }
    // Nothing tells connections of one TCPRoute from those of another one.
    let takes = |group: &&Group<'_>| group.routes.first().is_some_and(|(first, _)| *first == name);
    if matches!(route.spec, super::Spec::Tcp(_)) && !here.iter().any(takes) {
        let first = here.first().and_then(|group| group.routes.first()).map(|(first, _)| (*first).clone());
        return first.map(|first| Err(NotAccepted::Shadowed { service, first }));
    }
    Some(Ok(()))
}

fn meets(group: &Group<'_>, attached: Ports) -> bool {
    match (group.port, attached) {
        (None, _) | (_, Ports::All) => true,
        (Some(port), Ports::One(own)) => port == own,
    }
}

/// The ServiceEntry that a parent is, if it is one. Istio attaches routes to them, so their authors wait for it here.
fn entry_of(parent: &ParentReference, namespace: &str) -> Option<Name> {
    let is_entry = parent.group == NETWORKING_GROUP && parent.kind == Kind::ServiceEntry.name();
    is_entry.then(|| Name::new(parent.namespace.as_deref().unwrap_or(namespace), parent.name.as_str()))
}

/// The waypoint that a parent is, if it is one: then nobody else will say anything of it.
fn waypoint_parent(cluster: &Cluster, name: &Name, parent: &ParentReference) -> Option<String> {
    let gateway = Name::new(parent.namespace.as_deref().unwrap_or(&name.namespace), parent.name.as_str());
    let is_gateway = parent.group == GATEWAY_GROUP && parent.kind == "Gateway";
    (is_gateway && cluster.waypoint(&gateway).is_some()).then(|| gateway.to_string())
}
