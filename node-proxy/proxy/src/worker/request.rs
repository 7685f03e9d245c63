//! What a worker and the main thread say to each other.

use std::os::fd::OwnedFd;
use tokio::sync::mpsc;
use weft_agent_link::{Listener, SocketKind};
use weft_core::names::WorkloadUid;

/// From a worker to the main thread.
#[derive(Debug)]
pub enum Request {
    /// Sockets in a pod's namespace.
    Sockets {
        /// Who wants them.
        worker: usize,
        /// Whose namespace.
        pod: WorkloadUid,
        /// Which.
        kind: SocketKind,
        /// How many.
        count: usize,
    },
    /// The worker has closed every socket of a pod.
    Released {
        /// Which worker.
        worker: usize,
        /// Which pod.
        pod: WorkloadUid,
        /// The word that it answers.
        release: u64,
    },
    /// The worker has nothing left to do.
    Drained {
        /// Which worker.
        worker: usize,
    },
}

/// The workers' end of the queue to the main thread.
pub type Requests = mpsc::Sender<Request>;

/// Requests under way; each is answered in microseconds unless the agent is gone, and then more would not help.
pub const REQUESTS_MAX: usize = 1_024;

/// From the main thread to a worker.
#[derive(Debug)]
pub enum Command {
    /// A pod of this node, with this worker's listeners.
    Pod(NewPod),
    /// The pod leaves: close everything of it.
    PodGone {
        /// Which pod.
        pod: WorkloadUid,
        /// Tells this word from an earlier one about a pod of that name: pods of a StatefulSet come back under theirs.
        release: u64,
    },
    /// This worker's listeners of the node's own tunnel; they replace those of before.
    NodeTunnel(Vec<OwnedFd>),
    /// Sockets that the worker asked for.
    Sockets {
        /// Whose namespace.
        pod: WorkloadUid,
        /// Which.
        kind: SocketKind,
        /// The sockets.
        sockets: Vec<OwnedFd>,
    },
    /// The agent has come back and forgotten all orders.
    AgentRestarted,
    /// Accept nothing more; end what is left after the grace period.
    Drain,
    /// Describe the open connections.
    Connections(tokio::sync::oneshot::Sender<Vec<super::registry::Description>>),
}

/// A pod of this node.
#[derive(Debug)]
pub struct NewPod {
    /// Its key.
    pub uid: WorkloadUid,
    /// The kernel's word for its namespace: pods come back under their names.
    pub netns_cookie: u64,
    /// This worker's listeners.
    pub listeners: Vec<Listener>,
}

/// Commands under way to one worker.
pub const COMMANDS_MAX: usize = 1_024;
