//! Connections to the control plane's port: accepted, and through TLS.

use futures::stream::{self, Stream};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use weft_pki::{ConfigError, ServingSlot, control_server_config};

/// Handshakes at once. A cluster that comes up knocks all at once; more of them only take longer each.
const HANDSHAKES_MAX: usize = 256;
/// How long a handshake may take.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How long to rest after an accept that failed, for instance for want of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Why the port cannot be served. The fault is on this side.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// The address cannot be listened on.
    #[error("listening on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS settings do not fit together.
    #[error("preparing TLS")]
    Tls(#[source] ConfigError),
}

/// Accepts connections, with the certificate that is in the slot at the time.
pub struct Incoming {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<Option<TlsStream<TcpStream>>>,
}

impl Incoming {
    /// Listens.
    ///
    /// # Errors
    /// As [`IncomingError`] says.
    pub async fn bind(addr: SocketAddr, slot: Arc<ServingSlot>) -> Result<Self, IncomingError> {
        let config = control_server_config(slot, &[b"h2"]).map_err(IncomingError::Tls)?;
        let listen = |source| IncomingError::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(listen)?;
        Ok(Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)), handshakes: JoinSet::new() })
    }

    /// Where it listens; the port is known if it was asked for as zero.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// The connections, as tonic takes them.
    pub fn connections(self) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> + Send {
        stream::unfold(self, |mut this| async move { Some((Ok(this.next().await), this)) })
    }

    async fn next(&mut self) -> TlsStream<TcpStream> {
        loop {
            let room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, peer)) => {
                        self.handshakes.spawn(handshake(self.acceptor.clone(), stream, peer));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                },
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some(stream)) = done {
                        return stream;
                    }
                }
            }
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<TlsStream<TcpStream>> {
    // Only latency suffers without it.
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_WAIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "a handshake took too long");
            None
        }
    }
}
