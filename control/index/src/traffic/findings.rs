//! What is wrong with routes beside other objects: a port or a subset that is not there, weights that are all zero, a rule
//! that never takes a request. Looked for on demand, over everything: this is for people, not for the way of a change,
//! which tells what the reports tell.

mod ports;
mod streams;

use super::gateway_route::{Family, Spec};
use super::hosts::Hosts;
use super::in_force::InForce;
use super::virtual_service::destinations;
use super::{Said, delegation, istio_report, report};
use crate::cluster::Cluster;
use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weft_control_api::istio::destination::Destination;
use weft_control_api::istio::virtual_service::http::HttpRoute;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::problem::{Note, Severity};
use weft_l7::rule::RuleOrigin;
use weft_l7::traffic::{HttpRoutes, Routes, Traffic};

/// A remark, and the object that it is about.
pub(crate) type Finding = (ObjectKey, Note);

/// All of it.
pub(crate) fn all<'a>(
    cluster: &Cluster,
    said: &Said,
    traffic: impl Iterator<Item = &'a Arc<Traffic>>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, one) in said.written_virtual_services() {
        let own = key(Kind::VirtualService, name);
        for (field, to) in destinations(one) {
            found.extend(destination(cluster, said, to, (name, &field)).map(|note| (own.clone(), note)));
        }
        let nowhere = istio_report::nowhere(cluster, name, one).into_iter().map(mistake);
        let notes = nowhere.chain(ports::of_virtual_service(cluster, name, one));
        let notes = notes.chain(streams::of_virtual_service(one));
        found.extend(notes.map(|note| (own.clone(), note)));
        for (number, host) in one.spec.hosts.iter().enumerate() {
            let note = below_star(cluster, host, (name, format!("spec.hosts[{number}]")));
            found.extend(note.map(|note| (own.clone(), note)));
        }
    }
    for (name, rule) in said.destination_rules.all() {
        let note = below_star(cluster, &rule.spec.host, (name, "spec.host".to_owned()));
        let notes = note.into_iter().chain(ports::of_destination_rule(cluster, name, rule));
        found.extend(notes.map(|note| (key(Kind::DestinationRule, name), note)));
    }
    // Those that are attached to nothing but others' Gateways are others' to judge.
    let routes =
        said.gateway_routes.all().filter(|((_, name), route)| !route.services(&name.namespace).is_empty());
    for ((family, name), route) in routes {
        let zero = weights(&route.spec)
            .into_iter()
            .filter(|(_, weights)| !weights.is_empty() && weights.iter().all(|weight| *weight == 0));
        let reason = "have weights that are all zero: nobody takes anything";
        found.extend(zero.map(|(field, _)| (family.key(name), Note::error(field, reason))));
        let bad = report::bad_references(cluster, &said.around(cluster, *family, name, route), route);
        let bad = bad.iter().map(|one| mistake(report::of_bad_reference(one)));
        found.extend(bad.map(|note| (family.key(name), note)));
    }
    shadowed(said, traffic, &mut found);
    found.extend(streams::of_tls_routes(cluster, said));
    found
}

/// What is a warning while objects come one after the other is a mistake in what is looked at as a whole.
fn mistake(note: Note) -> Note {
    Note { severity: Severity::Error, ..note }
}

fn key(kind: Kind, name: &Name) -> ObjectKey {
    ObjectKey::new(kind, name.namespace.clone(), name.name.clone())
}

/// Other hosts below a host with a star: Istio takes it for those too.
fn below_star(cluster: &Cluster, host: &str, (from, field): (&Name, String)) -> Option<Note> {
    let domain = host.strip_prefix('*')?;
    let mut others = cluster.services_in(&from.namespace).filter(|one| *one.name != *host);
    let other = others.find(|one| one.name.ends_with(domain))?;
    let reason = format!(
        "is for the ServiceEntry with this very host, and not for {} below it: name that too if it is meant",
        other.name
    );
    Some(Note::warning(field, reason))
}

/// A port or a subset that a Service does not have.
fn destination(
    cluster: &Cluster,
    said: &Said,
    one: &Destination,
    (from, field): (&Name, &str),
) -> Option<Note> {
    let service = Hosts { cluster }.name(&one.host, &from.namespace)?;
    let facts = cluster.services.get(&service)?;
    if let Some(port) = one.port.map(|port| port.number.get())
        && facts.told.ports.iter().all(|own| own.service_port != port)
    {
        let reason = format!("Service {service} has no port {port}: what goes there fails");
        return Some(Note::error(format!("{field}.port.number"), reason));
    }
    let subset = one.subset.as_ref()?;
    let rules = said.destination_rules_of(cluster, &service);
    let spec = rules.as_ref().map(InForce::spec);
    let known: BTreeSet<&str> =
        spec.iter().flat_map(|spec| &spec.subsets).map(|one| one.name.as_str()).collect();
    if known.contains(subset.as_str()) {
        return None;
    }
    let names: Vec<String> = rules.iter().flat_map(InForce::names).map(Name::to_string).collect();
    let why = match names.as_slice() {
        [] => format!("no DestinationRule names subsets of Service {service}"),
        [rule] => format!("DestinationRule {rule} does not name it; it names {}", list(&known)),
        rules => {
            format!("DestinationRules {} do not name it; they name {}", rules.join(", "), list(&known))
        }
    };
    let reason = format!("there is no subset {subset}: {why}; what goes there fails");
    Some(Note::error(format!("{field}.subset"), reason))
}

/// The weights of each rule's backends, and their field.
fn weights(spec: &Spec) -> Vec<(String, Vec<u32>)> {
    fn of<'a>(rules: impl Iterator<Item = Vec<u32>> + 'a) -> Vec<(String, Vec<u32>)> {
        rules.enumerate().map(|(number, all)| (format!("spec.rules[{number}].backendRefs"), all)).collect()
    }
    match spec {
        Spec::Grpc(spec) => {
            of(spec.rules.iter().map(|rule| rule.backend_refs.iter().map(|one| one.weight).collect()))
        }
        Spec::Http(spec) => {
            of(spec.rules.iter().map(|rule| rule.backend_refs.iter().map(|one| one.weight).collect()))
        }
        Spec::Tls(spec) => {
            of(spec.rules.iter().map(|rule| rule.backend_refs.iter().map(|one| one.weight).collect()))
        }
        Spec::Tcp(spec) => {
            of(spec.rules.iter().map(|rule| rule.backend_refs.iter().map(|one| one.weight).collect()))
        }
    }
}

/// Rules of which every match is covered by one before it, wherever they stand.
fn shadowed<'a>(said: &Said, traffic: impl Iterator<Item = &'a Arc<Traffic>>, found: &mut Vec<Finding>) {
    let mut by: BTreeMap<String, (&RuleOrigin, Option<String>)> = BTreeMap::new();
    let all = traffic.flat_map(|one| &one.routes).filter_map(|one| match &one.routes {
        Routes::Http(routes) => Some(routes),
        Routes::Tls(_) | Routes::Tcp(_) => None,
    });
    for routes in all {
        for (origin, before) in judged(routes) {
            let known = by.entry(origin.to_string()).or_insert((origin, before.clone()));
            if before.is_none() {
                known.1 = None; // It takes something at another port.
            }
        }
    }
    for (origin, before) in by.into_values() {
        let Some(before) = before else { continue };
        let reason = format!("never takes a request: {before} stands before it and takes all that it would");
        let name = Name::new(origin.namespace.clone(), origin.route.clone());
        let (kind, field) = place(said, origin, &name);
        found.push((key(kind, &name), Note::warning(field, reason)));
    }
}

/// The field of a rule, which names itself or is known by its number.
fn place(said: &Said, origin: &RuleOrigin, name: &Name) -> (Kind, String) {
    let number = |names: Vec<Option<&str>>| {
        let named = names.iter().position(|own| *own == Some(&*origin.rule));
        named.map_or_else(|| origin.rule.to_string(), |number| number.to_string())
    };
    let family = match &*origin.kind {
        "GRPCRoute" => Family::Grpc,
        "HTTPRoute" => Family::Http,
        _ => {
            // A rule of a delegate is called after the route that leaves requests to it.
            let routes = said.written_virtual_service(name).into_iter().flat_map(|one| &one.spec.http);
            let its = |(number, route): (usize, &HttpRoute)| {
                let label = delegation::label(route, number);
                let rest = origin.rule.strip_prefix(&*label)?;
                (rest.is_empty() || route.delegate.is_some() && rest.starts_with('-')).then_some(number)
            };
            let number = routes.enumerate().find_map(its).map(|number| number.to_string());
            let field = number.unwrap_or_else(|| origin.rule.to_string());
            return (Kind::VirtualService, format!("spec.http[{field}]"));
        }
    };
    let route = said.gateway_routes.get(&(family, name.clone()));
    let names = match route.map(|route| &route.spec) {
        Some(Spec::Grpc(spec)) => spec.rules.iter().map(|one| one.name.as_deref()).collect(),
        Some(Spec::Http(spec)) => spec.rules.iter().map(|one| one.name.as_deref()).collect(),
        Some(Spec::Tls(_) | Spec::Tcp(_)) | None => Vec::new(),
    };
    (family.kind(), format!("spec.rules[{}]", number(names)))
}

/// Each rule, and the one that stands before all of it, if one does for each of its matches.
fn judged(routes: &HttpRoutes) -> Vec<(&RuleOrigin, Option<String>)> {
    let mut rules: BTreeMap<usize, Option<String>> = BTreeMap::new();
    for (place, entry) in routes.entries.iter().enumerate() {
        let mut earlier = routes.entries.iter().take(place);
        let before = earlier.find(|one| one.rule != entry.rule && one.when.covers(&entry.when));
        let before = before.and_then(|one| routes.rules.get(one.rule)).map(|rule| rule.origin.to_string());
        match rules.get_mut(&entry.rule) {
            None => drop(rules.insert(entry.rule, before)),
            Some(known) if before.is_none() => *known = None,
            Some(_) => {}
        }
    }
    rules.into_iter().filter_map(|(rule, before)| Some((&routes.rules.get(rule)?.origin, before))).collect()
}

fn list(names: &BTreeSet<&str>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().copied().collect::<Vec<_>>().join(", ") }
}
