//! Tunnels to other nodes and pods: one connection for each pair of identities, opened when first needed, shared
//! by all connections of the pair on this worker.

use super::Knowledge;
use super::dial::{DialError, Dialed, Handle, dial_node, dial_pod};
use super::pods::Pod;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_core::identity::Identity;
use weft_core::names::WorkloadUid;
use weft_pki::{Fingerprint, Leaf, PeerError, TrustBundle, Usage};
use weft_tunnel::accept::Dialect;

/// A tunnel without streams is kept so long: a client that comes back spares a handshake.
const IDLE: Duration = Duration::from_secs(60);

/// How a tunnel reaches its other end.
#[derive(Clone, Copy)]
pub(super) enum Via<'a> {
    /// In Weft's own dialect, from this node to that one, by its addresses.
    Node(&'a [SocketAddr]),
    /// From the client's pod to the server's.
    Pod(&'a Rc<Pod>, SocketAddr, Dialect),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    source: Identity,
    destination: Identity,
    via: ViaKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum ViaKey {
    Node(Vec<SocketAddr>),
    /// Wire facts §1: one source, one destination identity, one destination address.
    Pod(WorkloadUid, SocketAddr, Dialect),
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
    handle: Handle,
    addr: SocketAddr,
    leaf: Fingerprint,
    used: Instant,
    /// Takes no new streams from then on.
    retires: SystemTime,
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
        via: Via<'_>,
    ) -> Result<(Handle, SocketAddr), DialError> {
        let leaf = self.knowledge.leaves.wait(source).await;
        let leaf = leaf.ok_or_else(|| DialError::NoLeaf(source.clone()))?;
        let key = Key { source: source.clone(), destination: destination.clone(), via: via.key() };
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
        // Boxed: else every connection would keep the space of a handshake for as long as it lives.
        let dialed = match via {
            Via::Node(addresses) => Box::pin(dial_node(&self.knowledge, &leaf, destination, addresses)).await,
            Via::Pod(pod, addr, dialect) => {
                Box::pin(dial_pod(&self.knowledge, &leaf, destination, (pod, addr), dialect)).await
            }
        };
        match dialed {
            Ok(dialed) => Ok(slot.add(dialed, &leaf)),
            Err(error) => {
                *slot.failed.borrow_mut() = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
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

    /// Closes the tunnels that begin in a pod's namespace.
    pub(super) fn close_pod(&self, pod: &WorkloadUid) {
        self.slots.borrow_mut().retain(|key, slot| {
            let of_pod = matches!(&key.via, ViaKey::Pod(uid, ..) if uid == pod);
            if of_pod {
                slot.tunnels.borrow().iter().for_each(|tunnel| tunnel.handle.close());
            }
            !of_pod
        });
    }
}

impl Via<'_> {
    fn key(self) -> ViaKey {
        match self {
            Via::Node(addresses) => ViaKey::Node(addresses.to_vec()),
            Via::Pod(pod, addr, dialect) => ViaKey::Pod(pod.uid.clone(), addr, dialect),
        }
    }
}

impl Slot {
    fn usable(&self, leaf: &Leaf) -> Option<(Handle, SocketAddr)> {
        let mut tunnels = self.tunnels.borrow_mut();
        let now = SystemTime::now();
        let current = |tunnel: &&mut Tunnel| tunnel.takes_streams(leaf.fingerprint(), now);
        let tunnel = tunnels.iter_mut().find(current)?;
        tunnel.used = Instant::now();
        Some((tunnel.handle.clone(), tunnel.addr))
    }

    /// Runs a new tunnel, until it ends or a certificate does.
    fn add(&self, dialed: Dialed, leaf: &Leaf) -> (Handle, SocketAddr) {
        let Dialed { handle, addr, driver, peer } = dialed;
        let ends = leaf.not_after().min(peer.not_after());
        let running = handle.clone();
        spawn_local(async move {
            tokio::select! {
                ended = driver => if let Err(error) = ended {
                    tracing::info!(to = %addr, error, "tunnel ended");
                },
                () = until(ends) => {
                    tracing::info!(to = %addr, "tunnel ended with its certificate");
                    running.close();
                }
            }
        });
        let retires = halfway(SystemTime::now(), ends);
        let (leaf, used) = (leaf.fingerprint(), Instant::now());
        self.tunnels.borrow_mut().push(Tunnel { handle: handle.clone(), addr, leaf, used, retires });
        (handle, addr)
    }
}

impl Tunnel {
    fn takes_streams(&self, leaf: Fingerprint, now: SystemTime) -> bool {
        self.handle.is_usable() && self.leaf == leaf && now < self.retires
    }

    fn keep(&mut self, leaf: Option<Fingerprint>, trust: Option<&TrustBundle>) -> bool {
        if let Some(trust) = trust
            && distrusted(&self.handle, trust, Usage::Server)
        {
            tracing::warn!(to = %self.addr, "closing a tunnel whose root has left the trust bundle");
            self.handle.close();
            return false;
        }
        if self.handle.stream_count() > 0 {
            self.used = Instant::now();
            return true;
        }
        let outdated = !leaf.is_some_and(|leaf| self.takes_streams(leaf, SystemTime::now()));
        if outdated || self.used.elapsed() > IDLE {
            self.handle.close();
            return false;
        }
        true
    }
}

/// True if no root in the bundle vouches for the peer any more.
pub(super) fn distrusted(tunnel: &Handle, trust: &TrustBundle, usage: Usage) -> bool {
    let judged = trust.verify_peer(&tunnel.peer_certificates(), usage, SystemTime::now());
    !matches!(judged, Ok(_) | Err(PeerError::NotYetValid { .. }))
}

/// When a tunnel that is new and ends then makes room for the next. The other side renews its certificate at its own
/// time, and what begins on a tunnel ends with it: whatever is new should have some time before it.
fn halfway(now: SystemTime, ends: SystemTime) -> SystemTime {
    now + ends.duration_since(now).unwrap_or_default() / 2
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_makes_room_while_half_of_its_time_is_left() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (left, want) in [(86_400, 43_200), (8, 4), (0, 0)] {
            let retires = halfway(now, now + Duration::from_secs(left));
            assert_eq!(retires.duration_since(now).ok(), Some(Duration::from_secs(want)), "{left} s left");
        }
        assert_eq!(halfway(now, now - Duration::from_secs(1)), now, "one that has ended takes nothing");
    }
}
