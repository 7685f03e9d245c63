//! Paths of requests, which have one form before anything is matched or authorised.

use weft_l7::path::{is_within, normalise, other_reading, replace_prefix};

pub(super) const WORDS: &[&str] = &[
    "/", "//", "/.", "/..", "/../", "/./", "%2e", "%2E%2e", "%2f", "%5C", "%00", "%", "%25", "%zz", "\\",
    "..;", ";a=b", "%c3%a4", "\u{e4}", "~", "|",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::texts(&["/a/b/../c", "/a%2F..%2fb//c", "/%61%2d%7E/./%C3%A4", "/a\\..\\b", "/a;v=1/b..c/.../.d/"])
}

/// The one form is its own, leads nowhere above the root, and so does the other reading of it.
pub(super) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(path) = normalise(&text) else { return };
    is_resolved(&path);
    if let Some(other) = other_reading(&path) {
        is_resolved(&other);
        assert_eq!(other_reading(&other), None, "{other} may be read otherwise");
    }
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    for prefix in ["/", parent, &path] {
        assert!(is_within(&path, prefix), "{path} is not within {prefix}");
        assert!(replace_prefix(&path, prefix, "/x").starts_with("/x"), "{path} without {prefix}");
    }
}

fn is_resolved(path: &str) {
    assert_eq!(normalise(path).as_deref(), Ok(path));
    assert!(path.starts_with('/') && path.is_ascii(), "{path}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path}");
}
