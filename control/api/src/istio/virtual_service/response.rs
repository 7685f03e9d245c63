//! Answers that need no backend: redirects, responses, cross-origin preflights.

use crate::check::{Check, Findings, one_of};
use crate::duration::IstioDuration;
use crate::istio::string_match::StringMatch;
use crate::port::Port;
use crate::text::{is_header_name, is_token, said};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

/// Answers with a redirect. What is not written stays as the request has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HttpRedirectFields", into = "HttpRedirectFields")]
pub struct HttpRedirect {
    /// The path, in place of the whole one, however it was matched.
    pub uri: Option<String>,
    /// What stands in place of the prefix that matched.
    pub prefix_rewrite: Option<String>,
    /// The host.
    pub authority: Option<String>,
    /// The scheme.
    pub scheme: Option<String>,
    /// The port; if there is none, none is added.
    pub port: Option<RedirectPort>,
    /// The status; 301 if there is none.
    pub redirect_code: Option<u16>,
}

/// The port of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectPort {
    /// This one.
    Number(Port),
    /// One that depends.
    Derived(DerivePort),
}

/// What the port of a redirect depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DerivePort {
    /// The scheme: 80 or 443.
    FromProtocolDefault,
    /// The connection that the request came by.
    FromRequestPort,
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpRedirectFields {
    uri: Option<String>,
    prefix_rewrite: Option<String>,
    authority: Option<String>,
    scheme: Option<String>,
    port: Option<Port>,
    derive_port: Option<DerivePort>,
    redirect_code: Option<u16>,
}

impl TryFrom<HttpRedirectFields> for HttpRedirect {
    type Error = String;

    fn try_from(fields: HttpRedirectFields) -> Result<Self, String> {
        let HttpRedirectFields { uri, prefix_rewrite, authority, scheme, port, derive_port, redirect_code } =
            fields;
        let paths = [("uri", &uri), ("prefixRewrite", &prefix_rewrite)];
        one_of(&paths.map(|(key, path)| (key, said(path.as_ref()).is_some()))).at_most()?;
        one_of(&[("port", port.is_some()), ("derivePort", derive_port.is_some())]).at_most()?;
        let port = port.map(RedirectPort::Number).or(derive_port.map(RedirectPort::Derived));
        Ok(Self { uri, prefix_rewrite, authority, scheme, port, redirect_code })
    }
}

impl From<HttpRedirect> for HttpRedirectFields {
    fn from(redirect: HttpRedirect) -> Self {
        let HttpRedirect { uri, prefix_rewrite, authority, scheme, port, redirect_code } = redirect;
        let (port, derive_port) = match port {
            None => (None, None),
            Some(RedirectPort::Number(port)) => (Some(port), None),
            Some(RedirectPort::Derived(port)) => (None, Some(port)),
        };
        Self { uri, prefix_rewrite, authority, scheme, port, derive_port, redirect_code }
    }
}

/// Answers with a response of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpDirectResponse {
    /// The status.
    pub status: u16,
    /// The body; empty if there is none.
    pub body: Option<HttpBody>,
}

/// The body of a response. One of the two is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HttpBodyFields", into = "HttpBodyFields")]
pub enum HttpBody {
    /// A text.
    Text(String),
    /// Bytes, which are written in base64.
    Bytes(Vec<u8>),
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpBodyFields {
    string: Option<String>,
    bytes: Option<String>,
}

impl TryFrom<HttpBodyFields> for HttpBody {
    type Error = String;

    fn try_from(HttpBodyFields { string, bytes }: HttpBodyFields) -> Result<Self, String> {
        one_of(&[("string", string.is_some()), ("bytes", bytes.is_some())]).exactly()?;
        match (string, bytes) {
            (Some(text), _) => Ok(Self::Text(text)),
            (None, Some(text)) => {
                decode(&text).map(Self::Bytes).ok_or_else(|| "bytes is no base64".to_owned())
            }
            (None, None) => Err("is empty".to_owned()),
        }
    }
}

impl From<HttpBody> for HttpBodyFields {
    fn from(body: HttpBody) -> Self {
        match body {
            HttpBody::Text(text) => Self { string: Some(text), bytes: None },
            HttpBody::Bytes(bytes) => Self { string: None, bytes: Some(BASE64.encode(bytes)) },
        }
    }
}

/// With padding or without it, as JSON of protocol buffers may have it (<https://protobuf.dev/programming-guides/json>).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// In either alphabet, as there.
fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.replace('-', "+").replace('_', "/")).ok()
}

/// Which requests of pages of other origins are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CorsPolicy {
    /// Origins, exactly or `*` (deprecated).
    #[serde(default)]
    pub allow_origin: Vec<String>,
    /// Origins; one of these has to match.
    #[serde(default)]
    pub allow_origins: Vec<StringMatch>,
    /// Methods.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Headers of requests.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Headers of responses that the page may see.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// How long the answer to a preflight holds; as long as the page's browser likes if there is none.
    pub max_age: Option<IstioDuration>,
    /// Whether credentials may be sent along; no if there is none.
    pub allow_credentials: Option<bool>,
    /// What becomes of preflights of other origins; they are forwarded if there is none.
    pub unmatched_preflights: Option<UnmatchedPreflights>,
}

/// What becomes of preflights of origins that do not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum UnmatchedPreflights {
    /// The same as Forward.
    Unspecified,
    /// The backend answers them.
    Forward,
    /// They are answered without saying that they are allowed.
    Ignore,
}

impl Check for HttpRedirect {
    fn check(&self, found: &mut Findings) {
        let texts = [&self.uri, &self.prefix_rewrite, &self.authority, &self.scheme];
        // With a status alone it would lead back to where it came from.
        if self.port.is_none() && texts.into_iter().all(|text| said(text.as_ref()).is_none()) {
            found.refuse("says nothing: uri, prefixRewrite, authority, scheme or port");
        }
        let code = self.redirect_code.is_none_or(|code| matches!(code, 301 | 302 | 303 | 307 | 308));
        found.require("redirectCode", code, "is no redirect: 301, 302, 303, 307 and 308 are");
        let scheme = said(self.scheme.as_ref()).is_none_or(|scheme| matches!(scheme, "http" | "https"));
        found.require("scheme", scheme, "is no scheme: http and https are");
    }
}

/// Longest body: it is part of what every waypoint is told.
const BODY_BYTES_MAX: usize = 1 << 20;

impl Check for HttpDirectResponse {
    fn check(&self, found: &mut Findings) {
        found.require(
            "status",
            (200..=599).contains(&self.status),
            "is no status of a response: 200 to 599 are",
        );
        let body = match &self.body {
            None => 0,
            Some(HttpBody::Text(text)) => text.len(),
            Some(HttpBody::Bytes(bytes)) => bytes.len(),
        };
        found.require("body", body <= BODY_BYTES_MAX, "is longer than 1048576 bytes");
    }
}

impl Check for CorsPolicy {
    fn check(&self, found: &mut Findings) {
        found.field("allowOrigins", &self.allow_origins[..]);
        let list = |found: &mut Findings, key: &str, items: &[String], form: fn(&str) -> bool, not: &str| {
            found.each(key, items, |found, item| {
                if item != "*" && !form(item) {
                    found.refuse(not);
                }
            });
        };
        list(found, "allowMethods", &self.allow_methods, is_token, "is no method");
        list(found, "allowHeaders", &self.allow_headers, is_header_name, "is no name of a header");
        list(found, "exposeHeaders", &self.expose_headers, is_header_name, "is no name of a header");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64_of_either_kind() {
        for (case, text, want) in [
            ("padded", "+/8=", Some(vec![0xfb, 0xff])),
            ("without padding", "+/8", Some(vec![0xfb, 0xff])),
            ("for addresses", "-_8", Some(vec![0xfb, 0xff])),
            ("nothing", "", Some(Vec::new())),
            ("no base64", "later!", None),
            ("half a byte", "a", None),
        ] {
            let body = serde_json::from_value::<HttpBody>(serde_json::json!({ "bytes": text }));
            match (body, want) {
                (Ok(body), Some(want)) => {
                    assert_eq!(body, HttpBody::Bytes(want), "{case}");
                    let again = serde_json::to_value(&body).expect("JSON");
                    assert_eq!(serde_json::from_value::<HttpBody>(again).expect(case), body, "{case}");
                }
                (Err(error), None) => assert!(error.to_string().contains("no base64"), "{case}: {error}"),
                (body, want) => panic!("{case}: {body:?}, not {want:?}"),
            }
        }
    }
}
