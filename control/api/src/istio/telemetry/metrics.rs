//! What is counted.

use super::{ProviderRef, WorkloadMode};
use crate::check::{Check, Findings, one_of};
use crate::duration::IstioDuration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is counted, and told to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metrics {
    /// Who is told; the mesh's default if it is empty.
    #[serde(default)]
    pub providers: Vec<ProviderRef>,
    /// Changes of single metrics, one after the other.
    #[serde(default)]
    pub overrides: Vec<MetricsOverrides>,
    /// How often streams are counted before they end; every five seconds if there is none.
    pub reporting_interval: Option<IstioDuration>,
}

/// A change of metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricsOverrides {
    /// Which ones; all, on both sides, if there is none.
    #[serde(rename = "match")]
    pub selector: Option<MetricSelector>,
    /// Whether they are not counted; as a wider Telemetry says if there is none.
    pub disabled: Option<bool>,
    /// Changes of tags, by their names.
    #[serde(default)]
    pub tag_overrides: BTreeMap<String, TagOverride>,
}

/// Some metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MetricSelectorFields", into = "MetricSelectorFields")]
pub struct MetricSelector {
    /// Which ones; all if there is none.
    pub metric: Option<Metric>,
    /// On which side.
    pub mode: WorkloadMode,
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// One of the mesh's, or all of them.
    Standard(IstioMetric),
    /// One of somebody else's, by its name.
    Custom(String),
}

/// The metrics of a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the variants are the metrics' own names")]
pub enum IstioMetric {
    AllMetrics,
    RequestCount,
    RequestDuration,
    RequestSize,
    ResponseSize,
    TcpOpenedConnections,
    TcpClosedConnections,
    TcpSentBytes,
    TcpReceivedBytes,
    GrpcRequestMessages,
    GrpcResponseMessages,
}

/// A change of a tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagOverride {
    /// What becomes of it; it is set if it was not written.
    #[serde(default)]
    pub operation: TagOperation,
    /// Its value, an expression; only if it is set.
    pub value: Option<String>,
}

/// What becomes of a tag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TagOperation {
    /// It is set.
    #[default]
    Upsert,
    /// It is taken away.
    Remove,
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetricSelectorFields {
    metric: Option<IstioMetric>,
    custom_metric: Option<String>,
    #[serde(default)]
    mode: WorkloadMode,
}

impl TryFrom<MetricSelectorFields> for MetricSelector {
    type Error = String;

    fn try_from(fields: MetricSelectorFields) -> Result<Self, String> {
        let MetricSelectorFields { metric, custom_metric, mode } = fields;
        one_of(&[("metric", metric.is_some()), ("customMetric", custom_metric.is_some())]).at_most()?;
        let metric = metric.map(Metric::Standard).or(custom_metric.map(Metric::Custom));
        Ok(Self { metric, mode })
    }
}

impl From<MetricSelector> for MetricSelectorFields {
    fn from(MetricSelector { metric, mode }: MetricSelector) -> Self {
        let (metric, custom_metric) = match metric {
            None => (None, None),
            Some(Metric::Standard(metric)) => (Some(metric), None),
            Some(Metric::Custom(name)) => (None, Some(name)),
        };
        Self { metric, custom_metric, mode }
    }
}

impl Check for Metrics {
    fn check(&self, found: &mut Findings) {
        found.field("providers", &self.providers[..]);
        found.field("overrides", &self.overrides[..]);
        let interval =
            self.reporting_interval.is_none_or(|interval| interval.get() >= Duration::from_millis(1));
        found.require("reportingInterval", interval, "is shorter than a millisecond");
    }
}

impl Check for MetricsOverrides {
    fn check(&self, found: &mut Findings) {
        if let Some(MetricSelector { metric: Some(Metric::Custom(name)), .. }) = &self.selector {
            found.at("match", |found| found.require("customMetric", !name.is_empty(), "is empty"));
        }
        found.at("tagOverrides", |found| {
            for (name, tag) in &self.tag_overrides {
                if name.is_empty() {
                    found.refuse("has a tag without a name");
                }
                found.field(name, tag);
            }
        });
    }
}

impl Check for TagOverride {
    fn check(&self, found: &mut Findings) {
        let value = self.value.as_deref().is_some_and(|value| !value.is_empty());
        match self.operation {
            TagOperation::Upsert => found.require("value", value, "is missing, and UPSERT needs it"),
            TagOperation::Remove => found.require("value", !value, "is there, and REMOVE takes the tag away"),
        }
    }
}
