//! A route for HTTP: what matches, and everything that can become of it.

use super::fault::HttpFaultInjection;
use super::http_match::HttpMatchRequest;
use super::response::{CorsPolicy, HttpDirectResponse, HttpRedirect};
use crate::duration::IstioDuration;
use crate::istio::destination::Destination;
use crate::istio::percent::Percent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which requests, and what becomes of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRoute {
    /// Its name, for logs.
    pub name: Option<String>,
    /// Any of these has to match; if it is empty, every request does.
    #[serde(rename = "match", default)]
    pub matches: Vec<HttpMatchRequest>,
    /// Where requests go, each destination taking its share.
    #[serde(default)]
    pub route: Vec<HttpRouteDestination>,
    /// Answers with a redirect instead.
    pub redirect: Option<HttpRedirect>,
    /// Answers with a response of its own instead.
    pub direct_response: Option<HttpDirectResponse>,
    /// Another VirtualService decides instead.
    pub delegate: Option<Delegate>,
    /// What host and path become.
    pub rewrite: Option<HttpRewrite>,
    /// How long a request may take, all tries together; without limit if there is none, or if it is zero.
    pub timeout: Option<IstioDuration>,
    /// When requests are tried again; the mesh's default if there is none.
    pub retries: Option<HttpRetry>,
    /// Failures that are made up.
    pub fault: Option<HttpFaultInjection>,
    /// Where requests are sent as well; nobody waits for the answer.
    pub mirror: Option<Destination>,
    /// How many of a hundred are mirrored (deprecated).
    pub mirror_percent: Option<u32>,
    /// The same, as old manifests write it.
    #[serde(rename = "mirror_percent")]
    pub mirror_percent_snake: Option<u32>,
    /// How many of a hundred are mirrored; all if there is none.
    pub mirror_percentage: Option<Percent>,
    /// Several places where requests are sent as well.
    #[serde(default)]
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// Which cross-origin requests are answered.
    pub cors_policy: Option<CorsPolicy>,
    /// Changes of headers.
    pub headers: Option<Headers>,
}

/// A destination that takes a share of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteDestination {
    /// Where they go.
    pub destination: Destination,
    /// Its share, in proportion to the sum of all. Zero if it was not written, which is everything if it is alone.
    #[serde(default)]
    pub weight: u32,
    /// Changes of headers for this destination.
    pub headers: Option<Headers>,
}

/// Changes of headers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Headers {
    /// Of the request.
    pub request: Option<HeaderOperations>,
    /// Of the response.
    pub response: Option<HeaderOperations>,
}

/// Headers that are set, added, or taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderOperations {
    /// Headers that have only this value from now on.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Values that headers have besides those that they have.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// Names of headers that are taken away.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// A VirtualService that decides in place of this route. It has no hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delegate {
    /// Its name.
    pub name: Option<String>,
    /// Its namespace; the same as of this one if there is none.
    pub namespace: Option<String>,
}

/// What host and path of a request become.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRewrite {
    /// The path, or the prefix of it that was matched.
    pub uri: Option<String>,
    /// The host.
    pub authority: Option<String>,
    /// The path, by a regular expression.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A path that is put together from parts of the old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegexRewrite {
    /// The regular expression, with groups.
    #[serde(rename = "match")]
    pub pattern: String,
    /// What takes its place; `\1` is the first group.
    pub rewrite: String,
}

/// When requests are tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRetry {
    /// How often at most, the first time not counted; never if zero or not written.
    #[serde(default)]
    pub attempts: u32,
    /// How long one try may take; as long as the request if there is none.
    pub per_try_timeout: Option<IstioDuration>,
    /// After what, with commas between: conditions, and statuses; the mesh's default if there is none.
    pub retry_on: Option<String>,
    /// Whether other localities may be tried; no if there is none.
    pub retry_remote_localities: Option<bool>,
    /// Whether endpoints that failed are avoided; the mesh's default if there is none.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// How long to wait at least before; 25 milliseconds if there is none.
    pub backoff: Option<IstioDuration>,
}

/// What a request may be tried again after, besides statuses as numbers.
pub const RETRY_CONDITIONS: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// One of several places where requests are sent as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpMirrorPolicy {
    /// Where they go.
    pub destination: Destination,
    /// How many of a hundred; all if there is none.
    pub percentage: Option<Percent>,
}
