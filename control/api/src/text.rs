//! Texts that have a form: names, hosts, headers, regular expressions.

use std::net::IpAddr;
use weft_l7::pattern::Pattern;

/// Longest label of a host name (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// Longest host name (RFC 1123 §2.1, as Kubernetes checks it).
const HOST_BYTES_MAX: usize = 253;

/// A label of a host name, in any case.
pub(crate) fn is_label(text: &str) -> bool {
    let outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && outer(text.bytes().next())
        && outer(text.bytes().last())
}

/// What a text says: Istio cannot tell an empty one from none.
pub fn said(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// A host name, in any case, of one label or several.
pub fn is_host(text: &str) -> bool {
    text.len() <= HOST_BYTES_MAX && text.split('.').all(is_label)
}

/// True for an address, which host names must not be where names are due.
pub(crate) fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// A name of Kubernetes: a host name in lower case.
pub(crate) fn is_name(text: &str) -> bool {
    is_host(text) && !has_upper(text)
}

pub(crate) fn has_upper(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Longest name of a header; far above any that is used.
const HEADER_BYTES_MAX: usize = 256;

/// The name of a header (RFC 9110 §5.1, a token).
pub(crate) fn is_header_name(text: &str) -> bool {
    (1..=HEADER_BYTES_MAX).contains(&text.len()) && is_token(text)
}

/// A token (RFC 9110 §5.6.2), such as a method.
pub(crate) fn is_token(text: &str) -> bool {
    let extra = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte: u8| byte.is_ascii_alphanumeric() || extra(byte))
}

/// The value of a header (RFC 9110 §5.5): nothing that could end it.
pub(crate) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// A key of a label: a name, and a domain before it if there is a slash.
pub(crate) fn is_label_key(text: &str) -> bool {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    domain.is_none_or(is_name) && !name.is_empty() && is_label_value(name)
}

/// A value of a label; it may be empty.
pub(crate) fn is_label_value(text: &str) -> bool {
    let outer = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && outer(text.bytes().next())
        && outer(text.bytes().last())
}

/// An address, or a range of them with a length.
pub(crate) fn is_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return is_address(text);
    };
    let bits = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.bytes().all(|byte| byte.is_ascii_digit())
        && length.parse::<u8>().is_ok_and(|length| length <= bits)
}

/// Says what is wrong with a regular expression of RE2's syntax, if anything is.
pub(crate) fn bad_pattern(text: &str) -> Option<String> {
    Pattern::new(text).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_their_forms() {
        type Form = fn(&str) -> bool;
        for (form, is, good, bad) in [
            (
                "host",
                is_host as Form,
                &["a", "a.b", "A-1.b"][..],
                &["", ".", "a.", "-a", "a_b", "*.a", "a b"][..],
            ),
            ("name", is_name, &["a-1.b"], &["A", "a_b", ""]),
            ("header", is_header_name, &["x-id", "X_Id"], &["", "a b", ":path", "a:", "\u{e4}"]),
            ("header value", is_header_value, &["", "a\tb", "\u{e4}"], &["a\nb", "a\rb", "a\0"]),
            ("label key", is_label_key, &["app", "a.b/c_d"], &["", "/a", "a/", "a/b/c", "-a"]),
            ("label value", is_label_value, &["", "v1", "a_b.c"], &["-", "a/b", "a b"]),
            (
                "range",
                is_range,
                &["10.0.0.1", "10.0.0.0/8", "fd00::/8"],
                &["", "10.0.0", "10.0.0.0/33", "a/8", "::/+8"],
            ),
        ] {
            for text in good {
                assert!(is(text), "{form}: {text:?}");
            }
            for text in bad {
                assert!(!is(text), "{form}: {text:?}");
            }
        }
    }
}
