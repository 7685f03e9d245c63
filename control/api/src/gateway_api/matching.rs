//! What requests are told apart by: headers and query parameters, and the texts of them.

use crate::check::{Check, Findings};
use crate::text::{bad_pattern, is_address, is_header_name, is_host};
use serde::{Deserialize, Serialize};

/// A header, or a query parameter, and what its value has to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueMatch {
    /// How the value is compared; exactly if it was not written.
    #[serde(rename = "type", default)]
    pub match_type: MatchType,
    /// Its name; headers in any case, query parameters in this one.
    pub name: String,
    /// The value, or the regular expression that the value has to match.
    pub value: String,
}

/// How a value is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchType {
    /// It is the same text.
    #[default]
    Exact,
    /// It matches a regular expression of RE2's syntax.
    RegularExpression,
}

/// Most headers, or query parameters, of one match.
const MATCHES_MAX: usize = 16;
/// Longest value.
const VALUE_BYTES_MAX: usize = 4096;

impl Check for ValueMatch {
    fn check(&self, found: &mut Findings) {
        found.require("name", is_header_name(&self.name), "is no name of a header or query parameter");
        let length = (1..=VALUE_BYTES_MAX).contains(&self.value.len());
        found.require("value", length, "is empty or longer than 4096 bytes");
        if self.match_type == MatchType::RegularExpression {
            found.at("value", |found| pattern(found, &self.value));
        }
    }
}

/// Checks the headers of a match, whose names count in any case.
pub(crate) fn headers(found: &mut Findings, headers: &[ValueMatch]) {
    named(found, "headers", headers);
    for (index, one) in headers.iter().enumerate() {
        let other =
            |before: &&ValueMatch| before.name != one.name && before.name.eq_ignore_ascii_case(&one.name);
        if headers[..index].iter().any(|before| other(&before)) {
            found.at("headers", |found| found.warn(format!("has {} twice; the first one counts", one.name)));
        }
    }
}

/// Checks a list of matches of one name each.
pub(crate) fn named(found: &mut Findings, key: &str, matches: &[ValueMatch]) {
    if !matches.is_empty() {
        found.count(key, matches, 1..=MATCHES_MAX);
    }
    found.field(key, matches);
    found.unique(key, matches, |one| Some(one.name.clone()));
}

/// Checks a regular expression.
pub(crate) fn pattern(found: &mut Findings, text: &str) {
    if let Some(reason) = bad_pattern(text) {
        found.refuse(reason);
    }
}

/// A host name that stands for itself.
pub(crate) fn is_precise_hostname(text: &str) -> bool {
    is_host(text) && !is_address(text) && !crate::text::has_upper(text)
}

/// A host name, or a `*.` before one for all that end in it.
pub(crate) fn is_hostname(text: &str) -> bool {
    is_precise_hostname(text.strip_prefix("*.").unwrap_or(text))
}

/// Why a text is no host name.
pub(crate) const NO_HOSTNAME: &str = "is no host name: a-z, 0-9, - and . are, and *. before it";
/// Why a text is no host name that stands for itself.
pub(crate) const NO_PRECISE_HOSTNAME: &str = "is no host name: a-z, 0-9, - and . are";
