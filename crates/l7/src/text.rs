//! How texts of a request are compared.

use regex::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
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

/// A regular expression of RE2's syntax, that is looked for anywhere in a text.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Search(Regex);

impl Search {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is none, or takes more memory than a pattern may.
    pub fn new(text: Arc<str>) -> Result<Self, BadPattern> {
        match RegexBuilder::new(&text).size_limit(PATTERN_BYTES_MAX).build() {
            Ok(regex) => Ok(Self(regex)),
            Err(error) => Err(BadPattern { text, reason: reason(&error) }),
        }
    }

    /// The text with everything that is found replaced: `\1` in `by` is what the first group found, `\0` all that was
    /// found, `\\` a backslash (RE2's `Rewrite`).
    pub fn replace_all<'t>(&self, text: &'t str, by: &str) -> Cow<'t, str> {
        self.0.replace_all(text, |found: &Captures<'_>| {
            let mut out = String::new();
            let mut chars = by.chars();
            while let Some(char) = chars.next() {
                match (char, chars.as_str().chars().next()) {
                    ('\\', Some(next)) if next == '\\' || next.is_ascii_digit() => {
                        chars.next();
                        let group = next.to_digit(10).and_then(|group| found.get(group as usize));
                        out.push_str(match (next, group) {
                            ('\\', _) => "\\",
                            (_, group) => group.map_or("", |group| group.as_str()),
                        });
                    }
                    (char, _) => out.push(char),
                }
            }
            out
        })
    }

    /// The highest group that a replacement may name.
    pub fn groups(&self) -> usize {
        self.0.captures_len() - 1
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Search {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Search {}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.as_str())
    }
}

impl TryFrom<String> for Search {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        Self::new(text.into())
    }
}

impl From<Search> for String {
    fn from(search: Search) -> Self {
        search.as_str().to_owned()
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
