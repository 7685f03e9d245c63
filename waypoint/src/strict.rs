//! HTTP/1 as strictly as a proxy has to take it: what two servers might read differently is no request.
//!
//! hyper refuses most of it by itself: whitespace before a colon, obs-fold, a lone CR, NUL, lengths that differ, a
//! `Transfer-Encoding` that does not end in `chunked` or comes with HTTP/1.0, heads that are too large. It lets pass a line
//! that ends in a lone LF, both lengths at once (it drops one without a trace), a length that is said twice, and codings
//! before `chunked`, which it does not undo. Exactly these are looked for here, in the bytes on their way to hyper: it
//! takes the ends of lines and the two fields that say where a body ends, and no second parser. What is refused is made
//! into what hyper answers with 400: the end of the line becomes a NUL.

use crate::config::{HEAD_BYTES_MAX, HEADERS_MAX};
use crate::framing::{Abuse, Framing, Phase};
use hyper::server::conn::http1;
use memchr::memchr;

/// A field's line that is kept while it is incomplete. hyper's own limit of a head is not much larger, and no length needs
/// it.
const LINE_BYTES_MAX: usize = 1024;

/// hyper as it stands behind [`Strict`].
pub fn hyper() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Whether the client is still there is looked at below it, also behind what it has sent ahead.
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).half_close(true);
    builder
}

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub struct Strict {
    at: At,
    /// What has come of a line that is not complete, as far as it may matter.
    begun: Vec<u8>,
    /// Bytes of that line, also those that are not kept.
    begun_bytes: usize,
    /// Its last byte.
    last: u8,
}

#[derive(Debug, Clone, Copy, Default)]
enum At {
    /// Empty lines may stand here (RFC 9112 §2.2).
    #[default]
    Between,
    Fields(Length),
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Whatever comes is not taken any more.
    Refused,
}

/// How long the body is, as far as the fields have said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Unsaid,
    Bytes(u64),
    Chunked,
}

/// What two servers might read differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ambiguous;

impl Framing for Strict {
    fn phase(&self) -> Phase {
        match self.at {
            At::Between if self.begun_bytes == 0 => Phase::Between,
            At::Between | At::Fields(_) | At::Refused => Phase::Head,
            At::Body(_) | At::ChunkSize | At::Chunk(_) | At::ChunkEnd | At::Trailers => Phase::Body,
        }
    }

    fn pass(&mut self, bytes: &mut [u8]) -> Result<(), Abuse> {
        // What is refused is answered with 400 by hyper.
        self.take_in(bytes);
        Ok(())
    }
}

impl Strict {
    /// Takes in the next bytes, in whatever pieces they come, before hyper sees them. Where they are refused, the end of
    /// that line becomes a NUL.
    pub fn take_in(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match self.at {
                At::Body(left) => self.skip(left, bytes.len(), At::Body, At::Between),
                At::Chunk(left) => self.skip(left, bytes.len(), At::Chunk, At::ChunkEnd),
                At::Refused => return,
                At::Between | At::Fields(_) | At::ChunkSize | At::ChunkEnd | At::Trailers => self.line(bytes),
            };
            bytes = &mut bytes[taken..];
        }
    }

    fn skip(&mut self, left: u64, here: usize, still: fn(u64) -> At, over: At) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(here);
        let left = left - taken as u64;
        self.at = if left == 0 { over } else { still(left) };
        taken
    }

    /// One line, or what has come of it. Gives how many bytes it was.
    fn line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else {
            let room = LINE_BYTES_MAX.saturating_sub(self.begun.len());
            self.begun.extend_from_slice(&bytes[..bytes.len().min(room)]);
            self.begun_bytes += bytes.len();
            self.last = bytes.last().copied().unwrap_or(self.last);
            return bytes.len();
        };
        let long = self.begun_bytes + end > LINE_BYTES_MAX;
        let before = end.checked_sub(1).map_or(self.last, |before| bytes[before]);
        let lone = before != b'\r' || self.begun_bytes + end == 0;
        let judged = if lone {
            Err(Ambiguous)
        } else if self.begun_bytes == 0 {
            self.judge(&bytes[..end - 1], long)
        } else {
            let mut whole = std::mem::take(&mut self.begun);
            whole.extend_from_slice(&bytes[..end]);
            // The CR, which may have come before.
            whole.pop();
            self.judge(&whole, long)
        };
        self.begun.clear();
        self.begun_bytes = 0;
        match judged {
            Ok(next) => self.at = next,
            Err(Ambiguous) => {
                // Of a chunk's extensions hyper takes a NUL, but never a lone LF.
                if !(lone && matches!(self.at, At::ChunkSize)) {
                    bytes[end] = 0;
                }
                self.at = At::Refused;
            }
        }
        end + 1
    }

    /// Whether a line says how long a body is.
    fn decides(&self, line: &[u8]) -> bool {
        match self.at {
            At::Fields(_) => is_length(memchr(b':', line).map_or(line, |colon| &line[..colon])),
            At::ChunkSize => true,
            At::Between | At::Body(_) | At::Chunk(_) | At::ChunkEnd | At::Trailers | At::Refused => false,
        }
    }

    /// What follows a line, which comes without its end. Of a long one that came in pieces the middle is missing.
    fn judge(&self, line: &[u8], long: bool) -> Result<At, Ambiguous> {
        if long && self.decides(line) {
            return Err(Ambiguous);
        }
        match self.at {
            At::Between if line.is_empty() => Ok(At::Between),
            At::Between => Ok(At::Fields(Length::Unsaid)),
            At::Fields(length) if line.is_empty() => Ok(match length {
                Length::Unsaid | Length::Bytes(0) => At::Between,
                Length::Bytes(count) => At::Body(count),
                Length::Chunked => At::ChunkSize,
            }),
            At::Fields(length) => field(length, line).map(At::Fields),
            At::ChunkSize => match chunk_size(line).ok_or(Ambiguous)? {
                0 => Ok(At::Trailers),
                count => Ok(At::Chunk(count)),
            },
            At::ChunkEnd if line.is_empty() => Ok(At::ChunkSize),
            At::Trailers if line.is_empty() => Ok(At::Between),
            At::Trailers => Ok(At::Trailers),
            At::ChunkEnd | At::Body(_) | At::Chunk(_) | At::Refused => Err(Ambiguous),
        }
    }
}

fn is_length(name: &[u8]) -> bool {
    [&b"content-length"[..], b"transfer-encoding"].iter().any(|one| name.eq_ignore_ascii_case(one))
}

/// What a field says of the body's length, after what others have said.
fn field(length: Length, line: &[u8]) -> Result<Length, Ambiguous> {
    // Most fields are decided by their first byte.
    if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
        return Ok(length);
    }
    let Some(colon) = memchr(b':', line) else { return Ok(length) };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let said = if name.eq_ignore_ascii_case(b"content-length") {
        Length::Bytes(number(value, 10).ok_or(Ambiguous)?)
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Ambiguous);
        }
        Length::Chunked
    } else {
        return Ok(length);
    };
    if length == Length::Unsaid { Ok(said) } else { Err(Ambiguous) }
}

/// The size of a chunk, without its extensions (RFC 9112 §7.1.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = memchr(b';', line).map_or(line, |end| &line[..end]);
    number(size.trim_ascii_end(), 16)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    // No sign, which `from_str_radix` would take.
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of the bytes if they come in pieces of this size.
    fn passed(bytes: &str, piece: usize) -> (Vec<u8>, Strict) {
        let mut framing = Strict::default();
        let mut bytes = bytes.as_bytes().to_vec();
        bytes.chunks_mut(piece).for_each(|piece| framing.take_in(piece));
        (bytes, framing)
    }

    #[test]
    fn what_is_clear_goes_on_untouched() {
        for (case, bytes, phase) in [
            ("nothing", "", Phase::Between),
            ("half a method", "GE", Phase::Head),
            ("half a head", "GET / HTTP/1.1\r\nHost: a\r\n", Phase::Head),
            ("a head", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Phase::Between),
            ("an empty line before", "\r\nGET / HTTP/1.1\r\n\r\n", Phase::Between),
            ("a length", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", Phase::Body),
            ("a body of lone LFs", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n\n\n", Phase::Between),
            ("a length of none", "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\n", Phase::Between),
            ("chunks", "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\na\nc\r\n", Phase::Body),
            (
                "all chunks",
                "POST / HTTP/1.1\r\nTE: x\r\nTransfer-Encoding: chunked\r\n\r\na;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
                Phase::Between,
            ),
            (
                "two requests",
                "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\r\n",
                Phase::Head,
            ),
            (
                "a long line",
                &format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "a".repeat(3000)),
                Phase::Between,
            ),
        ] {
            for piece in [1, 2, 3, 7, 10_000] {
                let (out, framing) = passed(bytes, piece);
                assert_eq!(String::from_utf8_lossy(&out), bytes, "{case} in pieces of {piece}");
                assert_eq!(framing.phase(), phase, "{case} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_broken() {
        let padded = format!("POST / HTTP/1.1\r\nContent-Length: 1{}\r\n\r\n", " ".repeat(2000));
        let extended =
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;{}\r\n", "x".repeat(2000));
        for (case, bytes) in [
            ("a long line with a length", padded.as_str()),
            ("a long line with a chunk's size", extended.as_str()),
            ("a lone LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
            ("a lone LF behind a field", "GET / HTTP/1.1\r\nHost: a\n\r\n"),
            ("a lone LF as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n"),
            ("a lone LF before the request", "\nGET / HTTP/1.1\r\n\r\n"),
            ("both lengths", "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (
                "both lengths, turned",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            ),
            ("two lengths", "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"),
            ("one length twice", "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n"),
            ("a list of lengths", "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n"),
            ("a signed length", "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n"),
            ("a length in hexadecimal", "POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n"),
            ("an empty length", "POST / HTTP/1.1\r\nContent-Length: \r\n\r\n"),
            ("a length too large", "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n"),
            ("another coding", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
            (
                "chunked twice",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            ),
            ("identity", "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n"),
            ("a coding with a tail", "POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n"),
            (
                "a chunk's size with a sign",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n",
            ),
            (
                "a chunk longer than it says",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            ),
        ] {
            for piece in [1, 2, 5, 10_000] {
                let (out, framing) = passed(bytes, piece);
                assert_eq!(out.iter().filter(|byte| **byte == 0).count(), 1, "{case} in pieces of {piece}");
                assert!(matches!(framing.at, At::Refused), "{case} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn a_lone_lf_behind_a_chunks_size_is_hypers_to_refuse() {
        for line in ["3\n", "3;\n\r\n", "3;a=b\n"] {
            let bytes = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{line}abc\r\n");
            for piece in [1, 2, 5, 10_000] {
                let (out, framing) = passed(&bytes, piece);
                assert_eq!(out, bytes.as_bytes(), "{line:?} in pieces of {piece}");
                assert!(matches!(framing.at, At::Refused), "{line:?} in pieces of {piece}");
            }
        }
    }
}
