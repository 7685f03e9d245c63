//! What a node's agent learns: the pods on its node.

use crate::model::{Effect, Model, Resource};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_core::enrolment::AgentPod;
use weft_core::names::{NetworkAddr, WorkloadUid};
use weft_proto::AGENT_POD_TYPE;

/// The pods of one node.
#[derive(Debug, Clone, Copy)]
pub enum AgentPods {}

impl Model for AgentPods {
    type Snapshot = BTreeMap<WorkloadUid, Arc<AgentPod>>;

    const TYPES: &'static [&'static str] = &[AGENT_POD_TYPE];

    fn insert(
        snapshot: &mut Self::Snapshot,
        _: &'static str,
        name: &str,
        body: &[u8],
    ) -> Result<(), (Effect, Arc<str>)> {
        let pod = weft_proto::decode_agent_pod(body);
        let pod = pod.map_err(|error| (Effect::Kept, error.to_string().into()))?;
        if pod.workload.as_str() != name {
            return Err((Effect::Kept, format!("it calls itself {}", pod.workload).into()));
        }
        snapshot.insert(pod.workload.clone(), Arc::new(pod));
        Ok(())
    }

    fn remove(snapshot: &mut Self::Snapshot, _: &'static str, name: &str) {
        snapshot.remove(&WorkloadUid::new(name));
    }

    fn resources(snapshot: &Self::Snapshot) -> Vec<Resource> {
        let resource = |pod: &Arc<AgentPod>| Resource {
            type_url: AGENT_POD_TYPE,
            name: pod.workload.to_string(),
            body: weft_proto::encode_agent_pod(pod),
        };
        snapshot.values().map(resource).collect()
    }

    fn knows(snapshot: &Self::Snapshot, addr: &NetworkAddr) -> bool {
        snapshot.values().any(|pod| pod.addresses.contains(&addr.ip))
    }
}
