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
}
