//! The tables stay true through inserts, replacements and removals.

use super::*;
use crate::policy::{Action, Enforcement, Ruleset};
use crate::samples::{pod, serving, vip, web, web_name};
use crate::service::{ServicePort, VipKind};
use crate::workload::{GatewayAddr, GatewayDestination};

fn addr(ip: &str) -> NetworkAddr {
    NetworkAddr { network: Network::default_network(), ip: ip.parse().unwrap() }
}

#[test]
fn a_replaced_workload_leaves_nothing_behind() {
    let mut snapshot = Snapshot::default();
    snapshot.insert_workload(Arc::new(serving(pod("a", "10.0.0.1", 1))));
    let before = snapshot.clone();
    snapshot.insert_workload(Arc::new(pod("a", "10.0.0.2", 1)));
    assert!(snapshot.workload_at(&addr("10.0.0.1")).is_none());
    assert!(snapshot.workload_at(&addr("10.0.0.2")).is_some());
    assert_eq!(snapshot.endpoints(&web_name()).count(), 0);
    assert_eq!(before.endpoints(&web_name()).count(), 1, "an older snapshot stays as it was");
    let uid = WorkloadUid::new("Kubernetes//Pod/shop/a");
    snapshot.remove_workload(&uid);
    assert!(snapshot.workload_at(&addr("10.0.0.2")).is_none());
    assert_eq!(snapshot.workloads().len(), 0);
}

#[test]
fn of_workloads_that_share_an_address_one_with_its_own_namespace_comes_first() {
    let mut snapshot = Snapshot::default();
    let host = Workload { network_mode: NetworkMode::HostNetwork, ..pod("a-host", "10.0.0.1", 1) };
    snapshot.insert_workload(Arc::new(host));
    snapshot.insert_workload(Arc::new(pod("own", "10.0.0.1", 1)));
    assert_eq!(&*snapshot.workload_at(&addr("10.0.0.1")).unwrap().name, "own");
    assert_eq!(snapshot.workloads_at(&addr("10.0.0.1")).len(), 2);
}

#[test]
fn services_are_found_by_address_range_and_name() {
    let mut snapshot = Snapshot::default();
    snapshot.insert_service(Arc::new(web()));
    let mut wide = Service { name: ServiceName::new("net", "wide.example"), ..web() };
    wide.vips = vec![vip("10.96.0.0/16", VipKind::External)];
    snapshot.insert_service(Arc::new(wide));
    let name_at = |snapshot: &Snapshot, ip: &str| match snapshot.target_at(&addr(ip), 80, "shop") {
        Some(Target::Service(service)) => Some(service.name.to_string()),
        Some(Target::Workload(_)) | None => None,
    };
    assert_eq!(name_at(&snapshot, "10.96.0.1").unwrap(), web_name().to_string());
    assert_eq!(name_at(&snapshot, "10.96.7.7").unwrap(), "net/wide.example");
    assert!(name_at(&snapshot, "10.97.0.1").is_none());
    assert!(snapshot.service_named("web.shop.svc.cluster.local", "x").is_some());
    snapshot.remove_service(&web_name());
    assert_eq!(name_at(&snapshot, "10.96.0.1").unwrap(), "net/wide.example");
    assert!(snapshot.service_named("web.shop.svc.cluster.local", "x").is_none());
}

/// A service of this namespace, with one port and one address.
fn at(namespace: &str, name: &str, port: u16, range: &str, kind: VipKind) -> Arc<Service> {
    let ports = vec![ServicePort { service_port: port, ..web().ports[0] }];
    let name = ServiceName::new(namespace, name);
    Arc::new(Service { name, ports, vips: vec![vip(range, kind)], ..web() })
}

fn found(snapshot: &Snapshot, ip: &str, port: u16, near: &str) -> String {
    match snapshot.target_at(&addr(ip), port, near) {
        Some(Target::Service(service)) => service.name.to_string(),
        Some(Target::Workload(workload)) => workload.name.to_string(),
        None => "nobody".to_owned(),
    }
}

#[test]
fn services_share_an_address_by_their_ports() {
    use VipKind::{Cluster, External};
    let mut snapshot = Snapshot::default();
    for (namespace, name, port, range, kind) in [
        ("shop", "a", 80, "192.0.2.1/32", External),
        ("shop", "b", 443, "192.0.2.1/32", External),
        ("bank", "c", 443, "192.0.2.1/32", External),
        ("shop", "of-node", 80, "192.168.0.1/32", External),
        ("shop", "own", 80, "10.96.0.7/32", Cluster),
        ("bank", "thief", 443, "10.96.0.7/32", External),
        ("bank", "wide", 80, "203.0.113.0/24", External),
        ("shop", "narrow", 443, "203.0.113.128/25", External),
    ] {
        snapshot.insert_service(at(namespace, name, port, range, kind));
    }
    let on_the_node = pod("host-network", "192.168.0.1", 1);
    let mode = NetworkMode::HostNetwork;
    snapshot.insert_workload(Arc::new(Workload { network_mode: mode, ..on_the_node }));
    for (case, ip, port, near, want) in [
        ("one has the port", "192.0.2.1", 80, "shop", "shop/a"),
        ("the other has it", "192.0.2.1", 443, "shop", "shop/b"),
        ("two have it: the one that is near", "192.0.2.1", 443, "bank", "bank/c"),
        ("none has it", "192.0.2.1", 22, "shop", "nobody"),
        ("a node's address, the Service's port", "192.168.0.1", 80, "shop", "shop/of-node"),
        ("a node's address, another port", "192.168.0.1", 10250, "shop", "host-network"),
        ("a cluster IP is the Service's alone", "10.96.0.7", 443, "bank", "shop/own"),
        ("a cluster IP, no such port", "10.96.0.7", 22, "shop", "shop/own"),
        ("in both ranges, the wide one's port", "203.0.113.200", 80, "shop", "bank/wide"),
        ("in both ranges, the narrow one's port", "203.0.113.200", 443, "shop", "shop/narrow"),
        ("in a range, no such port", "203.0.113.1", 443, "shop", "nobody"),
    ] {
        assert_eq!(found(&snapshot, ip, port, near), want, "{case}");
    }
    let names = |ip| snapshot.services_at(&addr(ip)).map(|one| one.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names("192.0.2.1"), ["shop/a", "shop/b", "bank/c"], "whoever lays claim to it");
    assert_eq!(names("203.0.113.1"), ["bank/wide"]);
}

#[test]
fn nobody_takes_the_address_of_a_pod_or_of_a_cluster_ip() {
    use VipKind::{Cluster, External};
    let mut snapshot = Snapshot::default();
    for (namespace, name, port, range, kind) in [
        ("a-thief", "exact", 80, "10.0.0.1/32", External),
        ("a-thief", "wide", 80, "10.0.0.0/8", External),
        ("a-thief", "cluster", 80, "10.96.0.7/32", External),
        ("a-thief", "plain", 80, "10.0.0.2/32", External),
        ("shop", "own", 80, "10.96.0.7/32", Cluster),
        ("shop", "far", 80, "192.0.2.0/24", External),
    ] {
        snapshot.insert_service(at(namespace, name, port, range, kind));
    }
    let plain = |name, ip| Workload { protocol: TunnelProtocol::Plain, ..pod(name, ip, 1) };
    let far = (ServiceName::new("shop", "far"), Vec::new());
    for workload in [
        pod("pod", "10.0.0.1", 1),
        plain("named", "10.0.0.2"),
        plain("plain", "10.0.0.3"),
        Workload { services: vec![far], ..plain("endpoint", "192.0.2.1") },
        plain("a-stale", "10.0.0.4"),
        pod("in-mesh", "10.0.0.4", 1),
        Workload { protocol: TunnelProtocol::LegacyMtls, ..pod("legacy", "10.0.0.5", 1) },
    ] {
        snapshot.insert_workload(Arc::new(workload));
    }
    for (case, ip, near, want) in [
        ("a pod of the mesh", "10.0.0.1", "shop", "pod"),
        ("a pod of the mesh, asked by the thief itself", "10.0.0.1", "a-thief", "pod"),
        ("a cluster IP", "10.96.0.7", "shop", "shop/own"),
        ("a cluster IP, asked by the thief itself", "10.96.0.7", "a-thief", "shop/own"),
        ("one outside the mesh, by the very address, as in Kubernetes", "10.0.0.2", "shop", "a-thief/plain"),
        ("one outside the mesh, by a range", "10.0.0.3", "shop", "plain"),
        ("the endpoint of a range", "192.0.2.1", "shop", "shop/far"),
        ("one of two is in the mesh", "10.0.0.4", "shop", "in-mesh"),
        ("with a sidecar of its own", "10.0.0.5", "shop", "legacy"),
        ("nobody that is known", "10.0.0.9", "shop", "a-thief/wide"),
    ] {
        assert_eq!(found(&snapshot, ip, 80, near), want, "{case}");
    }
}

#[test]
fn the_nearest_wildcard_covers_a_name() {
    let mut snapshot = Snapshot::default();
    for host in ["*.example.org", "*.eu.example.org", "api.example.org"] {
        snapshot.insert_service(Arc::new(Service { name: ServiceName::new("net", host), ..web() }));
    }
    let deep = format!("{}example.org", "a.".repeat(40));
    for (case, name, want) in [
        ("below", "a.example.org", Some("*.example.org")),
        ("far below", "b.a.example.org", Some("*.example.org")),
        ("below both", "a.eu.example.org", Some("*.eu.example.org")),
        ("the domain of the nearer", "eu.example.org", Some("*.example.org")),
        ("the domain itself", "example.org", None),
        ("one with a service of its own", "api.example.org", Some("*.example.org")),
        ("only an end of it", "an-example.org", None),
        ("elsewhere", "a.example.com", None),
        ("more labels than anybody has", &*deep, None),
        ("nothing", "", None),
    ] {
        let found = snapshot.wildcard_service(name, "net").map(|service| &*service.name.hostname);
        assert_eq!(found, want, "{case}");
    }
}

#[test]
fn a_port_tells_its_service_if_there_is_only_one() {
    let other = ServiceName::new("shop", "other.shop.svc.cluster.local");
    let serves = |names: &[&ServiceName], service_port, target_port| {
        let pair = PortPair { service_port, target_port };
        names.iter().map(|name| ((*name).clone(), vec![pair])).collect::<Vec<_>>()
    };
    let web = web();
    for (case, services, port, want) in [
        ("one", serves(&[&web.name], 80, 8080), 8080, Some(&web.name)),
        ("the Service's port is not the application's", serves(&[&web.name], 80, 8080), 80, None),
        ("none", Vec::new(), 8080, None),
        ("several", serves(&[&web.name, &other], 80, 8080), 8080, None),
        (
            "each at a port of its own",
            [serves(&[&other], 80, 9090), serves(&[&web.name], 80, 8080)].concat(),
            8080,
            Some(&web.name),
        ),
        ("one that is not known yet", serves(&[&other], 80, 8080), 8080, None),
    ] {
        let mut snapshot = Snapshot::default();
        snapshot.insert_service(Arc::new(web.clone()));
        let workload = Workload { services, ..pod("web-1", "10.0.0.1", 1) };
        let found = snapshot.only_service(&workload, port).map(|service| &service.name);
        assert_eq!(found, want, "{case}");
    }
}

#[test]
fn policies_apply_by_scope_and_every_change_is_counted() {
    let policy = |scope, name: &str| {
        Arc::new(Policy {
            name: PolicyName::new("shop", name),
            scope,
            action: Action::Allow,
            enforcement: Enforcement::Enforced,
            ruleset: Ruleset::Rules(Vec::new()),
        })
    };
    let mut snapshot = Snapshot::default();
    let mut chosen = pod("a", "10.0.0.1", 1);
    chosen.policies = vec![PolicyName::new("shop", "selected"), PolicyName::new("shop", "gone")];
    snapshot.insert_workload(Arc::new(chosen.clone()));
    let mut generation = snapshot.policy_generation();
    for one in [
        policy(PolicyScope::Global, "global"),
        policy(PolicyScope::Namespace, "namespace"),
        policy(PolicyScope::Selector, "selected"),
        policy(PolicyScope::Selector, "not-selected"),
    ] {
        snapshot.insert_policy(one);
        assert!(snapshot.policy_generation() > generation);
        generation = snapshot.policy_generation();
    }
    let names = |snapshot: &Snapshot, workload: &Workload| -> Vec<String> {
        let all = snapshot.policies_of(workload);
        let name = |one: &Applicable| match one {
            Applicable::Known(policy) => policy.name.name.to_string(),
            Applicable::Missing(name) => format!("missing {}", name.name),
        };
        all.iter().map(name).collect()
    };
    assert_eq!(names(&snapshot, &chosen), ["global", "namespace", "selected", "missing gone"]);
    let elsewhere = Workload { namespace: "bank".into(), policies: Vec::new(), ..chosen.clone() };
    assert_eq!(names(&snapshot, &elsewhere), ["global"]);
    // A policy that changes its scope leaves the old one.
    snapshot.insert_policy(policy(PolicyScope::Selector, "namespace"));
    assert_eq!(names(&snapshot, &chosen), ["global", "selected", "missing gone"]);
    snapshot.insert_workload(Arc::new(Workload { policies: Vec::new(), ..chosen }));
    assert!(snapshot.policy_generation() > generation + 1);
}

#[test]
fn what_has_to_come_through_a_waypoint_counts_as_policy() {
    let mut snapshot = Snapshot::default();
    let server = pod("server", "10.0.0.1", 1);
    snapshot.insert_workload(Arc::new(server.clone()));
    let gateway = |name: &str| GatewayAddr {
        destination: GatewayDestination::Service(crate::names::ServiceName::new("shop", name)),
        hbone_port: 15008,
    };
    let service = |guarded, waypoint: &str| Service { guarded, waypoint: Some(gateway(waypoint)), ..web() };
    for (case, change, counts) in [
        ("bound, and no policy", Some(service(false, "a")), false),
        ("policy", Some(service(true, "a")), true),
        ("the same again", Some(service(true, "a")), false),
        ("another waypoint", Some(service(true, "b")), true),
        ("gone", None, true),
        ("gone already", None, false),
        ("back with policy", Some(service(true, "b")), true),
    ] {
        let before = snapshot.policy_generation();
        match change {
            Some(service) => snapshot.insert_service(Arc::new(service)),
            None => snapshot.remove_service(&web_name()),
        }
        assert_eq!(snapshot.policy_generation() > before, counts, "{case}");
    }
    let before = snapshot.policy_generation();
    snapshot.insert_workload(Arc::new(serving(server)));
    assert!(snapshot.policy_generation() > before, "a pod that serves it now");
}
