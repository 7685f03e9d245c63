//! What is done about slow and failing backends, in words: timeouts, retries, faults.

use crate::share::Share;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long things may take. None is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// From a request's first byte to its response's last one, all tries included.
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// Of one try, from what is sent to the backend to its response's last byte (Gateway API's `backendRequest`).
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub try_whole: Option<Duration>,
}

/// When and how a request is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// Tries after the first; none if zero.
    pub retries: u32,
    /// What is worth another try.
    pub on: RetryOn,
    /// How long to wait before it.
    pub backoff: Backoff,
    /// Of one try, until the response's head is there (Istio's `perTryTimeout`).
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub try_head: Option<Duration>,
    /// Endpoints that have failed this request come last.
    #[serde(default)]
    pub elsewhere_first: bool,
    /// Endpoints in other places than the client's may be tried too, though they were not chosen at first.
    #[serde(default)]
    pub other_localities: bool,
}

/// What is worth another try.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryOn {
    /// Conditions that are no status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<RetryCondition>,
    /// Statuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<u16>,
    /// Statuses of gRPC, as numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grpc: Vec<u32>,
    /// The backend says so by such a header in its response, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Arc<str>>,
}

/// Conditions under which a request is tried again; the names are Envoy's, which Istio's `retryOn` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryCondition {
    /// Any status from 500, or no response at all.
    #[serde(rename = "5xx")]
    ServerError,
    /// 502, 503 or 504, or no response at all.
    GatewayError,
    /// The backend broke off without a response, or did not answer in time.
    Reset,
    /// The same, and nothing of the request had been sent.
    ResetBeforeRequest,
    /// There was no connection to the backend.
    ConnectFailure,
    /// 409.
    #[serde(rename = "retriable-4xx")]
    Conflict,
    /// HTTP/2's REFUSED_STREAM: the backend has not begun.
    RefusedStream,
    /// What `statuses` says.
    RetriableStatusCodes,
    /// What `headers` says.
    RetriableHeaders,
    /// The waypoint itself refused for its own load, before it asked a backend.
    EnvoyRatelimited,
}

/// How long to wait before another try: `base`, doubled with each try, of at most `max`, and then what chance makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backoff {
    /// Before the first one.
    #[serde(with = "crate::wire::millis")]
    pub base: Duration,
    /// Before any.
    #[serde(with = "crate::wire::millis")]
    pub max: Duration,
    /// What chance makes of it.
    #[serde(default)]
    pub jitter: Jitter,
}

/// What chance makes of a pause, so that those that failed together do not come back together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Jitter {
    /// Some part of it (Envoy's and so Istio's "full jitter").
    #[default]
    Part,
    /// All of it and up to a quarter more, so that it is never shorter (Gateway API, `HTTPRouteRetry.backoff`: "the minimum
    /// duration").
    More,
}

/// How many tries beyond the first a backend gets, whichever core makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum RetryBudget {
    /// So many within a time (Gateway API's `XBackendTrafficPolicy`, GEP-3388).
    Rate {
        /// Of the requests within the interval, tries included.
        share: Share,
        /// What is counted together.
        #[serde(with = "crate::wire::millis")]
        interval: Duration,
        /// So many are always allowed...
        always: u32,
        /// ...within this time.
        #[serde(with = "crate::wire::millis")]
        always_interval: Duration,
    },
    /// So many at a time, instead of [`crate::destination::Limits::retries`] (Istio's `DestinationRule`, Envoy's retry budget).
    AtATime {
        /// Of the requests that there are, those that wait for a connection included.
        share: Share,
        /// So many are always allowed.
        always: u32,
        /// The share is of the requests that came within this time, if they are more than there are now.
        #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
        interval: Option<Duration>,
    },
}

/// What is done to requests on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// They wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// They are answered at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
}

/// Requests wait before they go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delay {
    /// So many of them.
    pub share: Share,
    /// So long.
    #[serde(with = "crate::wire::millis")]
    pub wait: Duration,
}

/// Requests are answered without a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Abort {
    /// So many of them.
    pub share: Share,
    /// With this.
    pub with: AbortWith,
}

/// What an aborted request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum AbortWith {
    /// A status of HTTP.
    Status(u16),
    /// A status of gRPC.
    Grpc(u32),
}
