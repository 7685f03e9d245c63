//! What the state machine is told and what it answers.

use super::entry::{Before, ExistingRule, Key, Told, Wanted};
use std::net::IpAddr;
use std::path::PathBuf;
use weft_agent_link::cni::Answer;
use weft_core::enrolment::Acceleration;
use weft_core::names::WorkloadUid;

/// One connection of a node proxy. A later one has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProxyId(pub u64);

/// One question of the CNI plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CniId(pub u64);

/// What happens to the agent.
#[derive(Debug, Clone)]
pub enum Event {
    /// Discovery's word on every pod of the node. Replaces its earlier word.
    Told(Vec<(WorkloadUid, Told)>),
    /// A thread has enrolled a pod, or failed to.
    Enrolled(WorkloadUid, Result<(), String>),
    /// A thread has released a pod, or failed to.
    Released(WorkloadUid, Result<(), String>),
    /// A thread has released what nobody knew, or failed to.
    OrphanReleased(Key, Result<(), String>),
    /// Where a captured pod's network namespace was, there is another one now.
    NetnsReplaced(WorkloadUid),
    /// A proxy has connected.
    ProxyJoined(ProxyId),
    /// A proxy holds listeners of a pod.
    ProxyHolds(ProxyId, WorkloadUid),
    /// A proxy has said all that it holds.
    ProxyHeldEnd(ProxyId),
    /// A proxy serves.
    ProxyReady(ProxyId),
    /// A proxy has closed every socket of a pod.
    PodReleased(ProxyId, WorkloadUid),
    /// A proxy's connection has ended.
    ProxyGone(ProxyId),
    /// The CNI plugin wants a pod enrolled.
    CniAdd(CniId, Wanted),
    /// The CNI plugin says that a pod is gone.
    CniDel(CniId, WorkloadUid, String),
    /// A deadline may have passed.
    Tick,
}

/// What the agent is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Capture a pod's traffic and open its listeners, or take those that a proxy has brought.
    Enrol {
        /// The pod.
        wanted: Wanted,
        /// Its key in the kernel.
        key: Key,
        /// Whether it is captured already.
        before: Before,
    },
    /// Undo all of it.
    Release {
        /// The pod.
        uid: WorkloadUid,
        /// Its key in the kernel.
        key: Key,
        /// Where its network namespace was when it was captured.
        netns: Option<PathBuf>,
    },
    /// Undo what an earlier agent left of a pod that nobody knows.
    ReleaseOrphan(Key),
    /// A pod's addresses have changed.
    SetAddresses(WorkloadUid, Vec<IpAddr>),
    /// Another rule holds for a pod's connections that are older than its enrolment.
    JudgeExisting(WorkloadUid, ExistingRule),
    /// A pod is to be accelerated so far from now on.
    SetAcceleration(WorkloadUid, Acceleration),
    /// Close the listeners and ready sockets of a pod.
    CloseSockets(WorkloadUid),
    /// Tell a proxy.
    Tell(ProxyId, Tell),
    /// Answer the CNI plugin.
    AnswerCni(CniId, Answer),
    /// Write down the pods for the next agent.
    Remember,
}

/// What a proxy is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// What an earlier proxy asked to keep.
    State,
    /// The listeners of the node's tunnel.
    NodeTunnel,
    /// An enrolled pod.
    Pod(WorkloadUid),
    /// The new addresses of a pod.
    Addresses(WorkloadUid, Vec<IpAddr>),
    /// A pod is gone.
    PodGone(WorkloadUid),
    /// Every pod has been sent.
    Synced,
    /// A newer proxy serves.
    Superseded,
}

/// A pod's state, for `weft status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodState {
    /// Its key.
    pub uid: WorkloadUid,
    /// How far it is, in a word.
    pub state: &'static str,
    /// Why it is not further.
    pub reason: Option<String>,
    /// What is known of it.
    pub wanted: Option<Wanted>,
}
