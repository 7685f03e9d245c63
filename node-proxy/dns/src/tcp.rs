//! DNS over a connection: each message has its length in front (RFC 1035 §4.2.2).

/// Bytes of the length.
pub const LENGTH_BYTES: usize = 2;
/// Bytes of a length and of the header behind it (RFC 1035 §4.1.1).
pub const HEAD_BYTES: usize = LENGTH_BYTES + 12;
/// The least question: the root's name, a type and a class (RFC 1035 §4.1.2).
const QUESTION_BYTES_MIN: usize = 5;

/// The front of what a connection has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front<'a> {
    /// A whole message, and what follows it.
    Message(&'a [u8], &'a [u8]),
    /// Not yet a whole message: so many bytes are missing at least.
    Short(usize),
}

/// Cuts the first message off.
pub fn cut(bytes: &[u8]) -> Front<'_> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Front::Short(LENGTH_BYTES - bytes.len());
    };
    let length = usize::from(u16::from_be_bytes(*length));
    match rest.split_at_checked(length) {
        Some((message, rest)) => Front::Message(message, rest),
        None => Front::Short(length - rest.len()),
    }
}

/// How long the message at the front is with its length, if its first [`HEAD_BYTES`] are those of a query: one question, and
/// nothing that answers it. Other protocols do not begin so.
pub fn query_bytes(head: &[u8]) -> Option<usize> {
    let (head, _) = head.split_first_chunk::<HEAD_BYTES>()?;
    let at = |place: usize| u16::from_be_bytes([head[place], head[place + 1]]);
    let (length, flags, questions, answers) = (usize::from(at(0)), at(4), at(6), at(8));
    let is_response = flags & 0x8000 != 0;
    let is_query = !is_response && questions == 1 && answers == 0;
    let has_room = length >= HEAD_BYTES - LENGTH_BYTES + QUESTION_BYTES_MIN;
    (is_query && has_room).then_some(LENGTH_BYTES + length)
}

/// A message is longer than a connection can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes has no length of two bytes")]
pub struct TooLong {
    /// Bytes of the message.
    pub length: usize,
}

/// Puts the length in front.
///
/// # Errors
/// [`TooLong`].
pub fn frame(message: &[u8]) -> Result<Vec<u8>, TooLong> {
    let length = u16::try_from(message.len()).map_err(|_| TooLong { length: message.len() })?;
    let mut framed = Vec::with_capacity(LENGTH_BYTES + message.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(framed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_is_cut() {
        let bytes = [frame(b"one").unwrap(), frame(b"").unwrap(), frame(b"three").unwrap()].concat();
        let Front::Message(first, rest) = cut(&bytes) else { panic!("whole") };
        let Front::Message(second, rest) = cut(rest) else { panic!("whole") };
        assert_eq!((first, second), (&b"one"[..], &b""[..]));
        assert_eq!(cut(rest), Front::Message(b"three", b""));
        for (case, bytes, want) in
            [("nothing", &rest[..0], 2), ("half a length", &rest[..1], 1), ("a part", &rest[..4], 3)]
        {
            assert_eq!(cut(bytes), Front::Short(want), "{case}");
        }
        assert_eq!(frame(&[0; 65_536]), Err(TooLong { length: 65_536 }));
    }

    #[test]
    fn a_query_is_known_by_its_head() {
        let query = b"\x00\x1d\x00\x07\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01\x03www";
        let response = b"\x00\x1d\x00\x07\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00";
        let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00";
        for (case, head, want) in [
            ("a query with EDNS", &query[..], Some(31)),
            ("a part of a head", &query[..13], None),
            ("nothing", b"", None),
            ("no room for a question", b"\x00\x0c\x00\x07\x01\x20\x00\x01\x00\x00\x00\x00\x00\x00", None),
            ("a response", response, None),
            ("HTTP", b"GET / HTTP/1.1\r\n", None),
            ("TLS", hello, None),
            ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", None),
        ] {
            assert_eq!(query_bytes(head), want, "{case}");
        }
    }
}
