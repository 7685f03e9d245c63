//! What TCPRoutes and TLSRoutes say, in the words of `weft-l7`.

use super::backend::Around;
use std::cmp::Reverse;
use std::sync::Arc;
use weft_control_api::gateway_api::reference::BackendRef;
use weft_control_api::gateway_api::stream_route::{StreamRule, TcpRouteSpec, TlsRouteSpec};
use weft_l7::target::{Target, Weighted};
use weft_l7::traffic::{TcpRoute, TlsRoute};

/// The connections of a TCPRoute.
pub(super) fn tcp(spec: &TcpRouteSpec, around: &Around<'_>) -> Vec<TcpRoute> {
    spec.rules.iter().map(|rule| connection(rule, around)).collect()
}

/// The names of a TLSRoute, each a route of its own: among those of other routes the closest one counts.
pub(super) fn tls(spec: &TlsRouteSpec, around: &Around<'_>) -> Vec<TlsRoute> {
    let mut found = Vec::new();
    for rule in &spec.rules {
        let connection = connection(rule, around);
        let of = |names: Vec<Arc<str>>| TlsRoute { server_names: names, connection: connection.clone() };
        if spec.hostnames.is_empty() {
            found.push(of(Vec::new()));
        }
        found.extend(spec.hostnames.iter().map(|name| of(vec![name.as_str().into()])));
    }
    found
}

/// What comes first: a whole name, then the longer one with a star, then any (Gateway API, `Hostname`). Of equals the
/// one that stands first.
pub(super) fn sort(routes: &mut [TlsRoute]) {
    routes.sort_by_key(|route| {
        let name = route.server_names.first();
        let whole = name.is_some_and(|name| !name.starts_with('*'));
        Reverse((whole, name.map_or(0, |name| name.len())))
    });
}

fn connection(rule: &StreamRule, around: &Around<'_>) -> TcpRoute {
    let backend =
        |one: &BackendRef| Weighted::<Target> { weight: one.weight, to: around.target(&one.target()) };
    TcpRoute { backends: rule.backend_refs.iter().map(backend).collect(), ..TcpRoute::default() }
}
