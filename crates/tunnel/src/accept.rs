//! The server's side of port 15008: one TLS handshake, and then the dialect that the client chose.

use crate::hbone::{self, Hbone, ServerDriver};
use crate::mux::{self, Mux};
use crate::scratch::ReadBuffer;
use crate::socket::Socket;
use crate::tls::{Session, TlsError};
use rustls::ServerConfig;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

/// The ALPNs of a listener that speaks both dialects, the better one first.
pub const ALPNS: [&[u8]; 2] = [mux::ALPN, hbone::ALPN];

/// Why a connection does not become a tunnel.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The handshake.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The client named no dialect. One that names only others is refused by TLS itself.
    #[error("the client chose no dialect of the tunnel")]
    Alpn,
}

/// The tunnel's dialects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Weft's own.
    Mux,
    /// HBONE.
    Hbone,
}

impl Dialect {
    /// Its name in ALPN (RFC 7301).
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Mux => mux::ALPN,
            Self::Hbone => hbone::ALPN,
        }
    }

    /// What a client offers that would speak it at a workload's own address, the better one first. Whoever ends tunnels
    /// there speaks HBONE too, and may be older than what discovery tells of it.
    pub const fn offers(self) -> &'static [&'static [u8]] {
        match self {
            Self::Mux => &ALPNS,
            Self::Hbone => &[hbone::ALPN],
        }
    }

    /// What both sides of a session have chosen, if it is one of them.
    pub(crate) fn of(session: &Session) -> Option<Self> {
        [Self::Mux, Self::Hbone].into_iter().find(|dialect| session.alpn() == Some(dialect.alpn()))
    }
}

/// A connection whose handshake is done.
pub struct Accepted {
    dialect: Dialect,
    socket: Socket,
    session: Session,
    leftover: ReadBuffer,
}

/// A tunnel by its dialect.
pub enum Tunnel {
    /// Weft's own.
    Mux(Mux, mux::Driver),
    /// HBONE.
    Hbone(Hbone, ServerDriver),
}

/// Does the handshake. How long it may take is the caller's business.
///
/// # Errors
/// As [`AcceptError`] says; among them a client whose certificate proves nothing.
pub async fn accept(socket: Socket, config: Arc<ServerConfig>) -> Result<Accepted, AcceptError> {
    let (session, leftover) = Session::accept(&socket, config).await?;
    let dialect = Dialect::of(&session).ok_or(AcceptError::Alpn)?;
    Ok(Accepted { dialect, socket, session, leftover })
}

impl Accepted {
    /// What the client chose.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The client's certificates, leaf first, as the handshake verified them.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.session.peer_certificates()
    }

    /// The tunnel. Nothing moves until its driver runs.
    pub fn into_tunnel(self) -> Tunnel {
        let Self { dialect, socket, session, leftover } = self;
        match dialect {
            Dialect::Mux => {
                let (mux, driver) = Mux::server(socket, session, leftover);
                Tunnel::Mux(mux, driver)
            }
            Dialect::Hbone => {
                let (hbone, driver) = Hbone::server(socket, session, leftover);
                Tunnel::Hbone(hbone, driver)
            }
        }
    }
}
