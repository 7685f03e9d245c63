//! The frames of Weft's own dialect (docs/tunnel.md): an 8-byte header and its payload.

use std::ops::Range;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;
/// Most bytes in one DATA frame: what one read takes from a busy application.
pub const DATA_BYTES_MAX: usize = 262_144;
/// Most bytes in an OPEN frame: two addresses, baggage and trace context.
pub const OPEN_BYTES_MAX: usize = 8_192;
/// Bytes that may be under way on each direction of a fresh stream.
pub const CREDIT_INITIAL: u32 = 262_144;
/// Bytes that may be under way once an application has shown that it takes all that comes.
pub const CREDIT_MAX: u32 = 2_097_152;
/// Credit is given back in steps of at least this, so that it costs few frames.
pub const CREDIT_STEP: u32 = 65_536;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Begins a stream.
    Open,
    /// The application has taken the connection.
    Opened,
    /// The stream will not be.
    Refused,
    /// Bytes.
    Data,
    /// More bytes may be sent.
    Credit,
    /// No more bytes this way.
    Fin,
    /// The connection was reset.
    Reset,
    /// No more streams here.
    GoAway,
    /// Not known, and marked as harmless to skip.
    Ignorable,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// The stream, or zero for the connection.
    pub stream: u32,
    /// Bytes of payload that follow.
    pub length: usize,
}

/// The peer broke the protocol; the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// A kind that is neither known nor ignorable.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// A length that the kind does not allow.
    #[error("{kind:?} frame of {length} bytes")]
    Length {
        /// The kind.
        kind: Kind,
        /// The length that it came with.
        length: usize,
    },
    /// A payload that does not read as its kind.
    #[error("malformed {0:?} frame")]
    Payload(Kind),
    /// A stream id that cannot be.
    #[error("stream id {0} out of order")]
    StreamId(u32),
    /// A frame that this side never gets.
    #[error("{0:?} frame from the wrong side")]
    Side(Kind),
    /// More bytes than the credit allowed.
    #[error("stream {0} exceeds its credit")]
    Credit(u32),
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Opened => 2,
            Self::Refused => 3,
            Self::Data => 4,
            Self::Credit => 5,
            Self::Fin => 6,
            Self::Reset => 7,
            Self::GoAway => 8,
            Self::Ignorable => 128,
        }
    }

    fn from_byte(byte: u8) -> Result<Self, BadFrame> {
        Ok(match byte {
            1 => Self::Open,
            2 => Self::Opened,
            3 => Self::Refused,
            4 => Self::Data,
            5 => Self::Credit,
            6 => Self::Fin,
            7 => Self::Reset,
            8 => Self::GoAway,
            128.. => Self::Ignorable,
            other => return Err(BadFrame::Kind(other)),
        })
    }

    const fn allows(self, length: usize) -> bool {
        match self {
            Self::Open => length <= OPEN_BYTES_MAX,
            Self::Opened | Self::Fin | Self::Reset | Self::GoAway => length == 0,
            Self::Refused => length == 1,
            Self::Data => length <= DATA_BYTES_MAX,
            Self::Credit => length == 4,
            Self::Ignorable => length <= OPEN_BYTES_MAX,
        }
    }
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`BadFrame::Kind`] or [`BadFrame::Length`].
    pub fn read(bytes: [u8; HEADER_BYTES]) -> Result<Self, BadFrame> {
        let [a, b, c, kind, d, e, f, g] = bytes;
        let kind = Kind::from_byte(kind)?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if !kind.allows(length) {
            return Err(BadFrame::Length { kind, length });
        }
        Ok(Self { kind, stream: u32::from_be_bytes([d, e, f, g]), length })
    }

    /// Writes the header.
    pub fn bytes(self) -> [u8; HEADER_BYTES] {
        debug_assert!(self.kind.allows(self.length), "{self:?}");
        // Every kind's longest payload is far below 2^24, so the first byte is always zero.
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind.byte(), d, e, f, g]
    }
}

/// Cuts a stream of bytes into frames. DATA is handed on in pieces as it comes, without a copy; other payloads
/// are short and are gathered.
#[derive(Debug, Default)]
pub struct Cutter {
    head: [u8; HEADER_BYTES],
    head_len: usize,
    current: Option<Header>,
    left: usize,
    gathered: Vec<u8>,
}

/// What the cutter has found.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Some bytes of a DATA frame.
    Data {
        /// The stream.
        stream: u32,
        /// Where they lie in what was fed, never empty.
        at: Range<usize>,
    },
    /// A whole frame of another kind.
    Frame(Header, &'a [u8]),
}

impl Cutter {
    /// Takes bytes as they come and calls `on_piece` for all that they complete.
    ///
    /// # Errors
    /// Stops at the first broken header or the first error of `on_piece`.
    pub fn feed<E: From<BadFrame>>(
        &mut self,
        fed: &[u8],
        mut on_piece: impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bytes = fed;
        loop {
            let Some(header) = self.current else {
                let take = bytes.len().min(HEADER_BYTES - self.head_len);
                let (now, rest) = bytes.split_at(take);
                self.head[self.head_len..self.head_len + take].copy_from_slice(now);
                self.head_len += take;
                bytes = rest;
                if self.head_len < HEADER_BYTES {
                    return Ok(());
                }
                self.head_len = 0;
                let header = Header::read(self.head)?;
                self.left = header.length;
                self.current = Some(header);
                continue;
            };
            if self.left > 0 && bytes.is_empty() {
                return Ok(());
            }
            let (now, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= now.len();
            bytes = rest;
            if self.left == 0 {
                self.current = None;
            }
            match header.kind {
                Kind::Data if now.is_empty() => {}
                Kind::Data => {
                    let end = fed.len() - bytes.len();
                    on_piece(Piece::Data { stream: header.stream, at: end - now.len()..end })?;
                }
                _ if self.left == 0 && self.gathered.is_empty() => on_piece(Piece::Frame(header, now))?,
                _ => {
                    self.gathered.extend_from_slice(now);
                    if self.left == 0 {
                        let whole = std::mem::take(&mut self.gathered);
                        on_piece(Piece::Frame(header, &whole))?;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Header { kind, stream, length: payload.len() }.bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    /// Frames other than DATA, and the bytes of all DATA.
    type Cut = (Vec<(Header, Vec<u8>)>, Vec<u8>);

    fn cut(bytes: &[u8], step: usize) -> Result<Cut, BadFrame> {
        let (mut frames, mut data) = (Vec::new(), Vec::new());
        let mut cutter = Cutter::default();
        for chunk in bytes.chunks(step) {
            cutter.feed::<BadFrame>(chunk, |piece| {
                match piece {
                    Piece::Data { at, .. } => data.extend_from_slice(&chunk[at]),
                    Piece::Frame(header, payload) => frames.push((header, payload.to_vec())),
                }
                Ok(())
            })?;
        }
        Ok((frames, data))
    }

    #[test]
    fn frames_are_cut_the_same_however_they_arrive() {
        let mut bytes = frame(Kind::Open, 1, &[7; 50]);
        bytes.extend(frame(Kind::Data, 1, &[1, 2, 3, 4, 5]));
        bytes.extend(frame(Kind::Data, 1, &[]));
        bytes.extend(frame(Kind::Credit, 1, &9u32.to_be_bytes()));
        bytes.extend(frame(Kind::Fin, 1, &[]));
        let whole = cut(&bytes, bytes.len()).unwrap();
        assert_eq!(whole.1, [1, 2, 3, 4, 5]);
        assert_eq!(
            whole.0.iter().map(|(head, _)| head.kind).collect::<Vec<_>>(),
            [Kind::Open, Kind::Credit, Kind::Fin]
        );
        for step in 1..bytes.len() {
            assert_eq!(cut(&bytes, step).unwrap(), whole, "in steps of {step}");
        }
    }

    #[test]
    fn a_broken_header_is_an_error() {
        for (case, bytes, want) in [
            ("kind zero", [0, 0, 0, 0, 0, 0, 0, 1], BadFrame::Kind(0)),
            ("unknown kind", [0, 0, 0, 99, 0, 0, 0, 1], BadFrame::Kind(99)),
            ("long data", [4, 0, 1, 4, 0, 0, 0, 1], BadFrame::Length { kind: Kind::Data, length: 262_145 }),
            ("fin with payload", [0, 0, 1, 6, 0, 0, 0, 1], BadFrame::Length { kind: Kind::Fin, length: 1 }),
        ] {
            assert_eq!(Header::read(bytes), Err(want), "{case}");
        }
        let skipped = Header::read([0, 0, 3, 200, 0, 0, 0, 0]).unwrap();
        assert_eq!(skipped.kind, Kind::Ignorable);
    }
}
