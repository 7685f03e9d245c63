//! What `weft` asks a running proxy: workloads, services, policies, certificates, connections, and which policy
//! decides. The formats are this module's own; the core's types stay free to change.

use crate::worker::registry::Description;
use crate::worker::request::Command;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use weft_core::names::Network;
use weft_core::policy::{Applicable, Connection, Policy, Ruleset, Verdict, decide};
use weft_core::service::{Service, Vip};
use weft_core::snapshot::Snapshot;
use weft_core::workload::{Health, TunnelProtocol, Workload};
use weft_runtime::http::{Answer, Request, Routes, StatusCode};
use weft_xds::describe::{CertificateRow, DiscoveryRow, PolicyRow, Rules, certificates, discovery};
use weft_xds::leaves::Leaves;
use weft_xds::{Mesh, View};

/// What the administrative server reads.
#[derive(Clone)]
pub struct Admin {
    /// The node's name.
    pub node: Arc<str>,
    /// Discovery.
    pub view: View<Mesh>,
    /// Certificates.
    pub leaves: Leaves,
    /// The workers.
    pub workers: Vec<mpsc::Sender<Command>>,
}

impl Admin {
    /// The routes.
    pub fn routes(self) -> Routes {
        let list = |admin: &Self, path: &'static str, answer: fn(&Self, &Request) -> Answer| {
            let admin = admin.clone();
            Routes::new().get(path, move |request| answer(&admin, &request))
        };
        let connections = self.clone();
        let routes = Routes::new().route(weft_runtime::http::Method::GET, "/connections", move |_| {
            let admin = connections.clone();
            async move { Answer::of(&admin.connections().await) }
        });
        routes
            .merge(list(&self, "/workloads", |admin, _| Answer::of(&workloads(&admin.view.now()))))
            .merge(list(&self, "/services", |admin, _| Answer::of(&services(&admin.view.now()))))
            .merge(list(&self, "/policies", |admin, _| Answer::of(&policies(&admin.view.now()))))
            .merge(list(&self, "/certificates", |admin, _| Answer::of(&certificates(&admin.leaves))))
            .merge(list(&self, "/explain", Self::explain))
            .merge(list(&self, "/status", |admin, _| Answer::of(&admin.status())))
    }

    async fn connections(&self) -> Vec<Description> {
        let mut all = Vec::new();
        for worker in &self.workers {
            let (tx, rx) = oneshot::channel();
            if worker.send(Command::Connections(tx)).await.is_ok() {
                // A worker that has gone carries nothing.
                all.extend(rx.await.unwrap_or_default());
            }
        }
        all.sort_by(|a, b| b.age_seconds.total_cmp(&a.age_seconds));
        all
    }

    fn explain(&self, request: &Request) -> Answer {
        let snapshot = self.view.now();
        // All pods of a node are of one network, which its addresses belong to.
        let mut here = snapshot.workloads().filter(|one| *one.node.as_str() == *self.node);
        let network = here.next().map_or_else(Network::default_network, |one| one.network.clone());
        explain(&snapshot, &network, request)
    }

    fn status(&self) -> Status {
        let snapshot = self.view.now();
        Status {
            node: self.node.to_string(),
            workloads: snapshot.workloads().len(),
            services: snapshot.services().filter(|one| !one.is_pod_ranges()).count(),
            policies: snapshot.policies().len(),
            certificates: certificates(&self.leaves),
            discovery: discovery(&self.view.sync()),
        }
    }
}

/// The proxy as `weft status` shows it.
#[derive(Debug, Serialize)]
struct Status {
    node: String,
    workloads: usize,
    services: usize,
    policies: usize,
    certificates: Vec<CertificateRow>,
    discovery: DiscoveryRow,
}

#[derive(Debug, Serialize)]
struct WorkloadRow {
    uid: String,
    namespace: String,
    name: String,
    addresses: Vec<IpAddr>,
    node: String,
    identity: String,
    protocol: &'static str,
    health: &'static str,
    services: Vec<String>,
    policies: Vec<String>,
    node_tunnel: Vec<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct ServiceRow {
    namespace: String,
    hostname: String,
    addresses: Vec<String>,
    ports: Vec<u16>,
    endpoints: usize,
    healthy: usize,
}

fn workloads(snapshot: &Snapshot) -> Vec<WorkloadRow> {
    let mut rows: Vec<_> = snapshot.workloads().map(|one| workload(one)).collect();
    rows.sort_by(|a, b| a.uid.cmp(&b.uid));
    rows
}

fn workload(one: &Workload) -> WorkloadRow {
    WorkloadRow {
        uid: one.uid.to_string(),
        namespace: one.namespace.to_string(),
        name: one.name.to_string(),
        addresses: one.addresses.clone(),
        node: one.node.to_string(),
        identity: one.identity.to_string(),
        protocol: match one.protocol {
            TunnelProtocol::Plain => "plain",
            TunnelProtocol::Hbone => "tunnel",
            TunnelProtocol::LegacyMtls => "legacy_mtls",
        },
        health: match (one.health, one.terminating) {
            (_, true) => "terminating",
            (Health::Healthy, false) => "healthy",
            (Health::Unhealthy, false) => "unhealthy",
        },
        services: one.services.iter().map(|(name, _)| name.to_string()).collect(),
        policies: one.policies.iter().map(ToString::to_string).collect(),
        node_tunnel: one.node_tunnel.as_ref().map(|tunnel| tunnel.addresses().to_vec()).unwrap_or_default(),
    }
}

fn services(snapshot: &Snapshot) -> Vec<ServiceRow> {
    let mut rows: Vec<_> = snapshot.services().map(|one| service(snapshot, one)).collect();
    rows.sort_by(|a, b| (&a.namespace, &a.hostname).cmp(&(&b.namespace, &b.hostname)));
    rows
}

/// An address without the length of its prefix, or a range with it.
fn shown(vip: &Vip) -> String {
    vip.ip().map_or_else(|| vip.range.to_string(), |ip| ip.to_string())
}

fn service(snapshot: &Snapshot, one: &Service) -> ServiceRow {
    let endpoints: Vec<_> = snapshot.endpoints(&one.name).collect();
    ServiceRow {
        namespace: one.name.namespace.to_string(),
        hostname: one.name.hostname.to_string(),
        addresses: one.vips.iter().map(shown).collect(),
        ports: one.ports.iter().map(|port| port.service_port).collect(),
        healthy: endpoints.iter().filter(|one| one.health == Health::Healthy).count(),
        endpoints: endpoints.len(),
    }
}

fn policies(snapshot: &Snapshot) -> Vec<PolicyRow> {
    let mut rows: Vec<_> = snapshot.policies().map(|one| policy(one)).collect();
    rows.sort();
    rows
}

fn policy(one: &Policy) -> PolicyRow {
    let rules = match &one.ruleset {
        Ruleset::Rules(rules) => Rules::Understood(rules.len()),
        Ruleset::Unusable(why) => Rules::Unusable(why),
    };
    let scope = format!("{:?}", one.scope).to_lowercase();
    PolicyRow::new(&one.name, scope, (one.action, one.enforcement), rules)
}

/// An answer to "which policy decides".
#[derive(Debug, Serialize)]
struct Explanation {
    source: String,
    source_identity: Option<String>,
    destination: String,
    port: u16,
    verdict: &'static str,
    why: String,
    dry_run: Option<String>,
    policies: Vec<String>,
}

/// `src` and `dst` are addresses or `<namespace>/<name>`; `port` is the application's. An address is asked about itself:
/// rules may name addresses, and a pod may have several.
fn explain(snapshot: &Snapshot, network: &Network, request: &Request) -> Answer {
    let bad = |text: String| Answer::text(StatusCode::BAD_REQUEST, text + "\n");
    let find = |name: &str| request.parameter(name).and_then(|text| find_workload(snapshot, network, text));
    let port = request.parameter("port").unwrap_or("0").parse();
    let Ok(port) = port else {
        return bad("port must be a number".to_owned());
    };
    let Some(destination) = find("dst") else {
        let asked = request.parameter("dst").unwrap_or_default();
        return bad(format!(
            "dst {asked:?} is no pod that discovery knows, by <namespace>/<name> or address"
        ));
    };
    let Some(source_text) = request.parameter("src") else {
        return bad("src must be a pod, as <namespace>/<name>, or an address".to_owned());
    };
    let source = find("src");
    let addresses = |name: &str, known: Option<&Arc<Workload>>| -> Vec<IpAddr> {
        let asked = request.parameter(name).and_then(|text| text.parse::<IpAddr>().ok());
        let known = || known.map(|one| one.addresses.clone()).unwrap_or_default();
        asked.map_or_else(known, |ip| vec![ip.to_canonical()])
    };
    let sources = addresses("src", source.as_ref());
    if sources.is_empty() {
        return bad(format!("src {source_text:?} is neither a pod that discovery knows nor an address"));
    }
    let identity = source.as_ref().filter(|one| one.is_enrolled()).map(|one| one.identity.clone());
    let Some((source_ip, destination_ip)) = ends(&sources, &addresses("dst", Some(&destination))) else {
        return bad("dst has no address".to_owned());
    };
    let connection =
        Connection { source_ip, source: identity.clone(), destination_ip, destination_port: port };
    let applicable = snapshot.policies_of(&destination);
    let judgement = decide(&applicable, &connection);
    let (verdict, why) = words(&judgement.verdict);
    Answer::of(&Explanation {
        source: source
            .map_or_else(|| source_text.to_owned(), |one| format!("{}/{}", one.namespace, one.name)),
        source_identity: identity.map(|one| one.to_string()),
        destination: format!("{}/{}", destination.namespace, destination.name),
        port,
        verdict,
        why,
        dry_run: judgement.dry_run.as_ref().map(|verdict| words(verdict).1),
        policies: applicable.iter().map(applicable_name).collect(),
    })
}

/// Two addresses of one family, as a connection has them, if there are such.
fn ends(sources: &[IpAddr], destinations: &[IpAddr]) -> Option<(IpAddr, IpAddr)> {
    let pairs = || destinations.iter().flat_map(|to| sources.iter().map(move |from| (*from, *to)));
    pairs().find(|(from, to)| from.is_ipv4() == to.is_ipv4()).or_else(|| pairs().next())
}

fn words(verdict: &Verdict) -> (&'static str, String) {
    match verdict {
        Verdict::Allowed(None) => {
            ("allowed", "no ALLOW policy applies, and no DENY policy matches".to_owned())
        }
        Verdict::Allowed(Some(policy)) => ("allowed", format!("allowed by policy {policy}")),
        Verdict::Denied(denial) => ("denied", denial.to_string()),
    }
}

fn applicable_name(applicable: &Applicable) -> String {
    match applicable {
        Applicable::Known(policy) => policy.name.to_string(),
        Applicable::Missing(name) => format!("{name} (not known)"),
    }
}

fn find_workload(snapshot: &Snapshot, network: &Network, text: &str) -> Option<Arc<Workload>> {
    if let Ok(ip) = text.parse() {
        return snapshot.find_workload(network, ip).cloned();
    }
    let (namespace, name) = text.split_once('/')?;
    snapshot.workloads().find(|one| *one.namespace == *namespace && *one.name == *name).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_one_family() {
        let ips =
            |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let (both, other) = (ips(&["10.0.0.1", "fd00::1"]), ips(&["10.0.0.2", "fd00::2"]));
        for (case, sources, destinations, want) in [
            ("by names", &both[..], &other[..], Some(("10.0.0.1", "10.0.0.2"))),
            ("to an address", &both, &other[1..], Some(("fd00::1", "fd00::2"))),
            ("from an address", &both[1..], &other, Some(("fd00::1", "fd00::2"))),
            ("of two families", &both[..1], &other[1..], Some(("10.0.0.1", "fd00::2"))),
            ("to nowhere", &both, &[], None),
        ] {
            let want = want.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
            assert_eq!(ends(sources, destinations), want, "{case}");
        }
    }
}
