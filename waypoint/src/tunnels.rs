//! Tunnels to pods: one TLS connection for each identity, address and dialect, opened when first needed and shared by all
//! connections that this worker has there.

use crate::config::Limits;
use crate::endpoints::TunnelWay;
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weft_core::identity::Identity;
use weft_pki::{
    Fingerprint, Leaf, TrustView, Usage, client_config, ip_server_name, peer_of, tunnel_server_name,
};
use weft_runtime::log::describe;
use weft_tunnel::accept::Dialect;
use weft_tunnel::handle::Handle;
use weft_tunnel::mux::OpenRequest;
use weft_tunnel::pool::{Dialed, Ends, Pool};
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::socket::Socket;
use weft_tunnel::stream::Stream;
use weft_xds::leaves::Leaves;

/// Tunnels that one stream may try: a pod's proxy may be restarting.
const TRIES: usize = 3;

/// Why there is no tunnel.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TunnelError {
    /// This waypoint has no certificate.
    #[error("no certificate yet; is the certificate authority reachable?")]
    NoLeaf,
    /// The pod's node cannot be reached.
    #[error("cannot reach tunnel {to}: {why}")]
    Connect {
        /// Where to.
        to: SocketAddr,
        /// Why not.
        why: Arc<str>,
    },
    /// The handshake failed, or took too long.
    #[error("handshake with tunnel {to} failed: {why}")]
    Handshake {
        /// Where to.
        to: SocketAddr,
        /// Why it failed.
        why: Arc<str>,
    },
    /// It broke before it took a stream.
    #[error("tunnel {0} takes no streams")]
    Broken(SocketAddr),
}

/// All tunnels of one worker.
pub(crate) struct Tunnels {
    own: Identity,
    leaves: Leaves,
    trust: TrustView,
    limits: Limits,
    /// The trust bundle that the open tunnels were checked against.
    trusted: Cell<Option<Fingerprint>>,
    pool: Pool<(Identity, TunnelWay), Fingerprint, TunnelError>,
}

impl Tunnels {
    /// None yet.
    pub(crate) fn new(own: Identity, leaves: Leaves, trust: TrustView, limits: Limits) -> Self {
        Self { own, leaves, trust, limits, trusted: Cell::default(), pool: Pool::default() }
    }

    /// How long a connection may take until it stands.
    pub(crate) fn connect_limit(&self) -> Duration {
        self.limits.connect
    }

    /// The same for a handshake of TLS.
    pub(crate) fn handshake_limit(&self) -> Duration {
        self.limits.handshake
    }

    /// How long a request may wait for a connection that others hold.
    pub(crate) fn pending_limit(&self) -> Duration {
        self.limits.pending
    }

    /// Begins a stream to a pod of this identity, by its tunnel.
    ///
    /// # Errors
    /// As [`TunnelError`] says.
    pub(crate) async fn open(
        &self,
        to: &Identity,
        way: TunnelWay,
        connect: ConnectRequest,
    ) -> Result<Stream, TunnelError> {
        let leaf = self.leaves.wait(&self.own).await.ok_or(TunnelError::NoLeaf)?;
        let unsourced = SocketAddr::new(way.addr.ip(), 0);
        let mut request = OpenRequest { source: unsourced, connect };
        for _ in 0..TRIES {
            let dial = async || self.dial(&leaf, to, way).await;
            let (tunnel, ends) = self.pool.get((to.clone(), way), leaf.fingerprint(), dial).await?;
            // It speaks for itself, from where its tunnel begins; whom it speaks for stands in `forwarded`.
            request.source = SocketAddr::new(ends.from.ip(), 0);
            if let Some(stream) = tunnel.open(&request) {
                return Ok(stream);
            }
        }
        Err(TunnelError::Broken(way.addr))
    }

    /// HBONE is spoken there in any case: who turns out not to speak the dialect is spoken to in that.
    async fn dial(&self, leaf: &Leaf, to: &Identity, way: TunnelWay) -> Result<Dialed, TunnelError> {
        let TunnelWay { addr, dialect } = way;
        let unreachable =
            |error: std::io::Error| TunnelError::Connect { to: addr, why: error.to_string().into() };
        let broken = |why: String| TunnelError::Handshake { to: addr, why: why.into() };
        let fresh = fresh_socket(addr).map_err(unreachable)?;
        let socket = Socket::connect(fresh.into(), addr, self.limits.connect).await.map_err(unreachable)?;
        let from = socket.local_addr().map_err(unreachable)?;
        let trust = self.trust.now();
        let config = client_config(leaf, &trust, vec![to.clone()], dialect.offers());
        let config = config.map(Arc::new).map_err(|error| broken(describe(&error)))?;
        let name = match dialect {
            Dialect::Mux => tunnel_server_name(to),
            Dialect::Hbone => ip_server_name(addr.ip()),
        };
        let limit = self.limits.handshake;
        let done = tokio::time::timeout(limit, Handle::connect(socket, config, name)).await;
        let done = done.map_err(|_| broken(format!("no answer within {limit:?}")))?;
        let (handle, driver) = done.map_err(|error| broken(describe(&error)))?;
        let peer = peer_of(Some(&handle.peer_certificates()), &trust, Usage::Server, SystemTime::now());
        let peer = peer.map_err(|error| broken(describe(&error)))?;
        let until = leaf.not_after().min(peer.not_after());
        Ok(Dialed { handle, driver, ends_at: Ends { from, to: addr }, until })
    }

    /// Closes what has idled, what holds an old certificate, and that for which no root vouches any more.
    pub(crate) fn close_idle(&self) {
        let leaf = self.leaves.get(&self.own).map(|leaf| leaf.fingerprint());
        let (trust, now) = (self.trust.now(), SystemTime::now());
        let mark = Some(trust.fingerprint());
        let changed = self.trusted.replace(mark) != mark;
        self.pool.close_idle(
            |_| leaf,
            |tunnel| !changed || !trust.has_dropped(&tunnel.peer_certificates(), Usage::Server, now),
        );
    }
}

/// How long the kernel keeps trying to deliver what the peer does not acknowledge.
const UNANSWERED: Duration = Duration::from_secs(20);

fn fresh_socket(to: SocketAddr) -> std::io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(UNANSWERED / 2).with_interval(UNANSWERED / 4);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNANSWERED))?;
    Ok(socket)
}
