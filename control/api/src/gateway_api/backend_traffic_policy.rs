//! `XBackendTrafficPolicy`: how much may be tried again at a backend, and sessions to it. An experiment of Gateway API.

use crate::check::{Check, Findings};
use crate::duration::GatewayDuration;
use crate::gateway_api::reference::LocalObjectReference;
use crate::gateway_api::session::SessionPersistence;
use crate::resource::Resource;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One XBackendTrafficPolicy.
pub type BackendTrafficPolicy = Resource<BackendTrafficPolicySpec>;

/// What it applies to, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendTrafficPolicySpec {
    /// Backends of its namespace.
    pub target_refs: Vec<LocalObjectReference>,
    /// How much may be tried again; as much as routes say if there is none.
    pub retry_constraint: Option<RetryConstraint>,
    /// How requests of one session are kept together; as routes say if there is none.
    pub session_persistence: Option<SessionPersistence>,
}

/// How much may be tried again: a share of all requests, or a number, whichever is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryConstraint {
    /// The share; 20 of a hundred within ten seconds if there is none.
    pub budget: Option<RetryBudget>,
    /// What is always allowed; ten within one second if there is none.
    pub min_retry_rate: Option<RequestRate>,
}

/// A share of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryBudget {
    /// How many of a hundred; 20 if there is none.
    pub percent: Option<u32>,
    /// Of the requests within this time; ten seconds if there is none.
    pub interval: Option<GatewayDuration>,
}

/// A number of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestRate {
    /// How many; ten if there is none.
    pub count: Option<u32>,
    /// Within this time; one second if there is none.
    pub interval: Option<GatewayDuration>,
}

/// Most targets.
const TARGETS_MAX: usize = 16;
/// Most requests of a rate.
const COUNT_MAX: u32 = 1_000_000;
/// Longest time that is counted.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

impl Check for BackendTrafficPolicySpec {
    fn check(&self, found: &mut Findings) {
        found.count("targetRefs", &self.target_refs, 1..=TARGETS_MAX);
        found.field("targetRefs", &self.target_refs[..]);
        found.unique("targetRefs", &self.target_refs, |target| Some(target.clone()));
        found.field("retryConstraint", &self.retry_constraint);
        found.field("sessionPersistence", &self.session_persistence);
    }
}

impl Check for RetryConstraint {
    fn check(&self, found: &mut Findings) {
        found.field("budget", &self.budget);
        found.field("minRetryRate", &self.min_retry_rate);
    }
}

impl Check for RetryBudget {
    fn check(&self, found: &mut Findings) {
        found.require("percent", self.percent.is_none_or(|percent| percent <= 100), "is more than 100");
        let interval =
            self.interval.is_none_or(|it| (Duration::from_secs(1)..=INTERVAL_MAX).contains(&it.get()));
        found.require("interval", interval, "is shorter than a second or longer than an hour");
    }
}

impl Check for RequestRate {
    fn check(&self, found: &mut Findings) {
        let count = self.count.is_none_or(|count| (1..=COUNT_MAX).contains(&count));
        found.require("count", count, "is not between 1 and 1000000");
        let interval = self.interval.is_none_or(|it| !it.get().is_zero() && it.get() <= INTERVAL_MAX);
        found.require("interval", interval, "is zero or longer than an hour");
    }
}
