//! How texts of a request are compared.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Bytes that a compiled pattern may take. One pattern of a manifest must not eat a waypoint's memory.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// How a text is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TextMatch {
    /// Equal.
    Exact(Arc<str>),
    /// Equal but for the case of ASCII letters.
    ExactIgnoringCase(Arc<str>),
    /// Begins with.
    Prefix(Arc<str>),
    /// Begins with, but for the case of ASCII letters.
    PrefixIgnoringCase(Arc<str>),
    /// Ends with.
    Suffix(Arc<str>),
    /// The whole text is of this pattern.
    Pattern(Pattern),
    /// Whatever it is, it is there.
    Present,
}

impl TextMatch {
    /// Whether the text is as it should be.
    pub fn holds(&self, text: &str) -> bool {
        match self {
            Self::Exact(want) => **want == *text,
            Self::ExactIgnoringCase(want) => want.eq_ignore_ascii_case(text),
            Self::Prefix(want) => text.starts_with(&**want),
            Self::PrefixIgnoringCase(want) => text
                .as_bytes()
                .get(..want.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(want.as_bytes())),
            Self::Suffix(want) => text.ends_with(&**want),
            Self::Pattern(pattern) => pattern.holds(text),
            Self::Present => true,
        }
    }
}

/// A regular expression of RE2's syntax, that a whole text has to match: time linear in the text, whatever it is.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: Arc<str>,
    whole: Regex,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no regular expression of RE2's syntax: {reason}")]
pub struct BadPattern {
    /// The text.
    pub text: Arc<str>,
    /// Why, in a line.
    pub reason: String,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is none, or takes more memory than a pattern may.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, BadPattern> {
        let text = text.into();
        // The text has to be a pattern by itself, and a group then: `a)(b` is none, and `a|b` is anchored on both sides.
        let whole = Regex::new(&text)
            .and_then(|_| RegexBuilder::new(&format!("^(?:{text})$")).size_limit(PATTERN_BYTES_MAX).build());
        match whole {
            Ok(whole) => Ok(Self { text, whole }),
            Err(error) => Err(BadPattern { text, reason: reason(&error) }),
        }
    }

    /// Whether the whole text is of this pattern.
    pub fn holds(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The last line says it; what stands before shows where, over several lines.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        Self::new(text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_texts_are_compared() {
        let pattern = |text: &str| TextMatch::Pattern(Pattern::new(text).expect("a pattern"));
        for (how, text, want) in [
            (TextMatch::Exact("web".into()), "web", true),
            (TextMatch::Exact("web".into()), "Web", false),
            (TextMatch::ExactIgnoringCase("web".into()), "WEB", true),
            (TextMatch::Prefix("/a".into()), "/ab", true),
            (TextMatch::Prefix("/a".into()), "/", false),
            (TextMatch::PrefixIgnoringCase("/a".into()), "/Ab", true),
            (TextMatch::PrefixIgnoringCase("/ab".into()), "/a", false),
            // Not a border of characters: no match, and no panic.
            (TextMatch::PrefixIgnoringCase("a".into()), "ä", false),
            (TextMatch::Suffix(".org".into()), "web.org", true),
            (TextMatch::Suffix(".org".into()), "web.com", false),
            (TextMatch::Present, "", true),
            (pattern("a|b"), "b", true),
            (pattern("a|b"), "ab", false),
            (pattern(".*Chrome.*"), "Mozilla Chrome/1", true),
            (pattern("(?i)chrome"), "CHROME", true),
        ] {
            assert_eq!(how.holds(text), want, "{how:?} {text:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for text in ["(", "a)(b", "(?=ahead)", "a{1000}{1000}{1000}"] {
            let error = Pattern::new(text).expect_err(text);
            assert!(!error.reason.is_empty() && !error.reason.contains('\n'), "{error}");
        }
    }
}
