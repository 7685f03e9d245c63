//! A stream of either dialect: who carries a connection need not know which one it goes through.

use crate::end::{Carried, End, Refused};
use crate::hbone::HboneStream;
use crate::mux::MuxStream;
use crate::socket::Socket;
use std::rc::Rc;

/// A stream. Dropped before its end, it resets the other side.
pub enum Stream {
    /// Of Weft's own dialect.
    Mux(MuxStream),
    /// Of HBONE.
    Hbone(HboneStream),
}

impl Stream {
    /// Refuses a stream that the peer has begun.
    pub fn refuse(self, why: Refused) {
        match self {
            Self::Mux(stream) => stream.refuse(why),
            Self::Hbone(stream) => stream.refuse(why),
        }
    }

    /// Tells the client that the application has taken the connection.
    pub fn accept(&mut self) {
        match self {
            Self::Mux(stream) => stream.accept(),
            Self::Hbone(stream) => stream.accept(),
        }
    }

    /// Waits until the server has answered.
    ///
    /// # Errors
    /// How the stream ended instead.
    pub async fn opened(&mut self) -> Result<(), End> {
        match self {
            Self::Mux(stream) => stream.opened().await,
            Self::Hbone(stream) => stream.opened().await,
        }
    }

    /// Carries bytes between the application and the peer, as [`MuxStream::relay`] and [`HboneStream::relay`] say.
    pub async fn relay(self, app: Rc<Socket>, carried: &Carried) -> End {
        match self {
            Self::Mux(stream) => stream.relay(app, carried).await,
            Self::Hbone(stream) => stream.relay(app, carried).await,
        }
    }
}

impl From<MuxStream> for Stream {
    fn from(stream: MuxStream) -> Self {
        Self::Mux(stream)
    }
}

impl From<HboneStream> for Stream {
    fn from(stream: HboneStream) -> Self {
        Self::Hbone(stream)
    }
}
