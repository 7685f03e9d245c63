//! `/routes`: what a service's requests meet, in order.

use super::subject::Ours;
use crate::client::Destination;
use crate::decide;
use serde::Serialize;
use std::collections::BTreeSet;
use weft_l7::matches::RequestMatch;
use weft_l7::rule::{Action, Rule};
use weft_l7::service::Found;
use weft_l7::target::{Target, Weighted};
use weft_l7::traffic::{TcpRoute, TlsRoute};
use weft_runtime::http::{Answer, Request};

/// The routes of a service.
#[derive(Debug, Serialize)]
struct Listing {
    service: String,
    /// Whose verdict every request needs first.
    policies: Vec<String>,
    ports: Vec<OfPort>,
}

/// Those of one port.
#[derive(Debug, Serialize)]
struct OfPort {
    port: u16,
    /// Only clients of this namespace; none is everybody whom nothing closer is said of.
    clients: Option<String>,
    /// What they look at: `http`, `tls`, `tcp`; `nothing` where all goes to the service's own endpoints.
    looks_at: &'static str,
    rules: Vec<Row>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// What it takes.
    #[serde(rename = "match")]
    when: String,
    /// Where it was written.
    rule: Option<String>,
    does: Vec<String>,
    backends: Vec<BackendRow>,
}

/// Where requests go from there.
#[derive(Debug, Serialize)]
pub(super) struct BackendRow {
    pub(super) target: String,
    pub(super) weight: u32,
    /// Of all requests of the rule.
    pub(super) percent: f64,
}

/// Lists.
pub(super) fn answer(ours: &Ours<'_>, _: &Request) -> Answer {
    let Ours { moment, service, .. } = ours;
    let ports = service.ports.iter().map(|port| port.service_port);
    let ports = ports
        .flat_map(|port| clients(ours, port).into_iter().map(move |clients| of_port(ours, port, clients)));
    let policies = moment.applying(Some(&service.name)).policies();
    Answer::of(&Listing {
        service: service.name.to_string(),
        policies: policies.map(|policy| policy.name.to_string()).collect(),
        ports: ports.collect(),
    })
}

/// The namespaces whose clients meet something of their own at a port, and everybody else.
fn clients<'a>(ours: &Ours<'a>, port: u16) -> BTreeSet<Option<&'a str>> {
    let said = ours.moment.traffic(&ours.service.name).map(|traffic| &traffic.said().routes);
    let fits = said.into_iter().flatten().filter(|one| one.port.is_none_or(|own| own == port));
    fits.filter_map(|one| one.clients.as_deref()).map(Some).chain([None]).collect()
}

fn of_port(ours: &Ours<'_>, port: u16, clients: Option<&str>) -> OfPort {
    let destination = Destination::service(ours.service, port);
    let (looks_at, rules) = match decide::routes(ours.moment, &destination, clients.unwrap_or_default()) {
        None => ("nothing", vec![Row::of_service(&destination)]),
        Some(Found::Http(table)) => {
            ("http", table.entries().iter().map(|(when, rule)| Row::of_rule(when, rule)).collect())
        }
        Some(Found::Tls(routes)) => ("tls", routes.iter().map(Row::of_tls).collect()),
        Some(Found::Tcp(routes)) => ("tcp", routes.iter().map(Row::of_tcp).collect()),
    };
    OfPort { port, clients: clients.map(str::to_owned), looks_at, rules }
}

impl Row {
    pub(super) fn of_rule(when: &RequestMatch, rule: &Rule) -> Self {
        let backends = match &rule.action {
            Action::Forward(forward) => rows(&forward.backends, |backend| &backend.target),
            Action::Redirect(_) | Action::Respond(_) => Vec::new(),
        };
        Self { when: when.to_string(), rule: Some(rule.origin.to_string()), does: rule.deeds(), backends }
    }

    fn of_service(destination: &Destination) -> Self {
        let target = match destination {
            Destination::Service { own, .. } => own.to_string(),
            Destination::Workload { own: (uid, port) } => format!("{uid}:{port}"),
        };
        let backends = vec![BackendRow { target, weight: 1, percent: 100.0 }];
        Self { when: "everything".to_owned(), rule: None, does: Vec::new(), backends }
    }

    fn of_tls(route: &TlsRoute) -> Self {
        let names = match route.server_names.as_slice() {
            [] => "any name".to_owned(),
            names => format!("asks for {}", names.join(" or ")),
        };
        Self { when: names, ..Self::of_tcp(&route.connection) }
    }

    fn of_tcp(route: &TcpRoute) -> Self {
        let mut parts: Vec<String> = route.destinations.iter().map(|net| format!("to {net}")).collect();
        parts.extend(route.source_namespace.iter().map(|namespace| format!("from namespace {namespace}")));
        let label = |(name, value)| format!("from a pod with {name}={value}");
        parts.extend(route.source_labels.iter().map(label));
        let when = if parts.is_empty() { "every connection".to_owned() } else { parts.join(", ") };
        Self { when, rule: None, does: Vec::new(), backends: rows(&route.backends, |target| target) }
    }
}

fn rows<T>(all: &[Weighted<T>], target: impl Fn(&T) -> &Target) -> Vec<BackendRow> {
    let total: u64 = all.iter().map(|one| u64::from(one.weight)).sum();
    let percent = |weight: u32| {
        let exact = f64::from(weight) * 100.0 / total.max(1) as f64;
        (exact * 100.0).round() / 100.0
    };
    let row = |one: &Weighted<T>| BackendRow {
        target: target(&one.to).to_string(),
        weight: one.weight,
        percent: percent(one.weight),
    };
    all.iter().map(row).collect()
}
