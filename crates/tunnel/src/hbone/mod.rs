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
