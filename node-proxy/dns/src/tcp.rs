//! DNS over a connection: each message has its length in front (RFC 1035 §4.2.2).

/// Bytes of the length.
const LENGTH_BYTES: usize = 2;

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
}
