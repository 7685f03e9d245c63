//! Conditions (`when`) on attributes of a connection.

use super::list::{List, Reader, Sense};
use weft_control_api::authorization_policy::Condition;
use weft_control_api::problem::Note;
use weft_core::policy::{Action, Match};

/// Attributes of requests, which only a waypoint sees. With a bracket: anything may follow it.
const REQUEST_ATTRIBUTES: &[&str] = &[
    "request.headers[",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "request.auth.claims[",
    "remote.ip",
    "connection.sni",
    "experimental.envoy.filters.",
];

/// Reads a condition. `None` if it never holds.
pub(crate) fn read(condition: &Condition, path: &str, reader: &mut Reader<'_>) -> Option<Match> {
    let Condition { key, values, not_values } = condition;
    if values.is_none() && not_values.as_ref().is_none_or(Vec::is_empty) {
        reader.error(path, "says nothing: it has neither values nor notValues");
        return None;
    }
    let any_of = || List { texts: values.as_ref(), field: format!("{path}.values"), sense: Sense::AnyOf };
    let none_of =
        || List { texts: not_values.as_ref(), field: format!("{path}.notValues"), sense: Sense::NoneOf };
    let mut one = Match::default();
    match key.as_str() {
        "source.ip" => {
            one.source_ips = reader.blocks(any_of());
            one.not_source_ips = reader.blocks(none_of());
        }
        "source.namespace" => {
            one.namespaces = reader.strings(any_of());
            one.not_namespaces = reader.strings(none_of());
        }
        "source.principal" => {
            one.principals = reader.principals(any_of());
            one.not_principals = reader.principals(none_of());
        }
        "source.serviceAccount" => {
            one.service_accounts = reader.accounts(any_of());
            one.not_service_accounts = reader.accounts(none_of());
        }
        "destination.ip" => {
            one.destination_ips = reader.blocks(any_of());
            one.not_destination_ips = reader.blocks(none_of());
        }
        "destination.port" => {
            one.destination_ports = reader.ports(any_of());
            one.not_destination_ports = reader.ports(none_of());
        }
        other if REQUEST_ATTRIBUTES.iter().any(|known| is_attribute(other, known)) => {
            return unjudged(key, path, reader);
        }
        other => {
            reader.error(
                format!("{path}.key"),
                format!("{other:?} is no attribute of a connection or request"),
            );
            return None;
        }
    }
    Some(one)
}

fn is_attribute(key: &str, known: &str) -> bool {
    if known.ends_with(['[', '.']) { key.starts_with(known) } else { key == known }
}

fn unjudged(key: &str, path: &str, reader: &mut Reader<'_>) -> Option<Match> {
    let (reason, matched) = match reader.action {
        Action::Allow => ("this rule allows nothing", None),
        Action::Deny => ("denied without regard to it", Some(Match::default())),
    };
    reader.notes.push(Note::warning(format!("{path}.key"), format!("{key} needs a waypoint: {reason}")));
    matched
}
