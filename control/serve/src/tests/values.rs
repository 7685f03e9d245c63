//! Core values to serve.

use std::sync::Arc;
use weft_core::enrolment::{Acceleration, AgentPod, Existing, Membership, PlainText};
use weft_core::identity::Identity;
use weft_core::names::{Network, NetworkAddr, NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy::{Action, Enforcement, Policy, PolicyScope, Rule, Ruleset};
use weft_core::service::{IpFamilies, LoadBalancing, Service, Vip, VipKind};
use weft_core::workload::{Health, Locality, NetworkMode, PortPair, TunnelProtocol, Workload, WorkloadKind};

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
        uid: uid(name),
        name: name.into(),
        namespace: "default".into(),
        addresses: vec![ip.parse().unwrap()],
        hostname: "".into(),
        network: Network::default_network(),
        protocol: TunnelProtocol::Hbone,
        identity: Identity::new("cluster.local", "default", "default").unwrap(),
        waypoint: None,
        network_gateway: None,
        node: NodeName::new("n1"),
        canonical_name: "".into(),
        canonical_revision: "".into(),
        kind: WorkloadKind::Pod,
        workload_name: name.into(),
        native_tunnel: false,
        application_tunnel: None,
        services: services.iter().map(|name| (service_name(name), ports.clone())).collect(),
        policies: Vec::new(),
        health: Health::Healthy,
        cluster: "Kubernetes".into(),
        locality: Locality::default(),
        labels: Default::default(),
        network_mode: NetworkMode::Standard,
        weight: 1,
        node_tunnel: None,
        terminating: false,
    }
}

pub(crate) fn service(name: &str, vip: &str) -> Service {
    let range = addr(vip).ip.into();
    Service {
        name: service_name(name),
        short_name: name.into(),
        vips: vec![Vip { network: Network::default_network(), range, kind: VipKind::Cluster }],
        ports: Vec::new(),
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: LoadBalancing::default(),
        ip_families: IpFamilies::Automatic,
        session_affinity: None,
        external_name: None,
        canonical: true,
        guarded: false,
    }
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
