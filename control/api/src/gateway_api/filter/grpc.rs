//! The filters of a GRPCRoute.

use crate::check::{Check, Findings, union};
use crate::gateway_api::filter::headers::HeaderModifier;
use crate::gateway_api::filter::mirror::RequestMirror;
use crate::gateway_api::reference::LocalObjectReference;
use serde::{Deserialize, Serialize};

/// What is done to calls of a rule, or to those that go to one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "GrpcFilterFields", into = "GrpcFilterFields")]
pub enum GrpcFilter {
    /// Changes headers of the call.
    RequestHeaderModifier(HeaderModifier),
    /// Changes headers of the answer.
    ResponseHeaderModifier(HeaderModifier),
    /// Sends the call elsewhere as well.
    RequestMirror(RequestMirror),
    /// Something that another resource describes.
    ExtensionRef(LocalObjectReference),
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrpcFilterFields {
    #[serde(rename = "type")]
    kind: GrpcFilterType,
    request_header_modifier: Option<HeaderModifier>,
    response_header_modifier: Option<HeaderModifier>,
    request_mirror: Option<RequestMirror>,
    extension_ref: Option<LocalObjectReference>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum GrpcFilterType {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestMirror,
    ExtensionRef,
}

impl GrpcFilterType {
    const fn field(self) -> &'static str {
        match self {
            Self::RequestHeaderModifier => "requestHeaderModifier",
            Self::ResponseHeaderModifier => "responseHeaderModifier",
            Self::RequestMirror => "requestMirror",
            Self::ExtensionRef => "extensionRef",
        }
    }
}

impl TryFrom<GrpcFilterFields> for GrpcFilter {
    type Error = String;

    fn try_from(fields: GrpcFilterFields) -> Result<Self, String> {
        let set = [
            ("requestHeaderModifier", fields.request_header_modifier.is_some()),
            ("responseHeaderModifier", fields.response_header_modifier.is_some()),
            ("requestMirror", fields.request_mirror.is_some()),
            ("extensionRef", fields.extension_ref.is_some()),
        ];
        union(&format!("{:?}", fields.kind), fields.kind.field(), &set)?;
        let filter = match fields.kind {
            GrpcFilterType::RequestHeaderModifier => {
                fields.request_header_modifier.map(Self::RequestHeaderModifier)
            }
            GrpcFilterType::ResponseHeaderModifier => {
                fields.response_header_modifier.map(Self::ResponseHeaderModifier)
            }
            GrpcFilterType::RequestMirror => fields.request_mirror.map(Self::RequestMirror),
            GrpcFilterType::ExtensionRef => fields.extension_ref.map(Self::ExtensionRef),
        };
        filter.ok_or_else(|| format!("lacks {}", fields.kind.field()))
    }
}

impl From<GrpcFilter> for GrpcFilterFields {
    fn from(filter: GrpcFilter) -> Self {
        let fields = Self {
            kind: filter.filter_type(),
            request_header_modifier: None,
            response_header_modifier: None,
            request_mirror: None,
            extension_ref: None,
        };
        match filter {
            GrpcFilter::RequestHeaderModifier(one) => Self { request_header_modifier: Some(one), ..fields },
            GrpcFilter::ResponseHeaderModifier(one) => Self { response_header_modifier: Some(one), ..fields },
            GrpcFilter::RequestMirror(one) => Self { request_mirror: Some(one), ..fields },
            GrpcFilter::ExtensionRef(one) => Self { extension_ref: Some(one), ..fields },
        }
    }
}

impl GrpcFilter {
    const fn filter_type(&self) -> GrpcFilterType {
        match self {
            Self::RequestHeaderModifier(_) => GrpcFilterType::RequestHeaderModifier,
            Self::ResponseHeaderModifier(_) => GrpcFilterType::ResponseHeaderModifier,
            Self::RequestMirror(_) => GrpcFilterType::RequestMirror,
            Self::ExtensionRef(_) => GrpcFilterType::ExtensionRef,
        }
    }
}

impl Check for GrpcFilter {
    fn check(&self, found: &mut Findings) {
        let key = self.filter_type().field();
        match self {
            Self::RequestHeaderModifier(one) | Self::ResponseHeaderModifier(one) => found.field(key, one),
            Self::RequestMirror(one) => found.field(key, one),
            Self::ExtensionRef(one) => found.field(key, one),
        }
    }
}

/// Most filters of a rule or a backend.
const FILTERS_MAX: usize = 16;

/// Checks how filters of one list go together. Mirrors and extensions may be there several times.
pub(crate) fn together(found: &mut Findings, filters: &[GrpcFilter]) {
    found.count("filters", filters, 0..=FILTERS_MAX);
    found.unique("filters", filters, |filter| {
        let kind = filter.filter_type();
        (!matches!(kind, GrpcFilterType::RequestMirror | GrpcFilterType::ExtensionRef)).then_some(kind)
    });
}
