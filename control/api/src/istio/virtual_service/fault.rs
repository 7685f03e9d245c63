//! Failures that are made up, to see who bears them.

use crate::check::{Check, Findings, one_of};
use crate::duration::IstioDuration;
use crate::istio::percent::Percent;
use serde::{Deserialize, Serialize};

/// Delays and failures; both may be there, and each has its own chance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpFaultInjection {
    /// Requests wait before they go on.
    pub delay: Option<Delay>,
    /// Requests fail instead of going on.
    pub abort: Option<Abort>,
}

/// Requests wait before they go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "DelayFields", into = "DelayFields")]
pub struct Delay {
    /// How long.
    pub wait: Wait,
    /// How many of a hundred; none if there is neither this nor the deprecated one.
    pub percentage: Option<Percent>,
    /// How many of a hundred (deprecated).
    pub percent: Option<u32>,
}

/// How long a delayed request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// So long.
    Fixed(IstioDuration),
    /// A random time of this mean. Istio has the field and has never read it.
    Exponential(IstioDuration),
}

/// Requests fail instead of going on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "AbortFields", into = "AbortFields")]
pub struct Abort {
    /// How.
    pub failure: Failure,
    /// How many of a hundred; none if it is not written.
    pub percentage: Option<Percent>,
}

/// How an aborted request fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// With this status of HTTP.
    Http(u16),
    /// With this status of gRPC, by its name or number.
    Grpc(String),
    /// With this error of HTTP/2. Istio has the field and has never read it.
    Http2(String),
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DelayFields {
    fixed_delay: Option<IstioDuration>,
    exponential_delay: Option<IstioDuration>,
    percentage: Option<Percent>,
    percent: Option<u32>,
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AbortFields {
    http_status: Option<u16>,
    grpc_status: Option<String>,
    #[serde(rename = "http2Error")]
    http2_error: Option<String>,
    percentage: Option<Percent>,
}

impl TryFrom<DelayFields> for Delay {
    type Error = String;

    fn try_from(fields: DelayFields) -> Result<Self, String> {
        let DelayFields { fixed_delay, exponential_delay, percentage, percent } = fields;
        let set = [("fixedDelay", fixed_delay.is_some()), ("exponentialDelay", exponential_delay.is_some())];
        one_of(&set).exactly()?;
        let wait = fixed_delay.map(Wait::Fixed).or(exponential_delay.map(Wait::Exponential));
        Ok(Self { wait: wait.ok_or("is empty")?, percentage, percent })
    }
}

impl From<Delay> for DelayFields {
    fn from(Delay { wait, percentage, percent }: Delay) -> Self {
        let (fixed_delay, exponential_delay) = match wait {
            Wait::Fixed(wait) => (Some(wait), None),
            Wait::Exponential(wait) => (None, Some(wait)),
        };
        Self { fixed_delay, exponential_delay, percentage, percent }
    }
}

impl TryFrom<AbortFields> for Abort {
    type Error = String;

    fn try_from(fields: AbortFields) -> Result<Self, String> {
        let AbortFields { http_status, grpc_status, http2_error, percentage } = fields;
        let set = [
            ("httpStatus", http_status.is_some()),
            ("grpcStatus", grpc_status.is_some()),
            ("http2Error", http2_error.is_some()),
        ];
        one_of(&set).exactly()?;
        let failure = http_status.map(Failure::Http).or(grpc_status.map(Failure::Grpc));
        let failure = failure.or(http2_error.map(Failure::Http2));
        Ok(Self { failure: failure.ok_or("is empty")?, percentage })
    }
}

impl From<Abort> for AbortFields {
    fn from(Abort { failure, percentage }: Abort) -> Self {
        let none = Self { http_status: None, grpc_status: None, http2_error: None, percentage };
        match failure {
            Failure::Http(status) => Self { http_status: Some(status), ..none },
            Failure::Grpc(status) => Self { grpc_status: Some(status), ..none },
            Failure::Http2(error) => Self { http2_error: Some(error), ..none },
        }
    }
}

impl Check for HttpFaultInjection {
    fn check(&self, found: &mut Findings) {
        found.field("delay", &self.delay);
        found.field("abort", &self.abort);
    }
}

impl Check for Delay {
    fn check(&self, found: &mut Findings) {
        found.field("percentage", &self.percentage);
        found.require("percent", self.percent.is_none_or(|percent| percent <= 100), "is more than 100");
        let (Wait::Fixed(wait) | Wait::Exponential(wait)) = self.wait;
        if wait.get() < std::time::Duration::from_millis(1) {
            found.refuse("is shorter than a millisecond");
        }
    }
}

impl Check for Abort {
    fn check(&self, found: &mut Findings) {
        found.field("percentage", &self.percentage);
        match &self.failure {
            Failure::Http(status) => {
                let reason = "is no status of a response: 200 to 599 are";
                found.require("httpStatus", (200..=599).contains(status), reason);
            }
            Failure::Grpc(status) => {
                found.require(
                    "grpcStatus",
                    is_grpc_status(status),
                    "is no status of gRPC: UNAVAILABLE and 14 are",
                );
            }
            Failure::Http2(_) => {}
        }
    }
}

/// The statuses of gRPC, by their numbers.
pub const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn is_grpc_status(text: &str) -> bool {
    let number =
        text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<usize>().is_ok_and(|it| it < 17);
    number || GRPC_STATUSES.contains(&text)
}
