//! `TCPRoute` and `TLSRoute`: which connections go where, their bytes not looked at.

use crate::check::{Check, Findings};
use crate::gateway_api::reference::{BackendRef, ParentReference};
use crate::gateway_api::route::{DefaultScope, hostnames, parents, rule_name};
use crate::resource::Resource;
use serde::{Deserialize, Serialize};

/// One TCPRoute.
pub type TcpRoute = Resource<TcpRouteSpec>;

/// One TLSRoute.
pub type TlsRoute = Resource<TlsRouteSpec>;

/// What it is attached to, and where its connections go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpRouteSpec {
    /// What it is attached to: Gateways, or Services.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// Whether it is attached to default Gateways too; no if there is none.
    pub use_default_gateways: Option<DefaultScope>,
    /// The rule: there is one, as nothing would tell two apart.
    pub rules: Vec<StreamRule>,
}

/// What it is attached to, and where its connections go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsRouteSpec {
    /// What it is attached to: Gateways, or Services.
    #[serde(default)]
    pub parent_refs: Vec<ParentReference>,
    /// Whether it is attached to default Gateways too; no if there is none.
    pub use_default_gateways: Option<DefaultScope>,
    /// Names that the client says (SNI); all if it is empty, which only the alpha versions allow.
    #[serde(default)]
    pub hostnames: Vec<String>,
    /// The rule: there is one, as nothing would tell two apart.
    pub rules: Vec<StreamRule>,
}

/// Where connections go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamRule {
    /// Its name.
    pub name: Option<String>,
    /// The backends, each taking its share of connections.
    pub backend_refs: Vec<BackendRef>,
}

/// Most backends of a rule.
const BACKENDS_MAX: usize = 16;

impl Check for TcpRouteSpec {
    fn check(&self, found: &mut Findings) {
        parents(found, &self.parent_refs);
        rules(found, &self.rules);
    }
}

impl Check for TlsRouteSpec {
    fn check(&self, found: &mut Findings) {
        parents(found, &self.parent_refs);
        hostnames(found, &self.hostnames);
        rules(found, &self.rules);
    }
}

fn rules(found: &mut Findings, rules: &[StreamRule]) {
    found.count("rules", rules, 1..=1);
    found.field("rules", rules);
}

impl Check for StreamRule {
    fn check(&self, found: &mut Findings) {
        rule_name(found, self.name.as_deref());
        found.count("backendRefs", &self.backend_refs, 1..=BACKENDS_MAX);
        found.field("backendRefs", &self.backend_refs[..]);
    }
}
