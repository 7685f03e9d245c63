//! The tables stay true through inserts, replacements and removals.

use super::*;
use crate::policy::{Action, Enforcement, Ruleset};
use crate::samples::{pod, serving, web, web_name};
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
    wide.vips[0].range = "10.96.0.0/16".parse().unwrap();
    snapshot.insert_service(Arc::new(wide));
    let name_at = |snapshot: &Snapshot, ip: &str| {
        snapshot.service_at(&addr(ip), "shop").map(|service| service.name.to_string())
    };
    assert_eq!(name_at(&snapshot, "10.96.0.1").unwrap(), web_name().to_string());
    assert_eq!(name_at(&snapshot, "10.96.7.7").unwrap(), "net/wide.example");
    assert!(name_at(&snapshot, "10.97.0.1").is_none());
    assert!(snapshot.service_named("web.shop.svc.cluster.local", "x").is_some());
    snapshot.remove_service(&web_name());
    assert_eq!(name_at(&snapshot, "10.96.0.1").unwrap(), "net/wide.example");
    assert!(snapshot.service_named("web.shop.svc.cluster.local", "x").is_none());
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
