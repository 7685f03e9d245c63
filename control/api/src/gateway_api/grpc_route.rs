//! `GRPCRoute`: which gRPC calls go where, and what is done to them.

use crate::check::{Check, Findings};
use crate::gateway_api::filter::grpc::{GrpcFilter, together};
use crate::gateway_api::matching::{MatchType, ValueMatch, headers, pattern};
use crate::gateway_api::reference::{FilteredBackendRef, ParentReference};
use crate::gateway_api::route::{DefaultScope, hostnames, parents, rule_name};
use crate::gateway_api::session::SessionPersistence;
use crate::resource::Resource;
use serde::{Deserialize, Serialize};

/// One GRPCRoute.
pub type GrpcRoute = Resource<GrpcRouteSpec>;

/// What it is attached to, and its rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcRouteSpec {
    /// What it is attached to: Gateways, or Services.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// Whether it is attached to default Gateways too; no if there is none.
    pub use_default_gateways: Option<DefaultScope>,
    /// Hosts that calls name; all if it is empty. A Service as parent does not look at them.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<GrpcRouteRule>,
}

/// Which calls, and what becomes of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcRouteRule {
    /// Its name, which no other rule of the route has.
    pub name: Option<String>,
    /// Any of these has to match; if it is empty, every call does.
    #[serde(default)]
    pub matches: Vec<GrpcRouteMatch>,
    /// What is done to the calls.
    #[serde(default)]
    pub filters: Vec<GrpcFilter>,
    /// Where they go, each backend taking its share; nowhere if it is empty.
    #[serde(default)]
    pub backend_refs: Vec<GrpcBackendRef>,
    /// How calls of one session are kept together; they are not if there is none.
    pub session_persistence: Option<SessionPersistence>,
}

/// A backend of a GRPCRoute.
pub type GrpcBackendRef = FilteredBackendRef<GrpcFilter>;

/// All parts that are there have to match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcRouteMatch {
    /// The method; any if there is none.
    pub method: Option<GrpcMethodMatch>,
    /// Headers, all of these.
    #[serde(default)]
    pub headers: Vec<ValueMatch>,
}

/// A service, a method, or both.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcMethodMatch {
    /// How they are compared; exactly if it was not written.
    #[serde(rename = "type", default)]
    pub match_type: MatchType,
    /// The service with its package; any if there is none.
    pub service: Option<String>,
    /// The method; any if there is none.
    pub method: Option<String>,
}

/// Most rules of a route, and backends of a rule.
const ITEMS_MAX: usize = 16;
/// Most matches of a rule.
const RULE_MATCHES_MAX: usize = 64;
/// Most matches of all rules together.
const ROUTE_MATCHES_MAX: usize = 128;

impl Check for GrpcRouteSpec {
    fn check(&self, found: &mut Findings) {
        parents(found, &self.parent_refs);
        hostnames(found, &self.hostnames);
        found.count("rules", &self.rules, 0..=ITEMS_MAX);
        found.field("rules", &self.rules[..]);
        found.unique("rules", &self.rules, |rule| rule.name.clone());
        let matches: usize = self.rules.iter().map(|rule| rule.matches.len()).sum();
        found.require("rules", matches <= ROUTE_MATCHES_MAX, "have more than 128 matches together");
    }
}

impl Check for GrpcRouteRule {
    fn check(&self, found: &mut Findings) {
        rule_name(found, self.name.as_deref());
        found.count("matches", &self.matches, 0..=RULE_MATCHES_MAX);
        found.field("matches", &self.matches[..]);
        found.field("filters", &self.filters[..]);
        together(found, &self.filters);
        found.count("backendRefs", &self.backend_refs, 0..=ITEMS_MAX);
        found.field("backendRefs", &self.backend_refs[..]);
        found.each("backendRefs", &self.backend_refs, |found, backend| together(found, &backend.filters));
        found.field("sessionPersistence", &self.session_persistence);
    }
}

impl Check for GrpcRouteMatch {
    fn check(&self, found: &mut Findings) {
        found.field("method", &self.method);
        headers(found, &self.headers);
    }
}

/// Longest name of a service or method.
const NAME_BYTES_MAX: usize = 1024;

impl Check for GrpcMethodMatch {
    fn check(&self, found: &mut Findings) {
        if self.service.is_none() && self.method.is_none() {
            found.refuse("has neither service nor method");
        }
        let service = |text: &str| text.strip_prefix('.').unwrap_or(text).split('.').all(is_identifier);
        for (key, text, form) in
            [("service", &self.service, service as fn(&str) -> bool), ("method", &self.method, is_identifier)]
        {
            let Some(text) = text else { continue };
            found.require(key, text.len() <= NAME_BYTES_MAX, "is longer than 1024 bytes");
            match self.match_type {
                MatchType::Exact => found.require(key, form(text), "is no name of Protobuf"),
                MatchType::RegularExpression => found.at(key, |found| pattern(found, text)),
            }
        }
    }
}

/// A name of Protobuf: letters, digits and underscores, of which the first is no digit.
fn is_identifier(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(word) && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}
