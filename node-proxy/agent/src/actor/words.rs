//! What comes to the actor, what its threads bring back, and what it keeps of each pod and proxy.

use crate::actor::existing::Watch;
use crate::enrol::{Enrolled, Netns};
use crate::existing::Connection;
use crate::reconcile::{Key, ProxyId, Told, Wanted};
use crate::status::Status;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use weft_agent_link::cni::Answer;
use weft_agent_link::{FromAgent, FromProxy, Greeting, Listener, SocketKind};
use weft_core::names::WorkloadUid;
use weft_runtime::fds::Watched;

/// A message on its way to a proxy; listeners stay here as well.
pub type Out = FromAgent<Arc<OwnedFd>>;

/// What comes to the loop from outside.
#[derive(Debug)]
pub enum Input {
    /// Discovery's word on every pod of the node.
    Told(Vec<(WorkloadUid, Told)>),
    /// A proxy has connected.
    Joined {
        /// Its number.
        id: ProxyId,
        /// What it said.
        greeting: Greeting,
        /// Where messages to it go; closing it ends the connection.
        out: mpsc::Sender<Out>,
    },
    /// A proxy says something.
    Said(ProxyId, FromProxy),
    /// A proxy's connection has ended.
    Gone(ProxyId),
    /// The CNI plugin wants a pod enrolled.
    CniAdd {
        /// The pod.
        wanted: Wanted,
        /// Its network namespace.
        netns: OwnedFd,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
    /// The CNI plugin says that a pod is gone.
    CniDel {
        /// Its key.
        uid: WorkloadUid,
        /// Its `metadata.uid`; empty if the plugin was not told.
        pod_uid: String,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
    /// Someone wants to know how things are.
    Status(oneshot::Sender<Status>),
}

/// What a thread has done.
pub(super) enum Done {
    Enrolled(WorkloadUid, Tried),
    /// Pods whose path leads to another namespace than the one of this cookie.
    Replaced(Vec<(WorkloadUid, u64)>),
    Released(WorkloadUid, Result<(), String>),
    OrphanReleased(Key, Result<(), String>),
    Made(Batch, Result<Vec<OwnedFd>, String>),
    DevicesChanged(WorkloadUid, Watched),
    Contained(WorkloadUid, Vec<String>),
    /// By the cookie of the namespace that was looked at.
    Existing(WorkloadUid, u64, Result<Vec<Connection>, String>),
    Remembered,
    Nothing,
}

/// How an enrolment ended.
pub(super) enum Tried {
    Enrolled(Box<Enrolled>),
    Failed(String),
    /// Another namespace is captured for this pod, and has to be released first.
    Replaced(String),
}

/// Sockets that were asked for.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) proxy: ProxyId,
    pub(super) uid: WorkloadUid,
    pub(super) kind: SocketKind,
    /// The namespace they are made in: the pod may be another one when they are done.
    pub(super) cookie: u64,
    /// How many of them are sent; the rest goes to the shelf.
    pub(super) send: usize,
}

/// An enrolled pod with what only its descriptors keep.
pub(super) struct Kept {
    pub(super) key: Key,
    pub(super) netns: Netns,
    /// Where that is to be found.
    pub(super) path: Option<PathBuf>,
    pub(super) listeners: Vec<Listener<Arc<OwnedFd>>>,
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) not_contained: Vec<String>,
    pub(super) cut_off: usize,
    pub(super) devices: Option<AbortHandle>,
    pub(super) existing: Watch,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(devices) = &self.devices {
            devices.abort();
        }
    }
}

pub(super) struct Connected {
    pub(super) greeting: Greeting,
    pub(super) out: mpsc::Sender<Out>,
    /// Batches of sockets in the making.
    pub(super) batches: usize,
}
