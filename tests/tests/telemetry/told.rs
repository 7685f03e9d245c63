//! What is to be told of a connection: the whole of its access line, and what it adds to the metrics.

use crate::lines::{Fields, Format, line_of};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use weft_testkit::{Mesh, Pod};

/// The namespace in the mesh.
pub(crate) const SHOP: &str = "shop";
/// Its version in telemetry, for all pods in the mesh.
pub(crate) const VERSION: &str = "v7";
const UNKNOWN: &str = "unknown";

/// What a pod in the mesh calls its application.
pub(crate) fn app_of(name: &str) -> String {
    format!("the-{name}")
}

/// What one proxy is to tell of one connection.
#[derive(Clone)]
pub(crate) struct Told<'a> {
    pub(crate) case: &'static str,
    /// Whose proxy tells it.
    pub(crate) node: usize,
    pub(crate) direction: &'static str,
    pub(crate) trip: Trip,
    pub(crate) target: SocketAddr,
    pub(crate) source: &'a Pod,
    pub(crate) destination: Option<&'a Pod>,
    /// The name of a Service in the namespace that was asked for.
    pub(crate) service: Option<String>,
    /// The name of the only Service that has the server's port, where this proxy serves it.
    pub(crate) served: Option<String>,
    pub(crate) tunnel: Option<SocketAddr>,
    /// Each way.
    pub(crate) bytes: u64,
    pub(crate) end: &'static str,
    /// The metric's word and the line's sentence, for a connection that was not opened.
    pub(crate) failed: Option<(&'static str, String)>,
    pub(crate) dry_run: Option<&'static str>,
}

/// A connection as its client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Trip {
    pub(crate) client: SocketAddr,
    /// It was open for longer than this…
    pub(crate) at_least: Duration,
    /// … and shorter than this.
    pub(crate) at_most: Duration,
}

/// Names and labels of samples, and their numbers.
pub(crate) type Numbers = BTreeMap<(String, BTreeMap<String, String>), u64>;

impl Told<'_> {
    /// Both ends are in the mesh.
    pub(crate) fn is_mutual(&self) -> bool {
        is_in_mesh(self.source) && self.destination.is_some_and(is_in_mesh)
    }

    /// Waits for the access line, and compares all of it.
    pub(crate) fn assert_line(&self, mesh: &Mesh, format: Format) -> Result<()> {
        let proxy = mesh.proxy(self.node);
        let line = line_of(proxy, format, self.direction, self.trip.client, self.target);
        let checked = line.and_then(|mut line| {
            let whole = format!("{line:?}");
            let time = line.remove("time").context("no time")?;
            ensure!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "at {time}");
            let took: f64 = line.remove("duration_ms").context("no duration")?.parse()?;
            let took = Duration::from_secs_f64(took / 1e3);
            ensure!(self.trip.at_least <= took && took <= self.trip.at_most, "{took:?} of {:?}", self.trip);
            ensure!(line == self.fields(), "not {:?}, but {whole}", self.fields());
            Ok(())
        });
        checked.with_context(|| format!("{} (in {format:?}, by {})", self.case, proxy.name()))
    }

    /// The line without what only the clock knows.
    fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        let mut add = |key: &str, value: String| drop(fields.insert(key.to_owned(), value));
        add("log", "access".to_owned());
        add("direction", self.direction.to_owned());
        add("src.addr", self.trip.client.to_string());
        add("src.workload", self.source.name().to_owned());
        add("src.namespace", self.source.namespace().to_owned());
        if is_in_mesh(self.source) {
            add("src.identity", identity(self.source));
        }
        add("dst.addr", self.target.to_string());
        if let Some(destination) = self.destination {
            add("dst.workload", destination.name().to_owned());
            add("dst.namespace", destination.namespace().to_owned());
        }
        if let Some(destination) = self.destination.filter(|_| self.is_mutual()) {
            add("dst.identity", identity(destination));
        }
        if let Some(service) = self.service_at_server() {
            add("dst.service", hostname(service));
        }
        if let Some(tunnel) = self.tunnel {
            add("dst.tunnel_addr", tunnel.to_string());
        }
        add("security", self.security().to_owned());
        add("bytes_sent", self.bytes.to_string());
        add("bytes_received", self.bytes.to_string());
        add("end", self.end.to_owned());
        if let Some((_, error)) = &self.failed {
            add("error", error.clone());
        }
        if let Some(dry_run) = self.dry_run {
            add("dry_run", dry_run.to_owned());
        }
        fields
    }

    /// As the other end's proxy knows it: what was asked for, or else what its port stands for.
    fn service_at_server(&self) -> Option<&str> {
        self.service.as_deref().or(self.served.as_deref())
    }

    fn security(&self) -> &'static str {
        if self.is_mutual() { "mutual_tls" } else { "none" }
    }

    /// Adds what this connection adds to the metrics of its proxy.
    pub(crate) fn count(&self, numbers: &mut Numbers) {
        let reporters: &[&str] = match self.direction {
            "outbound" => &["source"],
            "inbound" => &["destination"],
            _ => &["source", "destination"],
        };
        for reporter in reporters {
            let mut add = |name: &str, number: u64| {
                let key = (format!("istio_tcp_{name}_total"), self.labels(reporter));
                *numbers.entry(key).or_default() += number;
            };
            if self.failed.is_some() {
                add("connections_failed", 1);
            } else {
                add("connections_opened", 1);
                add("connections_closed", 1);
                add("received_bytes", self.bytes);
                add("sent_bytes", self.bytes);
            }
        }
        let end = self.failed.as_ref().map_or(self.end, |(cause, _)| cause);
        let labels = [("end".to_owned(), end.to_owned())].into();
        *numbers.entry(("weft_proxy_connections_ended_total".to_owned(), labels)).or_default() += 1;
    }

    fn labels(&self, reporter: &str) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let mut add = |key: &str, value: &str| drop(labels.insert(key.to_owned(), value.to_owned()));
        add("reporter", reporter);
        let destination_proven = self.is_mutual();
        for (end, pod, proven) in [
            ("source", Some(self.source), is_in_mesh(self.source)),
            ("destination", self.destination, destination_proven),
        ] {
            let mut add = |key: &str, value: Option<String>| {
                add(&format!("{end}_{key}"), value.as_deref().unwrap_or(UNKNOWN));
            };
            // Those outside carry no labels: then it is the workload's name that counts.
            let app = pod.map(|pod| if is_in_mesh(pod) { app_of(pod.name()) } else { pod.name().to_owned() });
            let version = pod.map(|pod| if is_in_mesh(pod) { VERSION } else { "latest" }.to_owned());
            add("workload", pod.map(|pod| pod.name().to_owned()));
            add("workload_namespace", pod.map(|pod| pod.namespace().to_owned()));
            add("canonical_service", app.clone());
            add("app", app);
            add("canonical_revision", version.clone());
            add("version", version);
            add("cluster", pod.map(|_| "Kubernetes".to_owned()));
            add("principal", pod.filter(|_| proven).map(identity));
        }
        let service = match reporter {
            "source" => self.service.as_deref(),
            _ => self.service_at_server(),
        };
        add("destination_service", &service.map_or_else(|| UNKNOWN.to_owned(), hostname));
        add("destination_service_name", service.unwrap_or(UNKNOWN));
        add("destination_service_namespace", service.map_or(UNKNOWN, |_| SHOP));
        add("request_protocol", "tcp");
        add("response_flags", "-");
        add("connection_security_policy", self.security());
        labels
    }
}

fn is_in_mesh(pod: &Pod) -> bool {
    pod.namespace() == SHOP
}

fn identity(pod: &Pod) -> String {
    format!("spiffe://cluster.local/ns/{}/sa/{}", pod.namespace(), pod.name())
}

fn hostname(service: &str) -> String {
    format!("{service}.{SHOP}.svc.cluster.local")
}
