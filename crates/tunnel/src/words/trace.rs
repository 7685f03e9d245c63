//! The `traceparent` header (W3C Trace Context §3.2), which is passed on and not interpreted.

/// Bytes of version 00; a later version may only append.
const VERSION_00_BYTES: usize = 55;
/// Longest one that is passed on; a later version has room.
const TRACEPARENT_BYTES_MAX: usize = 256;

/// True for a text that may be passed on as `traceparent`: `<version>-<trace id>-<parent id>-<flags>` in lower-case
/// hexadecimal digits, ids not zero, with more behind it only in a version after 00.
pub fn is_traceparent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let Some((head, tail)) = bytes.split_at_checked(VERSION_00_BYTES) else {
        return false;
    };
    let shape = head.iter().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let (version, trace, parent) = (&head[..2], &head[3..35], &head[36..52]);
    let zero = |id: &[u8]| id.iter().all(|byte| *byte == b'0');
    let tail_fits = match tail.first() {
        None => true,
        Some(first) => *first == b'-' && version != b"00" && bytes.len() <= TRACEPARENT_BYTES_MAX,
    };
    shape
        && version != b"ff"
        && !zero(trace)
        && !zero(parent)
        && tail_fits
        && tail.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_trace_contexts_pass() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (case, text, want) in [
            ("version 00", format!("00-{trace}-00f067aa0ba902b7-01"), true),
            ("a later version with more", format!("cc-{trace}-00f067aa0ba902b7-01-what"), true),
            ("version 00 with more", format!("00-{trace}-00f067aa0ba902b7-01-what"), false),
            ("version ff", format!("ff-{trace}-00f067aa0ba902b7-01"), false),
            ("zero trace", format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), false),
            ("zero parent", format!("00-{trace}-0000000000000000-01"), false),
            ("upper case", format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), false),
            ("short", format!("00-{trace}-00f067aa0ba902b7"), false),
            ("nothing", String::new(), false),
            ("not ASCII", "é".repeat(40), false),
        ] {
            assert_eq!(is_traceparent(&text), want, "{case}");
        }
    }
}
