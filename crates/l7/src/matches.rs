//! What a rule wants of a request.

use crate::path::is_within;
use crate::text::TextMatch;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A request and who sends it, as rules see them. Nothing in it is copied for a match.
pub trait Subject {
    /// The path in its one form ([`crate::path::normalise`]), without the query.
    fn path(&self) -> &str;
    /// The query as it came, without the question mark; empty if there is none.
    fn query(&self) -> &str;
    /// The method.
    fn method(&self) -> &str;
    /// `http` or `https`, as the client names it.
    fn scheme(&self) -> &str;
    /// The host that the client asks for, with the port if it names one.
    fn authority(&self) -> &str;
    /// The values of a header, whose name is in lower case. They need be no text.
    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]>;
    /// The client's namespace; empty if nobody knows it.
    fn source_namespace(&self) -> &str;
    /// A label of the client's workload.
    fn source_label(&self, name: &str) -> Option<&str>;
}

/// All that is written has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestMatch {
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<TextMatch>,
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<TextMatch>,
    /// The host that the client asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<TextMatch>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NamedMatch>,
    /// Parameters of the query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<NamedMatch>,
    /// Whoever sends it.
    #[serde(default, skip_serializing_if = "Client::is_anybody")]
    pub client: Client,
}

/// How the path is compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum PathMatch {
    /// Segment by segment: `/a` has `/a` and `/a/b` in it, and not `/ab` (Gateway API's `PathPrefix`).
    Within(Arc<str>),
    /// As a text (all of Istio's, and Gateway API's other ones).
    Text(TextMatch),
}

/// A header, or a parameter of the query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedMatch {
    /// Its name: of a header in lower case.
    pub name: Arc<str>,
    /// What its value has to be.
    pub value: TextMatch,
    /// Turned around: what would match does not (Istio's `withoutHeaders`). A header that is not there is then an empty
    /// one, but for [`TextMatch::Present`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not: bool,
}

/// Who sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Client {
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Labels that its workload carries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
}

impl Client {
    /// Whether it may be anybody.
    pub fn is_anybody(&self) -> bool {
        self.namespace.is_none() && self.labels.is_empty()
    }

    fn holds(&self, subject: &impl Subject) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| **namespace == *subject.source_namespace())
            && self.labels.iter().all(|(name, value)| subject.source_label(name) == Some(&**value))
    }
}

impl RequestMatch {
    /// Whether all that is written holds.
    pub fn holds(&self, subject: &impl Subject) -> bool {
        let text = |want: &Option<TextMatch>, has: &str| want.as_ref().is_none_or(|want| want.holds(has));
        self.path.as_ref().is_none_or(|path| path.holds(subject.path()))
            && text(&self.method, subject.method())
            && text(&self.scheme, subject.scheme())
            && text(&self.authority, subject.authority())
            && self.headers.iter().all(|header| header.header_holds(subject))
            && self.query.iter().all(|parameter| parameter.parameter_holds(subject.query()))
            && self.client.holds(subject)
    }
}

impl PathMatch {
    /// Whether the path is as it should be.
    pub fn holds(&self, path: &str) -> bool {
        match self {
            Self::Within(prefix) => is_within(path, prefix),
            Self::Text(text) => text.holds(path),
        }
    }
}

impl NamedMatch {
    fn header_holds(&self, subject: &impl Subject) -> bool {
        let mut values = subject.header(&self.name);
        let holds = match (values.next(), values.next()) {
            (None, _) => self.not && self.value.holds_missing(),
            (Some(one), None) => self.value.holds_bytes(one),
            // Several lines are one list (RFC 9110 §5.3).
            (Some(_), Some(_)) => {
                let all: Vec<&[u8]> = subject.header(&self.name).collect();
                self.value.holds_bytes(&all.join(&b','))
            }
        };
        holds != self.not
    }

    /// The first parameter of the name counts.
    fn parameter_holds(&self, query: &str) -> bool {
        let first = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(name, _)| *decode(name) == *self.name.as_bytes());
        first.is_some_and(|(_, value)| self.value.holds_bytes(&decode(value))) != self.not
    }
}

/// A name or value of a query without its escapes. What is no escape stays as it is.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                // Two digits of four bits.
                bytes.push((high << 4 | low) as u8);
                rest = &tail[2..];
            }
            (b'+', ..) => {
                bytes.push(b' ');
                rest = tail;
            }
            (other, ..) => {
                bytes.push(*other);
                rest = tail;
            }
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request of a test.
    #[derive(Default)]
    pub(crate) struct Request {
        pub(crate) path: &'static str,
        pub(crate) query: &'static str,
        pub(crate) method: &'static str,
        pub(crate) authority: &'static str,
        pub(crate) headers: Vec<(&'static str, &'static [u8])>,
        pub(crate) namespace: &'static str,
        pub(crate) labels: Vec<(&'static str, &'static str)>,
    }

    impl Subject for Request {
        fn path(&self) -> &str {
            self.path
        }
        fn query(&self) -> &str {
            self.query
        }
        fn method(&self) -> &str {
            self.method
        }
        fn scheme(&self) -> &str {
            "http"
        }
        fn authority(&self) -> &str {
            self.authority
        }
        fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
            self.headers.iter().filter(move |(one, _)| *one == name).map(|(_, value)| *value)
        }
        fn source_namespace(&self) -> &str {
            self.namespace
        }
        fn source_label(&self, name: &str) -> Option<&str> {
            self.labels.iter().find(|(one, _)| *one == name).map(|(_, value)| *value)
        }
    }

    pub(crate) fn request() -> Request {
        Request {
            path: "/reviews/7",
            query: "page=2&flag&q=a+b%2Bc&page=3&who=%72oot%ff",
            method: "GET",
            authority: "reviews:9080",
            headers: vec![
                ("user-agent", b"Mozilla Chrome/1"),
                ("x-list", b"a"),
                ("x-list", b"b"),
                ("x-odd", b"root\xff"),
            ],
            namespace: "shop",
            labels: vec![("app", "web"), ("version", "v1")],
        }
    }

    fn read(text: &str) -> RequestMatch {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn each_field_by_itself() {
        for (text, want) in [
            ("{}", true),
            (r#"{"path": {"within": "/reviews"}}"#, true),
            (r#"{"path": {"within": "/review"}}"#, false),
            (r#"{"path": {"text": {"prefix": "/review"}}}"#, true),
            (r#"{"path": {"text": {"exact": "/reviews/7"}}}"#, true),
            (r#"{"path": {"text": {"exact": "/reviews"}}}"#, false),
            (r#"{"path": {"text": {"pattern": "/reviews/\\d"}}}"#, true),
            (r#"{"method": {"exact": "GET"}}"#, true),
            (r#"{"method": {"exact": "get"}}"#, false),
            (r#"{"scheme": {"exact": "https"}}"#, false),
            (r#"{"authority": {"prefix": "reviews"}}"#, true),
            (r#"{"headers": [{"name": "user-agent", "value": {"pattern": ".*Chrome.*"}}]}"#, true),
            (
                r#"{"headers": [{"name": "user-agent", "value": {"pattern": ".*Chrome.*"}, "not": true}]}"#,
                false,
            ),
            (r#"{"headers": [{"name": "x-none", "value": "present"}]}"#, false),
            (r#"{"headers": [{"name": "x-none", "value": "present", "not": true}]}"#, true),
            // A header that is not there is empty for who asks for none like this, and only for him.
            (r#"{"headers": [{"name": "x-none", "value": {"pattern": ".*"}}]}"#, false),
            (r#"{"headers": [{"name": "x-none", "value": {"pattern": ".*"}, "not": true}]}"#, false),
            (r#"{"headers": [{"name": "x-none", "value": {"pattern": "a?"}, "not": true}]}"#, false),
            (r#"{"headers": [{"name": "x-none", "value": {"exact": ""}, "not": true}]}"#, false),
            (r#"{"headers": [{"name": "x-none", "value": {"pattern": "a+"}, "not": true}]}"#, true),
            (r#"{"headers": [{"name": "x-none", "value": {"exact": "a"}, "not": true}]}"#, true),
            (r#"{"headers": [{"name": "x-list", "value": {"exact": "a,b"}}]}"#, true),
            (r#"{"headers": [{"name": "x-odd", "value": "present"}]}"#, true),
            (r#"{"headers": [{"name": "x-odd", "value": {"prefix": "root"}}]}"#, true),
            (r#"{"headers": [{"name": "x-odd", "value": {"pattern": "root.?"}}]}"#, true),
            // A rule that spares who says `root` does not spare who says it with a byte that is no text.
            (r#"{"headers": [{"name": "x-odd", "value": {"pattern": ".*root.*"}, "not": true}]}"#, false),
            (r#"{"headers": [{"name": "x-odd", "value": "present", "not": true}]}"#, false),
            (r#"{"query": [{"name": "page", "value": {"exact": "2"}}]}"#, true),
            (r#"{"query": [{"name": "page", "value": {"exact": "3"}}]}"#, false),
            (r#"{"query": [{"name": "flag", "value": {"exact": ""}}]}"#, true),
            (r#"{"query": [{"name": "q", "value": {"exact": "a b+c"}}]}"#, true),
            (r#"{"query": [{"name": "none", "value": "present"}]}"#, false),
            (r#"{"query": [{"name": "who", "value": {"pattern": "root."}}]}"#, true),
            (r#"{"query": [{"name": "who", "value": {"pattern": ".*root.*"}, "not": true}]}"#, false),
            (r#"{"client": {"namespace": "shop"}}"#, true),
            (r#"{"client": {"namespace": "other"}}"#, false),
            (r#"{"client": {"labels": {"app": "web", "version": "v1"}}}"#, true),
            (r#"{"client": {"labels": {"app": "web", "version": "v2"}}}"#, false),
        ] {
            assert_eq!(read(text).holds(&request()), want, "{text}");
        }
    }

    #[test]
    fn all_that_is_written_has_to_hold() {
        let both = r#"{"method": {"exact": "GET"}, "client": {"namespace": "other"}}"#;
        assert!(!read(both).holds(&request()));
    }

    #[test]
    fn a_field_that_nobody_knows_is_refused() {
        assert!(serde_json::from_str::<RequestMatch>(r#"{"weather": "fine"}"#).is_err());
    }
}
