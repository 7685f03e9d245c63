//! Paths of policies: a whole path, a beginning, an end, any, or a template with `{*}` and `{**}` (Istio, `Operation.paths`;
//! Envoy's URI templates).
//!
//! Requests are judged by the one form of their path, so what a policy writes in another form would never match: a hole
//! in a DENY. Such a pattern is refused, and the form that it should have is named.

use crate::path::normalise;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use weft_core::policy::StringMatch;

/// What a path has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PathPattern {
    /// As a text.
    Text(StringMatch),
    /// Segment by segment.
    Template(Template),
}

/// A path of which some segments may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Arc<str>,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Arc<str>),
    /// `{*}`: a segment, or what is left of one; not nothing.
    Segment,
    /// `{**}`: anything, or nothing.
    Rest,
}

/// Why a text is no path of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// It would never match.
    #[error("is no path in its one form{}", .0.as_ref().map(|form| format!(": write {form:?}")).unwrap_or_default())]
    Form(Option<String>),
    /// A star in the middle, or several.
    #[error("may have one * only, at its beginning or its end")]
    Star,
    /// `{**}` is not the last operator, ...
    #[error("has an operator after {{**}}, which has to be the last")]
    NotLast,
    /// ...or `{*}` shares its segment.
    #[error("has an operator that is not a whole segment by itself")]
    Shared,
    /// Other braces.
    #[error("has braces that are neither {{*}} nor {{**}}")]
    Braces,
}

impl PathPattern {
    /// Reads what a policy says.
    ///
    /// # Errors
    /// If it is none of the forms, or would never match.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        if text.contains("{*}") || text.contains("{**}") {
            return Template::new(text).map(Self::Template);
        }
        let read = crate::wire::string_matches::read(text).ok_or(BadPattern::Star)?;
        match &read {
            StringMatch::Presence => {}
            StringMatch::Exact(path) | StringMatch::Prefix(path) => is_form(path)?,
            // An end may begin anywhere, as `.html` does.
            StringMatch::Suffix(end) if end.starts_with('/') => is_form(end)?,
            StringMatch::Suffix(end) => is_form(&format!("/x{end}"))?,
        }
        Ok(Self::Text(read))
    }

    /// Whether the path is as it should be.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Text(text) => text.matches(path),
            Self::Template(template) => template.matches(path),
        }
    }
}

impl Template {
    fn new(text: &str) -> Result<Self, BadPattern> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            push_literal(&mut pieces, literal)?;
            if pieces.contains(&Piece::Rest) {
                return Err(BadPattern::NotLast);
            }
            let (piece, after) = match (after.strip_prefix("*}"), after.strip_prefix("**}")) {
                (Some(after), _) => (Piece::Segment, after),
                (None, Some(after)) => (Piece::Rest, after),
                (None, None) => return Err(BadPattern::Braces),
            };
            if !literal.ends_with('/') || !(after.is_empty() || after.starts_with('/')) {
                return Err(BadPattern::Shared);
            }
            pieces.push(piece);
            rest = after;
        }
        push_literal(&mut pieces, rest)?;
        // Any name will do for a segment: only the form of what is around it is looked at.
        is_form(&text.replace("{*}", "x").replace("{**}", "x"))?;
        Ok(Self { text: text.into(), pieces })
    }

    /// One pass: `{*}` ends at the next slash and `{**}` is the last, so nothing is tried twice.
    fn matches(&self, path: &str) -> bool {
        let mut rest = path;
        for (place, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Literal(text) => match rest.strip_prefix(&**text) {
                    Some(after) => rest = after,
                    None => return false,
                },
                Piece::Segment => match rest.find('/').unwrap_or(rest.len()) {
                    0 => return false,
                    end => rest = &rest[end..],
                },
                Piece::Rest => {
                    let end = self.pieces.get(place + 1);
                    return end
                        .is_none_or(|end| matches!(end, Piece::Literal(end) if rest.ends_with(&**end)));
                }
            }
        }
        rest.is_empty()
    }
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) -> Result<(), BadPattern> {
    if text.contains('*') {
        return Err(BadPattern::Star);
    }
    if text.contains('}') {
        return Err(BadPattern::Braces);
    }
    if !text.is_empty() {
        pieces.push(Piece::Literal(text.into()));
    }
    Ok(())
}

fn is_form(text: &str) -> Result<(), BadPattern> {
    match normalise(text) {
        Ok(form) if form == text => Ok(()),
        Ok(form) => Err(BadPattern::Form(Some(form.into_owned()))),
        Err(_) => Err(BadPattern::Form(None)),
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(StringMatch::Exact(text)) => f.write_str(text),
            Self::Text(StringMatch::Prefix(text)) => write!(f, "{text}*"),
            Self::Text(StringMatch::Suffix(text)) => write!(f, "*{text}"),
            Self::Text(StringMatch::Presence) => f.write_str("*"),
            Self::Template(template) => f.write_str(&template.text),
        }
    }
}

impl TryFrom<String> for PathPattern {
    type Error = BadPattern;

    fn try_from(text: String) -> Result<Self, BadPattern> {
        Self::new(&text)
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches() {
        for (pattern, yes, no) in [
            ("/a", &["/a"][..], &["/", "/a/", "/a/b", "/A"][..]),
            ("/a*", &["/a", "/ab", "/a/b"], &["/", "/b/a"]),
            ("*.html", &["/a.html", "/a/b.html"], &["/a.htm", "/a.html/"]),
            ("*/b", &["/b", "/a/b"], &["/ab"]),
            ("*", &["/", "/a"], &[""]),
            ("/foo/{*}", &["/foo/bar"], &["/foo/", "/foo", "/foo/bar/", "/foo/bar/baz", "/x/foo/bar"]),
            ("/foo/{**}/", &["/foo/bar/", "/foo/bar/baz.txt/", "/foo//"], &["/foo/bar", "/foo/"]),
            (
                "/foo/{*}/bar/{**}",
                &["/foo/buzz/bar/", "/foo/buzz/bar/baz", "/foo/x/bar/a/b"],
                &["/foo//bar/", "/foo/buzz/bar"],
            ),
            ("/{**}/a.txt", &["/x/a.txt", "/x/y/a.txt"], &["/a.txt", "/x/a.txt/"]),
            ("/{**}", &["/", "/a", "/a/b/"], &[""]),
            ("/{*}/{*}", &["/a/b"], &["/a", "/a/", "/a/b/c"]),
        ] {
            let one = PathPattern::new(pattern).unwrap_or_else(|error| panic!("{pattern} {error}"));
            for path in yes {
                assert!(one.matches(path), "{pattern} and {path}");
            }
            for path in no {
                assert!(!one.matches(path), "{pattern} and not {path}");
            }
            assert_eq!(PathPattern::new(&one.to_string()), Ok(one));
        }
    }

    #[test]
    fn what_would_never_match_or_means_nothing_is_refused() {
        let form = |text: &str| BadPattern::Form(Some(text.to_owned()));
        for (pattern, want) in [
            ("", BadPattern::Star),
            ("/a*b", BadPattern::Star),
            ("*a*", BadPattern::Star),
            ("a", BadPattern::Form(None)),
            ("/a b", BadPattern::Form(None)),
            ("/a?x=1", BadPattern::Form(None)),
            ("/%61dmin", form("/admin")),
            ("/a/../b", form("/b")),
            ("/a/.*", form("/a/")),
            ("/ä", form("/%C3%A4")),
            ("*/%2e", form("/")),
            ("/*/baz/{*}", BadPattern::Star),
            ("/**/baz/{*}", BadPattern::Star),
            ("/{**}/foo/{*}", BadPattern::NotLast),
            ("/{**}/foo/{**}", BadPattern::NotLast),
            ("/foo/{*}.txt", BadPattern::Shared),
            ("/foo/a{*}", BadPattern::Shared),
            ("{*}", BadPattern::Shared),
            ("/foo/{*}/{bar}", BadPattern::Braces),
            ("/foo/{*}/a}", BadPattern::Braces),
            ("/%61/{*}", form("/a/x")),
        ] {
            assert_eq!(PathPattern::new(pattern), Err(want), "{pattern:?}");
        }
    }
}
