//! What Istio's `Telemetry` asks of a waypoint: which requests have spans and what is on them, which lines are logged and
//! where, and which metrics are counted by which labels.
//!
//! Of the objects that apply, the wider ones come first and the closer ones change what they said ([`Effective::of`]).

pub mod effective;

use crate::condition::Condition;
use crate::policy::PolicyScope;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_core::names::{PolicyName, ServiceName};

/// One Telemetry, as a waypoint is told. Its fields stand as they were written; lists keep their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Telemetry {
    /// Its key.
    #[serde(with = "crate::wire::policy_name")]
    pub name: PolicyName,
    /// How close it is.
    pub reach: Reach,
    /// What of the waypoint's requests it is for.
    pub scope: PolicyScope,
    /// When it was made, in seconds since 1970: of those that name the same, the oldest counts.
    pub created: i64,
    /// What is traced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracing: Vec<Tracing>,
    /// What is counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricOverride>,
    /// What is logged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logging: Vec<Logging>,
}

impl Telemetry {
    /// The services that it names; none if it is for all of the waypoint's requests.
    pub fn services(&self) -> &[ServiceName] {
        match &self.scope {
            PolicyScope::Services(services) => services,
            PolicyScope::Waypoint => &[],
        }
    }
}

/// How close a Telemetry is to what it is for; a closer one comes later, and so counts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reach {
    /// It is of a root namespace.
    Mesh,
    /// It is of the waypoint's own.
    Namespace,
    /// It names the waypoint, its class, or services before which it stands (`targetRefs`).
    Named,
}

/// What is traced. What is not there stays as a wider Telemetry says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tracing {
    /// Of a million requests that come without a decision so many are sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_ppm: Option<u32>,
    /// Whether spans are reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reporting: Option<Switch>,
    /// Whether backends are told of the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Switch>,
    /// Tags besides the usual ones. If there are some, those of wider Telemetries are gone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<Arc<str>, TagValue>,
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// Where the value of a span's tag comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TagValue {
    /// It is always this.
    Literal(Arc<str>),
    /// A header of the request, in lower case; without it the other text, and no tag if there is none.
    Header(Arc<str>, Option<Arc<str>>),
}

/// What is logged, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Logging {
    /// Where; if it is empty, where a wider Telemetry says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<Sink>,
    /// Whether nothing goes there.
    pub disabled: bool,
    /// Which requests' lines go there; all if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Condition>,
}

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sink {
    /// Where the waypoint's own setting says.
    Usual,
    /// To standard output, as text.
    Text,
    /// To standard output, as JSON.
    Json,
    /// To the collector of OpenTelemetry's logs.
    Otlp,
}

/// A change of metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetricOverride {
    /// Which one; all if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// Whether it is not counted; as before if nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Changes of labels, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Arc<str>, LabelChange>,
}

/// What becomes of a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LabelChange {
    /// It is not there (to Prometheus: it is empty).
    Remove,
    /// It is always this.
    Set(Arc<str>),
}

/// A metric of requests, or of connections of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Metric {
    /// `istio_requests_total`
    Requests,
    /// `istio_request_duration_milliseconds`
    Duration,
    /// `istio_request_bytes`
    RequestBytes,
    /// `istio_response_bytes`
    ResponseBytes,
    /// `istio_tcp_connections_opened_total`
    Opened,
    /// `istio_tcp_connections_closed_total`
    Closed,
    /// `istio_tcp_connections_failed_total`
    Failed,
    /// `istio_tcp_received_bytes_total`
    Received,
    /// `istio_tcp_sent_bytes_total`
    Sent,
}

impl Metric {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Requests,
        Self::Duration,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::Opened,
        Self::Closed,
        Self::Failed,
        Self::Received,
        Self::Sent,
    ];
}
