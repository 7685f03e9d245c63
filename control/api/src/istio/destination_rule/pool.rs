//! How many connections and requests there may be, and when an endpoint is given up for a while.

use crate::duration::IstioDuration;
use serde::{Deserialize, Serialize};

/// How many connections and requests there may be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionPoolSettings {
    /// Of any protocol.
    pub tcp: Option<TcpSettings>,
    /// Of HTTP.
    pub http: Option<HttpSettings>,
}

/// Connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpSettings {
    /// How many there may be to the host; without limit if there is none or zero.
    pub max_connections: Option<u32>,
    /// How long connecting may take; ten seconds if there is none.
    pub connect_timeout: Option<IstioDuration>,
    /// Probes of connections that are idle; none if there is none.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long one may live; for ever if there is none.
    pub max_connection_duration: Option<IstioDuration>,
    /// How long one may be idle; one hour if there is none, and for ever if zero.
    pub idle_timeout: Option<IstioDuration>,
}

/// Probes of connections that are idle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpKeepalive {
    /// How many go unanswered before it is dead; the kernel's default if there is none.
    pub probes: Option<u32>,
    /// After how long idle the first is sent; the kernel's default if there is none.
    pub time: Option<IstioDuration>,
    /// How long between them; the kernel's default if there is none.
    pub interval: Option<IstioDuration>,
}

/// Requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSettings {
    /// How many may wait for a connection; without limit if there is none or zero.
    pub http1_max_pending_requests: Option<u32>,
    /// How many may be active at the host; without limit if there is none or zero.
    pub http2_max_requests: Option<u32>,
    /// How many one connection carries; without limit if there is none or zero.
    pub max_requests_per_connection: Option<u32>,
    /// How many may be tried again at once; without limit if there is none or zero.
    pub max_retries: Option<u32>,
    /// How long a connection may have no request; one hour if there is none.
    pub idle_timeout: Option<IstioDuration>,
    /// Whether HTTP/1.1 becomes HTTP/2 on the way; as the mesh says if there is none.
    pub h2_upgrade_policy: Option<H2UpgradePolicy>,
    /// Whether the endpoint is spoken to as the client spoke; no if there is none.
    pub use_client_protocol: Option<bool>,
    /// How many streams one connection carries at once; without limit if there is none or zero.
    pub max_concurrent_streams: Option<u32>,
}

/// Whether HTTP/1.1 becomes HTTP/2 on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// As the mesh says.
    Default,
    /// It does not.
    DoNotUpgrade,
    /// It does.
    Upgrade,
}

/// When endpoints are given up for a while.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutlierDetection {
    /// After so many failures in a row (deprecated).
    pub consecutive_errors: Option<u32>,
    /// Whether failures to reach an endpoint are counted apart; no if there is none.
    pub split_external_local_origin_errors: Option<bool>,
    /// After so many failures in a row to reach it, if they are counted apart; five if there is none, never if zero.
    pub consecutive_local_origin_failures: Option<u32>,
    /// After so many 502, 503 and 504 in a row; never if there is none or zero.
    pub consecutive_gateway_errors: Option<u32>,
    /// After so many 5xx in a row; five if there is none, never if zero.
    #[serde(rename = "consecutive5xxErrors")]
    pub consecutive_5xx_errors: Option<u32>,
    /// How often it is looked at; every ten seconds if there is none.
    pub interval: Option<IstioDuration>,
    /// For how long, times the number of times before; 30 seconds if there is none.
    pub base_ejection_time: Option<IstioDuration>,
    /// How many of a hundred may be given up at once; ten if there is none.
    pub max_ejection_percent: Option<u32>,
    /// How many of a hundred have to be healthy for any of this to hold; none if there is none.
    pub min_health_percent: Option<u32>,
}
