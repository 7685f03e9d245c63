//! What matters of a Gateway and of a GatewayClass: which waypoint it is, and for whom.

use crate::selector::{Labels, Selector};
use std::sync::Arc;
use weft_control_api::gateway_api::gateway::{FromNamespaces, Gateway, GatewaySpec, Listener};
use weft_control_api::gateway_api::gateway_class::GatewayClass;
use weft_control_api::problem::Note;
use weft_core::ports::TUNNEL;

/// A Gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GatewayFacts {
    pub(crate) class: Arc<str>,
    /// `None` for what is no waypoint, and somebody else's.
    pub(crate) waypoint: Option<WaypointFacts>,
}

/// A waypoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaypointFacts {
    /// What it says itself of what it takes; else its class may say it.
    pub(crate) takes: Option<Takes>,
    pub(crate) allowed: Allowed,
    /// The name of its listener.
    pub(crate) listener: Arc<str>,
    /// The version of the object, where versions are counted.
    pub(crate) generation: Option<i64>,
}

/// What goes through a waypoint: what is sent to services, to workloads by their own addresses, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Takes {
    #[default]
    Services,
    Workloads,
    Everything,
    Nothing,
}

impl Takes {
    pub(crate) fn services(self) -> bool {
        matches!(self, Self::Services | Self::Everything)
    }

    pub(crate) fn workloads(self) -> bool {
        matches!(self, Self::Workloads | Self::Everything)
    }

    /// As the label has it.
    pub(crate) fn word(self) -> &'static str {
        TAKES.iter().find(|(_, takes)| *takes == self).map_or("none", |(word, _)| word)
    }
}

/// The namespaces whose objects may ask for a waypoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Allowed {
    Own,
    All,
    Nobody,
    Labelled(Selector),
}

/// The classes of waypoints (wire facts §4).
const CLASSES: [&str; 2] = ["weft-waypoint", "istio-waypoint"];
/// The label that names the Gateway whose instance a pod is (Gateway API, GEP-1762).
pub(crate) const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
const WAYPOINT_FOR: [&str; 2] = ["weft.dev/waypoint-for", "istio.io/waypoint-for"];
/// Istio's former way, which nobody reads any more.
const FOR_ACCOUNT: &str = "istio.io/for-service-account";
const TAKES: [(&str, Takes); 4] = [
    ("service", Takes::Services),
    ("workload", Takes::Workloads),
    ("all", Takes::Everything),
    ("none", Takes::Nothing),
];

/// Reads a Gateway. An error among the notes refuses it.
pub(crate) fn read(gateway: &Gateway, notes: &mut Vec<Note>) -> GatewayFacts {
    let spec = &gateway.spec;
    let class: Arc<str> = spec.gateway_class_name.as_str().into();
    if !CLASSES.contains(&&*class) {
        let reason = format!("{class:?} is no class of waypoints ({}): it is left alone", CLASSES.join(", "));
        notes.push(Note::info("spec.gatewayClassName", reason));
        return GatewayFacts { class, waypoint: None };
    }
    let annotations = gateway.metadata.annotations.as_ref();
    if annotations.is_some_and(|all| all.contains_key(FOR_ACCOUNT)) {
        let field = format!("metadata.annotations.{FOR_ACCOUNT}");
        notes.push(Note::error(field, "is not read: label the ServiceAccount weft.dev/waypoint instead"));
    }
    refuse_what_waypoints_lack(spec, notes);
    let allowed = match spec.listeners.as_slice() {
        [listener] => read_listener(listener, notes),
        _ => {
            notes.push(Note::error("spec.listeners", format!("a waypoint has one: {ONE_LISTENER}")));
            Allowed::Own
        }
    };
    let takes = gateway.metadata.labels.as_ref().and_then(|labels| read_takes(labels, notes));
    let listener = spec.listeners.first().map(|listener| listener.name.as_str()).unwrap_or_default().into();
    let waypoint = WaypointFacts { takes, allowed, listener, generation: gateway.metadata.generation };
    GatewayFacts { class, waypoint: Some(waypoint) }
}

const ONE_LISTENER: &str = "protocol HBONE, port 15008";

fn refuse_what_waypoints_lack(spec: &GatewaySpec, notes: &mut Vec<Note>) {
    for (field, written) in [
        ("addresses", !spec.addresses.is_empty()),
        ("allowedListeners", spec.allowed_listeners.is_some()),
        ("tls", spec.tls.is_some()),
        ("defaultScope", spec.default_scope.is_some()),
    ] {
        if written {
            notes.push(Note::error(format!("spec.{field}"), "is not for waypoints"));
        }
    }
    if spec.infrastructure.is_some() {
        let reason = "has no effect: nothing that runs is made of a Gateway yet";
        notes.push(Note::warning("spec.infrastructure", reason));
    }
}

fn read_listener(listener: &Listener, notes: &mut Vec<Note>) -> Allowed {
    let field = |name: &str| format!("spec.listeners[0].{name}");
    if listener.protocol != "HBONE" {
        let reason = format!("{:?} is not for waypoints: {ONE_LISTENER} is", listener.protocol);
        notes.push(Note::error(field("protocol"), reason));
    }
    if listener.port.get() != TUNNEL {
        let reason = format!("{} is not for waypoints: {ONE_LISTENER} is", listener.port.get());
        notes.push(Note::error(field("port"), reason));
    }
    for (name, written) in [("hostname", listener.hostname.is_some()), ("tls", listener.tls.is_some())] {
        if written {
            notes.push(Note::error(field(name), "is not for waypoints"));
        }
    }
    let routes = listener.allowed_routes.as_ref();
    if routes.is_some_and(|routes| !routes.kinds.is_empty()) {
        let reason = "has no effect: routes are attached to Services, not to waypoints";
        notes.push(Note::warning(field("allowedRoutes.kinds"), reason));
    }
    let Some(namespaces) = routes.and_then(|routes| routes.namespaces.as_ref()) else {
        return Allowed::Own;
    };
    match (namespaces.from, &namespaces.selector) {
        (FromNamespaces::Same, _) => Allowed::Own,
        (FromNamespaces::All, _) => Allowed::All,
        // The check of the object itself has refused `Selector` without one.
        (FromNamespaces::None, _) | (FromNamespaces::Selector, None) => Allowed::Nobody,
        (FromNamespaces::Selector, Some(selector)) => match Selector::read(selector) {
            Ok(selector) => Allowed::Labelled(selector),
            Err((index, operator)) => {
                let path = format!("allowedRoutes.namespaces.selector.matchExpressions[{index}].operator");
                notes.push(Note::error(field(&path), format!("{operator:?} is no operator")));
                Allowed::Nobody
            }
        },
    }
}

/// What a GatewayClass says of the waypoints of that class, where they say nothing themselves.
pub(crate) fn read_class(class: &GatewayClass, notes: &mut Vec<Note>) -> Option<Takes> {
    let labels = class.metadata.labels.as_ref()?;
    read_takes(labels, notes)
}

/// What means nothing is an error: the last good version stays, because the wrong traffic would go another way.
fn read_takes(labels: &Labels, notes: &mut Vec<Note>) -> Option<Takes> {
    let (label, value) = WAYPOINT_FOR.iter().find_map(|label| Some((label, labels.get(*label)?)))?;
    let known = TAKES.iter().find(|(word, _)| word == value).map(|(_, takes)| *takes);
    if known.is_none() {
        let reason = format!("{value:?} means nothing here: service, workload, all and none do");
        notes.push(Note::error(format!("metadata.labels.{label}"), reason));
    }
    known
}
