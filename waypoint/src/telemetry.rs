//! What is told of each request: metrics under the names that Istio's dashboards use, and a line of the access log.

use crate::client::Connection;
use prometheus::{HistogramVec, IntCounterVec};
use std::time::Duration;
use weft_core::workload::Workload;
use weft_l7::rule::RuleOrigin;
use weft_runtime::metrics::{MetricError, Metrics};

const LABELS: &[&str] = &[
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "source_principal",
    "destination_workload",
    "destination_workload_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_principal",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];

/// What is counted, shared by all workers.
#[derive(Debug, Clone)]
pub(crate) struct Telemetry {
    requests: IntCounterVec,
    duration: HistogramVec,
}

/// One request, as it went.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    /// Whose it was.
    pub(crate) connection: &'a Connection,
    /// The endpoint that answered, if one was asked.
    pub(crate) endpoint: Option<&'a Workload>,
    /// `http`, `http2` or `grpc`.
    pub(crate) protocol: &'static str,
    /// The method.
    pub(crate) method: &'a str,
    /// The path, without its query.
    pub(crate) path: &'a str,
    /// The status that the client got.
    pub(crate) status: u16,
    /// Why it is what it is, in Envoy's letters; empty if a backend said so.
    pub(crate) flags: &'static str,
    /// The rule that took it.
    pub(crate) rule: Option<&'a RuleOrigin>,
    /// Tries.
    pub(crate) tries: u32,
    /// Until the response's head.
    pub(crate) took: Duration,
}

impl Telemetry {
    /// Registers what is counted.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        Ok(Self {
            requests: metrics.counters("istio_requests_total", "Requests.", LABELS)?,
            duration: metrics.histograms(
                "istio_request_duration_milliseconds",
                "Milliseconds until the response's head was there.",
                LABELS,
                MILLISECONDS,
            )?,
        })
    }

    /// Counts a request, and writes its line.
    pub(crate) fn tell(&self, told: &Told<'_>) {
        use crate::client::Destination;
        let Told { connection, endpoint, .. } = told;
        let client = &connection.client;
        let source = client.workload.as_deref();
        let service = match &connection.destination {
            Destination::Service(service) => Some(service),
            Destination::Workload(_) => None,
        };
        let name =
            |workload: Option<&Workload>| workload.map_or("unknown", |one| &*one.workload_name).to_owned();
        let namespace =
            |workload: Option<&Workload>| workload.map_or("unknown", |one| &*one.namespace).to_owned();
        let canonical =
            |workload: Option<&Workload>| workload.map_or("unknown", |one| &*one.canonical_name).to_owned();
        let revision = |workload: Option<&Workload>| {
            workload.map_or("latest", |one| &*one.canonical_revision).to_owned()
        };
        let status = told.status.to_string();
        let values: [String; 19] = [
            "waypoint".to_owned(),
            name(source),
            namespace(source),
            canonical(source),
            revision(source),
            client.identity.to_string(),
            name(*endpoint),
            namespace(*endpoint),
            canonical(*endpoint),
            revision(*endpoint),
            endpoint.map_or_else(|| "unknown".to_owned(), |one| one.identity.to_string()),
            service.map_or("unknown", |one| &*one.name.hostname).to_owned(),
            service.map_or("unknown", |one| &*one.short_name).to_owned(),
            service.map_or("unknown", |one| &*one.name.namespace).to_owned(),
            told.protocol.to_owned(),
            status,
            String::new(),
            if told.flags.is_empty() { "-" } else { told.flags }.to_owned(),
            "mutual_tls".to_owned(),
        ];
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        self.requests.with_label_values(&values).inc();
        self.duration.with_label_values(&values).observe(told.took.as_secs_f64() * 1000.0);
        tracing::info!(
            target: "access",
            method = told.method,
            path = told.path,
            status = told.status,
            flags = told.flags,
            tries = told.tries,
            took_ms = u64::try_from(told.took.as_millis()).unwrap_or(u64::MAX),
            client = %client.addr,
            identity = %client.identity,
            destination = %connection.addr,
            endpoint = endpoint.map_or("-", |one| &*one.name),
            rule = told.rule.map(tracing::field::display),
            "request"
        );
    }
}

/// Buckets from half a millisecond to a minute, as Istio's dashboards expect them.
const MILLISECONDS: &[f64] = &[
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0,
    60_000.0,
];
