//! What is traced.

use super::{ProviderRef, WorkloadMode};
use crate::check::{Check, Findings, one_of};
use crate::istio::percent::{NO_PERCENT, is_percent};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is traced. What is not written is as a wider Telemetry says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tracing {
    /// On which side.
    #[serde(rename = "match")]
    pub selector: Option<TracingSelector>,
    /// Where spans are sent; one at most.
    #[serde(default)]
    pub providers: Vec<ProviderRef>,
    /// How many of a hundred requests that nobody has decided about.
    pub random_sampling_percentage: Option<f64>,
    /// Whether no spans are sent.
    pub disable_span_reporting: Option<bool>,
    /// Whether headers of traces are not handed on.
    pub disable_context_propagation: Option<bool>,
    /// Tags of spans besides the usual ones.
    #[serde(default)]
    pub custom_tags: BTreeMap<String, CustomTag>,
    /// Whether spans have the tags that Istio adds; yes if nobody says.
    pub enable_istio_tags: Option<bool>,
}

/// On which side of traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TracingSelector {
    /// The side.
    #[serde(default)]
    pub mode: WorkloadMode,
}

/// The value of a tag. Exactly one of these is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CustomTagFields", into = "CustomTagFields")]
pub enum CustomTag {
    /// Always the same.
    Literal(TagText),
    /// A variable of the proxy's environment.
    Environment(TagSource),
    /// A header of the request.
    Header(TagSource),
    /// A text with the variables of access logs.
    Formatter(TagText),
}

/// A text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagText {
    /// The text.
    pub value: String,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TagSource {
    /// The name of the variable or header.
    pub name: String,
    /// The value if it is not there; no tag if there is none.
    pub default_value: Option<String>,
}

/// As it is written.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CustomTagFields {
    literal: Option<TagText>,
    environment: Option<TagSource>,
    header: Option<TagSource>,
    formatter: Option<TagText>,
}

impl TryFrom<CustomTagFields> for CustomTag {
    type Error = String;

    fn try_from(fields: CustomTagFields) -> Result<Self, String> {
        let CustomTagFields { literal, environment, header, formatter } = fields;
        let set = [
            ("literal", literal.is_some()),
            ("environment", environment.is_some()),
            ("header", header.is_some()),
            ("formatter", formatter.is_some()),
        ];
        one_of(&set).exactly()?;
        let text = literal.map(Self::Literal).or(formatter.map(Self::Formatter));
        let tag = text.or(environment.map(Self::Environment)).or(header.map(Self::Header));
        tag.ok_or_else(|| "is empty".to_owned())
    }
}

impl From<CustomTag> for CustomTagFields {
    fn from(tag: CustomTag) -> Self {
        match tag {
            CustomTag::Literal(text) => Self { literal: Some(text), ..Self::default() },
            CustomTag::Environment(source) => Self { environment: Some(source), ..Self::default() },
            CustomTag::Header(source) => Self { header: Some(source), ..Self::default() },
            CustomTag::Formatter(text) => Self { formatter: Some(text), ..Self::default() },
        }
    }
}

impl Check for Tracing {
    fn check(&self, found: &mut Findings) {
        found.count("providers", &self.providers, 0..=1);
        found.field("providers", &self.providers[..]);
        let percent = self.random_sampling_percentage.is_none_or(is_percent);
        found.require("randomSamplingPercentage", percent, NO_PERCENT);
        found.at("customTags", |found| {
            for (name, tag) in &self.custom_tags {
                if name.is_empty() {
                    found.refuse("has a tag without a name");
                }
                found.field(name, tag);
            }
        });
    }
}

impl Check for CustomTag {
    fn check(&self, found: &mut Findings) {
        let (key, name) = match self {
            Self::Environment(source) => ("environment", &source.name),
            Self::Header(source) => ("header", &source.name),
            Self::Literal(_) | Self::Formatter(_) => return,
        };
        found.at(key, |found| found.require("name", !name.is_empty(), "is empty"));
    }
}
