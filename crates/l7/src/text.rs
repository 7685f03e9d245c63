//! How texts of a request are compared.

use crate::pattern::Pattern;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    /// Whether a value of bytes is as it should be. What a client may put there need be no text (RFC 9110 §5.5,
    /// `obs-text`), and must not slip past a rule by that: comparisons are of bytes, and to a pattern a byte that belongs
    /// to no character is a character that nobody names (U+FFFD), as in Go's RE2.
    pub fn holds_bytes(&self, bytes: &[u8]) -> bool {
        match (self, std::str::from_utf8(bytes)) {
            (_, Ok(text)) => self.holds(text),
            (Self::Prefix(want), Err(_)) => bytes.starts_with(want.as_bytes()),
            (Self::PrefixIgnoringCase(want), Err(_)) => {
                bytes.get(..want.len()).is_some_and(|head| head.eq_ignore_ascii_case(want.as_bytes()))
            }
            (Self::Suffix(want), Err(_)) => bytes.ends_with(want.as_bytes()),
            (Self::Pattern(pattern), Err(_)) => pattern.holds(&readable(bytes)),
            (Self::Present, Err(_)) => true,
            // They are texts, and this is none.
            (Self::Exact(_) | Self::ExactIgnoringCase(_), Err(_)) => false,
        }
    }

    /// Whether nothing at all, taken for an empty text, is as it should be.
    pub fn holds_missing(&self) -> bool {
        *self != Self::Present && self.holds("")
    }

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

/// Each byte that belongs to no character becomes a character that stands for none.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
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
    fn what_is_no_text_is_compared_all_the_same() {
        let pattern = |text: &str| TextMatch::Pattern(Pattern::new(text).expect("a pattern"));
        for (how, bytes, want) in [
            (TextMatch::Exact("caf\u{e9}".into()), "caf\u{e9}".as_bytes(), true),
            (TextMatch::Exact("caf".into()), b"caf\xe9", false),
            (TextMatch::Prefix("caf".into()), b"caf\xe9", true),
            (TextMatch::PrefixIgnoringCase("CAF".into()), b"caf\xe9", true),
            (TextMatch::PrefixIgnoringCase("CAFE!".into()), b"caf\xe9", false),
            (TextMatch::Suffix("min".into()), b"\xffadmin", true),
            (TextMatch::Present, b"\xff", true),
            (pattern(".*admin.*"), b"\xffadmin\xfe", true),
            (pattern("[^a]admin"), b"\xffadmin", true),
            (pattern("..admin"), b"\xff\xfeadmin", true),
            (pattern("[a-z]*"), b"admin\xff", false),
            (pattern("caf\u{e9}"), "caf\u{e9}".as_bytes(), true),
        ] {
            assert_eq!(how.holds_bytes(bytes), want, "{how:?} {bytes:?}");
        }
    }
}
