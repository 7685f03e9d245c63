//! Who is connected and how each one is doing, for `weft status` and metrics.

use crate::auth::Caller;
use crate::state::Kind;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Rejections that are remembered of each stream; the log has them all.
const NACKS_MAX: usize = 8;

/// What a client is, by the first part of its node's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A node's proxy.
    NodeProxy,
    /// A waypoint.
    Waypoint,
    /// A node's agent.
    Agent,
}

impl Role {
    /// By the id of a node, `<role>~…`.
    pub fn of_node_id(id: &str) -> Option<Self> {
        match id.split('~').next()? {
            "ztunnel" => Some(Self::NodeProxy),
            "waypoint" => Some(Self::Waypoint),
            "agent" => Some(Self::Agent),
            _ => None,
        }
    }

    /// What it may see.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::NodeProxy => &[Kind::Authorization, Kind::Address],
            Self::Waypoint => {
                &[Kind::Authorization, Kind::RequestPolicy, Kind::Traffic, Kind::Telemetry, Kind::Address]
            }
            Self::Agent => &[Kind::AgentPod],
        }
    }

    /// Its name for people and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::NodeProxy => "node-proxy",
            Self::Waypoint => "waypoint",
            Self::Agent => "agent",
        }
    }
}

/// One stream.
#[derive(Debug, Clone)]
pub struct StreamStatus {
    /// What the client is.
    pub role: Role,
    /// How it introduced itself.
    pub node_id: Arc<str>,
    /// The node it says it runs on; for an agent, the node that is proven.
    pub node: Arc<str>,
    /// Who it is.
    pub caller: Caller,
    /// Since when.
    pub since: SystemTime,
    /// Each type that it asked for.
    pub types: BTreeMap<Kind, TypeStatus>,
    /// Its latest rejections, the newest last.
    pub nacks: VecDeque<Nack>,
}

/// How one type of a stream stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypeStatus {
    /// The last push.
    pub sent: u64,
    /// The last push that it answered.
    pub answered: u64,
}

/// A rejection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// Of what.
    pub kind: Kind,
    /// The client's words: resources and reasons.
    pub message: Arc<str>,
    /// When.
    pub at: SystemTime,
}

/// All streams. Clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Clients(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    nacks: AtomicU64,
    streams: Mutex<BTreeMap<u64, StreamStatus>>,
}

impl Clients {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every stream that is open, the oldest first.
    pub fn streams(&self) -> Vec<StreamStatus> {
        self.0.streams.lock().values().cloned().collect()
    }

    /// Rejections since the start.
    pub fn nacks(&self) -> u64 {
        self.0.nacks.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self, status: StreamStatus) -> Entered {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.streams.lock().insert(id, status);
        Entered { id, clients: self.clone() }
    }
}

/// A stream's place in the list, until dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    id: u64,
    clients: Clients,
}

impl Entered {
    fn change(&self, change: impl FnOnce(&mut StreamStatus)) {
        if let Some(status) = self.clients.0.streams.lock().get_mut(&self.id) {
            change(status);
        }
    }

    pub(crate) fn sent(&self, kind: Kind, nonce: u64) {
        self.change(|status| status.types.entry(kind).or_default().sent = nonce);
    }

    pub(crate) fn answered(&self, kind: Kind, nonce: u64) {
        self.change(|status| status.types.entry(kind).or_default().answered = nonce);
    }

    pub(crate) fn rejected(&self, kind: Kind, message: &str, at: SystemTime) {
        self.clients.0.nacks.fetch_add(1, Ordering::Relaxed);
        self.change(|status| {
            if status.nacks.len() == NACKS_MAX {
                status.nacks.pop_front();
            }
            status.nacks.push_back(Nack { kind, message: message.into(), at });
        });
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.clients.0.streams.lock().remove(&self.id);
    }
}
