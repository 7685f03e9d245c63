//! Routes of connections that never take one, because what they would take is taken before: of VirtualServices by a rule that
//! stands before it, of TLSRoutes by an older route with the same name.

use super::{Finding, key};
use crate::cluster::Cluster;
use crate::name::Name;
use crate::traffic::Said;
use crate::traffic::attached::groups;
use crate::traffic::gateway_route::{Family, GatewayRoute, Spec};
use crate::traffic::virtual_stream::{tcp_matches, tls_matches};
use std::collections::BTreeMap;
use weft_control_api::istio::virtual_service::VirtualService;
use weft_control_api::kind::Kind;
use weft_control_api::problem::Note;
use weft_l7::traffic::{TcpRoute, TlsRoute};

/// The tls and tcp routes of a VirtualService, which stand in their own order.
pub(super) fn of_virtual_service(one: &VirtualService) -> Vec<Note> {
    let tls: Vec<_> = one.spec.tls.iter().map(tls_matches).collect();
    let tcp: Vec<_> = one.spec.tcp.iter().map(tcp_matches).collect();
    let mut notes = never("spec.tls", &tls, TlsRoute::covers);
    notes.extend(never("spec.tcp", &tcp, TcpRoute::covers));
    notes
}

/// Rules of which every match is covered by one of a rule before it. Each match has its port, if it names one.
fn never<R>(at: &str, rules: &[Vec<(Option<u16>, R)>], covers: fn(&R, &R) -> bool) -> Vec<Note> {
    let hides = |(port, wide): &(Option<u16>, R), (own_port, narrow): &(Option<u16>, R)| {
        (port.is_none() || port == own_port) && covers(wide, narrow)
    };
    let mut notes = Vec::new();
    for (number, own) in rules.iter().enumerate() {
        let before = |one: &(Option<u16>, R)| {
            rules.iter().take(number).position(|earlier| earlier.iter().any(|wide| hides(wide, one)))
        };
        let hidden: Option<Vec<usize>> = own.iter().map(before).collect();
        if let Some([first, ..]) = hidden.as_deref() {
            let reason = format!(
                "never takes a connection: {at}[{first}] stands before it and takes all that it would"
            );
            notes.push(Note::warning(format!("{at}[{number}]"), reason));
        }
    }
    notes
}

/// Names of TLSRoutes for which an older one has all connections, wherever they are attached.
pub(super) fn of_tls_routes(cluster: &Cluster, said: &Said) -> Vec<Finding> {
    let mut by: BTreeMap<(&Name, Option<usize>), Option<&Name>> = BTreeMap::new();
    for service in said.gateway_routes.services() {
        let Some(facts) = cluster.services.get(service) else { continue };
        let groups = groups(said, service, facts);
        for group in groups.iter().filter(|group| group.family == Family::Tls) {
            let mut first: BTreeMap<Option<String>, &Name> = BTreeMap::new();
            for (name, route) in group.routes.iter().copied() {
                for (number, asked) in server_names(route) {
                    let owner = *first.entry(asked).or_insert(name);
                    let before = (owner != name).then_some(owner);
                    let known = by.entry((name, number)).or_insert(before);
                    if before.is_none() {
                        *known = None; // It takes something at another port.
                    }
                }
            }
        }
    }
    let hidden = by.into_iter().filter_map(|((name, number), before)| Some((name, number, before?)));
    let finding = |(name, number, before): (&Name, Option<usize>, &Name)| {
        let field = number.map_or("spec.rules[0]".to_owned(), |number| format!("spec.hostnames[{number}]"));
        let reason = format!(
            "never takes a connection: TLSRoute {before}, which is older, has all of them at each port"
        );
        (key(Kind::TlsRoute, name), Note::warning(field, reason))
    };
    hidden.map(finding).collect()
}

/// What a TLSRoute asks for, and where it says so; a route without names takes all that no name takes.
fn server_names(route: &GatewayRoute) -> Vec<(Option<usize>, Option<String>)> {
    match &route.spec {
        Spec::Tls(spec) if spec.hostnames.is_empty() => vec![(None, None)],
        Spec::Tls(spec) => {
            let names = spec.hostnames.iter().enumerate();
            names.map(|(number, name)| (Some(number), Some(name.clone()))).collect()
        }
        Spec::Grpc(_) | Spec::Http(_) | Spec::Tcp(_) => Vec::new(),
    }
}
