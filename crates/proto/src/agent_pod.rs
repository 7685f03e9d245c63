//! `weft.v1.AgentPod` and the core's [`AgentPod`].

use crate::field::{BadValue, Malformed, arc, bad, choice, ip, ip_bytes, message, non_empty, port, text};
use crate::generated::weft as pb;
use prost::Message;
use weft_core::enrolment::{Acceleration, AgentPod, Existing, Membership, PlainText};
use weft_core::names::{NodeName, WorkloadUid};

/// Reads the bytes of a `weft.v1.AgentPod`.
///
/// # Errors
/// [`Malformed`] names the field that cannot be understood.
pub fn decode_agent_pod(bytes: &[u8]) -> Result<AgentPod, Malformed> {
    let from: pb::AgentPod = message(bytes)?;
    if from.workload_uid.is_empty() {
        return Err(bad("AgentPod.workload_uid")(BadValue::Missing));
    }
    let but = from.plain_text_but.iter().map(|number| port(*number)).collect::<Result<_, _>>();
    let but = but.map_err(bad("AgentPod.plain_text_but"))?;
    Ok(AgentPod {
        plain_text: if from.plain_text_refused {
            PlainText::RefusedBut(but)
        } else {
            PlainText::AcceptedBut(but)
        },
        acceleration: match choice(from.acceleration).map_err(bad("AgentPod.acceleration"))? {
            pb::agent_pod::Acceleration::Standard => Acceleration::Standard,
            pb::agent_pod::Acceleration::Proxy => Acceleration::Proxy,
            pb::agent_pod::Acceleration::Full => Acceleration::Full,
            pb::agent_pod::Acceleration::Off => Acceleration::Off,
        },
        existing: match choice(from.existing).map_err(bad("AgentPod.existing"))? {
            pb::agent_pod::Existing::Keep => Existing::Keep,
            pb::agent_pod::Existing::Reset => Existing::Reset,
        },
        addresses: (from.addresses.iter().map(|bytes| ip(bytes)).collect::<Result<_, _>>())
            .map_err(bad("AgentPod.addresses"))?,
        workload: WorkloadUid::new(from.workload_uid),
        pod_uid: arc(from.pod_uid),
        namespace: arc(from.namespace),
        name: arc(from.name),
        node: NodeName::new(from.node),
        service_account: arc(from.service_account),
        netns: non_empty(from.netns),
        membership: if from.enrolled { Membership::Enrolled } else { Membership::Outside },
    })
}

/// The bytes of a `weft.v1.AgentPod`. Equal values have equal bytes.
pub fn encode_agent_pod(pod: &AgentPod) -> Vec<u8> {
    let acceleration = match pod.acceleration {
        Acceleration::Standard => pb::agent_pod::Acceleration::Standard,
        Acceleration::Proxy => pb::agent_pod::Acceleration::Proxy,
        Acceleration::Full => pb::agent_pod::Acceleration::Full,
        Acceleration::Off => pb::agent_pod::Acceleration::Off,
    };
    let existing = match pod.existing {
        Existing::Keep => pb::agent_pod::Existing::Keep,
        Existing::Reset => pb::agent_pod::Existing::Reset,
    };
    let (refused, but) = match &pod.plain_text {
        PlainText::AcceptedBut(but) => (false, but),
        PlainText::RefusedBut(but) => (true, but),
    };
    pb::AgentPod {
        workload_uid: pod.workload.to_string(),
        pod_uid: text(&pod.pod_uid),
        namespace: text(&pod.namespace),
        name: text(&pod.name),
        node: pod.node.to_string(),
        service_account: text(&pod.service_account),
        addresses: pod.addresses.iter().map(|ip| ip_bytes(*ip)).collect(),
        netns: pod.netns.as_ref().map(text).unwrap_or_default(),
        enrolled: pod.membership == Membership::Enrolled,
        acceleration: acceleration.into(),
        existing: existing.into(),
        plain_text_refused: refused,
        plain_text_but: but.iter().copied().map(u32::from).collect(),
    }
    .encode_to_vec()
}
