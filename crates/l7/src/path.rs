//! Paths of requests: brought into one form before anything is matched or authorised, because an application will take
//! `/a/../b` and `/%62` for `/b` whatever a policy thinks of them.

use std::borrow::Cow;

/// What stands for a path where the server as a whole is asked (RFC 9110 §9.3.7): it is within the root, and nothing rewrites it.
pub const WHOLE_SERVER: &str = "*";

/// Why a path is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// RFC 9112 §3.2.1 wants one that begins so.
    #[error("it does not begin with a slash")]
    Relative,
    /// A byte that no path may hold (RFC 3986 §3.3).
    #[error("it holds a byte that no path may hold")]
    Byte,
    /// RFC 3986 §2.1.
    #[error("it holds a % that no two hexadecimal digits follow")]
    Escape,
    /// Many servers end a path there, and the others do not.
    #[error("it holds an escaped zero")]
    Zero,
}

/// Brings a path (without its query) into one form (RFC 3986 §6.2.2, and a little more): unreserved characters are not
/// escaped, escapes are in capitals, `.` and `..` segments are resolved and never lead above the root, and a backslash
/// is a slash, as browsers and many servers have it. This is Istio's `BASE`, and what the application gets.
///
/// # Errors
/// For what is no path.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if !path.starts_with('/') {
        return Err(BadPath::Relative);
    }
    if is_normal(path) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = unescape(path)?;
    Ok(Cow::Owned(resolve(&decoded)))
}

/// The other reading of a path in its one form: servers disagree on whether an escaped slash separates segments and
/// whether two slashes are one. `None` if there is nothing to disagree about; else a policy has to allow both readings.
pub fn other_reading(path: &str) -> Option<String> {
    if !path.contains("//") && !path.contains("%2F") && !path.contains("%5C") {
        return None;
    }
    let separated = path.replace("%2F", "/").replace("%5C", "/");
    let mut merged = String::with_capacity(separated.len());
    for char in separated.chars() {
        if char != '/' || !merged.ends_with('/') {
            merged.push(char);
        }
    }
    Some(resolve(&merged))
}

/// Nothing to do: the common case, in one look at each byte.
fn is_normal(path: &str) -> bool {
    let bytes = path.as_bytes();
    // Only a segment that begins with a dot may be one to resolve.
    bytes.iter().enumerate().all(|(at, byte)| is_plain(*byte) && (*byte != b'.' || bytes[at - 1] != b'/'))
}

/// What stands in a path as it is: unreserved characters and what RFC 3986 §3.3 allows in a segment.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn unescape(path: &str) -> Result<String, BadPath> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.push('/'),
            b'%' => match escaped(bytes.next(), bytes.next()).ok_or(BadPath::Escape)? {
                0 => return Err(BadPath::Zero),
                byte if is_unreserved(byte) => out.push(char::from(byte)),
                byte => push_escaped(&mut out, byte),
            },
            byte if is_plain(byte) => out.push(char::from(byte)),
            // Clients send these as they are, and servers take them; escaped they mean the same.
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                push_escaped(&mut out, byte);
            }
            _ => return Err(BadPath::Byte),
        }
    }
    Ok(out)
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    // Two digits of four bits.
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn push_escaped(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    for digit in [byte >> 4, byte & 15] {
        out.push(char::from(DIGITS[usize::from(digit)]));
    }
}

/// Without `.` and `..` segments (RFC 3986 §5.2.4).
fn resolve(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    // What stands before the first slash is nothing.
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            segment => {
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if last {
            out.push('/');
        }
    }
    if out.is_empty() { "/".to_owned() } else { out }
}

/// Whether `path` is `prefix`, or goes on below it: segment by segment, so `/ab` is not below `/a`.
pub fn is_within(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    prefix.is_empty()
        || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `path` with `prefix`, in which it is, replaced: `/a/b` with `/a` by `/x` is `/x/b`, and with `/a` by `/` it is `/b`.
pub fn replace_prefix(path: &str, prefix: &str, by: &str) -> String {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let rest = path.strip_prefix(prefix).unwrap_or(path);
    let head = by.strip_suffix('/').unwrap_or(by);
    match rest {
        "" if head.is_empty() => "/".to_owned(),
        // What was asked for without a slash at its end gets what was written.
        "" => by.to_owned(),
        rest => format!("{head}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form() {
        for (path, want) in [
            ("/", "/"),
            ("/a/b.c", "/a/b.c"),
            ("/a/", "/a/"),
            ("//a///b", "//a///b"),
            ("/a//../b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/.hidden", "/.hidden"),
            ("/a/...", "/a/..."),
            ("/%61%2D", "/a-"),
            ("/%2e%2e/secret", "/secret"),
            ("/a/%2E%2e/b", "/b"),
            ("/%c3%a4", "/%C3%A4"),
            ("/ä", "/%C3%A4"),
            ("/a%20b", "/a%20b"),
            ("/a%3fb", "/a%3Fb"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%5c", "/a%5C"),
            ("/a\\..\\b", "/b"),
            ("/a;v=1/b", "/a;v=1/b"),
            ("/{x}", "/%7Bx%7D"),
            // Once: what an application does with it is its own.
            ("/%2561", "/%2561"),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(want), "{path}");
            assert_eq!(normalise(want).as_deref(), Ok(want), "the form of {path} is its own");
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        for (path, want) in [
            ("", BadPath::Relative),
            ("a", BadPath::Relative),
            ("*", BadPath::Relative),
            ("/a%", BadPath::Escape),
            ("/a%4", BadPath::Escape),
            ("/a%4g", BadPath::Escape),
            ("/a%00", BadPath::Zero),
            ("/a b", BadPath::Byte),
            ("/a#b", BadPath::Byte),
            ("/a?b", BadPath::Byte),
            ("/a\u{7f}", BadPath::Byte),
        ] {
            assert_eq!(normalise(path), Err(want), "{path}");
        }
    }

    #[test]
    fn readings_that_servers_disagree_on() {
        for (path, want) in [
            ("/a/b", None),
            ("//a///b", Some("/a/b")),
            ("/a%2Fb", Some("/a/b")),
            ("/public%2F..%2Fadmin", Some("/admin")),
            ("/public%5C..%5Cadmin", Some("/admin")),
            ("/a//", Some("/a/")),
        ] {
            assert_eq!(other_reading(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn prefixes_are_of_segments() {
        for (path, prefix, want) in [
            ("/a", "/a", true),
            ("/a/", "/a", true),
            ("/a/b", "/a", true),
            ("/a/b", "/a/", true),
            ("/a", "/a/", true),
            ("/ab", "/a", false),
            ("/", "/", true),
            ("/a", "/", true),
            ("/", "/a", false),
            (WHOLE_SERVER, "/", true),
            (WHOLE_SERVER, "/a", false),
        ] {
            assert_eq!(is_within(path, prefix), want, "{path} in {prefix}");
        }
    }

    #[test]
    fn replaced_prefixes() {
        for (path, prefix, by, want) in [
            ("/a/b", "/a", "/x", "/x/b"),
            ("/a/b", "/a/", "/x/", "/x/b"),
            ("/a", "/a", "/x", "/x"),
            ("/a", "/a", "/x/", "/x/"),
            ("/a/", "/a", "/x", "/x/"),
            ("/a/b", "/a", "/", "/b"),
            ("/a/b", "/a", "", "/b"),
            ("/a", "/a", "/", "/"),
            ("/a", "/a", "", "/"),
            ("/a/b", "/", "/x", "/x/a/b"),
        ] {
            assert_eq!(replace_prefix(path, prefix, by), want, "{path}: {prefix} by {by}");
        }
    }
}
