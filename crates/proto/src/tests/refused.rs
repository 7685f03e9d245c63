//! What is refused or filled in, and what is said of it.

use crate::generated::istio::{security, workload as pb};
use crate::*;
use prost::Message;
use std::net::IpAddr;
use weft_core::names::ServiceName;
use weft_core::policy::{Enforcement, PolicyScope, Ruleset};
use weft_core::workload::{GatewayAddr, GatewayDestination, WorkloadKind};

#[test]
fn a_policy_that_is_not_understood_denies_and_says_why() {
    let base = || security::Authorization {
        name: "p".into(),
        namespace: "default".into(),
        scope: security::Scope::Namespace.into(),
        dry_run: true,
        ..Default::default()
    };
    let with = |one: security::Match| {
        let clauses = vec![security::Clause { matches: vec![one] }];
        security::Authorization { rules: vec![security::Rule { clauses }], ..base() }.encode_to_vec()
    };
    let net = |address: &[u8], length| {
        with(security::Match {
            source_ips: vec![security::Address { address: address.into(), length }],
            ..Default::default()
        })
    };
    let account = security::ServiceAccountMatch { namespace: String::new(), service_account: "b".into() };
    let unknown_field = [base().encode_to_vec(), vec![0xa0, 0x06, 0x01]].concat();
    let extension = security::Extension { name: "x".into(), config: None };
    let mapped: [u8; 16] = "::ffff:10.0.0.0".parse::<std::net::Ipv6Addr>().unwrap().octets();
    for (case, name, bytes, scope, why) in [
        ("no message", "default/p", vec![0xff, 0xff], PolicyScope::Global, "not a message"),
        (
            "unknown scope",
            "default/p",
            security::Authorization { scope: 9, ..base() }.encode_to_vec(),
            PolicyScope::Global,
            "scope",
        ),
        ("no name", "p", base().encode_to_vec(), PolicyScope::Global, "name"),
        ("other name", "default/q", base().encode_to_vec(), PolicyScope::Namespace, "calls itself default/p"),
        (
            "unknown action",
            "default/p",
            security::Authorization { action: 7, ..base() }.encode_to_vec(),
            PolicyScope::Namespace,
            "action",
        ),
        ("unknown field", "default/p", unknown_field, PolicyScope::Namespace, "field that this version"),
        (
            "extension",
            "default/p",
            security::Authorization { extensions: vec![extension.clone()], ..base() }.encode_to_vec(),
            PolicyScope::Namespace,
            "extension",
        ),
        (
            "extension in a match",
            "default/p",
            with(security::Match { extensions: vec![extension], ..Default::default() }),
            PolicyScope::Namespace,
            "extension",
        ),
        (
            "no match type",
            "default/p",
            with(security::Match { principals: vec![Default::default()], ..Default::default() }),
            PolicyScope::Namespace,
            "principals is missing",
        ),
        (
            "half an account",
            "default/p",
            with(security::Match { service_accounts: vec![account], ..Default::default() }),
            PolicyScope::Namespace,
            "service_accounts",
        ),
        (
            "port",
            "default/p",
            with(security::Match { destination_ports: vec![70000], ..Default::default() }),
            PolicyScope::Namespace,
            "destination_ports",
        ),
        ("address of 5 bytes", "default/p", net(&[1; 5], 8), PolicyScope::Namespace, "5 bytes"),
        ("long prefix", "default/p", net(&[10, 0, 0, 0], 33), PolicyScope::Namespace, "33"),
        ("short prefix of a mapped address", "default/p", net(&mapped, 95), PolicyScope::Namespace, "95"),
    ] {
        let read = decode_authorization(name, &bytes);
        let Ruleset::Unusable(reason) = &read.policy.ruleset else { panic!("{case}: {read:?}") };
        assert!(reason.contains(why), "{case}: {reason}");
        assert_eq!(read.complaint.as_ref(), Some(reason), "{case}");
        assert_eq!(read.policy.scope, scope, "{case}");
        assert_eq!(read.policy.enforcement, Enforcement::Enforced, "{case}");
    }
    let read = decode_authorization("default/p", &net(&mapped, 104));
    let Ruleset::Rules(rules) = read.policy.ruleset else { panic!("a mapped range is understood") };
    assert_eq!(rules[0].clauses[0].matches[0].source_ips, ["10.0.0.0/8".parse().unwrap()]);
}

#[test]
fn an_address_that_is_not_understood_names_its_field() {
    let workload = |change: fn(&mut pb::Workload)| {
        let mut workload = pb::Workload { uid: "u".into(), namespace: "ns".into(), ..Default::default() };
        change(&mut workload);
        pb::Address { r#type: Some(pb::address::Type::Workload(workload)) }
    };
    let service = |change: fn(&mut pb::Service)| {
        let mut service = pb::Service { hostname: "h".into(), ..Default::default() };
        change(&mut service);
        pb::Address { r#type: Some(pb::address::Type::Service(service)) }
    };
    for (case, address, field) in [
        ("neither", pb::Address { r#type: None }, "Address.type"),
        ("no uid", workload(|w| w.uid.clear()), "Workload.uid"),
        ("address", workload(|w| w.addresses = vec![vec![1, 2]]), "Workload.addresses"),
        ("namespace", workload(|w| w.namespace.clear()), "Workload.{trust_domain"),
        ("protocol", workload(|w| w.tunnel_protocol = 9), "Workload.tunnel_protocol"),
        ("status", workload(|w| w.status = 9), "Workload.status"),
        ("mode", workload(|w| w.network_mode = 9), "Workload.network_mode"),
        (
            "service name",
            workload(|w| _ = w.services.insert("x".into(), pb::PortList::default())),
            "Workload.services",
        ),
        (
            "policy name",
            workload(|w| w.authorization_policies.push("x".into())),
            "Workload.authorization_policies",
        ),
        ("waypoint", workload(|w| w.waypoint = Some(pb::GatewayAddress::default())), "Workload.waypoint"),
        (
            "node tunnel",
            workload(|w| {
                w.extensions = vec![pb::Extension { name: "weft.dev/node-tunnel".into(), config: None }];
            }),
            "Workload.extensions[weft.dev/node-tunnel]",
        ),
        ("no host", service(|s| s.hostname.clear()), "Service.hostname"),
        ("port", service(|s| s.ports = vec![pb::Port::default()]), "Service.ports.service_port"),
        (
            "vip",
            service(|s| {
                s.addresses =
                    vec![pb::NetworkAddress { address: vec![1; 4], length: Some(40), ..Default::default() }];
            }),
            "Service.addresses.length",
        ),
        (
            "scope",
            service(|s| {
                s.load_balancing =
                    Some(pb::LoadBalancing { routing_preference: vec![0], ..Default::default() });
            }),
            "LoadBalancing.routing_preference",
        ),
        ("families", service(|s| s.ip_families = 4), "Service.ip_families"),
    ] {
        let error = decode_address(&address.encode_to_vec()).unwrap_err();
        assert!(error.to_string().starts_with(field), "{case}: {error}");
    }
    assert!(matches!(decode_address(&[0xff]), Err(Malformed::Message(_))));
}

#[test]
fn what_is_left_out_means_what_the_interface_says() {
    let workload = pb::Workload {
        uid: "u".into(),
        namespace: "ns".into(),
        addresses: vec!["::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec()],
        workload_type: 99,
        ..Default::default()
    };
    let bytes = pb::Address { r#type: Some(pb::address::Type::Workload(workload)) }.encode_to_vec();
    let Ok(Address::Workload(workload)) = decode_address(&bytes) else { panic!("is understood") };
    assert_eq!(workload.identity.to_string(), "spiffe://cluster.local/ns/ns/sa/default");
    assert_eq!(workload.addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!((workload.weight, workload.kind), (1, WorkloadKind::Deployment));
}

#[test]
fn the_heaviest_of_several_waypoints_takes_all() {
    let waypoint = |hostname: &str, weight| pb::WeightedWaypoint {
        destination: Some(pb::GatewayAddress {
            destination: Some(pb::gateway_address::Destination::Hostname(pb::NamespacedHostname {
                namespace: "ns".into(),
                hostname: hostname.into(),
            })),
            hbone_mtls_port: 0,
        }),
        weight,
    };
    let service = pb::Service {
        hostname: "h".into(),
        weighted_waypoints: vec![waypoint("a", 1), waypoint("b", 3), waypoint("c", 2)],
        ..Default::default()
    };
    let bytes = pb::Address { r#type: Some(pb::address::Type::Service(service)) }.encode_to_vec();
    let Ok(Address::Service(service)) = decode_address(&bytes) else { panic!("is understood") };
    let want = GatewayDestination::Service(ServiceName::new("ns", "b"));
    assert_eq!(service.waypoint, Some(GatewayAddr { destination: want, hbone_port: 15008 }));
}
