//! An agent's pods in discovery.

use super::samples;
use weft_core::enrolment::{Acceleration, AgentPod, Existing, Membership, PlainText};
use weft_proto::{decode_agent_pod, encode_agent_pod};

pub(super) const WORDS: &[&str] = &["\0", "\x50\x01", "/run/netns/", "..", "/"];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let bare = AgentPod {
        addresses: Vec::new(),
        netns: None,
        membership: Membership::Outside,
        acceleration: Acceleration::Standard,
        existing: Existing::Keep,
        plain_text: PlainText::default(),
        ..samples::agent_pod()
    };
    vec![encode_agent_pod(&samples::agent_pod()), encode_agent_pod(&bare)]
}

/// What is decoded comes back as it went, and its addresses are as others compare them.
pub(super) fn run(bytes: &[u8]) {
    let Ok(pod) = decode_agent_pod(bytes) else {
        return;
    };
    assert!(!pod.workload.as_str().is_empty());
    assert!(pod.addresses.iter().all(|ip| *ip == ip.to_canonical()), "mapped");
    assert_eq!(decode_agent_pod(&encode_agent_pod(&pod)), Ok(pod));
}
