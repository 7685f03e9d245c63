//! The key of a pod as its node's agent sees it.

use weft_core::enrolment::AgentPod;
use weft_core::names::{NodeName, WorkloadUid};

/// What tells an [`AgentPod`] from all others, and which node it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentPodKey {
    /// The node.
    pub node: NodeName,
    /// The key of its workload.
    pub workload_uid: WorkloadUid,
}

impl AgentPodKey {
    /// The key of a pod.
    pub fn of(pod: &AgentPod) -> Self {
        Self { node: pod.node.clone(), workload_uid: pod.workload.clone() }
    }
}
