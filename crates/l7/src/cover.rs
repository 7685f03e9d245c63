//! Whether one match takes all that another takes: a rule behind such a one never takes a request. Where nobody can tell,
//! such as between two patterns, the answer is no.

use crate::matches::{NamedMatch, PathMatch, RequestMatch};
use crate::path::is_within;
use crate::text::TextMatch;

impl RequestMatch {
    /// Whether every request that `other` takes is taken by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        let text = |wide: &Option<TextMatch>, narrow: &Option<TextMatch>| match (wide, narrow) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wide), Some(narrow)) => wide.covers(narrow),
        };
        let path = match (&self.path, &other.path) {
            (None, _) => true,
            (Some(wide), None) => wide.is_everything(),
            (Some(wide), Some(narrow)) => wide.covers(narrow),
        };
        let named = |wide: &[NamedMatch], narrow: &[NamedMatch]| {
            wide.iter().all(|wide| narrow.iter().any(|narrow| wide.covers(narrow)))
        };
        let clients = &other.client;
        let client = (self.client.namespace.is_none() || self.client.namespace == clients.namespace)
            && self.client.labels.iter().all(|(name, value)| clients.labels.get(name) == Some(value));
        path && client
            && text(&self.method, &other.method)
            && text(&self.scheme, &other.scheme)
            && text(&self.authority, &other.authority)
            && named(&self.headers, &other.headers)
            && named(&self.query, &other.query)
    }
}

impl NamedMatch {
    fn covers(&self, narrow: &Self) -> bool {
        self.name == narrow.name
            && match (self.not, narrow.not) {
                (false, false) => self.value.covers(&narrow.value),
                // Who is nothing of the wider is nothing of the narrower; of who is not there each has its own view.
                (true, true) => {
                    narrow.value.covers(&self.value)
                        && (narrow.value.holds_missing() || !self.value.holds_missing())
                }
                (false, true) | (true, false) => false,
            }
    }
}

impl PathMatch {
    /// Every path begins with a slash.
    fn is_everything(&self) -> bool {
        match self {
            Self::Within(prefix) => &**prefix == "/",
            Self::Text(TextMatch::Prefix(prefix) | TextMatch::PrefixIgnoringCase(prefix)) => {
                prefix.is_empty() || &**prefix == "/"
            }
            Self::Text(TextMatch::Pattern(pattern)) => pattern.as_str() == ".*",
            Self::Text(TextMatch::Present) => true,
            Self::Text(TextMatch::Exact(_) | TextMatch::ExactIgnoringCase(_) | TextMatch::Suffix(_)) => false,
        }
    }

    fn covers(&self, narrow: &Self) -> bool {
        match (self, narrow) {
            _ if self.is_everything() => true,
            (Self::Within(wide), Self::Within(narrow)) => is_within(narrow.trim_end_matches('/'), wide),
            (Self::Within(wide), Self::Text(TextMatch::Exact(path))) => is_within(path, wide),
            // `/a/` and all that follows is within `/a`; `/ab` is not.
            (Self::Within(wide), Self::Text(TextMatch::Prefix(prefix))) => {
                prefix.strip_prefix(wide.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
            }
            (Self::Text(TextMatch::Prefix(wide)), Self::Within(narrow)) => {
                narrow.trim_end_matches('/').starts_with(&**wide)
            }
            (Self::Text(wide), Self::Text(narrow)) => wide.covers(narrow),
            (Self::Within(_), Self::Text(_)) | (Self::Text(_), Self::Within(_)) => false,
        }
    }
}

impl TextMatch {
    fn covers(&self, narrow: &Self) -> bool {
        if self == narrow {
            return true;
        }
        let begins = |text: &str, start: &str| Self::PrefixIgnoringCase(start.into()).holds(text);
        match (self, narrow) {
            (Self::Present, _) => true,
            (wide, Self::Exact(text)) => wide.holds(text),
            (Self::Pattern(pattern), _) => pattern.as_str() == ".*",
            (Self::Prefix(wide), Self::Prefix(narrow)) => narrow.starts_with(&**wide),
            (
                Self::PrefixIgnoringCase(wide),
                Self::Prefix(narrow) | Self::PrefixIgnoringCase(narrow) | Self::ExactIgnoringCase(narrow),
            ) => begins(narrow, wide),
            (Self::Suffix(wide), Self::Suffix(narrow)) => narrow.ends_with(&**wide),
            (
                Self::Exact(_)
                | Self::ExactIgnoringCase(_)
                | Self::Prefix(_)
                | Self::PrefixIgnoringCase(_)
                | Self::Suffix(_),
                _,
            ) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matches::tests::Request;

    fn read(json: &str) -> RequestMatch {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    const MATCHES: [&str; 21] = [
        "{}",
        r#"{"path": {"within": "/"}}"#,
        r#"{"path": {"within": "/a"}}"#,
        r#"{"path": {"within": "/a/"}}"#,
        r#"{"path": {"within": "/a/b"}}"#,
        r#"{"path": {"text": {"exact": "/a"}}}"#,
        r#"{"path": {"text": {"exact": "/A"}}}"#,
        r#"{"path": {"text": {"exactIgnoringCase": "/a/b"}}}"#,
        r#"{"path": {"text": {"prefix": "/a"}}}"#,
        r#"{"path": {"text": {"prefix": "/a/"}}}"#,
        r#"{"path": {"text": {"prefixIgnoringCase": "/a"}}}"#,
        r#"{"path": {"text": {"suffix": "b"}}}"#,
        r#"{"path": {"text": {"pattern": ".*"}}}"#,
        r#"{"path": {"text": {"pattern": "/a.*"}}}"#,
        r#"{"method": {"exact": "GET"}, "path": {"within": "/a"}}"#,
        r#"{"headers": [{"name": "x", "value": "present"}]}"#,
        r#"{"headers": [{"name": "x", "value": {"exact": "1"}}]}"#,
        r#"{"headers": [{"name": "x", "value": "present", "not": true}]}"#,
        r#"{"headers": [{"name": "x", "value": {"exact": "1"}, "not": true}]}"#,
        r#"{"client": {"namespace": "shop"}}"#,
        r#"{"headers": [{"name": "x", "value": {"pattern": ".*"}, "not": true}]}"#,
    ];

    /// Whatever is said to be covered holds for nothing else, tried with requests of all kinds.
    #[test]
    fn what_is_covered_takes_nothing_else() {
        let paths = ["/", "/a", "/a/", "/A", "/A/B", "/a/b", "/ab", "/a/b/c", "/b"];
        for (wide, narrow) in MATCHES.iter().flat_map(|wide| MATCHES.map(|narrow| (*wide, narrow))) {
            if !read(wide).covers(&read(narrow)) {
                continue;
            }
            for path in paths {
                for headers in [vec![], vec![("x", &b"1"[..])], vec![("x", &b"2"[..])]] {
                    let request = Request { path, headers, ..Request::default() };
                    let (takes, other) = (read(wide).holds(&request), read(narrow).holds(&request));
                    assert!(takes || !other, "{wide} is said to cover {narrow}, and {path} is the other's");
                }
            }
        }
    }

    #[test]
    fn what_covers() {
        for (wide, narrow, want) in [
            (0, 2, true),
            (1, 0, true),
            (12, 13, true),
            (2, 4, true),
            (2, 3, true),
            (2, 9, true),
            (2, 8, false),
            (8, 2, true),
            (10, 7, true),
            (2, 14, true),
            (14, 2, false),
            (15, 16, true),
            (16, 15, false),
            (18, 17, true),
            (17, 18, false),
            (19, 0, false),
            (0, 19, true),
            (17, 20, true),
            (20, 17, false),
        ] {
            let (wide, narrow) = (MATCHES[wide], MATCHES[narrow]);
            assert_eq!(read(wide).covers(&read(narrow)), want, "{wide} {narrow}");
        }
    }
}
