//! Routes and destination rules become the words of `weft-l7`, service by service. What a route costs when something
//! changes is its own services' computation and no other's.

mod audience;
pub(crate) mod findings;
mod destination_rule;
mod grants;
mod hosts;
mod http_route;
mod labels;
mod virtual_service;

use crate::absorb::Dirty;
use crate::cluster::Cluster;
use crate::name::Name;
pub(crate) use audience::Audience;
pub(crate) use findings::Finding;
use grants::Grants;
use hosts::Hosts;
use labels::{AskedOfClients, Asking};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use weft_control_api::gateway_api::http_route::HttpRoute;
use weft_control_api::istio::destination_rule::DestinationRule;
use weft_control_api::istio::virtual_service::VirtualService;
use weft_control_api::kind::Kind;
use weft_control_api::object::Object;
use weft_core::names::ServiceName;
use weft_l7::matches::RequestMatch;
use weft_l7::rule::Rule;
use weft_l7::traffic::{Entry, HttpRoutes, PortRoutes, Routes, Traffic};

/// Everything that is said of services' traffic, by the service that it is said of.
#[derive(Debug, Default)]
pub(crate) struct Said {
    grants: Grants,
    http_routes: ByService<HttpRoute>,
    virtual_services: ByService<VirtualService>,
    destination_rules: ByService<DestinationRule>,
    source_labels: AskedOfClients,
    /// VirtualServices by the services to which their routes lead: whether these are there, and with which ports, is part
    /// of what they say.
    leading: ByService<()>,
}

/// Objects of one kind, and the services that each is about.
#[derive(Debug)]
struct ByService<T> {
    objects: HashMap<Name, (Arc<T>, BTreeSet<Name>)>,
    of: HashMap<Name, BTreeSet<Name>>,
}

impl<T> Default for ByService<T> {
    fn default() -> Self {
        Self { objects: HashMap::new(), of: HashMap::new() }
    }
}

impl<T> ByService<T> {
    /// Takes an object or forgets it. Gives the services that it was or is about.
    fn set(&mut self, name: &Name, now: Option<(Arc<T>, BTreeSet<Name>)>) -> BTreeSet<Name> {
        let old = self.objects.remove(name).map(|(_, services)| services).unwrap_or_default();
        for service in &old {
            if let Some(objects) = self.of.get_mut(service) {
                objects.remove(name);
                if objects.is_empty() {
                    self.of.remove(service);
                }
            }
        }
        let mut touched = old;
        if let Some((object, services)) = now {
            for service in &services {
                self.of.entry(service.clone()).or_default().insert(name.clone());
            }
            touched.extend(services.iter().cloned());
            self.objects.insert(name.clone(), (object, services));
        }
        touched
    }

    fn get(&self, name: &Name) -> Option<&Arc<T>> {
        self.objects.get(name).map(|(object, _)| object)
    }

    /// The services that an object is about.
    fn about(&self, name: &Name) -> impl Iterator<Item = &Name> {
        self.objects.get(name).into_iter().flat_map(|(_, services)| services)
    }

    fn of(&self, service: &Name) -> impl Iterator<Item = (&Name, &Arc<T>)> {
        let names = self.of.get(service).into_iter().flatten();
        names.filter_map(|name| self.objects.get_key_value(name)).map(|(name, (object, _))| (name, object))
    }
}

impl Said {
    /// Takes an object, and marks the services about whose traffic something else may be said now.
    pub(crate) fn take(&mut self, cluster: &Cluster, name: &Name, object: &Object, dirty: &mut Dirty) {
        match object {
            Object::HttpRoute(route) => {
                let services = parents(route, name);
                dirty
                    .traffic
                    .extend(self.http_routes.set(name, Some((Arc::new((**route).clone()), services))));
            }
            Object::VirtualService(one) => {
                let services = services_of(cluster, &name.namespace, &one.spec.hosts);
                self.set_virtual_service(cluster, name, Some((Arc::new((**one).clone()), services)), dirty);
            }
            Object::DestinationRule(one) => {
                let services = services_of(cluster, &name.namespace, [&one.spec.host]);
                self.set_destination_rule(cluster, name, Some((Arc::new((**one).clone()), services)), dirty);
            }
            Object::ReferenceGrant(one) => {
                self.grants.set(name, Some(one.spec.clone()));
                dirty.traffic.extend(self.routed());
            }
            _ => {}
        }
    }

    /// Forgets an object of a kind that [`Said::take`] takes.
    pub(crate) fn forget(&mut self, cluster: &Cluster, kind: Kind, name: &Name, dirty: &mut Dirty) {
        match kind {
            Kind::HttpRoute => dirty.traffic.extend(self.http_routes.set(name, None)),
            Kind::VirtualService => self.set_virtual_service(cluster, name, None, dirty),
            Kind::DestinationRule => self.set_destination_rule(cluster, name, None, dirty),
            Kind::ReferenceGrant => {
                self.grants.set(name, None);
                dirty.traffic.extend(self.routed());
            }
            _ => {}
        }
    }

    fn set_virtual_service(
        &mut self,
        cluster: &Cluster,
        name: &Name,
        now: Option<(Arc<VirtualService>, BTreeSet<Name>)>,
        dirty: &mut Dirty,
    ) {
        let old = self.virtual_services.get(name).map(|one| labels::of_sources(one)).unwrap_or_default();
        let new = now.as_ref().map(|(one, _)| labels::of_sources(one)).unwrap_or_default();
        let leads_to = now.as_ref().map(|(one, _)| {
            let hosts = virtual_service::destinations(one).map(|destination| &destination.host);
            (Arc::new(()), services_of(cluster, &name.namespace, hosts))
        });
        self.leading.set(name, leads_to);
        dirty.traffic.extend(self.virtual_services.set(name, now));
        if self.source_labels.replace(&old, &new) == Asking::Differently {
            // Whoever is a client may be asked, and a name that nobody has asked for before is rare.
            dirty.pods.extend(cluster.pods.names().cloned());
        }
    }

    fn set_destination_rule(
        &mut self,
        cluster: &Cluster,
        name: &Name,
        now: Option<(Arc<DestinationRule>, BTreeSet<Name>)>,
        dirty: &mut Dirty,
    ) {
        let concerned =
            now.iter().flat_map(|(_, services)| services).chain(self.destination_rules.about(name));
        let concerned: BTreeSet<Name> = concerned.cloned().collect();
        let asked = |this: &Self| -> Vec<BTreeSet<String>> {
            concerned.iter().map(|service| this.labels_of_endpoints(service)).collect()
        };
        let before = asked(self);
        dirty.traffic.extend(self.destination_rules.set(name, now));
        let after = asked(self);
        for ((service, before), after) in concerned.iter().zip(before).zip(after) {
            if before != after {
                dirty.pods.extend(cluster.endpoints_of(service));
            }
        }
    }

    /// All services with routes that may name others: a grant may concern any of them, and changes rarely.
    fn routed(&self) -> BTreeSet<Name> {
        self.http_routes.of.keys().cloned().collect()
    }

    /// The services whose routes lead to this one, and say something else when it changes.
    pub(crate) fn leading_to(&self, service: &Name) -> impl Iterator<Item = &Name> {
        self.leading.of(service).flat_map(|(name, _)| self.virtual_services.about(name))
    }

    /// Names of labels that the subsets of a service, and how its endpoints are preferred, ask for.
    pub(crate) fn labels_of_endpoints(&self, service: &Name) -> BTreeSet<String> {
        // Of several rules the first counts, as in `of_service`.
        let rule = self.destination_rules.of(service).next();
        rule.map(|(_, rule)| labels::of_endpoints(rule)).unwrap_or_default()
    }

    /// Names of labels that routes ask of their clients.
    pub(crate) fn labels_of_clients(&self) -> impl Iterator<Item = &String> {
        self.source_labels.names()
    }
}

/// The Services that a route is attached to.
fn parents(route: &HttpRoute, name: &Name) -> BTreeSet<Name> {
    let services = route.spec.parent_refs.iter().filter(|one| one.group.is_empty() && one.kind == "Service");
    let place = |namespace: Option<&str>| Arc::from(namespace.unwrap_or(&name.namespace));
    services.map(|one| Name::new(place(one.namespace.as_deref()), one.name.as_str())).collect()
}

/// All that is said of a service's traffic; `None` if nothing is, or if there is no such service.
pub(crate) fn of_service(cluster: &Cluster, said: &Said, name: &Name) -> Option<Traffic> {
    let facts = cluster.services.get(name)?;
    let hosts = Hosts { cluster };
    let mut routes = gateway_routes(cluster, said, name);
    let ruled: BTreeSet<Option<u16>> = routes.iter().map(|one| one.port).collect();
    for port in &facts.told.ports {
        // Gateway API's routes are the newer family, and say in their status what became of them.
        let free = !ruled.contains(&None) && !ruled.contains(&Some(port.service_port));
        if let Some(found) = istio_routes(said, name, &hosts, port.service_port).filter(|_| free) {
            routes.push(found);
        }
    }
    let rule = said.destination_rules.of(name).next();
    let destination = rule.map(|(_, rule)| destination_rule::read(&rule.spec)).unwrap_or_default();
    let service: ServiceName = facts.told.name.clone();
    let empty = routes.is_empty() && rule.is_none();
    (!empty).then_some(Traffic { service, routes, destination })
}

/// What HTTPRoutes say, by port and by the namespace that they are for.
fn gateway_routes(cluster: &Cluster, said: &Said, service: &Name) -> Vec<PortRoutes> {
    let around = http_route::Around { grants: &said.grants, cluster_domain: &cluster.config.cluster_domain };
    let mut groups: BTreeMap<Group, Vec<Ordered>> = BTreeMap::new();
    for (name, route) in said.http_routes.of(service) {
        let clients = (name.namespace != service.namespace).then(|| name.namespace.clone());
        let age = route.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string());
        for port in ports_of(route, name, service) {
            let group = groups.entry((port, clients.clone())).or_default();
            let lines = http_route::lines(route, name, &around).into_iter().enumerate();
            group.extend(lines.map(|(number, line)| {
                let place = (line.rank, age.clone(), name.clone(), number);
                (place, line.when, line.rule)
            }));
        }
    }
    let one = |((port, clients), mut lines): (_, Vec<Ordered>)| {
        lines.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let lines = lines.into_iter().map(|(_, when, rule)| (when, rule));
        PortRoutes { port, clients, routes: Routes::Http(entries(lines)) }
    };
    groups.into_iter().map(one).collect()
}

/// A port, if not every one, and the clients' namespace, if not everybody.
type Group = (Option<u16>, Option<Arc<str>>);
/// A line and what orders it: rank, age, name, number.
type Ordered = ((http_route::Rank, Option<String>, Name, usize), RequestMatch, Arc<Rule>);

/// The ports of a service that a route is attached to; none is all of them.
fn ports_of(route: &HttpRoute, name: &Name, service: &Name) -> BTreeSet<Option<u16>> {
    let namespace = |written: Option<&str>| written.unwrap_or(&name.namespace).to_owned();
    let parents = route.spec.parent_refs.iter().filter(|one| {
        one.group.is_empty()
            && one.kind == "Service"
            && *one.name == *service.name
            && *namespace(one.namespace.as_deref()) == *service.namespace
    });
    parents.map(|one| one.port.map(|port| port.get())).collect()
}

/// What the first VirtualService of the service says for a port.
fn istio_routes(said: &Said, service: &Name, hosts: &Hosts<'_>, port: u16) -> Option<PortRoutes> {
    let (name, found) = said.virtual_services.of(service).find(|(_, one)| !one.spec.http.is_empty())?;
    let place = virtual_service::Place { name, hosts, port };
    let lines = virtual_service::lines(&found.spec.http, &place);
    Some(PortRoutes { port: Some(port), clients: None, routes: Routes::Http(entries(lines)) })
}

fn entries(lines: impl IntoIterator<Item = (RequestMatch, Arc<Rule>)>) -> HttpRoutes {
    let mut routes = HttpRoutes::default();
    for (when, rule) in lines {
        // Matches of one rule stand together.
        if routes.rules.last().is_none_or(|last| **last != *rule) {
            routes.rules.push(rule);
        }
        routes.entries.push(Entry { when, rule: routes.rules.len() - 1 });
    }
    routes
}

/// The services that a VirtualService or DestinationRule is about.
fn services_of<'a>(
    cluster: &Cluster,
    namespace: &str,
    hosts: impl IntoIterator<Item = &'a String>,
) -> BTreeSet<Name> {
    let finder = Hosts { cluster };
    hosts.into_iter().filter_map(|host| finder.name(host, namespace)).collect()
}
