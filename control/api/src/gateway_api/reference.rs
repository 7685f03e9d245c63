//! How a resource names another one.

use crate::check::{Check, Findings};
use crate::kind::GATEWAY_GROUP;
use crate::port::Port;
use crate::text::is_name;
use serde::{Deserialize, Serialize};

/// What a route is attached to: a Gateway, or in a mesh a Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParentReference {
    /// The API group; empty for the core group, Gateway API's own if it was not written.
    #[serde(default = "gateway_group")]
    pub group: String,
    /// The kind; `Gateway` if it was not written.
    #[serde(default = "gateway_kind")]
    pub kind: String,
    /// The namespace; the route's own if there is none.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The listener of a Gateway, or the port of a Service by its name; the whole if there is none.
    pub section_name: Option<String>,
    /// The port of it; all if there is none.
    pub port: Option<Port>,
}

/// Something that takes traffic, most often a Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendObjectReference {
    /// The API group; empty for the core group, also if it was not written.
    #[serde(default)]
    pub group: String,
    /// The kind; `Service` if it was not written.
    #[serde(default = "service_kind")]
    pub kind: String,
    /// The name.
    pub name: String,
    /// The namespace; the route's own if there is none. Another one has to allow it by a ReferenceGrant.
    pub namespace: Option<String>,
    /// The port; a Service needs one.
    pub port: Option<Port>,
}

/// Something that takes a share of traffic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendRef {
    /// The API group; empty for the core group, also if it was not written.
    #[serde(default)]
    pub group: String,
    /// The kind; `Service` if it was not written.
    #[serde(default = "service_kind")]
    pub kind: String,
    /// The name.
    pub name: String,
    /// The namespace; the route's own if there is none. Another one has to allow it by a ReferenceGrant.
    pub namespace: Option<String>,
    /// The port; a Service needs one.
    pub port: Option<Port>,
    /// Its share, in proportion to the sum of all; one if it was not written, and nothing if zero.
    #[serde(default = "one")]
    pub weight: u32,
}

/// Something that takes a share of requests, which these filters change on their way to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilteredBackendRef<F> {
    /// The API group; empty for the core group, also if it was not written.
    #[serde(default)]
    pub group: String,
    /// The kind; `Service` if it was not written.
    #[serde(default = "service_kind")]
    pub kind: String,
    /// The name.
    pub name: String,
    /// The namespace; the route's own if there is none. Another one has to allow it by a ReferenceGrant.
    pub namespace: Option<String>,
    /// The port; a Service needs one.
    pub port: Option<Port>,
    /// Its share, in proportion to the sum of all; one if it was not written, and nothing if zero.
    #[serde(default = "one")]
    pub weight: u32,
    /// What is done to requests that go there, after the filters of the rule.
    #[serde(default = "Vec::new")]
    pub filters: Vec<F>,
}

/// An object of the same namespace, or of none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalObjectReference {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// An object that may be of another namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectReference {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The namespace; the resource's own, or none, if there is none.
    pub namespace: Option<String>,
}

/// A Secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretObjectReference {
    /// The API group; empty for the core group, also if it was not written.
    #[serde(default)]
    pub group: String,
    /// The kind; `Secret` if it was not written.
    #[serde(default = "secret_kind")]
    pub kind: String,
    /// The name.
    pub name: String,
    /// The namespace; the resource's own if there is none.
    pub namespace: Option<String>,
}

/// What a policy applies to: an object of its own namespace, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyTargetReference {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The port of a Service by its name, or the listener of a Gateway; the whole if there is none.
    pub section_name: Option<String>,
}

fn gateway_group() -> String {
    GATEWAY_GROUP.to_owned()
}

fn gateway_kind() -> String {
    "Gateway".to_owned()
}

fn service_kind() -> String {
    "Service".to_owned()
}

fn secret_kind() -> String {
    "Secret".to_owned()
}

const fn one() -> u32 {
    1
}

/// Largest weight of a backend (Gateway API, BackendRef).
pub const WEIGHT_MAX: u32 = 1_000_000;

impl<F> FilteredBackendRef<F> {
    /// What takes the traffic.
    pub fn target(&self) -> BackendObjectReference {
        BackendObjectReference {
            group: self.group.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
        }
    }
}

impl BackendRef {
    /// What takes the traffic.
    pub fn target(&self) -> BackendObjectReference {
        BackendObjectReference {
            group: self.group.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
        }
    }
}

impl BackendObjectReference {
    /// True for a Service of the core group.
    pub fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }
}

impl Check for ParentReference {
    fn check(&self, found: &mut Findings) {
        names(found, &self.kind, &self.name, self.namespace.as_deref());
        section_name(found, self.section_name.as_deref());
    }
}

impl Check for BackendObjectReference {
    fn check(&self, found: &mut Findings) {
        names(found, &self.kind, &self.name, self.namespace.as_deref());
        let port = !self.is_service() || self.port.is_some();
        found.require("port", port, "is missing, and a Service needs one");
    }
}

impl Check for BackendRef {
    fn check(&self, found: &mut Findings) {
        self.target().check(found);
        weight(found, self.weight);
    }
}

impl<F: Check> Check for FilteredBackendRef<F> {
    fn check(&self, found: &mut Findings) {
        self.target().check(found);
        weight(found, self.weight);
        found.field("filters", &self.filters[..]);
    }
}

impl Check for LocalObjectReference {
    fn check(&self, found: &mut Findings) {
        names(found, &self.kind, &self.name, None);
    }
}

impl Check for ObjectReference {
    fn check(&self, found: &mut Findings) {
        names(found, &self.kind, &self.name, self.namespace.as_deref());
    }
}

impl Check for SecretObjectReference {
    fn check(&self, found: &mut Findings) {
        names(found, &self.kind, &self.name, self.namespace.as_deref());
    }
}

impl Check for PolicyTargetReference {
    fn check(&self, found: &mut Findings) {
        names(found, &self.kind, &self.name, None);
        section_name(found, self.section_name.as_deref());
    }
}

fn names(found: &mut Findings, kind: &str, name: &str, namespace: Option<&str>) {
    found.require("kind", !kind.is_empty(), "is empty");
    found.require("name", is_name(name), "is no name: a-z, 0-9, - and . are");
    let namespace = namespace.is_none_or(is_name);
    found.require("namespace", namespace, "is no name: a-z, 0-9, - and . are");
}

/// The name of a part: a listener, a port, a rule.
pub(crate) fn section_name(found: &mut Findings, name: Option<&str>) {
    found.require("sectionName", name.is_none_or(is_name), "is no name: a-z, 0-9, - and . are");
}

fn weight(found: &mut Findings, weight: u32) {
    found.require("weight", weight <= WEIGHT_MAX, "is larger than 1000000, the largest weight");
}
