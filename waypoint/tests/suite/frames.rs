//! HTTP/2 by hand: a client, or a backend, that says whatever a test wants, frame by frame.

use crate::world::World;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weft_tunnel::io::TunnelIo;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A response, with this status.
    Answered(u16),
    /// Only the stream has ended, with this code.
    Reset(u32),
    /// The connection has ended, with this code; none if nothing was said.
    Over(Option<u32>),
}

pub(crate) struct Wire<T = TunnelIo> {
    pub(crate) io: T,
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of headers as HPACK has it, without tables or Huffman's code (RFC 7541 §6.2.2).
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            integer(text.len(), &mut bytes);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541 §5.1, with a prefix of seven bits.
fn integer(value: usize, bytes: &mut Vec<u8>) {
    if value < 127 {
        return bytes.push(value as u8);
    }
    bytes.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        bytes.push((rest % 128 + 128) as u8);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// A GET's headers, and more.
pub(crate) fn get(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", path)];
    block(&[&usual[..], more].concat())
}

/// The same for a POST.
pub(crate) fn post(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":method", "POST"), (":scheme", "http"), (":authority", "web"), (":path", path)];
    block(&[&usual[..], more].concat())
}

impl Wire {
    /// To a service, with the preface and these settings said.
    pub(crate) async fn connect(world: &World, service: &str, settings: &[(u16, u32)]) -> Self {
        let io = world.client().await.raw(service).await;
        let mut wire = Self { io };
        wire.write(PREFACE).await;
        wire.say(settings).await;
        wire
    }
}

impl Wire<TcpStream> {
    /// From the waypoint, whose preface has come, with these settings said.
    pub(crate) async fn accept(io: TcpStream, settings: &[(u16, u32)]) -> Self {
        let mut wire = Self { io };
        wire.io.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
        wire.say(settings).await;
        wire
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    async fn say(&mut self, settings: &[(u16, u32)]) {
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        self.send(SETTINGS, 0, 0, &settings).await;
    }

    /// What does not go out any more is met when it is read.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.io.write_all(bytes).await;
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame(kind, flags, stream, payload)).await;
    }

    /// The next frame; `None` once the connection has ended.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.io.read_exact(&mut header).await.ok()?;
        let [high, middle, low, kind, flags, id @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]) as usize];
        self.io.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(id) & 0x7fff_ffff, payload })
    }

    /// Waits for a frame of this kind. `None` once the connection has ended.
    pub(crate) async fn await_kind(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.receive().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// What becomes of a stream.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        let mut status = None;
        loop {
            let Some(frame) = self.receive().await else { return Outcome::Over(None) };
            let code = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
            let ours = frame.stream == stream;
            match frame.kind {
                GOAWAY => return Outcome::Over(Some(code(4))),
                RST_STREAM if ours => return Outcome::Reset(code(0)),
                // hyper writes a status either as an index (RFC 7541 Appendix A: 8 to 14) or in digits behind one.
                HEADERS if ours => status = status.or_else(|| Some(status_of(&frame.payload))),
                _ => {}
            }
            if ours && frame.flags & END_STREAM != 0 && matches!(frame.kind, HEADERS | DATA) {
                return Outcome::Answered(status.unwrap_or_default());
            }
        }
    }
}

/// The status that a block of headers begins with.
fn status_of(block: &[u8]) -> u16 {
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    // A change of the table's size may stand before it (RFC 7541 §6.3).
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap_or_default();
    match block[start..] {
        [index @ 0x88..=0x8e, ..] => indexed[usize::from(index - 0x88)],
        // Three digits as they are, or in Huffman's code (RFC 7541 Appendix B: 5 bits each for 0 to 2, 6 for 3 to 9).
        [_, 3, a, b, c, ..] => [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')),
        [_, 0x82, a, b, ..] => huffman(u16::from_be_bytes([a, b])),
        [_, 0x83, a, b, c, ..] => huffman_long(u32::from_be_bytes([0, a, b, c])),
        _ => panic!("no status: {block:?}"),
    }
}

/// Digits whose codes fill up to 16 bits.
fn huffman(bits: u16) -> u16 {
    huffman_long(u32::from(bits) << 8)
}

fn huffman_long(bits: u32) -> u16 {
    let (mut left, mut status) = (bits << 8, 0);
    for _ in 0..3 {
        let five = left >> 27;
        let digit = if five < 3 {
            left <<= 5;
            five
        } else {
            let six = left >> 26;
            left <<= 6;
            six - 0x19 + 3
        };
        status = status * 10 + digit as u16;
    }
    status
}

/// HTTP/2's codes (RFC 9113 §7).
pub(crate) mod code {
    pub(crate) const PROTOCOL_ERROR: u32 = 1;
    pub(crate) const INTERNAL_ERROR: u32 = 2;
    pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(crate) const STREAM_CLOSED: u32 = 5;
    pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
    pub(crate) const REFUSED_STREAM: u32 = 7;
    pub(crate) const COMPRESSION_ERROR: u32 = 9;
}
