//! Conditions of a Telemetry's filters.

use std::borrow::Cow;
use weft_l7::condition::{Condition, Facts, NumberAttribute, TextAttribute};

pub(super) const WORDS: &[&str] = &[
    "request.url_path",
    "request.headers['x-user']",
    "response.code",
    "connection.mtls",
    "true",
    "false",
    "has(",
    "size(",
    ".startsWith('/a')",
    ".contains(\"b\")",
    ".matches('(a|b)*')",
    " in [",
    "]",
    "(",
    ")",
    "!",
    "&&",
    "||",
    "==",
    "<=",
    "-",
    ",",
    "'",
    "\\",
    "9223372036854775808",
    "ü",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        "response.code >= 400 && !request.url_path.startsWith('/health')",
        "!has(request.useragent) || request.useragent.matches('^curl/[0-9]+')",
        "request.method in ['GET', \"HEAD\"] && (response.size > 10 || response.code in [-1, 200])",
        "size(request.path) == request.host.size() || connection.mtls == false",
    ])
}

/// Of which every attribute is there, or none.
struct All(bool);

impl Facts for All {
    fn text(&self, _: TextAttribute) -> Option<Cow<'_, str>> {
        self.0.then_some("/a/b?c".into())
    }

    fn number(&self, _: NumberAttribute) -> Option<i64> {
        self.0.then_some(i64::MIN)
    }

    fn header(&self, _: &str) -> Option<Cow<'_, str>> {
        self.0.then_some("x".into())
    }
}

/// What is read comes to something, is written as it came, and in parentheses is the same.
pub(super) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(condition) = text.parse::<Condition>() else {
        return;
    };
    assert_eq!(condition.as_str(), text);
    assert!(condition.headers().iter().all(|name| !name.contains(char::is_uppercase)));
    let facts = [All(true), All(false)];
    let holds = |condition: &Condition| facts.each_ref().map(|facts| condition.holds(facts));
    // It may stand at the limit of depth or length already.
    if let Ok(inside) = format!("({text})").parse::<Condition>() {
        assert_eq!(holds(&inside), holds(&condition), "{text}");
    }
}
