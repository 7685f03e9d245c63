//! Opens tunnels as the client, in either dialect.

use super::Knowledge;
use super::carry::{Cause, Failure};
use super::pods::Pod;
use super::stock::{NoSocket, tcp_kind};
use crate::describe;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use weft_core::identity::Identity;
use weft_pki::{Leaf, Usage, client_config, ip_server_name, peer_of, tunnel_server_name};
use weft_tunnel::accept::Dialect;
use weft_tunnel::handle::Handle;
use weft_tunnel::pool::{Dialed, Ends};
use weft_tunnel::socket::Socket;

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

/// Opens a tunnel from this node to another one, by the first of its addresses that answers.
pub(super) async fn dial_node(
    knowledge: &Knowledge,
    leaf: &Leaf,
    destination: &Identity,
    (from, to): (&[SocketAddr], &[SocketAddr]),
) -> Result<Dialed, DialError> {
    let mut failed = DialError::NoAddr;
    for to in to {
        match dial_mux(knowledge, leaf, destination, (from, *to)).await {
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
    (from, to): (&[SocketAddr], SocketAddr),
) -> Result<Dialed, DialError> {
    let connect = |source| DialError::Connect { to, source: Arc::new(source) };
    let fresh = host_socket(from, to).map_err(connect)?;
    let socket = Socket::connect(fresh.into(), to, knowledge.limits.connect).await.map_err(connect)?;
    begin(knowledge, leaf, destination, (socket, to), (Dialect::Mux, &[Dialect::Mux.alpn()])).await
}

/// Opens a tunnel to a pod's own address, or a waypoint's, from the client's namespace. HBONE is spoken there in any case:
/// who turns out not to speak `dialect` is spoken to in that.
pub(super) async fn dial_pod(
    knowledge: &Knowledge,
    leaf: &Leaf,
    destination: &Identity,
    (pod, to): (&Pod, SocketAddr),
    dialect: Dialect,
) -> Result<Dialed, DialError> {
    let socket = connect_pod(pod, to, knowledge.limits.connect).await?;
    begin(knowledge, leaf, destination, (socket, to), (dialect, dialect.offers())).await
}

/// The handshake, in which the other end chooses one of the dialects that are offered.
async fn begin(
    knowledge: &Knowledge,
    leaf: &Leaf,
    destination: &Identity,
    (socket, to): (Socket, SocketAddr),
    (dialect, offered): (Dialect, &[&[u8]]),
) -> Result<Dialed, DialError> {
    let failed = |why: String| DialError::Handshake { to, why: why.into() };
    let from = socket.local_addr().map_err(|source| DialError::Connect { to, source: Arc::new(source) })?;
    let trust = knowledge.trust.now();
    let config = client_config(leaf, &trust, vec![destination.clone()], offered);
    let config = config.map(Arc::new).map_err(|error| failed(describe(&error)))?;
    let name = match dialect {
        Dialect::Mux => tunnel_server_name(destination),
        Dialect::Hbone => ip_server_name(to.ip()),
    };
    let limit = knowledge.limits.handshake;
    let (handle, driver) = tokio::time::timeout(limit, Handle::connect(socket, config, name))
        .await
        .map_err(|_| failed(format!("no answer within {limit:?}")))?
        .map_err(|error| failed(describe(&error)))?;
    // A root that has left meanwhile vouches for nobody any more.
    let trust = knowledge.trust.now();
    let peer = peer_of(Some(&handle.peer_certificates()), &trust, Usage::Server, SystemTime::now());
    let peer = peer.map_err(|error| failed(describe(&error)))?;
    let until = leaf.not_after().min(peer.not_after());
    Ok(Dialed { handle, driver, ends_at: Ends { from, to }, until })
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

/// A socket in the node's own namespace, at the first of the node's addresses of that family: those that discovery names are
/// the ones that a peer admits ([`weft_core::admit`]), and a node may have others (further networks, IPv6 temporary
/// addresses, RFC 8981) which the kernel would take for a route.
fn host_socket(from: &[SocketAddr], to: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    watch_peer(&socket)?;
    let Some(own) = from.iter().find(|own| own.is_ipv4() == to.is_ipv4()) else {
        return Ok(socket);
    };
    match socket.bind(&SocketAddr::new(own.ip(), 0).into()) {
        // Somebody on the way gives it to what comes from here (NAT), or the peer will say that it is not admitted.
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            tracing::debug!(addr = %own.ip(), "discovery names an address of this node that no device of it has");
            Ok(socket)
        }
        bound => bound.map(|()| socket),
    }
}

/// Makes the kernel notice a peer that is gone without a word.
pub(super) fn watch_peer(socket: &socket2::Socket) -> io::Result<()> {
    let keepalive = socket2::TcpKeepalive::new().with_time(UNANSWERED / 2).with_interval(UNANSWERED / 4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNANSWERED))
}

/// The same for an end that is in no mesh: an application's own keepalives go no further than this proxy. Slower, for it may
/// be behind a network that is away for a while, and what waits for its acknowledgement is the kernel's business as ever.
pub(super) fn watch_stranger(socket: &socket2::Socket) -> io::Result<()> {
    let keepalive = socket2::TcpKeepalive::new().with_time(STRANGER_IDLE).with_interval(STRANGER_IDLE / 4);
    socket.set_tcp_keepalive(&keepalive)
}

/// How long a connection out of the mesh may be silent before its other end is asked. It is given up after nine more quarters
/// of that (tcp(7), `tcp_keepalive_probes`).
const STRANGER_IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
