//! Values of the core, from which discovery's seeds are encoded.

use std::net::IpAddr;
use std::time::Duration;
use weft_core::enrolment::{Acceleration, AgentPod, Existing, Membership, PlainText};
use weft_core::names::{Network, NetworkAddr, NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy::{
    Action, Clause, Enforcement, Match, Policy, PolicyScope, Rule, Ruleset, ServiceAccountMatch, StringMatch,
};
use weft_core::service::{
    AppProtocol, HealthPolicy, IpFamilies, LoadBalancing, LoadBalancingMode, Scope, Service, ServicePort,
    Vip, VipKind,
};
use weft_core::workload::{
    ApplicationTunnel, GatewayAddr, GatewayDestination, Health, Locality, NetworkMode, NodeTunnel, PortPair,
    TunnelPlace, Workload,
};

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().expect("samples hold addresses")
}

fn gateway(destination: GatewayDestination) -> Option<GatewayAddr> {
    Some(GatewayAddr { destination, hbone_port: 15008 })
}

/// A pod of the namespace `shop` that serves one service.
pub(super) fn workload(name: &str, addresses: &[&str], hostname: &str) -> Workload {
    let ports = vec![PortPair { service_port: 80, target_port: 8080 }];
    Workload {
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        canonical_revision: "v1".into(),
        services: vec![(ServiceName::new("shop", hostname), ports)],
        ..weft_samples::workload("shop", name)
    }
}

/// A workload that uses every field.
pub(super) fn full_workload() -> Workload {
    let far = NetworkAddr { network: Network::new("far"), ip: ip("192.0.2.1") };
    Workload {
        hostname: "web-1.web.shop.svc.cluster.local".into(),
        waypoint: gateway(GatewayDestination::Service(ServiceName::new("shop", "waypoint.shop"))),
        network_gateway: gateway(GatewayDestination::Addr(far)),
        native_tunnel: true,
        application_tunnel: Some(ApplicationTunnel { port: 80, proxy_protocol: true }),
        policies: vec![PolicyName::new("shop", "p")],
        health: Health::Unhealthy,
        locality: Locality { region: "r".into(), zone: "z".into(), subzone: "s".into() },
        labels: [("version".into(), "v1".into())].into(),
        network_mode: NetworkMode::HostNetwork,
        weight: 7,
        node_tunnel: Some(NodeTunnel {
            place: TunnelPlace::Node(vec![(ip("10.1.0.1"), 15008).into(), (ip("fd01::1"), 15008).into()]),
            versions: vec![1, 2],
        }),
        terminating: true,
        ..workload("web-1", &["10.0.0.1", "fd00::1"], "web.shop.svc.cluster.local")
    }
}

/// A service of the namespace `shop`.
pub(super) fn service(hostname: &str, vips: &[&str]) -> Service {
    let vip = |range: &&str| Vip {
        network: Network::default_network(),
        range: range.parse().expect("samples hold ranges"),
        kind: VipKind::Cluster,
    };
    Service {
        vips: vips.iter().map(vip).collect(),
        ports: vec![ServicePort { service_port: 80, target_port: 8080, app_protocol: AppProtocol::Http11 }],
        guarded: true,
        ..weft_samples::service("shop", hostname)
    }
}

/// A service that uses every field.
pub(super) fn full_service() -> Service {
    let waypoint = NetworkAddr { network: Network::new("far"), ip: ip("fd00:96::9") };
    Service {
        subject_alt_names: vec!["spiffe://td/ns/a/sa/b".into()],
        waypoint: gateway(GatewayDestination::Addr(waypoint)),
        load_balancing: LoadBalancing {
            preference: vec![Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node],
            mode: LoadBalancingMode::Failover,
            health: HealthPolicy::All,
        },
        ip_families: IpFamilies::Dual,
        session_affinity: Some(Duration::from_secs(10_800)),
        external_name: Some("example.com".into()),
        ..service("web.shop.svc.cluster.local", &["10.96.0.1/32", "fd00:96::1/128", "203.0.113.0/24"])
    }
}

/// A policy of these rules.
pub(super) fn policy(ruleset: Ruleset) -> Policy {
    Policy {
        name: PolicyName::new("shop", "p"),
        scope: PolicyScope::Namespace,
        action: Action::Allow,
        enforcement: Enforcement::Enforced,
        ruleset,
    }
}

/// Rules that use every field.
pub(super) fn full_rules() -> Ruleset {
    let texts = vec![
        StringMatch::Exact("a".into()),
        StringMatch::Prefix("b".into()),
        StringMatch::Suffix("c".into()),
        StringMatch::Presence,
    ];
    let accounts = vec![ServiceAccountMatch { namespace: "a".into(), service_account: "b".into() }];
    let nets = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("samples hold ranges")).to_vec();
    let one = Match {
        namespaces: texts.clone(),
        not_namespaces: texts.clone(),
        service_accounts: accounts.clone(),
        not_service_accounts: accounts,
        principals: texts.clone(),
        not_principals: texts,
        source_ips: nets.clone(),
        not_source_ips: nets.clone(),
        destination_ips: nets.clone(),
        not_destination_ips: nets,
        destination_ports: vec![80, 65535],
        not_destination_ports: vec![443],
    };
    let clause = Clause { matches: vec![one, Match::default()] };
    Ruleset::Rules(vec![Rule { clauses: vec![clause, Clause::default()] }, Rule::default()])
}

/// An agent's pod that uses every field.
pub(super) fn agent_pod() -> AgentPod {
    AgentPod {
        workload: WorkloadUid::new("Kubernetes//Pod/shop/web-1"),
        pod_uid: "3c2a".into(),
        namespace: "shop".into(),
        name: "web-1".into(),
        node: NodeName::new("n1"),
        service_account: "web".into(),
        addresses: vec![ip("10.0.0.1"), ip("fd00::1")],
        netns: Some("/run/netns/web-1".into()),
        membership: Membership::Enrolled,
        acceleration: Acceleration::Full,
        existing: Existing::Reset,
        plain_text: PlainText::RefusedBut(vec![80, 8080]),
    }
}
