//! Weft's own dialect: all connections of a pair of identities on one TLS connection (docs/tunnel.md).

mod io;
pub mod connection;
pub mod stream;
mod state;
mod stream_state;
pub mod waiting;
mod outgoing;
pub mod open;
pub mod frame;

pub use connection::{Driver, Incoming, Mux};
pub use open::{BadOpen, OpenRequest};
pub use state::MuxError;
pub use stream::MuxStream;

/// The ALPN of version 1.
pub const ALPN: &[u8] = b"weft/1";
/// Streams on one connection at a time; a client opens a second connection beyond.
pub const STREAMS_MAX: usize = 4_096;
