//! Every core type comes back as it went.

use crate::generated::istio::security;
use crate::*;
use prost::Message;
use std::time::Duration;
use weft_core::enrolment::{Acceleration, AgentPod, Existing, Membership, PlainText};
use weft_core::identity::Identity;
use weft_core::names::{Network, NetworkAddr, NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::policy as core_policy;
use weft_core::policy::{Action, Enforcement, Policy, PolicyScope, Rule, Ruleset, StringMatch};
use weft_core::service::{
    AppProtocol, HealthPolicy, IpFamilies, LoadBalancing, LoadBalancingMode, Scope, Service, ServicePort,
    Vip, VipKind,
};
use weft_core::workload::*;

/// Of which the wire says nothing that it need not.
fn plain_workload() -> Workload {
    Workload {
        protocol: TunnelProtocol::Plain,
        identity: Identity::new("cluster.local", "default", "default").unwrap(),
        node: NodeName::new(""),
        canonical_name: "".into(),
        canonical_revision: "".into(),
        kind: WorkloadKind::Deployment,
        workload_name: "".into(),
        cluster: "".into(),
        ..weft_samples::workload("default", "web-1")
    }
}

fn full_workload() -> Workload {
    let addr = |text: &str| NetworkAddr { network: Network::new("other"), ip: text.parse().unwrap() };
    Workload {
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        hostname: "web-1.web.default.svc.cluster.local".into(),
        network: Network::new("net"),
        protocol: TunnelProtocol::Hbone,
        identity: Identity::new("td", "default", "web").unwrap(),
        waypoint: Some(GatewayAddr {
            destination: GatewayDestination::Service(ServiceName::new("default", "wp.default")),
            hbone_port: 15008,
        }),
        network_gateway: Some(GatewayAddr {
            destination: GatewayDestination::Addr(addr("192.0.2.1")),
            hbone_port: 15009,
        }),
        node: NodeName::new("n1"),
        canonical_name: "web".into(),
        canonical_revision: "v1".into(),
        kind: WorkloadKind::CronJob,
        workload_name: "web".into(),
        native_tunnel: true,
        application_tunnel: Some(ApplicationTunnel { port: 80, proxy_protocol: true }),
        services: vec![
            (ServiceName::new("a", "a.a.svc"), vec![PortPair { service_port: 80, target_port: 8080 }]),
            (ServiceName::new("b", "b.b.svc"), vec![]),
        ],
        policies: vec![PolicyName::new("default", "p")],
        health: Health::Unhealthy,
        cluster: "Kubernetes".into(),
        locality: Locality { region: "r".into(), zone: "z".into(), subzone: "s".into() },
        labels: [("version".into(), "v1".into())].into(),
        network_mode: NetworkMode::HostNetwork,
        weight: 7,
        node_tunnel: Some(NodeTunnel {
            place: TunnelPlace::Node(vec![
                "10.1.0.1:15008".parse().unwrap(),
                "[fd01::1]:15008".parse().unwrap(),
            ]),
            versions: vec![1, 2],
        }),
        terminating: true,
        ..plain_workload()
    }
}

fn workload_apart() -> Workload {
    let tunnel = NodeTunnel { place: TunnelPlace::Workload, versions: vec![1] };
    Workload { node_tunnel: Some(tunnel), ..plain_workload() }
}

fn plain_service() -> Service {
    Service { canonical: false, ..weft_samples::service("default", "web.default.svc.cluster.local") }
}

fn full_service() -> Service {
    let vip = |range: &str, kind| Vip { network: Network::new("n"), range: range.parse().unwrap(), kind };
    Service {
        vips: vec![
            vip("10.96.0.1/32", VipKind::Cluster),
            vip("fd00:96::1/128", VipKind::Cluster),
            vip("192.0.2.1/32", VipKind::External),
            vip("203.0.113.0/24", VipKind::External),
        ],
        ports: vec![
            ServicePort { service_port: 80, target_port: 0, app_protocol: AppProtocol::Http11 },
            ServicePort { service_port: 443, target_port: 8443, app_protocol: AppProtocol::Tls },
        ],
        subject_alt_names: vec!["spiffe://td/ns/a/sa/b".into()],
        waypoint: Some(GatewayAddr {
            destination: GatewayDestination::Addr(NetworkAddr {
                network: Network::new("n"),
                ip: "10.96.0.9".parse().unwrap(),
            }),
            hbone_port: 15008,
        }),
        load_balancing: LoadBalancing {
            preference: vec![Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node],
            mode: LoadBalancingMode::Failover,
            health: HealthPolicy::All,
        },
        ip_families: IpFamilies::Dual,
        session_affinity: Some(Duration::from_secs(10800)),
        external_name: Some("example.com".into()),
        canonical: true,
        guarded: false,
        ..plain_service()
    }
}

#[test]
fn addresses_come_back_as_they_went() {
    for (case, address) in [
        ("bare workload", Address::Workload(plain_workload())),
        ("workload with everything", Address::Workload(full_workload())),
        ("workload that keeps its tunnels", Address::Workload(workload_apart())),
        ("bare service", Address::Service(plain_service())),
        ("service with everything", Address::Service(full_service())),
    ] {
        assert_eq!(decode_address(&encode_address(&address)), Ok(address), "{case}");
    }
}

#[test]
fn agent_pods_come_back_as_they_went() {
    let bare = AgentPod {
        workload: WorkloadUid::new("Kubernetes//Pod/default/web-1"),
        pod_uid: "".into(),
        namespace: "default".into(),
        name: "web-1".into(),
        node: NodeName::new("n1"),
        service_account: "web".into(),
        addresses: Vec::new(),
        netns: None,
        membership: Membership::Outside,
        acceleration: Acceleration::Standard,
        existing: Existing::Keep,
        plain_text: PlainText::default(),
    };
    let full = AgentPod {
        pod_uid: "3c2a".into(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        netns: Some("/run/netns/web-1".into()),
        membership: Membership::Enrolled,
        acceleration: Acceleration::Full,
        existing: Existing::Reset,
        plain_text: PlainText::RefusedBut(vec![8080]),
        ..bare.clone()
    };
    for (case, pod) in [("bare", bare), ("full", full)] {
        assert_eq!(decode_agent_pod(&encode_agent_pod(&pod)), Ok(pod), "{case}");
    }
}

fn policy(ruleset: Ruleset) -> Policy {
    Policy {
        name: PolicyName::new("default", "p"),
        scope: PolicyScope::Namespace,
        action: Action::Deny,
        enforcement: Enforcement::Enforced,
        ruleset,
    }
}

#[test]
fn policies_come_back_as_they_went() {
    let texts = vec![
        StringMatch::Exact("a".into()),
        StringMatch::Prefix("b".into()),
        StringMatch::Suffix("c".into()),
        StringMatch::Presence,
    ];
    let accounts =
        vec![core_policy::ServiceAccountMatch { namespace: "a".into(), service_account: "b".into() }];
    let nets = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap(), "0.0.0.0/0".parse().unwrap()];
    let one = core_policy::Match {
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
    let clause = core_policy::Clause { matches: vec![one, core_policy::Match::default()] };
    let rules =
        Ruleset::Rules(vec![Rule { clauses: vec![clause, core_policy::Clause::default()] }, Rule::default()]);
    let everything = Policy {
        scope: PolicyScope::Selector,
        action: Action::Allow,
        enforcement: Enforcement::DryRun,
        ..policy(rules)
    };
    for (case, policy) in [
        ("no rules", policy(Ruleset::Rules(Vec::new()))),
        ("global", Policy { scope: PolicyScope::Global, ..policy(Ruleset::Rules(vec![Rule::default()])) }),
        ("everything", everything),
        ("unusable", policy(Ruleset::Unusable("file.yaml:3: rules.0.to: unknown field".into()))),
        (
            "unusable in dry run",
            Policy { enforcement: Enforcement::DryRun, ..policy(Ruleset::Unusable("why".into())) },
        ),
    ] {
        let read = decode_authorization("default/p", &encode_authorization(&policy));
        assert_eq!(read, Read { policy, complaint: None }, "{case}");
    }
}

#[test]
fn a_reader_that_does_not_know_weft_sees_an_unusable_policy_deny() {
    let bytes = encode_authorization(&policy(Ruleset::Unusable("why".into())));
    let foreign = security::Authorization::decode(&*bytes).unwrap();
    assert_eq!(foreign.action, i32::from(security::Action::Deny));
    assert_eq!(foreign.rules, [security::Rule::default()]);
}
