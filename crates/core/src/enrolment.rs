//! What a node's agent is told of the pods on its node: which of them to enrol, and where to find them.

use crate::names::{NodeName, WorkloadUid};
use std::net::IpAddr;
use std::sync::Arc;

/// One pod of a node, as its agent sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPod {
    /// The pod's key as a workload.
    pub workload: WorkloadUid,
    /// The pod's `metadata.uid`: another pod of the same name has another one.
    pub pod_uid: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The node it runs on.
    pub node: NodeName,
    /// Its service account.
    pub service_account: Arc<str>,
    /// Its addresses; empty as long as it has none.
    pub addresses: Vec<IpAddr>,
    /// The path of its network namespace (`weft.dev/netns`); without it the agent asks the container runtime.
    pub netns: Option<Arc<str>>,
    /// Whether it belongs to the mesh.
    pub membership: Membership,
    /// How far its connections may be accelerated (`weft.dev/acceleration`).
    pub acceleration: Acceleration,
    /// What becomes of connections that are older than its enrolment (`weft.dev/existing`).
    pub existing: Existing,
    /// Which connections in plain text it accepts. The proxy judges new ones by policies that say the same; the agent
    /// judges those that are older than the enrolment, which no proxy sees.
    pub plain_text: PlainText,
}

/// Whether a pod belongs to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Membership {
    /// It does: its traffic is captured.
    Enrolled,
    /// It does not, or no longer.
    Outside,
}

/// How far a pod's connections may be accelerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Acceleration {
    /// As the agent does for every pod that does not say.
    #[default]
    Standard,
    /// Towards the proxy.
    Proxy,
    /// Also towards the application.
    Full,
    /// Not at all.
    Off,
}

/// What becomes of connections that are older than the pod's enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Existing {
    /// They go on as they are.
    #[default]
    Keep,
    /// Both ends are told that they are over.
    Reset,
}

/// On which of its ports a pod accepts connections in plain text (PeerAuthentication).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlainText {
    /// On all but these (PERMISSIVE).
    AcceptedBut(Vec<u16>),
    /// On none but these (STRICT).
    RefusedBut(Vec<u16>),
}

impl PlainText {
    /// Whether it refuses them on this port.
    pub fn refuses(&self, port: u16) -> bool {
        match self {
            Self::AcceptedBut(but) => but.contains(&port),
            Self::RefusedBut(but) => !but.contains(&port),
        }
    }
}

impl Default for PlainText {
    fn default() -> Self {
        Self::AcceptedBut(Vec::new())
    }
}
