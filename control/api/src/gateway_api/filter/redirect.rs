//! Requests that are answered with another place to ask, or that are sent on under another name.

use crate::check::{Check, Findings, union};
use crate::gateway_api::matching::{NO_PRECISE_HOSTNAME, is_precise_hostname};
use crate::port::Port;
use serde::{Deserialize, Serialize};

/// Answers requests with a redirect. What is not written stays as the request has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestRedirect {
    /// The scheme.
    pub scheme: Option<Scheme>,
    /// The host.
    pub hostname: Option<String>,
    /// The path.
    pub path: Option<PathModifier>,
    /// The port. If there is none: that of the scheme if one was written, or else that of the listener.
    pub port: Option<Port>,
    /// The status; 302 if it was not written.
    #[serde(default = "found_elsewhere")]
    pub status_code: u16,
}

/// Changes host and path of requests before they are sent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UrlRewrite {
    /// The host; as it was if there is none.
    pub hostname: Option<String>,
    /// The path; as it was if there is none.
    pub path: Option<PathModifier>,
}

/// The scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the variants are the schemes' own names")]
pub enum Scheme {
    Http,
    Https,
}

/// How a path is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PathModifierFields", into = "PathModifierFields")]
pub enum PathModifier {
    /// It becomes this.
    ReplaceFullPath(String),
    /// The prefix that the rule matched becomes this.
    ReplacePrefixMatch(String),
}

/// As it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PathModifierFields {
    #[serde(rename = "type")]
    kind: PathModifierType,
    replace_full_path: Option<String>,
    replace_prefix_match: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum PathModifierType {
    ReplaceFullPath,
    ReplacePrefixMatch,
}

/// Longest path.
const PATH_BYTES_MAX: usize = 1024;

const fn found_elsewhere() -> u16 {
    302
}

impl TryFrom<PathModifierFields> for PathModifier {
    type Error = String;

    fn try_from(fields: PathModifierFields) -> Result<Self, String> {
        let PathModifierFields { kind, replace_full_path, replace_prefix_match } = fields;
        let set = [
            ("replaceFullPath", replace_full_path.is_some()),
            ("replacePrefixMatch", replace_prefix_match.is_some()),
        ];
        let wanted = match kind {
            PathModifierType::ReplaceFullPath => set[0].0,
            PathModifierType::ReplacePrefixMatch => set[1].0,
        };
        union(&format!("{kind:?}"), wanted, &set)?;
        Ok(match kind {
            PathModifierType::ReplaceFullPath => Self::ReplaceFullPath(replace_full_path.unwrap_or_default()),
            PathModifierType::ReplacePrefixMatch => {
                Self::ReplacePrefixMatch(replace_prefix_match.unwrap_or_default())
            }
        })
    }
}

impl From<PathModifier> for PathModifierFields {
    fn from(path: PathModifier) -> Self {
        let (kind, full, prefix) = match path {
            PathModifier::ReplaceFullPath(path) => (PathModifierType::ReplaceFullPath, Some(path), None),
            PathModifier::ReplacePrefixMatch(path) => {
                (PathModifierType::ReplacePrefixMatch, None, Some(path))
            }
        };
        Self { kind, replace_full_path: full, replace_prefix_match: prefix }
    }
}

impl PathModifier {
    /// True if it needs a prefix that was matched.
    pub(crate) fn needs_prefix(&self) -> bool {
        matches!(self, Self::ReplacePrefixMatch(_))
    }
}

impl Check for RequestRedirect {
    fn check(&self, found: &mut Findings) {
        hostname(found, self.hostname.as_deref());
        found.field("path", &self.path);
        let known = matches!(self.status_code, 301 | 302 | 303 | 307 | 308);
        found.require("statusCode", known, "is no redirect: 301, 302, 303, 307 and 308 are");
    }
}

impl Check for UrlRewrite {
    fn check(&self, found: &mut Findings) {
        hostname(found, self.hostname.as_deref());
        found.field("path", &self.path);
    }
}

fn hostname(found: &mut Findings, hostname: Option<&str>) {
    found.require("hostname", hostname.is_none_or(is_precise_hostname), NO_PRECISE_HOSTNAME);
}

impl Check for PathModifier {
    fn check(&self, found: &mut Findings) {
        let (Self::ReplaceFullPath(path) | Self::ReplacePrefixMatch(path)) = self;
        if path.len() > PATH_BYTES_MAX {
            found.refuse("is longer than 1024 bytes");
        }
        if path.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            found.refuse("has a byte that no path may have");
        }
    }
}
