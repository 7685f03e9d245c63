//! What is logged.

use super::{ProviderRef, WorkloadMode};
use crate::check::{Check, Findings};
use serde::{Deserialize, Serialize};

/// What is logged. What is not written is as a wider Telemetry says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessLogging {
    /// On which side.
    #[serde(rename = "match")]
    pub selector: Option<LogSelector>,
    /// Where lines are sent; the mesh's default if it is empty.
    #[serde(default)]
    pub providers: Vec<ProviderRef>,
    /// Whether nothing is logged.
    pub disabled: Option<bool>,
    /// Which requests are logged; all if there is none.
    pub filter: Option<LogFilter>,
}

/// On which side of traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogSelector {
    /// The side.
    #[serde(default)]
    pub mode: WorkloadMode,
}

/// Which requests are logged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogFilter {
    /// Those for which this expression (CEL) is true; all if it is empty.
    #[serde(default)]
    pub expression: String,
}

impl Check for AccessLogging {
    fn check(&self, found: &mut Findings) {
        found.field("providers", &self.providers[..]);
    }
}
