//! The filters of an HTTPRoute.

use crate::check::{Check, Findings, union};
use crate::gateway_api::filter::cors::Cors;
use crate::gateway_api::filter::external_auth::ExternalAuth;
use crate::gateway_api::filter::headers::HeaderModifier;
use crate::gateway_api::filter::mirror::RequestMirror;
use crate::gateway_api::filter::redirect::{RequestRedirect, UrlRewrite};
use crate::gateway_api::reference::LocalObjectReference;
use serde::{Deserialize, Serialize};

/// What is done to requests of a rule, or to those that go to one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HttpFilterFields", into = "HttpFilterFields")]
pub enum HttpFilter {
    /// Changes headers of the request.
    RequestHeaderModifier(HeaderModifier),
    /// Changes headers of the response.
    ResponseHeaderModifier(HeaderModifier),
    /// Sends the request elsewhere as well.
    RequestMirror(RequestMirror),
    /// Answers with a redirect.
    RequestRedirect(RequestRedirect),
    /// Changes host and path.
    UrlRewrite(UrlRewrite),
    /// Answers cross-origin requests.
    Cors(Cors),
    /// Asks somebody else.
    ExternalAuth(ExternalAuth),
    /// Something that another resource describes.
    ExtensionRef(LocalObjectReference),
}

/// As it is written.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpFilterFields {
    #[serde(rename = "type")]
    kind: HttpFilterType,
    request_header_modifier: Option<HeaderModifier>,
    response_header_modifier: Option<HeaderModifier>,
    request_mirror: Option<RequestMirror>,
    request_redirect: Option<RequestRedirect>,
    url_rewrite: Option<UrlRewrite>,
    cors: Option<Cors>,
    external_auth: Option<ExternalAuth>,
    extension_ref: Option<LocalObjectReference>,
}

/// The kind of a filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the variants are those of HttpFilter")]
pub enum HttpFilterType {
    #[default]
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestMirror,
    RequestRedirect,
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    #[serde(rename = "CORS")]
    Cors,
    ExternalAuth,
    ExtensionRef,
}

impl HttpFilterType {
    /// The name as manifests write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestHeaderModifier => "RequestHeaderModifier",
            Self::ResponseHeaderModifier => "ResponseHeaderModifier",
            Self::RequestMirror => "RequestMirror",
            Self::RequestRedirect => "RequestRedirect",
            Self::UrlRewrite => "URLRewrite",
            Self::Cors => "CORS",
            Self::ExternalAuth => "ExternalAuth",
            Self::ExtensionRef => "ExtensionRef",
        }
    }

    /// The field that holds it.
    pub const fn field(self) -> &'static str {
        match self {
            Self::RequestHeaderModifier => "requestHeaderModifier",
            Self::ResponseHeaderModifier => "responseHeaderModifier",
            Self::RequestMirror => "requestMirror",
            Self::RequestRedirect => "requestRedirect",
            Self::UrlRewrite => "urlRewrite",
            Self::Cors => "cors",
            Self::ExternalAuth => "externalAuth",
            Self::ExtensionRef => "extensionRef",
        }
    }
}

impl TryFrom<HttpFilterFields> for HttpFilter {
    type Error = String;

    fn try_from(fields: HttpFilterFields) -> Result<Self, String> {
        let set = [
            ("requestHeaderModifier", fields.request_header_modifier.is_some()),
            ("responseHeaderModifier", fields.response_header_modifier.is_some()),
            ("requestMirror", fields.request_mirror.is_some()),
            ("requestRedirect", fields.request_redirect.is_some()),
            ("urlRewrite", fields.url_rewrite.is_some()),
            ("cors", fields.cors.is_some()),
            ("externalAuth", fields.external_auth.is_some()),
            ("extensionRef", fields.extension_ref.is_some()),
        ];
        union(fields.kind.name(), fields.kind.field(), &set)?;
        let filter = match fields.kind {
            HttpFilterType::RequestHeaderModifier => {
                fields.request_header_modifier.map(Self::RequestHeaderModifier)
            }
            HttpFilterType::ResponseHeaderModifier => {
                fields.response_header_modifier.map(Self::ResponseHeaderModifier)
            }
            HttpFilterType::RequestMirror => fields.request_mirror.map(Self::RequestMirror),
            HttpFilterType::RequestRedirect => fields.request_redirect.map(Self::RequestRedirect),
            HttpFilterType::UrlRewrite => fields.url_rewrite.map(Self::UrlRewrite),
            HttpFilterType::Cors => fields.cors.map(Self::Cors),
            HttpFilterType::ExternalAuth => fields.external_auth.map(Self::ExternalAuth),
            HttpFilterType::ExtensionRef => fields.extension_ref.map(Self::ExtensionRef),
        };
        filter.ok_or_else(|| format!("lacks {}", fields.kind.field()))
    }
}

impl From<HttpFilter> for HttpFilterFields {
    fn from(filter: HttpFilter) -> Self {
        let fields = Self { kind: filter.filter_type(), ..Self::default() };
        match filter {
            HttpFilter::RequestHeaderModifier(one) => Self { request_header_modifier: Some(one), ..fields },
            HttpFilter::ResponseHeaderModifier(one) => Self { response_header_modifier: Some(one), ..fields },
            HttpFilter::RequestMirror(one) => Self { request_mirror: Some(one), ..fields },
            HttpFilter::RequestRedirect(one) => Self { request_redirect: Some(one), ..fields },
            HttpFilter::UrlRewrite(one) => Self { url_rewrite: Some(one), ..fields },
            HttpFilter::Cors(one) => Self { cors: Some(one), ..fields },
            HttpFilter::ExternalAuth(one) => Self { external_auth: Some(one), ..fields },
            HttpFilter::ExtensionRef(one) => Self { extension_ref: Some(one), ..fields },
        }
    }
}

impl HttpFilter {
    /// Its kind.
    pub const fn filter_type(&self) -> HttpFilterType {
        match self {
            Self::RequestHeaderModifier(_) => HttpFilterType::RequestHeaderModifier,
            Self::ResponseHeaderModifier(_) => HttpFilterType::ResponseHeaderModifier,
            Self::RequestMirror(_) => HttpFilterType::RequestMirror,
            Self::RequestRedirect(_) => HttpFilterType::RequestRedirect,
            Self::UrlRewrite(_) => HttpFilterType::UrlRewrite,
            Self::Cors(_) => HttpFilterType::Cors,
            Self::ExternalAuth(_) => HttpFilterType::ExternalAuth,
            Self::ExtensionRef(_) => HttpFilterType::ExtensionRef,
        }
    }

    /// True if it replaces the prefix that a rule matched.
    pub(crate) fn needs_prefix(&self) -> bool {
        let path = match self {
            Self::RequestRedirect(redirect) => redirect.path.as_ref(),
            Self::UrlRewrite(rewrite) => rewrite.path.as_ref(),
            _ => None,
        };
        path.is_some_and(super::redirect::PathModifier::needs_prefix)
    }
}

impl Check for HttpFilter {
    fn check(&self, found: &mut Findings) {
        let key = self.filter_type().field();
        match self {
            Self::RequestHeaderModifier(one) | Self::ResponseHeaderModifier(one) => found.field(key, one),
            Self::RequestMirror(one) => found.field(key, one),
            Self::RequestRedirect(one) => found.field(key, one),
            Self::UrlRewrite(one) => found.field(key, one),
            Self::Cors(one) => found.field(key, one),
            Self::ExternalAuth(one) => found.field(key, one),
            Self::ExtensionRef(one) => found.field(key, one),
        }
    }
}

/// Most filters of a rule or a backend.
const FILTERS_MAX: usize = 16;

/// Checks how filters of one list go together. Mirrors and extensions may be there several times.
pub(crate) fn together(found: &mut Findings, filters: &[HttpFilter]) {
    found.count("filters", filters, 0..=FILTERS_MAX);
    found.unique("filters", filters, |filter| {
        let kind = filter.filter_type();
        (!matches!(kind, HttpFilterType::RequestMirror | HttpFilterType::ExtensionRef)).then_some(kind)
    });
    let has = |kind| filters.iter().any(|filter| filter.filter_type() == kind);
    let both = has(HttpFilterType::RequestRedirect) && has(HttpFilterType::UrlRewrite);
    found.require("filters", !both, "has RequestRedirect and URLRewrite, which exclude each other");
}
