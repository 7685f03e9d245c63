//! The control plane's metrics. Counters count where things happen; the rest is read when somebody asks.

use crate::known::Known;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;
use weft_control_api::problem::Severity;
use weft_control_ca::Authority;
use weft_control_serve::{CertificateCounts, Clients, Kind, Role, TableView};
use weft_runtime::http::{Method, Routes};
use weft_runtime::metrics::{MetricError, Metrics};

/// What is read when somebody asks.
pub(crate) struct Gauges {
    pub(crate) known: Known,
    pub(crate) table: TableView,
    pub(crate) clients: Clients,
    pub(crate) certificates: CertificateCounts,
    pub(crate) authority: watch::Receiver<Authority>,
}

struct Registered {
    from: Gauges,
    problems: IntGaugeVec,
    resources: IntGaugeVec,
    generation: IntGauge,
    clients: IntGaugeVec,
    nacks: IntGauge,
    certificates: IntGaugeVec,
    authority: IntGauge,
}

/// Problems as they come up, by severity.
pub(crate) fn problems_seen(metrics: &Metrics) -> Result<IntCounterVec, MetricError> {
    let help = "Problems of manifests that came up, by severity.";
    metrics.counters("weft_control_problems_total", help, &["severity"])
}

/// `/metrics`.
pub(crate) fn routes(metrics: &Metrics, from: Gauges) -> Result<Routes, MetricError> {
    let registered = Arc::new(Registered {
        from,
        problems: metrics.gauges(
            "weft_control_problems",
            "Problems of manifests at present, by severity.",
            &["severity"],
        )?,
        resources: metrics.gauges(
            "weft_control_resources",
            "Resources that are served, by type.",
            &["type"],
        )?,
        generation: metrics.gauge("weft_control_generation", "Changes of what is served since the start.")?,
        clients: metrics.gauges("weft_control_clients", "Clients of discovery, by role.", &["role"])?,
        nacks: metrics.gauge("weft_control_nacks", "Rejections by clients since the start.")?,
        certificates: metrics.gauges(
            "weft_control_certificates",
            "Requests for certificates since the start, by outcome.",
            &["outcome"],
        )?,
        authority: metrics
            .gauge("weft_control_authority_seconds_left", "Time until the signing certificate expires.")?,
    });
    let answer = metrics.routes();
    Ok(Routes::new().route(Method::GET, "/metrics", move |request| {
        registered.read();
        let answer = answer.clone();
        async move { answer.answer(request).await }
    }))
}

impl Registered {
    fn read(&self) {
        let problems = self.from.known.problems();
        for severity in [Severity::Info, Severity::Warning, Severity::Error] {
            let count = problems.iter().filter(|problem| problem.severity == severity).count();
            self.problems.with_label_values(&[severity.as_str()]).set(number(count));
        }
        for kind in Kind::ALL {
            self.resources.with_label_values(&[kind.word()]).set(number(self.from.table.count(kind)));
        }
        self.generation.set(self.from.table.generation().cast_signed());
        let streams = self.from.clients.streams();
        for role in [Role::NodeProxy, Role::Waypoint, Role::Agent] {
            let count = streams.iter().filter(|stream| stream.role == role).count();
            self.clients.with_label_values(&[role.word()]).set(number(count));
        }
        self.nacks.set(self.from.clients.nacks().cast_signed());
        let certificates = &self.from.certificates;
        for (outcome, count) in [("signed", certificates.signed()), ("refused", certificates.refused())] {
            self.certificates.with_label_values(&[outcome]).set(count.cast_signed());
        }
        let end = self.from.authority.borrow().not_after();
        let left = end.duration_since(SystemTime::now()).unwrap_or_default();
        self.authority.set(left.as_secs().cast_signed());
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
