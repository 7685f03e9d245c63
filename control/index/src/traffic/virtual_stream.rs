//! What the tcp and tls routes of a VirtualService say, in the words of `weft-l7`. They stand in their own order: the first
//! that matches counts.

use super::virtual_service::{Place, is_within_mesh, target};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use weft_control_api::istio::virtual_service::stream::{
    L4MatchAttributes, RouteDestination, TcpRoute as WrittenTcp, TlsMatchAttributes, TlsRoute as WrittenTls,
};
use weft_control_api::port::Port;
use weft_l7::target::{ServiceTarget, Target, Weighted};
use weft_l7::traffic::{TcpRoute, TlsRoute};

/// The tcp routes for one port of a service. What none of them takes goes to the service itself, as if there were none
/// (Istio ends its list so).
pub(super) fn tcp(routes: &[WrittenTcp], place: &Place<'_>) -> Vec<TcpRoute> {
    let mut found = Vec::new();
    for route in routes {
        let here = tcp_matches(route).into_iter().filter(|(port, _)| is_here(*port, place));
        found.extend(here.map(|(_, taken)| TcpRoute { backends: backends(&route.route, place), ..taken }));
    }
    let everything = TcpRoute::default();
    if !found.is_empty() && !found.iter().any(|route| route.covers(&everything)) {
        let own = ServiceTarget { service: place.service.clone(), port: place.port, subset: None };
        found.push(TcpRoute {
            backends: vec![Weighted { weight: 1, to: Target::Service(own) }],
            ..everything
        });
    }
    found
}

/// The tls routes for one port of a service.
pub(super) fn tls(routes: &[WrittenTls], place: &Place<'_>) -> Vec<TlsRoute> {
    let mut found = Vec::new();
    for route in routes {
        let here = tls_matches(route).into_iter().filter(|(port, _)| is_here(*port, place));
        found.extend(here.map(|(_, TlsRoute { server_names, connection })| {
            let connection = TcpRoute { backends: backends(&route.route, place), ..connection };
            TlsRoute { server_names, connection }
        }));
    }
    found
}

fn is_here(port: Option<u16>, place: &Place<'_>) -> bool {
    port.is_none_or(|port| port == place.port)
}

/// What a tcp route takes within the mesh, wherever that goes, and the port of each if one is named.
pub(super) fn tcp_matches(route: &WrittenTcp) -> Vec<(Option<u16>, TcpRoute)> {
    let any = [L4MatchAttributes::default()];
    let matches = if route.matches.is_empty() { &any[..] } else { &route.matches };
    let within = matches.iter().filter(|one| is_within_mesh(&one.gateways));
    let taken = |one: &L4MatchAttributes| TcpRoute {
        destinations: subnets(&one.destination_subnets),
        source_namespace: one.source_namespace.as_deref().map(Arc::from),
        source_labels: labels(&one.source_labels),
        backends: Vec::new(),
    };
    within.map(|one| (one.port.map(Port::get), taken(one))).collect()
}

/// The same of a tls route.
pub(super) fn tls_matches(route: &WrittenTls) -> Vec<(Option<u16>, TlsRoute)> {
    let within = route.matches.iter().filter(|one| is_within_mesh(&one.gateways));
    let taken = |one: &TlsMatchAttributes| TlsRoute {
        server_names: one.sni_hosts.iter().map(|host| host.as_str().into()).collect(),
        connection: TcpRoute {
            destinations: subnets(&one.destination_subnets),
            source_namespace: one.source_namespace.as_deref().map(Arc::from),
            source_labels: labels(&one.source_labels),
            backends: Vec::new(),
        },
    };
    within.map(|one| (one.port.map(Port::get), taken(one))).collect()
}

fn backends(route: &[RouteDestination], place: &Place<'_>) -> Vec<Weighted<Target>> {
    let alone = route.len() == 1;
    let one = |one: &RouteDestination| Weighted {
        // One that is alone needs no weight.
        weight: if alone { 1 } else { one.weight },
        to: target(&one.destination, place),
    };
    route.iter().map(one).collect()
}

/// Ranges of addresses, or single ones. That they are was checked when they were read.
fn subnets(written: &[String]) -> Vec<IpNet> {
    let one = |text: &String| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    written.iter().filter_map(one).collect()
}

fn labels(written: &BTreeMap<String, String>) -> BTreeMap<Arc<str>, Arc<str>> {
    written.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
}
