//! What a text of a request has to be.

use crate::check::{Check, Findings, one_of};
use crate::text::bad_pattern;
use serde::{Deserialize, Serialize};

/// What a text has to be. Exactly one of the three is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StringMatchFields", into = "StringMatchFields")]
pub enum StringMatch {
    /// The same.
    Exact(String),
    /// One that begins so.
    Prefix(String),
    /// One that matches this regular expression of RE2's syntax, as a whole.
    Regex(String),
}

/// What a header has to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StringMatchFields", into = "StringMatchFields")]
pub enum HeaderMatch {
    /// There, with whatever value: nothing is written.
    Present,
    /// There, with a value like this.
    Value(StringMatch),
}

/// As it is written.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StringMatchFields {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

impl StringMatchFields {
    fn set(&self) -> [(&'static str, bool); 3] {
        [("exact", self.exact.is_some()), ("prefix", self.prefix.is_some()), ("regex", self.regex.is_some())]
    }

    fn any(self) -> Option<StringMatch> {
        let exact = self.exact.map(StringMatch::Exact);
        exact.or(self.prefix.map(StringMatch::Prefix)).or(self.regex.map(StringMatch::Regex))
    }
}

impl TryFrom<StringMatchFields> for StringMatch {
    type Error = String;

    fn try_from(fields: StringMatchFields) -> Result<Self, String> {
        one_of(&fields.set()).exactly()?;
        fields.any().ok_or_else(|| "is empty".to_owned())
    }
}

impl TryFrom<StringMatchFields> for HeaderMatch {
    type Error = String;

    fn try_from(fields: StringMatchFields) -> Result<Self, String> {
        one_of(&fields.set()).at_most()?;
        Ok(fields.any().map_or(Self::Present, Self::Value))
    }
}

impl From<StringMatch> for StringMatchFields {
    fn from(text: StringMatch) -> Self {
        match text {
            StringMatch::Exact(text) => Self { exact: Some(text), ..Self::default() },
            StringMatch::Prefix(text) => Self { prefix: Some(text), ..Self::default() },
            StringMatch::Regex(text) => Self { regex: Some(text), ..Self::default() },
        }
    }
}

impl From<HeaderMatch> for StringMatchFields {
    fn from(header: HeaderMatch) -> Self {
        match header {
            HeaderMatch::Present => Self::default(),
            HeaderMatch::Value(text) => text.into(),
        }
    }
}

impl Check for StringMatch {
    fn check(&self, found: &mut Findings) {
        match self {
            Self::Exact(_) => {}
            Self::Prefix(text) => {
                found.require("prefix", !text.is_empty(), "is empty, and would match everything");
            }
            Self::Regex(text) => found.at("regex", |found| regex(found, text)),
        }
    }
}

impl Check for HeaderMatch {
    fn check(&self, found: &mut Findings) {
        match self {
            Self::Present => {}
            Self::Value(text) => text.check(found),
        }
    }
}

/// Checks a regular expression.
pub(crate) fn regex(found: &mut Findings, text: &str) {
    if text.is_empty() {
        found.refuse("is empty");
    }
    if let Some(reason) = bad_pattern(text) {
        found.refuse(reason);
    }
}
