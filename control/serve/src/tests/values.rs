//! Core values to serve.

use std::sync::Arc;
use weft_core::enrolment::{Acceleration, AgentPod, Existing, Membership, PlainText};
use weft_core::names::{Network, NetworkAddr, NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy::{Action, Enforcement, Policy, PolicyScope, Rule, Ruleset};
use weft_core::service::Service;
use weft_core::workload::{PortPair, Workload};

pub(crate) fn uid(name: &str) -> WorkloadUid {
    WorkloadUid::new(format!("Kubernetes//Pod/default/{name}"))
}

pub(crate) fn service_name(name: &str) -> ServiceName {
    ServiceName::new("default", format!("{name}.default.svc.cluster.local"))
}

pub(crate) fn policy_name(name: &str) -> PolicyName {
    PolicyName::new("default", name)
}

pub(crate) fn addr(ip: &str) -> NetworkAddr {
    NetworkAddr { network: Network::default_network(), ip: ip.parse().unwrap() }
}

pub(crate) fn workload(name: &str, ip: &str, services: &[&str]) -> Workload {
    let ports = vec![PortPair { service_port: 80, target_port: 8080 }];
    Workload {
        addresses: vec![ip.parse().unwrap()],
        services: services.iter().map(|name| (service_name(name), ports.clone())).collect(),
        ..weft_samples::workload("default", name)
    }
}

pub(crate) fn service(name: &str, vip: &str) -> Service {
    let vips = vec![weft_samples::vip(addr(vip).ip)];
    Service { vips, ..weft_samples::service("default", &service_name(name).hostname) }
}

pub(crate) fn policy(name: &str) -> Policy {
    Policy {
        name: policy_name(name),
        scope: PolicyScope::Namespace,
        action: Action::Allow,
        enforcement: Enforcement::Enforced,
        ruleset: Ruleset::Rules(vec![Rule::default()]),
    }
}

pub(crate) fn agent_pod(name: &str, node: &str) -> AgentPod {
    AgentPod {
        workload: uid(name),
        pod_uid: Arc::from(name),
        namespace: "default".into(),
        name: name.into(),
        node: NodeName::new(node),
        service_account: "default".into(),
        addresses: Vec::new(),
        netns: Some(format!("/run/netns/{name}").into()),
        membership: Membership::Enrolled,
        acceleration: Acceleration::Standard,
        existing: Existing::Keep,
        plain_text: PlainText::default(),
    }
}
