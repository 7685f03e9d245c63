//! `Telemetry`: what is traced, counted and logged.

pub mod logging;
pub mod metrics;
pub mod tracing;

use crate::check::{Check, Findings, one_of};
use crate::resource::Resource;
use crate::selector::{PolicyTargetReference, WorkloadSelector};
use logging::AccessLogging;
use metrics::Metrics;
use serde::{Deserialize, Serialize};
use tracing::Tracing;

/// One Telemetry.
pub type Telemetry = Resource<TelemetrySpec>;

/// What it applies to, and what it asks for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TelemetrySpec {
    /// The pods that it applies to; all of the namespace if there is neither this nor a target.
    pub selector: Option<WorkloadSelector>,
    /// A Service or Gateway whose waypoint it applies to (older spelling).
    pub target_ref: Option<PolicyTargetReference>,
    /// Services or Gateways whose waypoint it applies to.
    #[serde(default)]
    pub target_refs: Vec<PolicyTargetReference>,
    /// What is traced.
    #[serde(default)]
    pub tracing: Vec<Tracing>,
    /// What is counted.
    #[serde(default)]
    pub metrics: Vec<Metrics>,
    /// What is logged.
    #[serde(default)]
    pub access_logging: Vec<AccessLogging>,
}

/// Where something is sent, by its name in the mesh configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderRef {
    /// The name.
    pub name: String,
}

/// On which side of traffic something holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkloadMode {
    /// On both.
    #[default]
    ClientAndServer,
    /// On that of the client.
    Client,
    /// On that of the server.
    Server,
}

impl Check for TelemetrySpec {
    fn check(&self, found: &mut Findings) {
        let set = [
            ("selector", self.selector.is_some()),
            ("targetRef", self.target_ref.is_some()),
            ("targetRefs", !self.target_refs.is_empty()),
        ];
        if let Err(reason) = one_of(&set).at_most() {
            found.refuse(reason);
        }
        found.field("tracing", &self.tracing[..]);
        found.field("metrics", &self.metrics[..]);
        found.field("accessLogging", &self.access_logging[..]);
    }
}

impl Check for ProviderRef {
    fn check(&self, found: &mut Findings) {
        found.require("name", !self.name.is_empty(), "is empty");
    }
}
