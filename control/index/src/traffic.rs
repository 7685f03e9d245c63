//! Routes and destination rules become the words of `weft-l7`, service by service. What a route costs when something
//! changes is its own services' computation and no other's.

pub(crate) mod findings;
mod report;
mod istio_report;
mod unsupported;
mod attached;
mod http_route;
mod grpc_route;
mod stream_route;
mod gateway_words;
mod session;
mod backend;
mod gateway_route;
mod delegation;
mod virtual_service;
mod virtual_stream;
mod destination_rule;
mod annotations;
mod tls_policy;
mod retry_constraint;
mod origination;
mod hosts;
mod labels;
mod grants;
mod by_service;
mod audience;

use crate::cluster::Cluster;
use crate::dirty::Dirty;
use crate::facts::created;
use crate::facts::service::{ServiceFacts, object as service_object};
use crate::name::Name;
use attached::{Group, groups};
pub(crate) use audience::Audience;
use backend::Around;
use by_service::ByService;
pub(crate) use findings::Finding;
use gateway_route::{Family, GatewayRoute, RouteKey, Spec};
use gateway_words::{Line, Rank};
use grants::Grants;
use hosts::Hosts;
use labels::{AskedOfClients, Asking};
pub(crate) use report::{Report, Seen, report, says};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
pub(crate) use unsupported::unsupported;
use weft_control_api::gateway_api::backend_tls_policy::BackendTlsPolicy;
use weft_control_api::gateway_api::backend_traffic_policy::BackendTrafficPolicy;
use weft_control_api::istio::destination_rule::DestinationRule;
use weft_control_api::istio::virtual_service::VirtualService;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::object::Object;
use weft_core::names::{GatewayName, ServiceName};
use weft_core::service::AppProtocol;
use weft_l7::destination::Destination;
use weft_l7::matches::RequestMatch;
use weft_l7::rule::Rule;
use weft_l7::traffic::{Entry, HttpRoutes, PortRoutes, Routes, TlsRoute, Traffic};

/// Everything that is said of services' traffic, by the service that it is said of.
#[derive(Debug, Default)]
pub(crate) struct Said {
    grants: Grants,
    gateway_routes: ByService<GatewayRoute, RouteKey>,
    /// With what their delegates say in place of delegations.
    virtual_services: ByService<VirtualService>,
    /// Those that delegate, as they are written, by their delegates.
    delegating: ByService<VirtualService>,
    /// Those without hosts, to which others may delegate.
    delegates: BTreeMap<Name, Arc<VirtualService>>,
    destination_rules: ByService<DestinationRule>,
    retry_constraints: ByService<BackendTrafficPolicy>,
    tls_policies: ByService<BackendTlsPolicy>,
    /// What says something of TLS, by the Secrets and ConfigMaps that it names. Secrets that a DestinationRule names have no
    /// namespace here: it is that of each waypoint.
    naming: ByService<(), ObjectKey>,
    source_labels: AskedOfClients,
    /// Routes by the services to which they lead: whether these are there, and with which ports, is part of what is said
    /// of them.
    leading: ByService<(), ObjectKey>,
}

impl Said {
    /// Takes an object, and marks the services about whose traffic something else may be said now.
    pub(crate) fn take(&mut self, cluster: &Cluster, name: &Name, object: &Object, dirty: &mut Dirty) {
        if let Some((family, route)) = GatewayRoute::of(object) {
            self.set_gateway_route(&(family, name.clone()), Some(route), dirty);
            return;
        }
        match object {
            Object::VirtualService(one) => {
                self.take_virtual_service(cluster, name, Some(Arc::new((**one).clone())), dirty);
            }
            Object::DestinationRule(one) => {
                let services = services_of(cluster, &name.namespace, [&one.spec.host]);
                self.set_destination_rule(cluster, name, Some((Arc::new((**one).clone()), services)), dirty);
            }
            Object::BackendTrafficPolicy(one) => {
                let services = retry_constraint::services(&one.spec, &name.namespace);
                let now = Some((Arc::new((**one).clone()), services));
                dirty.traffic.extend(self.retry_constraints.set(name, now));
            }
            Object::BackendTlsPolicy(one) => {
                self.set_tls_policy(name, Some(Arc::new((**one).clone())), dirty);
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
        if let Some(family) = Family::of(kind) {
            self.set_gateway_route(&(family, name.clone()), None, dirty);
            return;
        }
        match kind {
            Kind::VirtualService => self.take_virtual_service(cluster, name, None, dirty),
            Kind::DestinationRule => self.set_destination_rule(cluster, name, None, dirty),
            Kind::BackendTrafficPolicy => dirty.traffic.extend(self.retry_constraints.set(name, None)),
            Kind::BackendTlsPolicy => self.set_tls_policy(name, None, dirty),
            Kind::ReferenceGrant => {
                self.grants.set(name, None);
                dirty.traffic.extend(self.routed());
            }
            _ => {}
        }
    }

    fn set_gateway_route(&mut self, key: &RouteKey, now: Option<GatewayRoute>, dirty: &mut Dirty) {
        let (family, name) = key;
        let leads_to = now.as_ref().map(|route| {
            let backends = route.backends().into_iter();
            let namespace = |one: &Option<String>| one.as_deref().unwrap_or(&name.namespace).to_owned();
            let services = backends
                .filter(|(_, one)| one.is_service())
                .map(|(_, one)| Name::new(namespace(&one.namespace), one.name.as_str()));
            (Arc::new(()), services.collect())
        });
        self.leading.set(&family.key(name), leads_to);
        let now = now.map(|route| {
            let services = route.services(&name.namespace);
            (Arc::new(route), services)
        });
        dirty.traffic.extend(self.gateway_routes.set(key, now));
    }

    /// Takes a VirtualService as it is written, and makes those anew that delegate to it.
    fn take_virtual_service(
        &mut self,
        cluster: &Cluster,
        name: &Name,
        now: Option<Arc<VirtualService>>,
        dirty: &mut Dirty,
    ) {
        let (delegate, root) = match now {
            Some(one) if one.spec.hosts.is_empty() => (Some(one), None),
            other => (None, other),
        };
        match delegate {
            Some(one) => drop(self.delegates.insert(name.clone(), one)),
            None => drop(self.delegates.remove(name)),
        }
        let to = root.as_ref().map(|one| delegation::delegates(name, one).collect::<BTreeSet<_>>());
        let delegating = root.clone().zip(to.filter(|to| !to.is_empty()));
        // Whether anybody delegates to it is told of a delegate.
        let concerned = self.delegating.set(name, delegating).into_iter().chain([name.clone()]);
        dirty.reports.extend(concerned.map(|delegate| virtual_service_key(&delegate)));
        self.merge_virtual_service(cluster, name, root.as_deref(), dirty);
        let roots: Vec<_> = self.delegating.of(name).map(|(root, one)| (root.clone(), one.clone())).collect();
        for (root, one) in roots {
            dirty.reports.insert(virtual_service_key(&root));
            self.merge_virtual_service(cluster, &root, Some(&one), dirty);
        }
    }

    fn merge_virtual_service(
        &mut self,
        cluster: &Cluster,
        name: &Name,
        written: Option<&VirtualService>,
        dirty: &mut Dirty,
    ) {
        let now = written.map(|one| {
            let services = services_of(cluster, &name.namespace, &one.spec.hosts);
            (Arc::new(self.merged(name, one).0), services)
        });
        self.set_virtual_service(cluster, name, now, dirty);
    }

    /// A VirtualService with what its delegates say, and what of that has no effect.
    fn merged(&self, name: &Name, one: &VirtualService) -> (VirtualService, Vec<delegation::Lost>) {
        if one.spec.http.iter().all(|route| route.delegate.is_none()) {
            return (one.clone(), Vec::new());
        }
        delegation::merged(name, one, |delegate| self.delegates.get(delegate).map(|one| &**one))
    }

    /// A VirtualService with hosts, as it is written.
    fn written_virtual_service(&self, name: &Name) -> Option<&VirtualService> {
        let one = self.delegating.get(name).or_else(|| self.virtual_services.get(name));
        one.map(|one| &**one)
    }

    /// All VirtualServices as they are written, delegates too, in no order.
    fn written_virtual_services(&self) -> impl Iterator<Item = (&Name, &VirtualService)> {
        let roots = self.virtual_services.all().map(|(name, _)| name);
        let roots = roots.filter_map(|name| Some((name, self.written_virtual_service(name)?)));
        roots.chain(self.delegates.iter().map(|(name, one)| (name, &**one)))
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
            let hosts =
                virtual_service::destinations(one).into_iter().map(|(_, destination)| &destination.host);
            (Arc::new(()), services_of(cluster, &name.namespace, hosts))
        });
        self.leading.set(&virtual_service_key(name), leads_to);
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
        let secrets = now.as_ref().map(|(rule, _)| {
            let names = destination_rule::tls(&rule.spec).into_iter();
            let names = names.flat_map(|(_, tls)| origination::secrets(tls));
            (Arc::new(()), names.map(|secret| Name::new("", secret)).collect())
        });
        self.naming.set(&key(Kind::DestinationRule, name), secrets);
        dirty.traffic.extend(self.destination_rules.set(name, now));
        let after = asked(self);
        for ((service, before), after) in concerned.iter().zip(before).zip(after) {
            if before != after {
                dirty.pods.extend(cluster.endpoints_of(service));
                cluster.mark_entries(service, dirty);
            }
        }
    }

    fn set_tls_policy(&mut self, name: &Name, now: Option<Arc<BackendTlsPolicy>>, dirty: &mut Dirty) {
        let authorities = now
            .as_ref()
            .map(|policy| (Arc::new(()), origination::authorities_of(&policy.spec, &name.namespace)));
        self.naming.set(&key(Kind::BackendTlsPolicy, name), authorities);
        let now = now.map(|policy| {
            let services = tls_policy::services(&policy.spec, &name.namespace);
            (policy, services)
        });
        dirty.traffic.extend(self.tls_policies.set(name, now));
    }

    /// Marks what says something else because a Secret or a ConfigMap has changed.
    pub(crate) fn mark_naming(&self, credential: &Name, dirty: &mut Dirty) {
        let anywhere = Name::new("", credential.name.clone());
        for (key, _) in self.naming.of(credential).chain(self.naming.of(&anywhere)) {
            dirty.reports.insert(key.clone());
            let name = Name::new(key.namespace.clone(), key.name.clone());
            match key.kind {
                Kind::DestinationRule => dirty.traffic.extend(self.destination_rules.about(&name).cloned()),
                _ => dirty.traffic.extend(self.tls_policies.about(&name).cloned()),
            }
        }
    }

    /// All services with routes that may name others: a grant may concern any of them, and changes rarely.
    fn routed(&self) -> BTreeSet<Name> {
        self.gateway_routes.services().cloned().collect()
    }

    /// The services whose routes lead to this one, and say something else when it changes.
    pub(crate) fn leading_to(&self, service: &Name) -> Vec<Name> {
        let leading = self.leading.of(service).filter(|(key, _)| key.kind == Kind::VirtualService);
        let names = leading.map(|(key, _)| Name::new(key.namespace.clone(), key.name.clone()));
        names.flat_map(|name| self.virtual_services.about(&name).cloned().collect::<Vec<_>>()).collect()
    }

    /// All objects of which something else may be told when a service, or what is said of it, changes.
    pub(crate) fn concerning(&self, service: &Name) -> BTreeSet<ObjectKey> {
        let mut found: BTreeSet<ObjectKey> = self.leading.of(service).map(|(key, _)| key.clone()).collect();
        found.extend(self.gateway_routes.of(service).map(|((family, name), _)| family.key(name)));
        found.extend(self.virtual_services.of(service).map(|(name, _)| virtual_service_key(name)));
        found.extend(self.destination_rules.of(service).map(|(name, _)| key(Kind::DestinationRule, name)));
        let constraints = self.retry_constraints.of(service);
        found.extend(constraints.map(|(name, _)| key(Kind::BackendTrafficPolicy, name)));
        found.extend(self.tls_policies.of(service).map(|(name, _)| key(Kind::BackendTlsPolicy, name)));
        found
    }

    /// The VirtualServices of a service, the oldest first: of those that say something for a port and a client the first one
    /// counts.
    fn virtual_services_of(&self, service: &Name) -> Vec<(&Name, &VirtualService)> {
        let mut found: Vec<_> = self.virtual_services.of(service).map(|(name, one)| (name, &**one)).collect();
        found.sort_by_key(|(name, one)| (created(&one.metadata), (*name).clone()));
        found
    }

    /// The DestinationRule of a service: of several the oldest.
    fn destination_rule_of(&self, service: &Name) -> Option<(&Name, &DestinationRule)> {
        let all = self.destination_rules.of(service).map(|(name, rule)| (name, &**rule));
        all.min_by_key(|(name, rule)| (created(&rule.metadata), (*name).clone()))
    }

    /// The retry budget of a service: of several the oldest.
    fn retry_constraint_of(&self, service: &Name) -> Option<(&Name, &BackendTrafficPolicy)> {
        let all = self.retry_constraints.of(service).map(|(name, policy)| (name, &**policy));
        all.min_by_key(|(name, policy)| (created(&policy.metadata), (*name).clone()))
    }

    /// Names of labels that the subsets of a service, and how its endpoints are preferred, ask for.
    pub(crate) fn labels_of_endpoints(&self, service: &Name) -> BTreeSet<String> {
        self.destination_rule_of(service).map(|(_, rule)| labels::of_endpoints(rule)).unwrap_or_default()
    }

    /// Names of labels that routes ask of their clients.
    pub(crate) fn labels_of_clients(&self) -> impl Iterator<Item = &String> {
        self.source_labels.names()
    }

    /// What references of a route of Gateway API need to know around it.
    fn around<'a>(
        &'a self,
        cluster: &'a Cluster,
        family: Family,
        name: &'a Name,
        route: &GatewayRoute,
    ) -> Around<'a> {
        Around {
            grants: &self.grants,
            cluster_domain: &cluster.config.cluster_domain,
            kind: family.kind(),
            route: name,
            parents: route.services(&name.namespace),
        }
    }
}

fn key(kind: Kind, name: &Name) -> ObjectKey {
    ObjectKey::new(kind, name.namespace.clone(), name.name.clone())
}

fn virtual_service_key(name: &Name) -> ObjectKey {
    key(Kind::VirtualService, name)
}

/// All that is said of a service's traffic; `None` if nothing is, or if there is no such service.
pub(crate) fn of_service(cluster: &Cluster, said: &Said, name: &Name) -> Option<Traffic> {
    let facts = cluster.services.get(name)?;
    let groups = groups(said, name, facts);
    let mut routes: Vec<PortRoutes> =
        groups.iter().map(|group| gateway_routes(cluster, said, group)).collect();
    for port in &facts.told.ports {
        // Gateway API's routes are the newer family, and say in their status what became of them. Those that are for the
        // clients of one namespace leave the others alone.
        if !is_ruled(&groups, port.service_port) {
            routes.extend(istio_routes(cluster, said, name, port.service_port, port.app_protocol));
        }
    }
    let silent = said.destination_rule_of(name).is_none()
        && said.retry_constraint_of(name).is_none()
        && said.any_tls_policy_of(name).is_none();
    if routes.is_empty() && silent {
        return None;
    }
    let service: ServiceName = facts.told.name.clone();
    Some(Traffic { service, routes, destination: destination(cluster, said, (name, facts), None) })
}

/// How the endpoints of a service are used. Secrets are those of the waypoint's namespace, if one is meant.
fn destination(
    cluster: &Cluster,
    said: &Said,
    (name, facts): (&Name, &ServiceFacts),
    namespace: Option<&str>,
) -> Destination {
    let subject_alt_names = &facts.told.subject_alt_names;
    let around = origination::Around { cluster, namespace, subject_alt_names };
    let rule = said.destination_rule_of(name);
    let mut destination = rule.map(|(_, rule)| destination_rule::read(rule, &around)).unwrap_or_default();
    if let Some((_, policy)) = said.retry_constraint_of(name) {
        retry_constraint::lay_over(&policy.spec, &mut destination);
    }
    tls_policy::lay_over(cluster, said, (name, facts), &mut destination);
    destination
}

/// What one waypoint is told of what is said to all: the Secrets that a DestinationRule names are of the waypoint's own
/// namespace (Istio, `credentialName`).
pub(crate) fn at_waypoint(
    cluster: &Cluster,
    said: &Said,
    gateway: &GatewayName,
    all: &Arc<Traffic>,
) -> Arc<Traffic> {
    let name = service_object(&all.service, &cluster.config);
    let rule = said.destination_rule_of(&name);
    let secret = |(_, rule): (_, &DestinationRule)| {
        destination_rule::tls(&rule.spec).iter().any(|(_, tls)| tls.credential_name.is_some())
    };
    match cluster.services.get(&name) {
        Some(facts) if rule.is_some_and(secret) => {
            let mut own = (**all).clone();
            own.destination = destination(cluster, said, (&name, facts), Some(&gateway.namespace));
            Arc::new(own)
        }
        _ => all.clone(),
    }
}

/// Whether routes of Gateway API say for all clients what becomes of traffic to a port.
fn is_ruled(groups: &[Group<'_>], port: u16) -> bool {
    groups.iter().any(|group| group.clients.is_none() && group.port.is_none_or(|own| own == port))
}

/// What the routes of a group say together.
fn gateway_routes(cluster: &Cluster, said: &Said, group: &Group<'_>) -> PortRoutes {
    let (mut lines, mut tls, mut tcp) = (Vec::new(), Vec::new(), Vec::new());
    for (name, route) in &group.routes {
        let around = said.around(cluster, group.family, name, route);
        match &route.spec {
            Spec::Http(spec) => lines.extend(http_route::lines(spec, &around)),
            Spec::Grpc(spec) => lines.extend(grpc_route::lines(spec, &around)),
            Spec::Tls(spec) => tls.extend(stream_route::tls(spec, &around)),
            Spec::Tcp(spec) => tcp.extend(stream_route::tcp(spec, &around)),
        }
    }
    let routes = match group.family {
        Family::Grpc | Family::Http => Routes::Http(entries(in_order(lines))),
        Family::Tls => {
            stream_route::sort(&mut tls);
            Routes::Tls(tls)
        }
        Family::Tcp => Routes::Tcp(tcp),
    };
    PortRoutes { port: group.port, clients: group.clients.clone(), routes }
}

/// By rank; of equals the one that stands first, which is the older route's.
fn in_order(mut lines: Vec<Line>) -> impl Iterator<Item = (RequestMatch, Arc<Rule>)> {
    lines.sort_by_key(|line: &Line| -> Rank { line.rank });
    lines.into_iter().map(|line| (line.when, line.rule))
}

/// What VirtualServices say for a port: to all clients, and to those of namespaces to which only some are exported.
fn istio_routes(
    cluster: &Cluster,
    said: &Said,
    service: &Name,
    port: u16,
    protocol: AppProtocol,
) -> Vec<PortRoutes> {
    let all = said.virtual_services_of(service);
    let exported = all.iter().flat_map(|(name, one)| exported_to(name, one)).flatten();
    let clients: BTreeSet<Option<Arc<str>>> = exported.map(Some).chain([None]).collect();
    let hosts = Hosts { cluster };
    let mut found: Vec<PortRoutes> = Vec::new();
    for clients in clients {
        let routes =
            all.iter().filter(|(name, one)| is_for(name, one, clients.as_ref())).find_map(|(name, one)| {
                virtual_routes(one, &virtual_service::Place { name, hosts: &hosts, port }, protocol)
            });
        found.extend(routes.map(|routes| PortRoutes { port: Some(port), clients, routes }));
    }
    found
}

/// The namespaces whose clients a VirtualService is for; `None` if all are.
fn exported_to(name: &Name, one: &VirtualService) -> Option<Vec<Arc<str>>> {
    let written = &one.spec.export_to;
    if written.is_empty() || written.iter().any(|one| one == "*") {
        return None;
    }
    let named = written.iter().filter(|one| *one != "~");
    Some(named.map(|one| if one == "." { name.namespace.clone() } else { one.as_str().into() }).collect())
}

fn is_for(name: &Name, one: &VirtualService, clients: Option<&Arc<str>>) -> bool {
    match (exported_to(name, one), clients) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(namespaces), Some(clients)) => namespaces.contains(clients),
    }
}

/// What a VirtualService says for a port; `None` if nothing. Which of its routes count is the protocol's to say; where
/// nobody says what is spoken, those of HTTP come first.
fn virtual_routes(
    one: &VirtualService,
    place: &virtual_service::Place<'_>,
    protocol: AppProtocol,
) -> Option<Routes> {
    let http = || {
        let lines = virtual_service::lines(&one.spec.http, place);
        (!lines.is_empty()).then(|| Routes::Http(entries(lines)))
    };
    let tcp = || virtual_stream::tcp(&one.spec.tcp, place);
    let only_tcp = || Some(tcp()).filter(|routes| !routes.is_empty()).map(Routes::Tcp);
    let tls = || {
        let mut routes = virtual_stream::tls(&one.spec.tls, place);
        if routes.is_empty() {
            return None;
        }
        // What asks for none of these names goes by the tcp routes.
        let others = tcp().into_iter();
        routes.extend(others.map(|connection| TlsRoute { server_names: Vec::new(), connection }));
        Some(Routes::Tls(routes))
    };
    match protocol {
        AppProtocol::Http11 | AppProtocol::Http2 | AppProtocol::Grpc => http(),
        AppProtocol::Tls => tls().or_else(only_tcp),
        AppProtocol::Tcp => only_tcp(),
        AppProtocol::Unknown => http().or_else(tls).or_else(only_tcp),
    }
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
    hosts.into_iter().flat_map(|host| finder.names(host, namespace)).collect()
}
