//! Tunnels to other nodes: one connection for each pair of identities, opened when first needed, shared by all
//! connections of the pair on this worker.

use super::Knowledge;
use crate::describe;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_core::identity::Identity;
use weft_core::workload::NodeTunnel;
use weft_pki::{
    Fingerprint, Leaf, PeerError, TrustBundle, Usage, client_config, peer_of, tunnel_server_name,
};
use weft_tunnel::mux::{ALPN, Mux};
use weft_tunnel::socket::Socket;
use weft_tunnel::tls::Session;

/// A tunnel without streams is kept so long: a client that comes back spares a handshake.
const IDLE: Duration = Duration::from_secs(60);
/// How long the kernel keeps trying to deliver what the peer does not acknowledge.
pub(super) const UNANSWERED: Duration = Duration::from_secs(20);

/// Why there is no tunnel.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum DialError {
    /// This node has no certificate for the client.
    #[error("no certificate for {0} yet; is the certificate authority reachable?")]
    NoLeaf(Identity),
    /// The node cannot be reached.
    #[error("cannot reach node tunnel {to}: {source}")]
    Connect { to: SocketAddr, source: Arc<io::Error> },
    /// The handshake failed, or took too long.
    #[error("handshake with node tunnel {to} failed: {why}")]
    Handshake { to: SocketAddr, why: Arc<str> },
    /// The node has no address.
    #[error("discovery names no address of the node's tunnel")]
    NoAddr,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    source: Identity,
    destination: Identity,
    node: Vec<SocketAddr>,
}

/// All tunnels of one worker.
pub(super) struct Pool {
    knowledge: Knowledge,
    slots: RefCell<HashMap<Key, Rc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    tunnels: RefCell<Vec<Tunnel>>,
    /// One dials, the others wait for what it gets.
    dialing: tokio::sync::Mutex<()>,
    failed: RefCell<Option<(Instant, DialError)>>,
}

/// One open tunnel.
struct Tunnel {
    mux: Mux,
    addr: SocketAddr,
    leaf: Fingerprint,
    used: Instant,
}

impl Pool {
    pub(super) fn new(knowledge: Knowledge) -> Self {
        Self { knowledge, slots: RefCell::default() }
    }

    /// A tunnel that takes a stream from `source` to `destination` now, and where it goes.
    pub(super) async fn get(
        &self,
        source: &Identity,
        destination: &Identity,
        node: &NodeTunnel,
    ) -> Result<(Mux, SocketAddr), DialError> {
        let leaf = self.knowledge.leaves.wait(source).await;
        let leaf = leaf.ok_or_else(|| DialError::NoLeaf(source.clone()))?;
        let key =
            Key { source: source.clone(), destination: destination.clone(), node: node.addresses.clone() };
        let slot = self.slots.borrow_mut().entry(key).or_default().clone();
        if let Some(found) = slot.usable(&leaf) {
            return Ok(found);
        }
        let asked = Instant::now();
        let _dialing = slot.dialing.lock().await;
        if let Some(found) = slot.usable(&leaf) {
            return Ok(found);
        }
        // Whoever dialled while we waited speaks for us too: a dead node is not dialled once per connection.
        if let Some((_, error)) = slot.failed.borrow().as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        match self.dial(&leaf, destination, node).await {
            Ok((mux, addr)) => {
                let tunnel =
                    Tunnel { mux: mux.clone(), addr, leaf: leaf.fingerprint(), used: Instant::now() };
                slot.tunnels.borrow_mut().push(tunnel);
                Ok((mux, addr))
            }
            Err(error) => {
                *slot.failed.borrow_mut() = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn dial(
        &self,
        leaf: &Leaf,
        destination: &Identity,
        node: &NodeTunnel,
    ) -> Result<(Mux, SocketAddr), DialError> {
        let mut failed = DialError::NoAddr;
        for addr in &node.addresses {
            match self.dial_one(leaf, destination, *addr).await {
                Ok(mux) => return Ok((mux, *addr)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn dial_one(&self, leaf: &Leaf, destination: &Identity, to: SocketAddr) -> Result<Mux, DialError> {
        let limits = self.knowledge.limits;
        let connect = |source| DialError::Connect { to, source: Arc::new(source) };
        let fresh = host_socket(to).map_err(connect)?;
        let socket = Socket::connect(fresh.into(), to, limits.connect).await.map_err(connect)?;
        let handshake = |why: String| DialError::Handshake { to, why: why.into() };
        let trust = self.knowledge.trust.now();
        let config = client_config(leaf, &trust, vec![destination.clone()], &[ALPN])
            .map_err(|error| handshake(describe(&error)))?;
        let name = tunnel_server_name(destination);
        let session = Session::connect(&socket, Arc::new(config), name);
        let (session, leftover) = match tokio::time::timeout(limits.handshake, session).await {
            Err(_) => return Err(handshake(format!("no answer within {:?}", limits.handshake))),
            Ok(Err(error)) => return Err(handshake(describe(&error))),
            Ok(Ok(done)) => done,
        };
        let peer = peer_of(Some(session.peer_certificates()), &trust, Usage::Server, SystemTime::now());
        let peer = peer.map_err(|error| handshake(describe(&error)))?;
        let ends = leaf.not_after().min(peer.not_after());
        let (mux, driver) = Mux::client(socket, session, leftover);
        let handle = mux.clone();
        spawn_local(async move {
            tokio::select! {
                ended = driver.run(|_, _| {}) => if let Err(error) = ended {
                    tracing::info!(%to, error = describe(&error), "tunnel ended");
                },
                () = until(ends) => {
                    tracing::info!(%to, "tunnel ended with its certificate");
                    handle.close();
                }
            }
        });
        Ok(mux)
    }

    /// Closes what has idled, what holds an old certificate, and what a new trust bundle no longer vouches for.
    pub(super) fn close_idle(&self, new_trust: Option<&TrustBundle>) {
        self.slots.borrow_mut().retain(|key, slot| {
            let leaf = self.knowledge.leaves.get(&key.source).map(|leaf| leaf.fingerprint());
            slot.tunnels.borrow_mut().retain_mut(|tunnel| tunnel.keep(leaf, new_trust));
            // A slot that somebody else holds is being dialled.
            Rc::strong_count(slot) > 1 || !slot.tunnels.borrow().is_empty()
        });
    }
}

impl Slot {
    fn usable(&self, leaf: &Leaf) -> Option<(Mux, SocketAddr)> {
        let mut tunnels = self.tunnels.borrow_mut();
        let current = |tunnel: &&mut Tunnel| tunnel.mux.is_usable() && tunnel.leaf == leaf.fingerprint();
        let tunnel = tunnels.iter_mut().find(current)?;
        tunnel.used = Instant::now();
        Some((tunnel.mux.clone(), tunnel.addr))
    }
}

impl Tunnel {
    fn keep(&mut self, leaf: Option<Fingerprint>, trust: Option<&TrustBundle>) -> bool {
        if let Some(trust) = trust
            && distrusted(&self.mux, trust, Usage::Server)
        {
            tracing::warn!(to = %self.addr, "closing a tunnel whose root has left the trust bundle");
            self.mux.close();
            return false;
        }
        if self.mux.stream_count() > 0 {
            self.used = Instant::now();
            return true;
        }
        let outdated = leaf != Some(self.leaf) || !self.mux.is_usable();
        if outdated || self.used.elapsed() > IDLE {
            self.mux.close();
            return false;
        }
        true
    }
}

/// True if no root in the bundle vouches for the peer any more.
pub(super) fn distrusted(mux: &Mux, trust: &TrustBundle, usage: Usage) -> bool {
    let judged = trust.verify_peer(&mux.peer_certificates(), usage, SystemTime::now());
    !matches!(judged, Ok(_) | Err(PeerError::NotYetValid { .. }))
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

/// Waits for a moment of the wall clock, which is what certificates go by.
pub(super) async fn until(moment: SystemTime) {
    while let Ok(left) = moment.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        // In steps, for the wall clock may be set.
        tokio::time::sleep(left.min(Duration::from_secs(60))).await;
    }
}
