//! Routes and destination rules become the words of `weft-l7`, service by service. What a route costs when something
//! changes is its own services' computation and no other's.

pub(crate) mod findings;
mod report;
mod istio_report;
mod unsupported;
mod attached;
mod said;
mod http_route;
mod grpc_route;
mod stream_route;
mod gateway_words;
mod session;
mod backend;
mod gateway_route;
mod delegation;
mod clients;
mod virtual_service;
mod virtual_stream;
mod in_force;
mod destination_rule;
mod annotations;
mod tls_policy;
mod retry_constraint;
mod origination;
mod hosts;
mod paths;
mod labels;
mod grants;
mod by_service;
mod audience;

use crate::cluster::Cluster;
use crate::facts::service::{ServiceFacts, object as service_object};
use crate::name::Name;
use attached::{Group, groups};
pub(crate) use audience::Audience;
pub(crate) use findings::Finding;
use gateway_route::{Family, Spec};
use gateway_words::{Line, Rank};
use hosts::Hosts;
use in_force::InForce;
pub(crate) use report::{Report, Seen, report, says};
pub(crate) use said::Said;
use std::collections::BTreeSet;
use std::sync::Arc;
pub(crate) use unsupported::unsupported;
use weft_control_api::istio::virtual_service::VirtualService;
use weft_core::names::{GatewayName, ServiceName};
use weft_core::service::{AppProtocol, ServicePort};
use weft_l7::destination::Destination;
use weft_l7::matches::RequestMatch;
use weft_l7::rule::Rule;
use weft_l7::traffic::{Entry, HttpRoutes, PortRoutes, Routes, TlsRoute, Traffic};

/// All that is said of a service's traffic; `None` if nothing is, or if there is no such service.
pub(crate) fn of_service(cluster: &Cluster, said: &Said, name: &Name) -> Option<Traffic> {
    let facts = cluster.services.get(name)?;
    let groups = groups(said, name, facts);
    let mut routes: Vec<PortRoutes> =
        groups.iter().map(|group| gateway_routes(cluster, said, group)).collect();
    for port in &facts.told.ports {
        // Gateway API's routes are the newer family, and say in their status what became of them. Those that are for the
        // clients of one namespace leave the others alone.
        if !is_ruled(&groups, port.service_port, None) {
            let all = istio_routes(cluster, said, (name, facts), port);
            let is_free = |one: &PortRoutes| !is_ruled(&groups, port.service_port, one.clients.as_ref());
            routes.extend(all.into_iter().filter(is_free));
        }
    }
    let silent = said.destination_rules_of(cluster, name).is_none()
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
    let rules = said.destination_rules_of(cluster, name);
    let beside = destination_rule::Beside { around, preference: &facts.told.load_balancing };
    let mut destination = rules.map(|rules| destination_rule::read(&rules, &beside)).unwrap_or_default();
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
    let rules = said.destination_rules_of(cluster, &name);
    let secret = |rules: InForce<'_>| {
        destination_rule::tls(&rules.spec()).iter().any(|(_, tls)| tls.credential_name.is_some())
    };
    match cluster.services.get(&name) {
        Some(facts) if rules.is_some_and(secret) => {
            let mut own = (**all).clone();
            own.destination = destination(cluster, said, (&name, facts), Some(&gateway.namespace));
            Arc::new(own)
        }
        _ => all.clone(),
    }
}

/// Whether routes of Gateway API say what becomes of traffic to a port: for all clients, or for those of one namespace.
fn is_ruled(groups: &[Group<'_>], port: u16, clients: Option<&Arc<str>>) -> bool {
    let mut here = groups.iter().filter(|group| group.port.is_none_or(|own| own == port));
    here.any(|group| group.clients.as_ref() == clients)
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

/// What VirtualServices say for a port: to all clients, and to those of namespaces for which only some are.
fn istio_routes(
    cluster: &Cluster,
    said: &Said,
    (service, facts): (&Name, &ServiceFacts),
    port: &ServicePort,
) -> Vec<PortRoutes> {
    let all: Vec<_> = said
        .virtual_services_of(service)
        .into_iter()
        .map(|(name, one)| (name, one, clients::of(cluster, service, name, one)))
        .collect();
    let some = all.iter().filter_map(|(_, _, clients)| clients.as_ref()).flatten();
    let groups: BTreeSet<Option<Arc<str>>> = some.cloned().map(Some).chain([None]).collect();
    let hosts = Hosts { cluster };
    let mut found: Vec<PortRoutes> = Vec::new();
    for group in groups {
        let here = all.iter().filter(|(_, _, clients)| clients::has(clients, group.as_ref()));
        // Who is for some comes before who is for all, as with routes of Gateway API.
        let (for_some, for_all): (Vec<_>, Vec<_>) = here.partition(|(_, _, clients)| clients.is_some());
        let routes = for_some.into_iter().chain(for_all).find_map(|(name, one, _)| {
            let place = virtual_service::Place {
                name,
                hosts: &hosts,
                service: &facts.told.name,
                port: port.service_port,
            };
            virtual_routes(one, &place, port.app_protocol)
        });
        let routes =
            routes.map(|routes| PortRoutes { port: Some(port.service_port), clients: group, routes });
        found.extend(routes);
    }
    found
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
        // What asks for none of these names goes by the tcp routes; without those it goes nowhere, as in Istio.
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
