//! Regular expressions of manifests: RE2's, which is what Envoy and so Istio take them for. All of them are compiled here.

mod re2;

use regex::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Bytes that a compiled pattern may take: enough for any that a person writes, little enough for thousands of them.
const PATTERN_BYTES_MAX: usize = 1 << 20;

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
        // It is a pattern by itself, and a group now: `a|b` is anchored on both sides.
        let whole = re2::translate(&text).and_then(|own| build(&format!("^(?:{own})$")));
        match whole {
            Ok(whole) => Ok(Self { text, whole }),
            Err(reason) => Err(BadPattern { text, reason }),
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
pub struct Search {
    text: Arc<str>,
    anywhere: Regex,
}

impl Search {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is none, or takes more memory than a pattern may.
    pub fn new(text: Arc<str>) -> Result<Self, BadPattern> {
        match re2::translate(&text).and_then(|own| build(&own)) {
            Ok(anywhere) => Ok(Self { text, anywhere }),
            Err(reason) => Err(BadPattern { text, reason }),
        }
    }

    /// The text with everything that is found replaced: `\1` in `by` is what the first group found, `\0` all that was
    /// found, `\\` a backslash (RE2's `Rewrite`).
    pub fn replace_all<'t>(&self, text: &'t str, by: &str) -> Cow<'t, str> {
        self.anywhere.replace_all(text, |found: &Captures<'_>| {
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

    /// Whether it is somewhere in the text.
    pub fn finds(&self, text: &str) -> bool {
        self.anywhere.is_match(text)
    }

    /// The highest group that a replacement may name.
    pub fn groups(&self) -> usize {
        self.anywhere.captures_len() - 1
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
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

fn build(own: &str) -> Result<Regex, String> {
    RegexBuilder::new(own).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| reason(&error))
}

/// The last line says it; what stands before shows where, over several lines.
fn reason(error: &impl fmt::Display) -> String {
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
    fn texts_are_matched_as_re2_does() {
        for (pattern, text, want) in [
            ("a|b", "b", true),
            ("a|b", "ab", false),
            ("(?m)a$", "a\nb", false),
            (r"\w+", "cafe_1", true),
            (r"\w+", "caf\u{e9}", false),
            (r"\W", "\u{e9}", true),
            (r"\d+", "12", true),
            (r"\d", "\u{663}", false),
            (r"\D", "\u{663}", true),
            (r"a\sb", "a b", true),
            (r"\s", "\u{a0}", false),
            (r"\s", "\u{b}", false),
            (r"\S", "\u{a0}", true),
            (r"[\w.-]+", "a.b-c", true),
            (r"[\w.-]+", "\u{e4}", false),
            (r"[^\d]", "\u{663}", true),
            (r"[^\W]", "\u{e9}", false),
            (r"[\D]", "\u{663}", true),
            ("\u{e9}\\b", "\u{e9}", false),
            (r"a\b", "a", true),
            ("\u{e9}\\B", "\u{e9}", true),
            // One character, however many bytes it has.
            (".", "\u{e9}", true),
            ("[^a]", "\u{e9}", true),
            (r"\pL+", "caf\u{e9}", true),
            (r"\p{Greek}", "\u{3b1}", true),
            ("[[:word:]]+", "caf\u{e9}", false),
            ("(?i)\u{c9}", "\u{e9}", true),
            ("a.b", "a\nb", false),
            ("(?s)a.b", "a\nb", true),
            (r"\\d\\w", r"\d\w", true),
            (r"[\\d]+", r"\d", true),
        ] {
            let compiled = Pattern::new(pattern).expect(pattern);
            assert_eq!(compiled.holds(text), want, "{pattern} {text:?}");
            assert_eq!(compiled.as_str(), pattern);
        }
        let search = Search::new(r"(\w+)/\d".into()).expect("a pattern");
        assert_eq!(search.replace_all("caf\u{e9}s/1 ab/2 c/\u{663}", r"<\1>"), "caf\u{e9}<s> <ab> c/\u{663}");
        assert_eq!((search.as_str(), search.groups()), (r"(\w+)/\d", 1));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, want) in [
            ("(", "unclosed group"),
            ("a)(b", "unopened group"),
            ("(?=ahead)", "look-around"),
            (r"(a)\1", "backreferences"),
            ("a{1000}{1000}{1000}", "size limit"),
            // What RE2 takes for something else, or not at all.
            ("[a[bc]]", "a class within a class"),
            ("[a&&b]", "&&"),
            ("[a--b]", "--"),
            ("[a~~b]", "~~"),
            ("(?x)a b", "flag"),
            ("(?-u)a", "flag"),
            ("a(?R:b)", "flag"),
            (r"\b{start}a", "word boundary"),
            (r"\<a", "word boundary"),
        ] {
            let error = Pattern::new(text).expect_err(text);
            assert!(error.reason.contains(want) && !error.reason.contains('\n'), "{text}: {error}");
            assert_eq!(Search::new(text.into()).expect_err(text).reason, error.reason);
        }
    }
}
