//! Istio's `PeerAuthentication` (`security.istio.io`), every field of it.

use crate::selector::WorkloadSelector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One PeerAuthentication.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerAuthentication {
    /// The group and version.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Name, namespace, age.
    pub metadata: ObjectMeta,
    /// What it asks for; nothing if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<PeerAuthenticationSpec>,
    /// Written by a control plane; of no interest here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
}

/// What it applies to and what it asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerAuthenticationSpec {
    /// The pods that it applies to; all of the namespace if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// For all ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<MutualTls>,
    /// For single ports of the pod; keys are numbers, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_level_mtls: Option<BTreeMap<String, MutualTls>>,
}

/// Wraps a mode.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MutualTls {
    /// The mode; inherited if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// Whether connections outside the mesh's tunnel are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// As the next wider policy says.
    Unset,
    /// For sidecars: no mutual TLS. In a sidecarless mesh the same as PERMISSIVE.
    Disable,
    /// They are.
    Permissive,
    /// They are not.
    Strict,
}
