//! What the tcp and tls routes of a VirtualService say, in the words of `weft-l7`. They stand in their own order: the first
//! that matches counts.

use super::virtual_service::{Place, target};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use weft_control_api::istio::virtual_service::stream::{
    L4MatchAttributes, RouteDestination, TcpRoute as WrittenTcp, TlsRoute as WrittenTls,
};
use weft_l7::target::{Target, Weighted};
use weft_l7::traffic::{TcpRoute, TlsRoute};

/// The tcp routes for one port of a service.
pub(super) fn tcp(routes: &[WrittenTcp], place: &Place<'_>) -> Vec<TcpRoute> {
    let mut found = Vec::new();
    for route in routes {
        let any = [L4MatchAttributes::default()];
        let matches = if route.matches.is_empty() { &any[..] } else { &route.matches };
        let fitting = matches.iter().filter(|one| place.takes(one.port, &one.gateways));
        found.extend(fitting.map(|one| TcpRoute {
            destinations: subnets(&one.destination_subnets),
            source_namespace: one.source_namespace.as_deref().map(Arc::from),
            source_labels: labels(&one.source_labels),
            backends: backends(&route.route, place),
        }));
    }
    found
}

/// The tls routes for one port of a service.
pub(super) fn tls(routes: &[WrittenTls], place: &Place<'_>) -> Vec<TlsRoute> {
    let mut found = Vec::new();
    for route in routes {
        let fitting = route.matches.iter().filter(|one| place.takes(one.port, &one.gateways));
        found.extend(fitting.map(|one| TlsRoute {
            server_names: one.sni_hosts.iter().map(|host| host.as_str().into()).collect(),
            connection: TcpRoute {
                destinations: subnets(&one.destination_subnets),
                source_namespace: one.source_namespace.as_deref().map(Arc::from),
                source_labels: labels(&one.source_labels),
                backends: backends(&route.route, place),
            },
        }));
    }
    found
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
