//! A tunnel of either dialect, for who opens streams through it and need not know which one it is.

use crate::accept::Dialect;
use crate::hbone::{self, Hbone, HboneError};
use crate::mux::{self, Mux, MuxError, OpenRequest};
use crate::socket::Socket;
use crate::stream::Stream;
use crate::tls::{Session, TlsError};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
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

/// Why a client's tunnel does not begin, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The TLS handshake of Weft's own dialect; among other things, a server whose identity is not the expected one.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server's TLS does not lead to Weft's own dialect.
    #[error("the peer did not choose weft/1")]
    Alpn,
    /// In Weft's own dialect.
    #[error(transparent)]
    Mux(#[from] MuxError),
    /// In HBONE, its handshake too.
    #[error(transparent)]
    Hbone(#[from] HboneError),
}

impl Handle {
    /// Connects as the client, in a dialect whose ALPN is the only one that `config` offers. How long it may take is the
    /// caller's business.
    ///
    /// # Errors
    /// As [`TunnelError`] says.
    pub async fn connect(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        dialect: Dialect,
    ) -> Result<(Self, ClientDriver), TunnelError> {
        match dialect {
            Dialect::Mux => {
                let (session, leftover) = Session::connect(&socket, config, name).await?;
                if session.alpn() != Some(mux::ALPN) {
                    return Err(TunnelError::Alpn);
                }
                let (mux, driver) = Mux::client(socket, session, leftover);
                Ok((Self::Mux(mux), ClientDriver::Mux(Box::new(driver))))
            }
            Dialect::Hbone => {
                let (hbone, driver) = Hbone::connect(socket, config, name).await?;
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
