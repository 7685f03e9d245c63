//! Tunnels to pods: one TLS connection for each identity and address, opened when first needed and shared by all
//! connections that this worker has there.

use crate::config::Limits;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_core::identity::Identity;
use weft_pki::{Fingerprint, Leaf, TrustView, client_config, ip_server_name};
use weft_runtime::log::describe;
use weft_tunnel::hbone::{self, Hbone};
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::socket::Socket;
use weft_tunnel::stream::Stream;
use weft_xds::leaves::Leaves;

/// A tunnel without streams is kept so long.
const IDLE: Duration = Duration::from_secs(60);
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
    slots: RefCell<HashMap<(Identity, SocketAddr), Rc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    open: RefCell<Vec<Open>>,
    /// One dials, the others wait for what it gets.
    dialing: tokio::sync::Mutex<()>,
    failed: RefCell<Option<(Instant, TunnelError)>>,
}

struct Open {
    hbone: Hbone,
    leaf: Fingerprint,
    used: Instant,
}

impl Tunnels {
    /// None yet.
    pub(crate) fn new(own: Identity, leaves: Leaves, trust: TrustView, limits: Limits) -> Self {
        Self { own, leaves, trust, limits, slots: RefCell::default() }
    }

    /// How long a connection may take until it stands.
    pub(crate) fn connect_limit(&self) -> Duration {
        self.limits.connect
    }

    /// The same for a handshake of TLS.
    pub(crate) fn handshake_limit(&self) -> Duration {
        self.limits.handshake
    }

    /// Begins a stream to a pod of this identity, by the tunnel at this address.
    ///
    /// # Errors
    /// As [`TunnelError`] says.
    pub(crate) async fn open(
        &self,
        to: &Identity,
        addr: SocketAddr,
        request: &ConnectRequest,
    ) -> Result<Stream, TunnelError> {
        let leaf = self.leaves.wait(&self.own).await.ok_or(TunnelError::NoLeaf)?;
        let slot = self.slots.borrow_mut().entry((to.clone(), addr)).or_default().clone();
        for _ in 0..TRIES {
            if let Some(stream) = slot.open_stream(&leaf, request) {
                return Ok(stream);
            }
            self.dial(&slot, &leaf, to, addr).await?;
        }
        Err(TunnelError::Broken(addr))
    }

    /// Makes sure that there is a tunnel that takes a stream.
    async fn dial(
        &self,
        slot: &Rc<Slot>,
        leaf: &Leaf,
        to: &Identity,
        addr: SocketAddr,
    ) -> Result<(), TunnelError> {
        let asked = Instant::now();
        let _dialing = slot.dialing.lock().await;
        if slot.is_usable(leaf) {
            return Ok(());
        }
        // Whoever dialled while we waited speaks for us too: a dead pod is not dialled once per request.
        if let Some((_, error)) = slot.failed.borrow().as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        // Boxed: else every request would keep the space of a handshake for as long as it lives.
        match Box::pin(self.connect(leaf, to, addr)).await {
            Ok(hbone) => {
                let used = Instant::now();
                slot.open.borrow_mut().push(Open { hbone, leaf: leaf.fingerprint(), used });
                Ok(())
            }
            Err(error) => {
                *slot.failed.borrow_mut() = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn connect(&self, leaf: &Leaf, to: &Identity, addr: SocketAddr) -> Result<Hbone, TunnelError> {
        let unreachable =
            |error: std::io::Error| TunnelError::Connect { to: addr, why: error.to_string().into() };
        let broken = |why: String| TunnelError::Handshake { to: addr, why: why.into() };
        let fresh = fresh_socket(addr).map_err(unreachable)?;
        let socket = Socket::connect(fresh.into(), addr, self.limits.connect).await.map_err(unreachable)?;
        let config = client_config(leaf, &self.trust.now(), vec![to.clone()], &[hbone::ALPN]);
        let config = config.map_err(|error| broken(describe(&error)))?;
        let handshake = Hbone::connect(socket, Arc::new(config), ip_server_name(addr.ip()));
        let limit = self.limits.handshake;
        let done = tokio::time::timeout(limit, handshake).await;
        let done = done.map_err(|_| broken(format!("no answer within {limit:?}")))?;
        let (hbone, driver) = done.map_err(|error| broken(describe(&error)))?;
        spawn_local(async move {
            if let Err(error) = driver.run().await {
                tracing::info!(%addr, error = describe(&error), "a tunnel ended");
            }
        });
        Ok(hbone)
    }

    /// Closes what has idled, and what holds an old certificate.
    pub(crate) fn close_idle(&self) {
        let leaf = self.leaves.get(&self.own).map(|leaf| leaf.fingerprint());
        self.slots.borrow_mut().retain(|_, slot| {
            slot.open.borrow_mut().retain_mut(|open| open.keep(leaf));
            // A slot that somebody else holds is being dialled.
            Rc::strong_count(slot) > 1 || !slot.open.borrow().is_empty()
        });
    }
}

impl Slot {
    fn open_stream(&self, leaf: &Leaf, request: &ConnectRequest) -> Option<Stream> {
        let mut all = self.open.borrow_mut();
        all.iter_mut().filter(|open| open.leaf == leaf.fingerprint()).find_map(|open| {
            let stream = open.hbone.open(request)?;
            open.used = Instant::now();
            Some(Stream::from(stream))
        })
    }

    fn is_usable(&self, leaf: &Leaf) -> bool {
        self.open.borrow().iter().any(|open| open.leaf == leaf.fingerprint() && open.hbone.is_usable())
    }
}

impl Open {
    fn keep(&mut self, leaf: Option<Fingerprint>) -> bool {
        if self.hbone.stream_count() > 0 {
            self.used = Instant::now();
            return true;
        }
        let keep = leaf == Some(self.leaf) && self.hbone.is_usable() && self.used.elapsed() <= IDLE;
        if !keep {
            self.hbone.close();
        }
        keep
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
