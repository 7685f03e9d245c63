//! `HTTPRoute`: which HTTP requests go where, and what is done to them.

mod check;

use crate::duration::GatewayDuration;
use crate::gateway_api::filter::http::HttpFilter;
use crate::gateway_api::matching::ValueMatch;
use crate::gateway_api::reference::{FilteredBackendRef, ParentReference};
use crate::gateway_api::route::DefaultScope;
use crate::gateway_api::session::SessionPersistence;
use crate::resource::Resource;
use serde::{Deserialize, Serialize};

/// One HTTPRoute.
pub type HttpRoute = Resource<HttpRouteSpec>;

/// What it is attached to, and its rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteSpec {
    /// What it is attached to: Gateways, or Services.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// Whether it is attached to default Gateways too; no if there is none.
    pub use_default_gateways: Option<DefaultScope>,
    /// Hosts that requests name; all if it is empty. A Service as parent does not look at them.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// The rules. If there is none, one that matches all requests and sends them nowhere.
    #[serde(default)]
    pub rules: Vec<HttpRouteRule>,
}

/// Which requests, and what becomes of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteRule {
    /// Its name, which no other rule of the route has.
    pub name: Option<String>,
    /// Any of these has to match; if it is empty, every request does.
    #[serde(default)]
    pub matches: Vec<HttpRouteMatch>,
    /// What is done to the requests.
    #[serde(default)]
    pub filters: Vec<HttpFilter>,
    /// Where they go, each backend taking its share; nowhere if it is empty.
    #[serde(default)]
    pub backend_refs: Vec<HttpBackendRef>,
    /// How long they may take.
    pub timeouts: Option<HttpRouteTimeouts>,
    /// When they are tried again; the waypoint's default if there is none.
    pub retry: Option<HttpRouteRetry>,
    /// How requests of one session are kept together; they are not if there is none.
    pub session_persistence: Option<SessionPersistence>,
}

/// A backend of an HTTPRoute.
pub type HttpBackendRef = FilteredBackendRef<HttpFilter>;

/// All parts that are there have to match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteMatch {
    /// The path; any if it was not written.
    #[serde(default)]
    pub path: PathMatch,
    /// Headers, all of these.
    #[serde(default)]
    pub headers: Vec<ValueMatch>,
    /// Query parameters, all of these.
    #[serde(default)]
    pub query_params: Vec<ValueMatch>,
    /// The method; any if there is none.
    pub method: Option<HttpMethod>,
}

/// What a path has to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathMatch {
    /// How it is compared; as a prefix if it was not written.
    #[serde(rename = "type", default)]
    pub match_type: PathMatchType,
    /// The path, its prefix, or a regular expression; `/` if it was not written.
    #[serde(default = "root")]
    pub value: String,
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathMatchType {
    /// It is the same text.
    Exact,
    /// It begins with these elements: `/a` holds for `/a`, `/a/` and `/a/b`, and not for `/ab`.
    #[default]
    PathPrefix,
    /// It matches a regular expression of RE2's syntax, as a whole.
    RegularExpression,
}

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the variants are the methods' own names")]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

/// How long a request may take. Zero is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteTimeouts {
    /// From its first byte until the whole response was sent, all tries together; the default if there is none.
    pub request: Option<GatewayDuration>,
    /// One try; the default if there is none.
    pub backend_request: Option<GatewayDuration>,
}

/// When a request is tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRouteRetry {
    /// Statuses of responses after which it is; failures of the connection always count.
    #[serde(default)]
    pub codes: Vec<u16>,
    /// How often at most, the first time not counted; of our choice if there is none.
    pub attempts: Option<u32>,
    /// How long to wait at least before; of our choice if there is none.
    pub backoff: Option<GatewayDuration>,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self { match_type: PathMatchType::default(), value: root() }
    }
}

fn root() -> String {
    "/".to_owned()
}
