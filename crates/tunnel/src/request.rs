//! What a client asks for, in either dialect; how each writes it stands in `mux/open.rs` and `hbone/request.rs`.

use crate::words::{Authority, Forwarded};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Where the bytes shall go.
    pub authority: Authority,
    /// W3C baggage about the sender, as it came.
    pub baggage: Option<String>,
    /// For whom the sender connects. Anybody may send it; whom to believe is decided elsewhere.
    pub forwarded: Option<Forwarded>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// A request to an address, with nothing said about the sender.
impl From<Authority> for ConnectRequest {
    fn from(authority: Authority) -> Self {
        Self { authority, baggage: None, forwarded: None, traceparent: None }
    }
}
