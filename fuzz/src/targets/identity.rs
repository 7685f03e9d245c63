//! Identities as texts.

use weft_core::identity::{IDENTITY_BYTES_MAX, Identity};

pub(super) const WORDS: &[&str] = &["spiffe://", "/ns/", "/sa/", "/", ".", "..", "%2f", "a"];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = super::texts(&["spiffe://cluster.local/ns/default/sa/web", "spiffe://td/ns/a/sa/b.c"]);
    // As long as it may be, and one more.
    let rest = IDENTITY_BYTES_MAX - "spiffe://td/ns/a/sa/".len();
    seeds.extend([rest, rest + 1].map(|length| format!("spiffe://td/ns/a/sa/{}", "b".repeat(length)).into()));
    seeds
}

/// Whatever is an identity, read as a whole or put together from parts, is written as one.
pub(super) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(identity) = text.parse::<Identity>() {
        assert_eq!(identity.to_string(), text);
    }
    let mut parts = text.strip_prefix("spiffe://").unwrap_or(&text).split('/');
    let mut part = || parts.next().unwrap_or("x").to_owned();
    let (trust_domain, _, namespace, _, account) = (part(), part(), part(), part(), part());
    if let Ok(identity) = Identity::new(trust_domain, namespace, account) {
        assert_eq!(identity.to_string().parse(), Ok(identity));
    }
}
