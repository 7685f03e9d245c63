//! HBONE (wire facts §1): HTTP/2 CONNECT over mutual TLS, for peers that are not Weft.

mod io;
pub mod connection;
pub mod stream;
mod shared;
pub mod request;
mod chunk;

pub use connection::{ClientDriver, Hbone, HboneError, Incoming, ServerDriver};
pub use request::BadRequest;
pub use stream::HboneStream;

/// The ALPN.
pub const ALPN: &[u8] = b"h2";
/// Streams on one connection at a time; a client opens a second connection beyond. It bounds what a peer can make
/// this side keep: a task and a socket each.
pub const STREAMS_MAX: usize = 1_024;
/// Streams of HTTP/2 that a client begins and resets within one read of this side: a burst of impatient applications may,
/// more is an attack (CVE-2023-44487).
pub const RESETS_PENDING_MAX: usize = 128;
/// Streams of HTTP/2 that an end has reset and still knows, each for a second: what is under way for them is dropped.
pub const RESETS_KNOWN_MAX: usize = STREAMS_MAX;
/// Streams beyond, of which something comes when they are forgotten: h2 answers with a reset, and counts for as long as the
/// connection lasts. With its own thousand a few bursts of those who go away, or are refused, would end all that goes on
/// there. Each takes half a kilobyte until the peer has read of it.
pub const RESETS_FORGOTTEN_MAX: usize = 65_536;
