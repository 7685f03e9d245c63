//! A tunnel of either dialect, for who opens streams through it, or takes them, and need not know which one it is.

use crate::accept::{Dialect, Tunnel};
use crate::hbone::{self, BadRequest, Hbone, HboneError};
use crate::mux::{self, BadOpen, Mux, MuxError, OpenRequest};
use crate::request::ConnectRequest;
use crate::socket::Socket;
use crate::stream::Stream;
use crate::tls::{Session, TlsError};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::Arc;

/// A tunnel of either dialect. Clones share it.
#[derive(Clone)]
pub enum Handle {
    /// Weft's own.
    Mux(Mux),
    /// HBONE.
    Hbone(Hbone),
}

/// Reads and writes for a client's tunnel; nothing moves unless it is polled.
pub enum ClientDriver {
    /// Weft's own dialect.
    Mux(Box<mux::Driver>),
    /// HBONE.
    Hbone(Box<hbone::ClientDriver>),
}

/// Reads and writes for a server's tunnel; nothing moves unless it is polled.
pub enum ServerDriver {
    /// Weft's own dialect.
    Mux(mux::Driver),
    /// HBONE.
    Hbone(hbone::ServerDriver),
}

/// A stream that a client has begun.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack between two calls, and the large one is usual"
)]
pub enum Incoming {
    /// It waits for an answer.
    Open(Asked, Stream),
    /// What it asks for cannot be read; it has been refused as malformed.
    Bad(BadAsk),
}

/// What a client asks for, and on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The client application's address, where the dialect says it: Weft's own does, HBONE does not.
    pub source: Option<SocketAddr>,
    /// What it asks for.
    pub connect: ConnectRequest,
}

/// What a client asks for cannot be read. The client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAsk {
    /// In Weft's own dialect.
    #[error(transparent)]
    Open(BadOpen),
    /// In HBONE.
    #[error(transparent)]
    Request(BadRequest),
}

/// Why a tunnel does not begin, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The TLS handshake; among other things, a server whose identity is not the expected one, or that speaks none of the
    /// dialects that it was offered.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server's TLS does not lead to the tunnel.
    #[error("the peer chose no dialect of the tunnel")]
    Alpn,
    /// In Weft's own dialect.
    #[error(transparent)]
    Mux(#[from] MuxError),
    /// In HBONE.
    #[error(transparent)]
    Hbone(#[from] HboneError),
}

impl Handle {
    /// Connects as the client, in the dialect that the server chooses of those that `config` offers. How long it may take
    /// is the caller's business.
    ///
    /// # Errors
    /// As [`TunnelError`] says.
    pub async fn connect(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<(Self, ClientDriver), TunnelError> {
        let (session, leftover) = Session::connect(&socket, config, name).await?;
        match Dialect::of(&session).ok_or(TunnelError::Alpn)? {
            Dialect::Mux => {
                let (mux, driver) = Mux::client(socket, session, leftover);
                Ok((Self::Mux(mux), ClientDriver::Mux(Box::new(driver))))
            }
            Dialect::Hbone => {
                let (hbone, driver) = Hbone::client(socket, session, leftover).await?;
                Ok((Self::Hbone(hbone), ClientDriver::Hbone(Box::new(driver))))
            }
        }
    }

    /// Begins a stream; bytes may follow at once. `None` if the tunnel takes no more. HBONE does not say the source's
    /// address.
    pub fn open(&self, request: &OpenRequest) -> Option<Stream> {
        match self {
            Self::Mux(mux) => mux.open(request).map(Stream::from),
            Self::Hbone(hbone) => hbone.open(&request.connect).map(Stream::from),
        }
    }

    /// True if a stream may be opened.
    pub fn is_usable(&self) -> bool {
        match self {
            Self::Mux(mux) => mux.is_usable(),
            Self::Hbone(hbone) => hbone.is_usable(),
        }
    }

    /// Streams that are open.
    pub fn stream_count(&self) -> usize {
        match self {
            Self::Mux(mux) => mux.stream_count(),
            Self::Hbone(hbone) => hbone.stream_count(),
        }
    }

    /// Ends the tunnel and all of its streams. The driver returns.
    pub fn close(&self) {
        match self {
            Self::Mux(mux) => mux.close(),
            Self::Hbone(hbone) => hbone.close(),
        }
    }

    /// Tells a client to open no more streams here; those that are open go on.
    pub fn go_away(&self) {
        match self {
            Self::Mux(mux) => mux.go_away(),
            Self::Hbone(hbone) => hbone.go_away(),
        }
    }

    /// True if both are handles to the same tunnel.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mux(one), Self::Mux(another)) => one.is_same(another),
            (Self::Hbone(one), Self::Hbone(another)) => one.is_same(another),
            (Self::Mux(_), Self::Hbone(_)) | (Self::Hbone(_), Self::Mux(_)) => false,
        }
    }

    /// The peer's certificates, leaf first.
    pub fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        match self {
            Self::Mux(mux) => mux.peer_certificates(),
            Self::Hbone(hbone) => hbone.peer_certificates(),
        }
    }
}

impl ClientDriver {
    /// Drives the tunnel until it ends.
    ///
    /// # Errors
    /// Why it ended, if not in order.
    pub async fn run(self) -> Result<(), TunnelError> {
        match self {
            // A server opens no streams; one that does is broken, and the connection says so itself.
            Self::Mux(driver) => driver.run(|_| {}).await.map_err(TunnelError::Mux),
            Self::Hbone(driver) => driver.run().await.map_err(TunnelError::Hbone),
        }
    }
}

impl Tunnel {
    /// The tunnel for who takes streams of either dialect alike.
    pub fn into_parts(self) -> (Handle, ServerDriver) {
        match self {
            Self::Mux(mux, driver) => (Handle::Mux(mux), ServerDriver::Mux(driver)),
            Self::Hbone(hbone, driver) => (Handle::Hbone(hbone), ServerDriver::Hbone(driver)),
        }
    }
}

impl ServerDriver {
    /// Drives the tunnel until it ends, and calls `on_stream` for each stream that the client begins.
    ///
    /// # Errors
    /// Why it ended, if not in order.
    pub async fn run(self, mut on_stream: impl FnMut(Incoming)) -> Result<(), TunnelError> {
        match self {
            Self::Mux(driver) => {
                driver.run(|incoming| on_stream(incoming.into())).await.map_err(TunnelError::Mux)
            }
            Self::Hbone(driver) => {
                driver.run(|incoming| on_stream(incoming.into())).await.map_err(TunnelError::Hbone)
            }
        }
    }
}

impl From<mux::Incoming> for Incoming {
    fn from(incoming: mux::Incoming) -> Self {
        match incoming {
            mux::Incoming::Open(OpenRequest { source, connect }, stream) => {
                Self::Open(Asked { source: Some(source), connect }, stream.into())
            }
            mux::Incoming::Bad(bad) => Self::Bad(BadAsk::Open(bad)),
        }
    }
}

impl From<hbone::Incoming> for Incoming {
    fn from(incoming: hbone::Incoming) -> Self {
        match incoming {
            hbone::Incoming::Connect(connect, stream) => {
                Self::Open(Asked { source: None, connect }, stream.into())
            }
            hbone::Incoming::Bad(bad) => Self::Bad(BadAsk::Request(bad)),
        }
    }
}
