//! Regular expressions of manifests. The input's first line is the pattern, the rest is the text.

use weft_l7::pattern::{Pattern, Search};

pub(super) const WORDS: &[&str] = &[
    "\n",
    "(",
    ")",
    "(?:",
    "(?i)",
    "(?s:",
    "(?P<a>",
    "(?x)",
    "(?-u)",
    "[",
    "]",
    "[^",
    "[[:word:]]",
    "&&",
    "--",
    "~~",
    "|",
    "*",
    "+?",
    "{2,3}",
    "{1000}",
    "^",
    "$",
    r"\A",
    r"\z",
    r"\b",
    r"\B",
    r"\d",
    r"\W",
    r"\s",
    r"\pL",
    r"\p{Greek}",
    r"\x{10FFFF}",
    r"\Q",
    r"\E",
    r"\1",
    r"\C",
    ".",
    "\u{e9}",
    "\u{663}",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        ".*Chrome.*\nMozilla/5.0 Chrome/142",
        r"^/v([0-9]+)/(books|authors)(/.*)?$
/v2/books/1",
        r"(?i)[\w.-]+@(?:[a-z]+\.)+\pL{2,}
a.b@C.example",
        "[^\\d]|\\s\\b(a|b)*?\n \u{e9}b",
    ])
}

/// What is taken is written as it came, decides on the whole text, and replaces nothing that it does not find.
pub(super) fn run(bytes: &[u8]) {
    let input = String::from_utf8_lossy(bytes);
    let (own, text) = input.split_once('\n').unwrap_or((&input, ""));
    match Pattern::new(own) {
        Ok(pattern) => check(&pattern, own, text),
        Err(bad) => {
            assert_eq!(&*bad.text, own);
            assert!(!bad.reason.is_empty() && !bad.reason.contains('\n'), "{bad}");
        }
    }
    let Ok(search) = Search::new(own.into()) else { return };
    let found = search.finds(text);
    assert_eq!(search.replace_all(text, r"\0"), text, "everything found by itself");
    for by in ["", r"<\1>", r"\\\9"] {
        let replaced = search.replace_all(text, by);
        assert!(found || replaced == text, "{own:?} replaced in {text:?}, and is not there");
    }
}

fn check(pattern: &Pattern, own: &str, text: &str) {
    assert_eq!(pattern.as_str(), own);
    let json = serde_json::to_string(pattern).expect("a pattern is a text");
    assert_eq!(serde_json::from_str::<Pattern>(&json).ok().as_ref(), Some(pattern));
    // It may be as large as a pattern may be already.
    if let Ok(anchored) = Search::new(format!("^(?:{own})$").into()) {
        assert_eq!(anchored.finds(text), pattern.holds(text), "{own:?} of {text:?}");
    }
}
