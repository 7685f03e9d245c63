//! The `forwarded` header.

use http::HeaderValue;
use weft_tunnel::words::Forwarded;
use weft_tunnel::words::forwarded::FORWARDED_BYTES_MAX;

pub(super) const WORDS: &[&str] = &[
    "for=",
    "host=",
    "by=",
    "proto=https",
    "unknown",
    "_hidden",
    ";",
    ",",
    "\"",
    "\\",
    "[",
    "]",
    ":0",
    " ",
    "\t",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        r#"for="10.0.0.1:4000""#,
        r#"for="[::ffff:10.0.0.1]:4000""#,
        r#"For="[fd00::1]:4000"; Host=Web.Shop:80"#,
        r#"for="1.1.1.1:1", for="10.0.0.1:4000";by="a\"b";host="10.0.0.1:80""#,
        r#"for="_gazonk:_p";proto=https;host="[fd00::1]""#,
        "for=unknown",
    ])
}

/// What is accepted comes back as it went; the last element alone counts.
pub(super) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(forwarded) = text.parse::<Forwarded>() else {
        return;
    };
    if let Some(client) = forwarded.client {
        assert_eq!(client.ip().to_canonical(), client.ip(), "mapped");
    }
    let printed = forwarded.to_string();
    assert!(HeaderValue::from_str(&printed).is_ok(), "{printed:?} fits no header");
    assert_eq!(printed.parse(), Ok(forwarded), "{printed:?}");
    let longer = format!("{text},for=unknown");
    if longer.len() <= FORWARDED_BYTES_MAX {
        assert_eq!(longer.parse(), Ok(Forwarded::default()), "{longer:?}");
    }
}
