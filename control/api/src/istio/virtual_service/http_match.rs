//! Which requests a route is for.

use crate::check::{Check, Findings};
use crate::istio::names::{gateways, labels};
use crate::istio::string_match::{HeaderMatch, StringMatch};
use crate::port::Port;
use crate::text::{is_header_name, is_label};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All parts that are there have to match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpMatchRequest {
    /// Its name, for logs.
    pub name: Option<String>,
    /// The path, and the query if it is compared exactly.
    pub uri: Option<StringMatch>,
    /// The scheme.
    pub scheme: Option<StringMatch>,
    /// The method.
    pub method: Option<StringMatch>,
    /// The host with its port, as the request names it.
    pub authority: Option<StringMatch>,
    /// Headers, all of these.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderMatch>,
    /// Headers, none of these.
    #[serde(default)]
    pub without_headers: BTreeMap<String, HeaderMatch>,
    /// Query parameters, all of these.
    #[serde(default)]
    pub query_params: BTreeMap<String, HeaderMatch>,
    /// Whether letters of the path count in any case; no if there is none.
    pub ignore_uri_case: Option<bool>,
    /// The port that the request was sent to.
    pub port: Option<Port>,
    /// Labels of the client's pod.
    #[serde(default)]
    pub source_labels: BTreeMap<String, String>,
    /// The client's namespace.
    pub source_namespace: Option<String>,
    /// Gateways, in place of those of the VirtualService.
    #[serde(default)]
    pub gateways: Vec<String>,
    /// A prefix for statistics of the route.
    pub stat_prefix: Option<String>,
}

impl Check for HttpMatchRequest {
    fn check(&self, found: &mut Findings) {
        found.field("uri", &self.uri);
        found.field("scheme", &self.scheme);
        found.field("method", &self.method);
        found.field("authority", &self.authority);
        for (key, headers) in [("headers", &self.headers), ("withoutHeaders", &self.without_headers)] {
            values(found, key, headers, is_header);
        }
        values(found, "queryParams", &self.query_params, |name| !name.is_empty());
        labels(found, "sourceLabels", &self.source_labels);
        let namespace = self.source_namespace.as_deref().is_none_or(is_label);
        found.require("sourceNamespace", namespace, "is no namespace");
        gateways(found, &self.gateways);
    }
}

/// A header, or a claim of a token, which is written like one (`@request.auth.claims.sub`).
fn is_header(name: &str) -> bool {
    name.strip_prefix("@request.auth.claims").is_some_and(|claim| claim.len() > 1) || is_header_name(name)
}

fn values(
    found: &mut Findings,
    key: &str,
    values: &BTreeMap<String, HeaderMatch>,
    is_name: fn(&str) -> bool,
) {
    found.at(key, |found| {
        for (name, value) in values {
            if !is_name(name) {
                found.refuse(format!("{name:?} is no name of a header or query parameter"));
            }
            found.field(name, value);
        }
    });
}
