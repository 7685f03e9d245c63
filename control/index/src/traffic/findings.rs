//! What is wrong with routes and destination rules beside each other: what they name is not there, they contradict, or a
//! rule never takes a request. Looked for on demand, over everything: this is for people, not for the way of a change.

use super::hosts::Hosts;
use super::{Said, parents};
use crate::cluster::Cluster;
use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weft_control_api::gateway_api::http_route::HttpRoute;
use weft_control_api::istio::destination::Destination;
use weft_control_api::istio::virtual_service::VirtualService;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::problem::Note;
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
    let view = View { cluster, said, hosts: Hosts { cluster } };
    let mut found = Vec::new();
    for (name, (one, _)) in &said.virtual_services.objects {
        view.virtual_service(name, one, &mut found);
    }
    for (name, (one, _)) in &said.http_routes.objects {
        view.http_route(name, one, &mut found);
    }
    for (name, (one, _)) in &said.destination_rules.objects {
        if view.is_nowhere(&one.spec.host, name) {
            let reason = format!("no Service is {:?}: the rule has no effect", one.spec.host);
            found.push((key(Kind::DestinationRule, name), Note::warning("spec.host", reason)));
        }
    }
    view.contradictions(&mut found);
    view.shadowed(traffic, &mut found);
    found
}

fn key(kind: Kind, name: &Name) -> ObjectKey {
    ObjectKey::new(kind, name.namespace.clone(), name.name.clone())
}

struct View<'a> {
    cluster: &'a Cluster,
    said: &'a Said,
    hosts: Hosts<'a>,
}

impl View<'_> {
    /// A host that names one service, and there is none.
    fn is_nowhere(&self, host: &str, from: &Name) -> bool {
        !host.contains('*') && self.hosts.find(host, &from.namespace).is_none()
    }

    fn virtual_service(&self, name: &Name, one: &VirtualService, found: &mut Vec<Finding>) {
        let spec = &one.spec;
        if !spec.gateways.is_empty() && !spec.gateways.iter().any(|gateway| gateway == "mesh") {
            return; // For traffic that comes from outside.
        }
        let own = key(Kind::VirtualService, name);
        for (number, host) in spec.hosts.iter().enumerate() {
            if self.is_nowhere(host, name) {
                let reason = format!("no Service is {host:?}: nothing is routed by it");
                found.push((own.clone(), Note::warning(format!("spec.hosts[{number}]"), reason)));
            }
        }
        let mut check = |field: String, destination: &Destination| {
            found.extend(self.destination(destination, name, &field).map(|note| (own.clone(), note)));
        };
        for (number, route) in spec.http.iter().enumerate() {
            let at = format!("spec.http[{number}]");
            for (place, one) in route.route.iter().enumerate() {
                check(format!("{at}.route[{place}].destination"), &one.destination);
            }
            route.mirror.iter().for_each(|one| check(format!("{at}.mirror"), one));
            for (place, one) in route.mirrors.iter().enumerate() {
                check(format!("{at}.mirrors[{place}].destination"), &one.destination);
            }
        }
        for (number, route) in spec.tls.iter().enumerate() {
            for (place, one) in route.route.iter().enumerate() {
                check(format!("spec.tls[{number}].route[{place}].destination"), &one.destination);
            }
        }
        for (number, route) in spec.tcp.iter().enumerate() {
            for (place, one) in route.route.iter().enumerate() {
                check(format!("spec.tcp[{number}].route[{place}].destination"), &one.destination);
            }
        }
    }

    fn destination(&self, one: &Destination, from: &Name, field: &str) -> Option<Note> {
        let Some(service) = self.hosts.name(&one.host, &from.namespace) else {
            // A name outside the cluster.
            let reason = format!("no Service is {:?}: what goes there fails", one.host);
            return (!one.host.contains('*')).then(|| Note::error(format!("{field}.host"), reason));
        };
        let Some(facts) = self.cluster.services.get(&service) else {
            let reason = format!("there is no Service {service}: what goes there fails");
            return Some(Note::error(format!("{field}.host"), reason));
        };
        if let Some(port) = one.port.map(|port| port.number.get())
            && facts.told.ports.iter().all(|own| own.service_port != port)
        {
            let reason = format!("Service {service} has no port {port}: what goes there fails");
            return Some(Note::error(format!("{field}.port.number"), reason));
        }
        let subset = one.subset.as_ref()?;
        // Of several rules the first counts, as in `of_service`.
        let rule = self.said.destination_rules.of(&service).next();
        let known: Vec<&str> =
            rule.iter().flat_map(|(_, rule)| &rule.spec.subsets).map(|one| one.name.as_str()).collect();
        if known.contains(&subset.as_str()) {
            return None;
        }
        let why = match rule {
            None => format!("no DestinationRule names subsets of Service {service}"),
            Some((rule, _)) => {
                format!("DestinationRule {rule} does not name it; it names {}", list(&known))
            }
        };
        let reason = format!("there is no subset {subset}: {why}; what goes there fails");
        Some(Note::error(format!("{field}.subset"), reason))
    }

    fn http_route(&self, name: &Name, one: &HttpRoute, found: &mut Vec<Finding>) {
        let services = parents(one, name);
        if services.is_empty() {
            return; // A gateway's.
        }
        let own = key(Kind::HttpRoute, name);
        for service in services.iter().filter(|service| !self.cluster.services.contains_key(service)) {
            let reason = format!("there is no Service {service}: nothing is routed by it");
            found.push((own.clone(), Note::warning("spec.parentRefs", reason)));
        }
        for (number, rule) in one.spec.rules.iter().enumerate() {
            let at = format!("spec.rules[{number}].backendRefs");
            let weights: u64 = rule.backend_refs.iter().map(|one| u64::from(one.weight)).sum();
            if !rule.backend_refs.is_empty() && weights == 0 {
                let reason = "have weights that are all zero: every request gets 500";
                found.push((own.clone(), Note::error(at.clone(), reason)));
            }
            for (place, backend) in rule.backend_refs.iter().enumerate() {
                if backend.kind != "Service" || !backend.group.is_empty() {
                    continue; // The reader has said so.
                }
                let namespace = backend.namespace.as_deref().unwrap_or(&name.namespace);
                let service = Name::new(namespace, backend.name.as_str());
                let Some(facts) = self.cluster.services.get(&service) else {
                    let reason = format!("there is no Service {service}: its share gets 500");
                    found.push((own.clone(), Note::error(format!("{at}[{place}].name"), reason)));
                    continue;
                };
                if let Some(port) = backend.port.map(|port| port.get())
                    && facts.told.ports.iter().all(|own| own.service_port != port)
                {
                    let reason = format!("Service {service} has no port {port}: its share gets 500");
                    found.push((own.clone(), Note::error(format!("{at}[{place}].port"), reason)));
                }
            }
        }
    }

    /// Several objects about the same traffic, of which one counts.
    fn contradictions(&self, found: &mut Vec<Finding>) {
        for service in self.said.destination_rules.of.keys() {
            let mut all = self.said.destination_rules.of(service).map(|(name, _)| name);
            let first = all.next();
            for (name, first) in all.filter_map(|name| Some((name, first?))) {
                let reason =
                    format!("DestinationRule {first} is about Service {service} too, and counts alone");
                found.push((key(Kind::DestinationRule, name), Note::error("spec.host", reason)));
            }
        }
        for service in self.said.virtual_services.of.keys() {
            let with_http =
                self.said.virtual_services.of(service).filter(|(_, one)| !one.spec.http.is_empty());
            let all: Vec<&Name> = with_http.map(|(name, _)| name).collect();
            for name in all.iter().skip(1) {
                let reason =
                    format!("VirtualService {} routes Service {service} too, and counts alone", all[0]);
                found.push((key(Kind::VirtualService, name), Note::error("spec.hosts", reason)));
            }
            let route = self.said.http_routes.of(service).next();
            for (name, (route, _)) in all.iter().filter_map(|name| Some((name, route?))) {
                let reason = format!("HTTPRoute {route} routes Service {service} too, and counts before it");
                found.push((key(Kind::VirtualService, name), Note::warning("spec.hosts", reason)));
            }
        }
    }

    /// Rules of which every match is covered by one before it, wherever they stand.
    fn shadowed<'a>(&self, traffic: impl Iterator<Item = &'a Arc<Traffic>>, found: &mut Vec<Finding>) {
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
            let reason =
                format!("never takes a request: {before} stands before it and takes all that it would");
            let name = Name::new(origin.namespace.clone(), origin.route.clone());
            let (kind, field) = self.place(origin, &name);
            found.push((key(kind, &name), Note::warning(field, reason)));
        }
    }

    /// The field of a rule, which names itself or is known by its number.
    fn place(&self, origin: &RuleOrigin, name: &Name) -> (Kind, String) {
        let number = |names: Vec<Option<&str>>| {
            let named = names.iter().position(|own| *own == Some(&*origin.rule));
            named.map_or_else(|| origin.rule.to_string(), |number| number.to_string())
        };
        if &*origin.kind == "VirtualService" {
            let one = self.said.virtual_services.get(name);
            let names = one.into_iter().flat_map(|one| &one.spec.http).map(|one| one.name.as_deref());
            (Kind::VirtualService, format!("spec.http[{}]", number(names.collect())))
        } else {
            let one = self.said.http_routes.get(name);
            let names = one.into_iter().flat_map(|one| &one.spec.rules).map(|one| one.name.as_deref());
            (Kind::HttpRoute, format!("spec.rules[{}]", number(names.collect())))
        }
    }
}

/// Each rule, and the one that stands before all of it, if one does for each of its matches.
fn judged(routes: &HttpRoutes) -> Vec<(&RuleOrigin, Option<String>)> {
    let mut rules: BTreeMap<usize, Option<String>> = BTreeMap::new();
    for (place, entry) in routes.entries.iter().enumerate() {
        let before = routes
            .entries
            .iter()
            .take(place)
            .find(|one| one.rule != entry.rule && one.when.covers(&entry.when));
        let before = before.and_then(|one| routes.rules.get(one.rule)).map(|rule| rule.origin.to_string());
        match rules.get_mut(&entry.rule) {
            None => drop(rules.insert(entry.rule, before)),
            Some(known) if before.is_none() => *known = None,
            Some(_) => {}
        }
    }
    rules.into_iter().filter_map(|(rule, before)| Some((&routes.rules.get(rule)?.origin, before))).collect()
}

fn list(names: &[&str]) -> String {
    let names: BTreeSet<&str> = names.iter().copied().collect();
    if names.is_empty() { "none".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}
