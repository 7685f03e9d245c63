//! What all resources of an extension of Kubernetes have in common: the envelope around what is their own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// One object whose `spec` is of this type.
///
/// Specs name an absent field `None` and an absent list an empty one; where a resource gives absence a meaning
/// (a weight of one, a group), the field holds that meaning instead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resource<S> {
    /// The group and version.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Name, namespace, labels, age.
    pub metadata: ObjectMeta,
    /// What is the kind's own.
    pub spec: S,
    /// Written by control planes; of no interest here.
    pub status: Option<serde_json::Value>,
}
