//! Opens tunnels as the client, in either dialect.

use super::Knowledge;
use super::carry::{Cause, Failure};
use super::pods::Pod;
use super::stock::{NoSocket, tcp_kind};
use crate::describe;
use rustls_pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use weft_core::identity::Identity;
use weft_core::workload::NodeTunnel;
use weft_pki::{Leaf, Peer, TrustBundle, Usage, client_config, ip_server_name, peer_of, tunnel_server_name};
use weft_tunnel::hbone::{self, Hbone};
use weft_tunnel::mux::{self, Mux, OpenRequest};
use weft_tunnel::socket::Socket;
use weft_tunnel::stream::Stream;
use weft_tunnel::tls::Session;

/// How long the kernel keeps trying to deliver what the peer does not acknowledge.
const UNANSWERED: Duration = Duration::from_secs(20);

/// Why there is no tunnel.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum DialError {
    /// This node has no certificate for the client.
    #[error("no certificate for {0} yet; is the certificate authority reachable?")]
    NoLeaf(Identity),
    /// The agent has made no socket.
    #[error(transparent)]
    NoSocket(#[from] NoSocket),
    /// The other end cannot be reached.
    #[error("cannot reach tunnel {to}: {source}")]
    Connect { to: SocketAddr, source: Arc<io::Error> },
    /// The handshake failed, or took too long.
    #[error("handshake with tunnel {to} failed: {why}")]
    Handshake { to: SocketAddr, why: Arc<str> },
    /// The node has no address.
    #[error("discovery names no address of the node's tunnel")]
    NoAddr,
}

impl Failure for DialError {
    fn cause(&self) -> Cause {
        match self {
            Self::NoLeaf(_) | Self::Handshake { .. } => Cause::Handshake,
            Self::NoSocket(_) => Cause::Mesh,
            Self::Connect { source, .. } => Cause::of_connect(source),
            Self::NoAddr => Cause::Unknown,
        }
    }
}

/// A tunnel of either dialect. Clones share it.
#[derive(Clone)]
pub(super) enum Handle {
    Mux(Mux),
    Hbone(Hbone),
}

/// A fresh tunnel, and what has to run for it.
pub(super) struct Dialed {
    pub(super) handle: Handle,
    pub(super) addr: SocketAddr,
    pub(super) driver: Pin<Box<dyn Future<Output = Result<(), String>>>>,
    pub(super) peer: Peer,
}

impl Handle {
    /// Begins a stream; `None` if the tunnel takes no more.
    pub(super) fn open(&self, request: &OpenRequest) -> Option<Stream> {
        match self {
            Self::Mux(mux) => mux.open(request).map(Stream::from),
            Self::Hbone(hbone) => hbone.open(&request.connect).map(Stream::from),
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        match self {
            Self::Mux(mux) => mux.is_usable(),
            Self::Hbone(hbone) => hbone.is_usable(),
        }
    }

    pub(super) fn stream_count(&self) -> usize {
        match self {
            Self::Mux(mux) => mux.stream_count(),
            Self::Hbone(hbone) => hbone.stream_count(),
        }
    }

    pub(super) fn close(&self) {
        match self {
            Self::Mux(mux) => mux.close(),
            Self::Hbone(hbone) => hbone.close(),
        }
    }

    pub(super) fn go_away(&self) {
        match self {
            Self::Mux(mux) => mux.go_away(),
            Self::Hbone(hbone) => hbone.go_away(),
        }
    }

    /// True if both are handles to the same tunnel.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mux(a), Self::Mux(b)) => a.is_same(b),
            (Self::Hbone(a), Self::Hbone(b)) => a.is_same(b),
            _ => false,
        }
    }

    pub(super) fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        match self {
            Self::Mux(mux) => mux.peer_certificates(),
            Self::Hbone(hbone) => hbone.peer_certificates(),
        }
    }
}

/// Opens a tunnel to a node, by the first of its addresses that answers.
pub(super) async fn dial_node(
    knowledge: &Knowledge,
    leaf: &Leaf,
    destination: &Identity,
    node: &NodeTunnel,
) -> Result<Dialed, DialError> {
    let mut failed = DialError::NoAddr;
    for addr in &node.addresses {
        match dial_mux(knowledge, leaf, destination, *addr).await {
            Ok(dialed) => return Ok(dialed),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn dial_mux(
    knowledge: &Knowledge,
    leaf: &Leaf,
    destination: &Identity,
    to: SocketAddr,
) -> Result<Dialed, DialError> {
    let connect = |source| DialError::Connect { to, source: Arc::new(source) };
    let fresh = host_socket(to).map_err(connect)?;
    let socket = Socket::connect(fresh.into(), to, knowledge.limits.connect).await.map_err(connect)?;
    let trust = knowledge.trust.now();
    let config = config(leaf, &trust, destination, mux::ALPN, to)?;
    let handshake = Session::connect(&socket, config, tunnel_server_name(destination));
    let (session, leftover) = within(knowledge, to, handshake).await?;
    let peer = judge(session.peer_certificates(), &trust, to)?;
    let (mux, driver) = Mux::client(socket, session, leftover);
    let driver = async move { driver.run(|_| {}).await.map_err(|error| describe(&error)) };
    Ok(Dialed { handle: Handle::Mux(mux), addr: to, driver: Box::pin(driver), peer })
}

/// Opens a tunnel to a pod's own address, from the client's namespace.
pub(super) async fn dial_pod(
    knowledge: &Knowledge,
    leaf: &Leaf,
    destination: &Identity,
    pod: &Pod,
    to: SocketAddr,
) -> Result<Dialed, DialError> {
    let socket = connect_pod(pod, to, knowledge.limits.connect).await?;
    let trust = knowledge.trust.now();
    let config = config(leaf, &trust, destination, hbone::ALPN, to)?;
    let handshake = Hbone::connect(socket, config, ip_server_name(to.ip()));
    let (hbone, driver) = within(knowledge, to, handshake).await?;
    let peer = judge(&hbone.peer_certificates(), &trust, to)?;
    let driver = async move { driver.run().await.map_err(|error| describe(&error)) };
    Ok(Dialed { handle: Handle::Hbone(hbone), addr: to, driver: Box::pin(driver), peer })
}

/// Connects to a pod's own tunnel port. Only discovery's word that the pod is in the mesh leads here, and others hear of
/// a new pod before its agent has opened that port: whoever refuses is asked again for a while.
async fn connect_pod(pod: &Pod, to: SocketAddr, limit: Duration) -> Result<Socket, DialError> {
    let connect = |source| DialError::Connect { to, source: Arc::new(source) };
    let begun = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        let fresh = pod.stock.take(tcp_kind(to)).await?;
        watch_peer(&socket2::SockRef::from(&fresh)).map_err(connect)?;
        let left = limit.saturating_sub(begun.elapsed());
        let refusal = match Socket::connect(fresh, to, left).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => error,
            done => return done.map_err(connect),
        };
        if begun.elapsed() + pause >= limit.min(ENROLS_WITHIN) {
            return Err(connect(refusal));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// How long a pod that refuses may be about to be enrolled: many times what enrolment takes, and short enough that a peer
/// which is really gone is told of before an application's own patience ends.
const ENROLS_WITHIN: Duration = Duration::from_secs(5);
/// Between two attempts: first about as long as enrolment takes, and never so long that anybody would notice.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(160);

fn config(
    leaf: &Leaf,
    trust: &Arc<TrustBundle>,
    destination: &Identity,
    alpn: &[u8],
    to: SocketAddr,
) -> Result<Arc<rustls::ClientConfig>, DialError> {
    let config = client_config(leaf, trust, vec![destination.clone()], &[alpn]);
    config.map(Arc::new).map_err(|error| DialError::Handshake { to, why: describe(&error).into() })
}

async fn within<T, E: std::error::Error>(
    knowledge: &Knowledge,
    to: SocketAddr,
    handshake: impl Future<Output = Result<T, E>>,
) -> Result<T, DialError> {
    let limit = knowledge.limits.handshake;
    let failed = |why: String| DialError::Handshake { to, why: why.into() };
    match tokio::time::timeout(limit, handshake).await {
        Err(_) => Err(failed(format!("no answer within {limit:?}"))),
        Ok(Err(error)) => Err(failed(describe(&error))),
        Ok(Ok(done)) => Ok(done),
    }
}

fn judge(
    certificates: &[CertificateDer<'_>],
    trust: &TrustBundle,
    to: SocketAddr,
) -> Result<Peer, DialError> {
    let peer = peer_of(Some(certificates), trust, Usage::Server, SystemTime::now());
    peer.map_err(|error| DialError::Handshake { to, why: describe(&error).into() })
}

/// A socket in the node's own namespace.
fn host_socket(to: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    watch_peer(&socket)?;
    Ok(socket)
}

/// Makes the kernel notice a peer that is gone without a word.
pub(super) fn watch_peer(socket: &socket2::Socket) -> io::Result<()> {
    let keepalive = socket2::TcpKeepalive::new().with_time(UNANSWERED / 2).with_interval(UNANSWERED / 4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNANSWERED))
}

#[cfg(test)]
mod tests;
