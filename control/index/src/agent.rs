//! Pods as their node's agent sees them.

use std::net::IpAddr;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::names::{NodeName, WorkloadUid};

/// A pod of a node, whether in the mesh or not. It may have no address yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentPod {
    /// The key of its workload.
    pub workload_uid: WorkloadUid,
    /// Kubernetes' uid of the pod; empty where the manifest has none.
    pub pod_uid: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The node that it is bound to.
    pub node: NodeName,
    /// Who it is.
    pub identity: Identity,
    /// Its service account.
    pub service_account: Arc<str>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Path of its network namespace, where the manifest says (`weft.dev/netns`).
    pub netns: Option<Arc<str>>,
    /// Path of its cgroup, where the manifest says (`weft.dev/cgroup`).
    pub cgroup: Option<Arc<str>>,
    /// Whether its traffic belongs to the mesh.
    pub enrolment: Enrolment,
    /// How far its bytes may take short cuts (`weft.dev/acceleration`).
    pub acceleration: Acceleration,
    /// What becomes of connections that are older than the enrolment (`weft.dev/existing`).
    pub existing: ExistingConnections,
}

/// What tells an [`AgentPod`] from all others, and which node it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentPodKey {
    /// The node.
    pub node: NodeName,
    /// The key of its workload.
    pub workload_uid: WorkloadUid,
}

impl AgentPod {
    /// Its key.
    pub fn key(&self) -> AgentPodKey {
        AgentPodKey { node: self.node.clone(), workload_uid: self.workload_uid.clone() }
    }
}

/// Whether a pod's traffic belongs to the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Enrolment {
    /// It does.
    Enrolled,
    /// It does not.
    Outside,
}

/// How far a pod's bytes may take short cuts past TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Acceleration {
    /// As the mesh's default says.
    #[default]
    Standard,
    /// Both ways (`full`).
    Full,
    /// Not at all (`none`).
    None,
}

/// What becomes of connections that are older than the enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ExistingConnections {
    /// They go on.
    #[default]
    Keep,
    /// Both ends are told that they are over (`reset`).
    Reset,
}
