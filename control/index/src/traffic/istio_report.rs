//! What becomes of Istio's resources, and of policies for backends: they have no status, so their authors are told.

use super::attached::groups;
use super::hosts::Hosts;
use super::in_force::InForce;
use super::virtual_service::{Place, destinations};
use super::{Audience, Said, clients, destination_rule, is_ruled, origination, virtual_routes};
use crate::cluster::Cluster;
use crate::name::Name;
use crate::waypoint;
use std::sync::Arc;
use weft_control_api::istio::destination_rule::DestinationRule;
use weft_control_api::istio::virtual_service::VirtualService;
use weft_control_api::problem::Note;

/// A VirtualService: hosts that are nowhere or have no waypoint, and what comes before it.
pub(super) fn of_virtual_service(cluster: &Cluster, said: &Said, name: &Name) -> Vec<Note> {
    if let Some(one) = said.delegates.get(name) {
        return of_delegate(cluster, said, name, one);
    }
    let (Some(one), Some(written)) = (said.virtual_services.get(name), said.written_virtual_service(name))
    else {
        return Vec::new();
    };
    let hosts = Hosts { cluster };
    let mut notes = Vec::new();
    for (number, host) in one.spec.hosts.iter().enumerate() {
        let why = match hosts.name(host, &name.namespace) {
            None => Some(format!("{host} is no Service: the routes have no effect for it")),
            Some(service) => of_host(cluster, said, (name, one), &service),
        };
        notes.extend(why.map(|why| Note::warning(format!("spec.hosts[{number}]"), why)));
    }
    notes.extend(nowhere(cluster, name, written));
    let (_, lost) = said.merged(name, written);
    notes.extend(lost.into_iter().map(|(field, why)| Note::warning(field, why)));
    notes
}

/// A VirtualService without hosts: nobody delegates to it, or it leads nowhere.
fn of_delegate(cluster: &Cluster, said: &Said, name: &Name, one: &VirtualService) -> Vec<Note> {
    let mut notes = nowhere(cluster, name, one);
    if said.delegating.of(name).next().is_none() {
        let reason = "is empty, and no VirtualService delegates to this one: it has no effect";
        notes.push(Note::warning("spec.hosts", reason));
    }
    notes
}

/// Destinations that are not there.
pub(super) fn nowhere(cluster: &Cluster, name: &Name, one: &VirtualService) -> Vec<Note> {
    let hosts = Hosts { cluster };
    let all = destinations(one).into_iter();
    let nowhere = all.filter(|(_, to)| hosts.find(&to.host, &name.namespace).is_none());
    let note = |(field, to): (String, &weft_control_api::istio::destination::Destination)| {
        let reason = format!("destination {} is no Service: what is sent there gets 500", to.host);
        Note::warning(format!("{field}.host"), reason)
    };
    nowhere.map(note).collect()
}

fn of_host(
    cluster: &Cluster,
    said: &Said,
    (name, one): (&Name, &VirtualService),
    service: &Name,
) -> Option<String> {
    let Some(facts) = cluster.services.get(service) else {
        return Some(format!("{}: the routes have no effect for it", missing(service)));
    };
    if waypoint::of_service(cluster, service, facts).is_none() {
        return Some(no_waypoint(cluster, service, "the routes have no effect for it"));
    }
    let hosts = Hosts { cluster };
    let groups = groups(said, service, facts);
    let says = |other: &Name, one: &VirtualService, port: &weft_core::service::ServicePort| {
        let place = Place { name: other, hosts: &hosts, service: &facts.told.name, port: port.service_port };
        virtual_routes(one, &place, port.app_protocol).is_some()
    };
    let ports: Vec<_> = facts.told.ports.iter().filter(|port| says(name, one, port)).collect();
    if ports.is_empty() {
        return Some(format!(
            "no route is for a port of Service {service}, or for what is spoken there: they have no effect for it"
        ));
    }
    let own = clients::of(cluster, service, name, one);
    let is_free = |port: u16| {
        let leaves = |namespace: &Arc<str>| !is_ruled(&groups, port, Some(namespace));
        !is_ruled(&groups, port, None)
            && own.as_ref().is_none_or(|own| own.is_empty() || own.iter().any(leaves))
    };
    let free: Vec<_> = ports.into_iter().filter(|port| is_free(port.service_port)).collect();
    if free.is_empty() {
        return Some(format!(
            "Service {service} has routes of Gateway API there, which come before Istio's: these have no effect for it"
        ));
    }
    // Those that are for some namespaces only leave the others alone, and come before those that are for all.
    let all = said.virtual_services_of(service);
    let mut older = all.iter().take_while(|(other, _)| *other != name);
    let first = older.find(|(other, one)| {
        let theirs = clients::of(cluster, service, other, one);
        clients::are_among(&own, &theirs) && free.iter().all(|port| says(other, one, port))
    });
    let passed_over = first.map(|(first, _)| {
        format!("VirtualService {first}, which is older, is for Service {service} too: this one has no effect for it")
    });
    passed_over.or_else(|| clients::beyond(cluster, service, name, one))
}

/// A DestinationRule: a host that is nowhere, one of which no waypoint needs to know, and an older rule.
pub(super) fn of_destination_rule(
    cluster: &Cluster,
    said: &Said,
    audience: &Audience,
    name: &Name,
) -> Vec<Note> {
    let Some(rule) = said.destination_rules.get(name) else {
        return Vec::new();
    };
    let host = &rule.spec.host;
    let service = (Hosts { cluster }).name(host, &name.namespace);
    let rules = service.as_ref().and_then(|service| said.destination_rules_of(cluster, service));
    let why = match &service {
        None => Some(format!("{host} is no Service: the rule has no effect")),
        Some(service) => InForce::passed_over(rules.as_ref(), name, &cluster.config, service)
            .or_else(|| of_backend(cluster, audience, service, "the rule has no effect")),
    };
    let mut notes: Vec<Note> = why.map(|why| Note::warning("spec.host", why)).into_iter().collect();
    if notes.is_empty() {
        notes.extend(rules.iter().flat_map(|rules| rules.in_vain(name)));
    }
    if notes.is_empty() {
        notes.extend(of_tls(cluster, said, audience, name, rule));
    }
    notes
}

/// TLS that a policy of Gateway API says otherwise, and Secrets that its waypoints lack.
fn of_tls(
    cluster: &Cluster,
    said: &Said,
    audience: &Audience,
    name: &Name,
    rule: &DestinationRule,
) -> Vec<Note> {
    let Some(service) = (Hosts { cluster }).name(&rule.spec.host, &name.namespace) else {
        return Vec::new();
    };
    let policy = said.any_tls_policy_of(&service);
    let gateways = || {
        let told = cluster.services.get(&service).map(|facts| &facts.told.name);
        told.into_iter().flat_map(|service| audience.of(service))
    };
    let mut notes = Vec::new();
    for (field, settings) in destination_rule::tls(&rule.spec) {
        if let Some(policy) = policy {
            let reason = format!(
                "BackendTLSPolicy {policy} is for Service {service}: what it says of TLS stands instead of this, at the \
                 ports that it is for"
            );
            notes.push(Note::warning(field.clone(), reason));
        }
        for gateway in gateways() {
            let around =
                origination::Around { cluster, namespace: Some(&gateway.namespace), subject_alt_names: &[] };
            if let Err(why) = around.named(settings) {
                let reason = format!("{why}: what waypoint {gateway} sends there gets 503");
                notes.push(Note::warning(format!("{field}.credentialName"), reason));
            }
        }
    }
    notes
}

/// An XBackendTrafficPolicy: the same.
pub(super) fn of_backend_traffic_policy(
    cluster: &Cluster,
    said: &Said,
    audience: &Audience,
    name: &Name,
) -> Vec<Note> {
    let Some(policy) = said.retry_constraints.get(name) else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    for (number, target) in policy.spec.target_refs.iter().enumerate() {
        let service = Name::new(name.namespace.clone(), target.name.as_str());
        let first = said.retry_constraint_of(&service).map(|(first, _)| first);
        let why = match first.filter(|first| *first != name) {
            Some(first) => Some(format!(
                "XBackendTrafficPolicy {first}, which is older, is for Service {service} too: this one has no effect \
                 on it"
            )),
            None => of_backend(cluster, audience, &service, "the policy has no effect on it"),
        };
        notes.extend(why.map(|why| Note::warning(format!("spec.targetRefs[{number}]"), why)));
    }
    notes
}

/// What is said of a backend is in force at the waypoints before it, and where routes lead to it.
pub(super) fn of_backend(
    cluster: &Cluster,
    audience: &Audience,
    service: &Name,
    then: &str,
) -> Option<String> {
    let Some(facts) = cluster.services.get(service) else {
        return Some(format!("{}: {then}", missing(service)));
    };
    let known = audience.of(&facts.told.name).next().is_some();
    (!known).then(|| no_waypoint(cluster, service, then))
}

fn missing(service: &Name) -> String {
    if service.name.contains('.') {
        return format!("no ServiceEntry of namespace {} has the host {}", service.namespace, service.name);
    }
    format!("there is no Service {service}")
}

fn no_waypoint(cluster: &Cluster, service: &Name, then: &str) -> String {
    let broken =
        cluster.services.get(service).is_some_and(|facts| waypoint::is_broken(cluster, service, facts));
    if broken {
        return format!("the waypoint that Service {service} asks for does not stand before it: {then}");
    }
    format!("no waypoint stands before Service {service}: {then}; bind it with the label weft.dev/waypoint")
}
