//! Why a request got no response, and what that means for another try.

use crate::body::http2;
use crate::dial::DialError;
use std::time::Duration;
use weft_l7::limit::Overflow;
use weft_l7::retry::{Failure, Sent};
use weft_tunnel::end::Broken;

/// Why a request got no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// There is no room for it.
    #[error(transparent)]
    Overflow(Overflow),
    /// No connection became free for it in time.
    #[error("no connection became free within {0:?}")]
    Waited(Duration),
    /// There is no connection to the application.
    #[error(transparent)]
    Dial(DialError),
    /// The connection did not get as far as HTTP.
    #[error("the backend speaks no HTTP")]
    Handshake(#[source] hyper::Error),
    /// The backend broke off.
    #[error("the backend broke off")]
    Broken {
        /// How.
        #[source]
        source: hyper::Error,
        /// How much it had got.
        sent: Sent,
    },
}

impl LineError {
    /// What it means for another try.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Overflow(_) | Self::Waited(_) => Failure::Overload,
            Self::Dial(_) | Self::Handshake(_) => Failure::Connect,
            Self::Broken { source, .. } => match Broken::find(source) {
                // The pod's own proxy said no, or never heard of it: the application has seen nothing.
                Some(Broken::Refused(_) | Broken::Unopened) => Failure::Connect,
                _ if is_refused_stream(source) => Failure::Refused,
                _ => Failure::Reset,
            },
        }
    }

    /// How much of the request the backend may have got.
    pub(crate) fn sent(&self) -> Sent {
        match self {
            Self::Broken { sent, .. } if self.failure() == Failure::Reset => *sent,
            _ => Sent::Nothing,
        }
    }
}

/// HTTP/2's REFUSED_STREAM, or a GOAWAY in order that leaves the stream out (RFC 9113 §8.7): the backend has done nothing
/// with it.
fn is_refused_stream(error: &hyper::Error) -> bool {
    http2(error).is_some_and(|error| match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => true,
        // A stream that the backend does not leave out goes on.
        Some(h2::Reason::NO_ERROR) => error.is_go_away() && error.is_remote(),
        _ => false,
    })
}
