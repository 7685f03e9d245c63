//! The tunnels that peers have opened to this worker: to be told when the proxy goes away, and to be closed when
//! nobody vouches for the peer any more or their pod leaves.

use std::cell::{Cell, RefCell};
use std::time::SystemTime;
use weft_core::names::WorkloadUid;
use weft_pki::{TrustBundle, Usage};
use weft_tunnel::handle::Handle;

/// All of them.
#[derive(Default)]
pub(super) struct Peers {
    open: RefCell<Vec<PeerTunnel>>,
    /// The proxy goes away: whoever is done with its handshake only now hears of it too.
    goes_away: Cell<bool>,
}

struct PeerTunnel {
    handle: Handle,
    /// The pod in whose namespace it ends; none for the node's own.
    pod: Option<WorkloadUid>,
}

impl Peers {
    pub(super) fn add(&self, handle: Handle, pod: Option<WorkloadUid>) {
        if self.goes_away.get() {
            handle.go_away();
        }
        self.open.borrow_mut().push(PeerTunnel { handle, pod });
    }

    pub(super) fn remove(&self, handle: &Handle) {
        self.open.borrow_mut().retain(|one| !one.handle.is_same(handle));
    }

    /// Tells all peers to open no more streams, and those that are yet to come.
    pub(super) fn go_away(&self) {
        self.goes_away.set(true);
        for peer in self.open.borrow().iter() {
            peer.handle.go_away();
        }
    }

    /// Whether there are none.
    pub(super) fn are_gone(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Ends the tunnels of peers whom no root vouches for any more.
    pub(super) fn close_distrusted(&self, trust: &TrustBundle) {
        let now = SystemTime::now();
        let dropped =
            |peer: &&PeerTunnel| trust.has_dropped(&peer.handle.peer_certificates(), Usage::Client, now);
        for peer in self.open.borrow().iter().filter(dropped) {
            tracing::warn!("closing a peer's tunnel whose root has left the trust bundle");
            peer.handle.close();
        }
    }

    /// Ends the tunnels that end in a pod's namespace.
    pub(super) fn close_pod(&self, pod: &WorkloadUid) {
        for peer in self.open.borrow().iter().filter(|peer| peer.pod.as_ref() == Some(pod)) {
            peer.handle.close();
        }
    }
}
