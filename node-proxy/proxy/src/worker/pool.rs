//! Tunnels to other nodes and pods: one connection for each pair of identities, opened when first needed, shared
//! by all connections of the pair on this worker.

use super::Knowledge;
use super::dial::{DialError, dial_node, dial_pod};
use super::pods::Pod;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::SystemTime;
use weft_core::identity::Identity;
use weft_core::names::WorkloadUid;
use weft_pki::{Fingerprint, TrustBundle, Usage};
use weft_tunnel::accept::Dialect;
use weft_tunnel::handle::Handle;
use weft_tunnel::pool;

/// How a tunnel reaches its other end.
#[derive(Clone, Copy)]
pub(super) enum Via<'a> {
    /// In Weft's own dialect, from this node to that one, by the addresses of both.
    Node(&'a [SocketAddr], &'a [SocketAddr]),
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
    Node(Vec<SocketAddr>, Vec<SocketAddr>),
    /// Wire facts §1: one source, one destination identity, one destination address.
    Pod(WorkloadUid, SocketAddr, Dialect),
}

/// All tunnels of one worker.
pub(super) struct Pool {
    knowledge: Knowledge,
    tunnels: pool::Pool<Key, Fingerprint, DialError>,
}

impl Pool {
    pub(super) fn new(knowledge: Knowledge) -> Self {
        Self { knowledge, tunnels: pool::Pool::default() }
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
        let dial = async || match via {
            Via::Node(from, to) => dial_node(&self.knowledge, &leaf, destination, (from, to)).await,
            Via::Pod(pod, addr, dialect) => {
                dial_pod(&self.knowledge, &leaf, destination, (pod, addr), dialect).await
            }
        };
        let (handle, ends) = self.tunnels.get(key, leaf.fingerprint(), dial).await?;
        Ok((handle, ends.to))
    }

    /// Closes what has idled, what holds an old certificate, and what a new trust bundle no longer vouches for.
    pub(super) fn close_idle(&self, new_trust: Option<&TrustBundle>) {
        let current = |key: &Key| self.knowledge.leaves.get(&key.source).map(|leaf| leaf.fingerprint());
        self.tunnels.close_idle(current, |tunnel| {
            let now = SystemTime::now();
            !new_trust.is_some_and(|trust| trust.has_dropped(&tunnel.peer_certificates(), Usage::Server, now))
        });
    }

    /// Closes the tunnels that begin in a pod's namespace.
    pub(super) fn close_pod(&self, pod: &WorkloadUid) {
        self.tunnels.close(|key| matches!(&key.via, ViaKey::Pod(uid, ..) if uid == pod));
    }
}

impl Via<'_> {
    fn key(self) -> ViaKey {
        match self {
            Via::Node(from, to) => ViaKey::Node(from.to_vec(), to.to_vec()),
            Via::Pod(pod, addr, dialect) => ViaKey::Pod(pod.uid.clone(), addr, dialect),
        }
    }
}
