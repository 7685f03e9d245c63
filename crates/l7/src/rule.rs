//! What becomes of a request that a rule takes.

use crate::headers::{HeaderChange, Name};
use crate::pattern::Search;
use crate::resilience::{Fault, Retry, Timeouts};
use crate::share::Share;
use crate::target::{Target, Weighted};
use crate::text::TextMatch;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A rule of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Where it was written.
    pub origin: RuleOrigin,
    /// What is done.
    pub action: Action,
    /// Headers of the request, before it goes on.
    #[serde(default, skip_serializing_if = "HeaderChange::is_empty")]
    pub request_headers: HeaderChange,
    /// Headers of the response, whoever made it.
    #[serde(default, skip_serializing_if = "HeaderChange::is_empty")]
    pub response_headers: HeaderChange,
    /// Who may ask from another origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// What is done to it on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

impl Rule {
    /// Where requests and copies of them may go.
    pub(crate) fn targets(&self) -> Vec<&Target> {
        let Action::Forward(forward) = &self.action else {
            return Vec::new();
        };
        let backends = forward.backends.iter().map(|backend| &backend.to);
        let mirrors = forward.mirrors.iter().chain(backends.clone().flat_map(|backend| &backend.mirrors));
        backends.map(|backend| &backend.target).chain(mirrors.map(|mirror| &mirror.target)).collect()
    }
}

/// Where a rule was written: what an access line, a metric and `weft routes explain` name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleOrigin {
    /// The kind of the route, such as `HTTPRoute`.
    pub kind: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub route: Arc<str>,
    /// The rule's own name, or its number from zero.
    pub rule: Arc<str>,
}

impl RuleOrigin {
    /// Whether the rule is of a GRPCRoute: all that it takes are calls of gRPC.
    pub fn is_grpc(&self) -> bool {
        &*self.kind == "GRPCRoute"
    }
}

impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{} rule {}", self.kind, self.namespace, self.route, self.rule)
    }
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Action {
    /// It goes to a backend.
    Forward(Box<Forward>),
    /// It is told to ask elsewhere.
    Redirect(Redirect),
    /// It is answered here.
    Respond(Respond),
}

/// It goes to a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forward {
    /// One of these. None, or none with a weight: 500 (Gateway API, `HTTPRouteRule.backendRefs`).
    pub backends: Vec<Weighted<Backend>>,
    /// What it asks for is another thing there.
    #[serde(default, skip_serializing_if = "Rewrite::is_empty")]
    pub rewrite: Rewrite,
    /// These get a copy, and nobody waits for what they say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// How long it may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Who has been at a backend comes back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// A backend of a rule, and what is done only to what goes there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// Where to.
    pub target: Target,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "HeaderChange::is_empty")]
    pub request_headers: HeaderChange,
    /// Headers of the response.
    #[serde(default, skip_serializing_if = "HeaderChange::is_empty")]
    pub response_headers: HeaderChange,
    /// It stands instead of the rule's, field by field.
    #[serde(default, skip_serializing_if = "Rewrite::is_empty")]
    pub rewrite: Rewrite,
    /// Beside the rule's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
}

impl Backend {
    /// One that changes nothing.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            request_headers: HeaderChange::default(),
            response_headers: HeaderChange::default(),
            rewrite: Rewrite::default(),
            mirrors: Vec::new(),
        }
    }
}

/// What a request asks for is another thing at the backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rewrite {
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathChange>,
}

impl Rewrite {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && self.path.is_none()
    }
}

/// A path becomes another one; the query stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PathChange {
    /// All of it.
    Whole(Arc<str>),
    /// The segments of the prefix that matched (Gateway API's `ReplacePrefixMatch`).
    Segments {
        /// What matched.
        prefix: Arc<str>,
        /// What stands there instead.
        by: Arc<str>,
    },
    /// The text of the prefix that matched (Istio's `rewrite.uri` with a prefix).
    Text {
        /// What matched; its case does not count if the match did not count it.
        prefix: Arc<str>,
        /// What stands there instead.
        by: Arc<str>,
    },
    /// What matches (Istio's `uriRegexRewrite`).
    Pattern {
        /// What is looked for, anywhere in the path.
        find: Search,
        /// What stands there instead, with `\1` for what the first group found.
        by: Arc<str>,
    },
}

/// A copy goes elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    /// Of so many requests.
    pub share: Share,
    /// To there.
    pub target: Target,
}

/// It is told to ask elsewhere. What is not said stays as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Arc<str>>,
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// The port.
    #[serde(default)]
    pub port: RedirectPort,
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathChange>,
}

/// The port that a redirect names. It is not written where the scheme says it already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RedirectPort {
    /// This one.
    Number(u16),
    /// The one that the scheme has by itself.
    OfScheme,
    /// The one that the client names beside the host, if it names one.
    #[default]
    OfRequest,
    /// The one that the connection went to (Istio's `FROM_REQUEST_PORT`).
    OfConnection,
    /// That of the listener that took the request (Gateway API, `HTTPRequestRedirectFilter.port`), which is the one that the
    /// connection went to. Where a gateway in front has ended the client's TLS it is that one's: the one that the client names.
    OfListener,
}

/// It is answered here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Respond {
    /// The status.
    pub status: u16,
    /// The body.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub body: Vec<u8>,
}

/// Who may ask from another origin (Fetch Standard, "CORS protocol").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// Origins that may.
    pub origins: Vec<TextMatch>,
    /// Methods that they may use; `*` for all.
    pub methods: Vec<Arc<str>>,
    /// Headers that they may send; `*` for all.
    pub headers: Vec<Arc<str>>,
    /// Headers of the response that they may see; `*` for all.
    pub exposed: Vec<Arc<str>>,
    /// How long a browser may remember it.
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// Whether cookies and the like may come along.
    #[serde(default)]
    pub credentials: bool,
    /// Whether a preflight of an origin that may not goes on to the backend.
    #[serde(default)]
    pub forward_unmatched: bool,
}

/// Who has been at a backend comes back to it (Gateway API's `sessionPersistence`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    /// What tells who it is.
    pub carrier: SessionCarrier,
    /// The session ends so long after it began.
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub absolute: Option<Duration>,
    /// The session ends after this without a request.
    #[serde(default, with = "crate::wire::millis::optional", skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
}

/// What tells whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SessionCarrier {
    /// A cookie.
    Cookie {
        /// Its name.
        name: Arc<str>,
        /// Paths that the client sends it back to (RFC 6265 §5.1.4).
        path: Arc<str>,
        /// Whether the browser keeps it beyond its own session.
        permanent: bool,
    },
    /// A header of the response, which the client sends back.
    Header(Name),
}
