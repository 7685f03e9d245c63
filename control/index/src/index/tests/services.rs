//! Services with Kubernetes' meaning, and which pods serve them.

use super::world::{World, at_pod, meshed, node, pod, served, service, slice, with};
use serde_json::{Value, json};
use std::time::Duration;
use weft_control_api::kind::Kind;
use weft_core::names::WorkloadUid;
use weft_core::service::{
    AppProtocol, HealthPolicy, IpFamilies, LoadBalancing, LoadBalancingMode, Scope, VipKind,
};
use weft_core::workload::{Health, TunnelProtocol};

fn spec(spec: Value) -> Value {
    json!({ "spec": spec })
}

#[test]
fn virtual_addresses_come_from_every_place_that_has_them() {
    let balancer =
        json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}, {"hostname": "lb"}]}}});
    let proxy = json!({"status": {"loadBalancer": {"ingress": [
        {"ip": "192.0.2.9", "ipMode": "Proxy"},
        {"ip": "192.0.2.8", "ipMode": "VIP"},
    ]}}});
    for (case, over, want) in [
        ("cluster IP", json!({}), &["10.1.0.1/32"][..]),
        (
            "two families",
            spec(json!({"clusterIPs": ["10.1.0.1", "fd01::1"]})),
            &["10.1.0.1/32", "fd01::1/128"],
        ),
        ("external", spec(json!({"externalIPs": ["192.0.2.1"]})), &["10.1.0.1/32", "192.0.2.1/32"]),
        ("balancer", balancer, &["10.1.0.1/32", "192.0.2.9/32"]),
        ("a balancer that has to see its traffic", proxy, &["10.1.0.1/32", "192.0.2.8/32"]),
        (
            "headless, for which kube-proxy does nothing",
            spec(json!({"clusterIP": "None", "externalIPs": ["192.0.2.1"]})),
            &[],
        ),
        ("headless", spec(json!({"clusterIP": "None", "clusterIPs": ["None"]})), &[]),
        ("external name", spec(json!({"type": "ExternalName", "externalName": "example.org."})), &[]),
    ] {
        let world = World::of([with(service("web", "10.1.0.1"), over)]);
        let vips: Vec<_> = world.service("web").vips.iter().map(|vip| vip.range.to_string()).collect();
        assert_eq!(vips, want, "{case}");
        let given = world.service("web").vips.iter().filter(|vip| vip.kind == VipKind::Cluster);
        let own = want.iter().filter(|vip| vip.starts_with("10.") || vip.starts_with("fd01"));
        assert_eq!(given.count(), own.count(), "{case}: what the cluster gave it");
    }
    let external = spec(json!({"type": "ExternalName", "externalName": "example.org."}));
    let world = World::of([with(service("web", ""), external), pod("web", "10.0.0.1")]);
    assert_eq!(world.service("web").external_name.as_deref(), Some("example.org"));
    assert!(world.services_of("web").is_empty(), "a CNAME has no endpoints");
}

#[test]
fn settings_become_balancing() {
    let failover = |preference: &[Scope]| LoadBalancing {
        preference: preference.to_vec(),
        mode: LoadBalancingMode::Failover,
        health: HealthPolicy::OnlyHealthy,
    };
    let close = || failover(&[Scope::Network, Scope::Region, Scope::Zone]);
    let strict = LoadBalancing {
        preference: vec![Scope::Node],
        mode: LoadBalancingMode::Strict,
        health: HealthPolicy::OnlyHealthy,
    };
    for (case, over, want) in [
        ("nothing", json!({}), LoadBalancing::default()),
        ("cluster", json!({"internalTrafficPolicy": "Cluster"}), LoadBalancing::default()),
        ("local", json!({"internalTrafficPolicy": "Local"}), strict.clone()),
        (
            "local wins",
            json!({"internalTrafficPolicy": "Local", "trafficDistribution": "PreferClose"}),
            strict,
        ),
        ("close", json!({"trafficDistribution": "PreferClose"}), close()),
        ("zone", json!({"trafficDistribution": "PreferSameZone"}), close()),
        (
            "node",
            json!({"trafficDistribution": "PreferSameNode"}),
            failover(&[Scope::Network, Scope::Region, Scope::Zone, Scope::Subzone, Scope::Node]),
        ),
        ("all", json!({"publishNotReadyAddresses": true}), {
            LoadBalancing { health: HealthPolicy::All, ..LoadBalancing::default() }
        }),
    ] {
        let world = World::of([with(service("web", "10.1.0.1"), spec(over))]);
        assert_eq!(world.service("web").load_balancing, want, "{case}");
    }
}

#[test]
fn words_that_mean_nothing_are_refused() {
    let mode = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9", "ipMode": "proxy"}]}}});
    for (over, field) in [
        (spec(json!({"type": "clusterIP"})), "spec.type"),
        (spec(json!({"internalTrafficPolicy": "local"})), "spec.internalTrafficPolicy"),
        (mode, "status.loadBalancer.ingress[0].ipMode"),
    ] {
        let mut world = World::of([service("web", "10.1.0.1")]);
        let before = world.service("web").clone();
        world.put(with(service("web", "10.1.0.2"), over));
        assert!(world.problems()[0].contains(&format!(": {field}: ")), "{field}: {:?}", world.problems());
        assert_eq!(*world.service("web"), before, "{field}: its last good version stays");
    }
}

#[test]
fn affinity_and_families() {
    for (case, over, want) in [
        ("none", json!({"sessionAffinity": "None"}), None),
        ("default time", json!({"sessionAffinity": "ClientIP"}), Some(10_800)),
        (
            "own time",
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}),
            Some(5),
        ),
    ] {
        let world = World::of([with(service("web", "10.1.0.1"), spec(over))]);
        assert_eq!(world.service("web").session_affinity, want.map(Duration::from_secs), "{case}");
    }
    for (families, want) in [
        (json!(null), IpFamilies::Automatic),
        (json!(["IPv4"]), IpFamilies::V4),
        (json!(["IPv6"]), IpFamilies::V6),
        (json!(["IPv6", "IPv4"]), IpFamilies::Dual),
    ] {
        let world = World::of([with(service("web", "10.1.0.1"), spec(json!({"ipFamilies": families})))]);
        assert_eq!(world.service("web").ip_families, want, "{families}");
    }
}

#[test]
fn ports_are_tcp_and_named_targets_are_the_pods_own() {
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": "web"}, {"name": "grpc", "port": 90},
        {"name": "tls-x", "port": 443, "targetPort": "missing"}, {"name": "dns", "port": 53, "protocol": "UDP"},
    ]);
    let other = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{
        "name": "app", "ports": [{"name": "web", "containerPort": 9090}],
    }]}});
    let world = World::of([
        with(service("web", "10.1.0.1"), spec(json!({"ports": ports}))),
        pod("web", "10.0.0.1"),
        with(pod("web2", "10.0.0.2"), other),
    ]);
    let told: Vec<_> =
        world.service("web").ports.iter().map(|port| (port.service_port, port.target_port)).collect();
    assert_eq!(told, [(80, 0), (90, 90), (443, 0)]);
    let protocols: Vec<_> = world.service("web").ports.iter().map(|port| port.app_protocol).collect();
    assert_eq!(protocols, [AppProtocol::Http11, AppProtocol::Grpc, AppProtocol::Tls]);
    assert_eq!(world.services_of("web"), ["web 80>8080,90>90"], "no port of the pod is called `missing`");
    assert_eq!(world.services_of("web2"), ["web 80>9090,90>90"]);
}

#[test]
fn slices_take_over_from_the_selector_and_give_back() {
    let mut world = World::of([
        service("web", "10.1.0.1"),
        pod("web", "10.0.0.1"),
        with(pod("web2", "10.0.0.2"), json!({"metadata": {"labels": {"app": "web"}}})),
    ]);
    assert_eq!(
        (world.services_of("web"), world.services_of("web2")),
        (vec!["web 80>8080".into()], vec!["web 80>8080".to_owned()])
    );
    let own_port = with(
        slice("web-1", "web", json!([at_pod("web", "10.0.0.1")])),
        json!({"ports": [
            {"name": "http", "port": 9000},
        ]}),
    );
    world.put(own_port);
    assert_eq!(world.services_of("web"), ["web 80>9000"], "the slice's port, not the service's");
    assert!(world.services_of("web2").is_empty(), "no slice has it");
    world.put(slice("web-2", "web", json!([at_pod("web2", "10.0.0.2")])));
    assert_eq!(world.services_of("web2"), ["web 80>8080"], "its own slice says otherwise");
    world.delete(Kind::EndpointSlice, "shop", "web-2");
    assert!(world.services_of("web2").is_empty());
    world.delete(Kind::EndpointSlice, "shop", "web-1");
    assert_eq!(world.services_of("web2"), ["web 80>8080"], "the selector again");
}

#[test]
fn conditions_of_a_slice_count() {
    for (case, conditions, want) in [
        ("none", json!({}), (Health::Healthy, false)),
        ("ready", json!({"ready": true}), (Health::Healthy, false)),
        ("not ready", json!({"ready": false}), (Health::Unhealthy, false)),
        (
            "serving while it ends",
            json!({"ready": false, "serving": true, "terminating": true}),
            (Health::Healthy, true),
        ),
        ("ending", json!({"ready": false, "serving": false, "terminating": true}), (Health::Unhealthy, true)),
        (
            "serving, not ready, and not ending",
            json!({"ready": false, "serving": true}),
            (Health::Unhealthy, false),
        ),
        ("published though not ready", json!({"ready": true, "serving": false}), (Health::Unhealthy, false)),
    ] {
        let endpoints = json!([with(at_pod("web", "10.0.0.1"), json!({ "conditions": conditions }))]);
        let world =
            World::of([service("web", "10.1.0.1"), pod("web", "10.0.0.1"), slice("web-1", "web", endpoints)]);
        let web = world.pod("web").unwrap();
        assert_eq!((web.health, web.terminating), want, "{case}");
    }
}

/// A pod of two services, each with a slice of its own.
#[test]
fn a_pod_may_be_ready_for_one_service_and_not_for_another() {
    let (yes, no) = (json!({"ready": true}), json!({"ready": false}));
    let all = spec(json!({"publishNotReadyAddresses": true}));
    let (web, api) = ("web 80>8080", "api 80>8080");
    for (case, of_web, of_api, over, want) in [
        ("for both", &yes, &yes, json!({}), (Health::Healthy, vec![api, web])),
        ("for one", &yes, &no, json!({}), (Health::Healthy, vec![web])),
        ("for the other", &no, &yes, json!({}), (Health::Healthy, vec![api])),
        ("for none", &no, &no, json!({}), (Health::Unhealthy, vec![api, web])),
        ("one takes it as it is", &yes, &no, all.clone(), (Health::Healthy, vec![api, web])),
        ("one takes it as it is, the other does not", &no, &yes, all, (Health::Unhealthy, vec![api, web])),
    ] {
        let endpoint = |conditions: &Value| {
            json!([with(at_pod("web", "10.0.0.1"), json!({ "conditions": conditions }))])
        };
        let mut world = World::of([
            service("web", "10.1.0.1"),
            service("api", "10.1.0.2"),
            pod("web", "10.0.0.1"),
            slice("web-1", "web", endpoint(of_web)),
            slice("api-1", "api", endpoint(of_api)),
        ]);
        // The service changes last: its pods have to hear.
        world.put(with(service("api", "10.1.0.2"), over));
        assert_eq!(
            (world.pod("web").unwrap().health, world.services_of("web")),
            { (want.0, want.1.into_iter().map(str::to_owned).collect()) },
            "{case}"
        );
    }
}

#[test]
fn a_slice_of_another_namespace_sends_no_pod_away() {
    let elsewhere = |object: Value| with(object, json!({"metadata": {"namespace": "thief"}}));
    let leaving = json!([with(at_pod("web", "10.0.0.1"), json!({"conditions": {"terminating": true}}))]);
    let world = World::of([
        meshed(),
        pod("web", "10.0.0.1"),
        service("web", "10.1.0.1"),
        elsewhere(service("web", "10.1.0.2")),
        elsewhere(slice("web-1", "web", leaving)),
    ]);
    let web = world.pod("web").expect("the test made the pod");
    assert!(!web.terminating, "it leaves when its own namespace says so");
    assert_eq!(web.services.len(), 2, "whoever names it may send to it");
}

#[test]
fn endpoints_that_are_no_pods_are_workloads_of_their_own() {
    let endpoints = json!([{
        "addresses": ["192.0.2.1"], "zone": "z2", "nodeName": "n1", "conditions": {"ready": false},
    }]);
    let without_selector = with(service("db", "10.1.0.1"), spec(json!({"selector": null})));
    let mut world = World::of([
        meshed(),
        node("n1"),
        without_selector,
        slice("db-1", "db", endpoints),
        pod("x", "10.0.0.9"),
    ]);
    let uid = WorkloadUid::new("Kubernetes/discovery.k8s.io/EndpointSlice/shop/db-1/192.0.2.1");
    let db = world.0.workload(&uid).unwrap();
    assert_eq!((db.protocol, db.health), (TunnelProtocol::Plain, Health::Unhealthy));
    assert_eq!((&*db.locality.region, &*db.locality.zone), ("r", "z2"));
    assert_eq!(db.services.iter().map(served).collect::<Vec<_>>(), ["db 80>8080"]);

    let diff = world.put(pod("db", "192.0.2.1"));
    assert_eq!(diff.workloads.removed, std::slice::from_ref(&uid), "it was a pod all along");
    assert_eq!(world.services_of("db"), ["db 80>8080"]);
    assert_eq!(world.pod("db").unwrap().health, Health::Unhealthy, "as its slice says");
    world.delete(Kind::Pod, "shop", "db");
    assert!(world.0.workload(&uid).is_some(), "and is none any more");

    world.put(slice("db-1", "db", json!([{"addresses": ["192.0.2.2"]}])));
    assert!(world.0.workload(&uid).is_none());
    world.delete(Kind::Service, "shop", "db");
    assert_eq!(world.0.workloads().len(), 1, "without the service nobody can ask for them");
}

#[test]
fn an_address_that_pods_share_with_their_node_names_none_of_them() {
    let endpoints = json!([{"addresses": ["172.16.0.1"]}]);
    let host = with(pod("api", "172.16.0.1"), json!({"spec": {"hostNetwork": true}}));
    let world = World::of([
        with(service("kube", "10.1.0.1"), spec(json!({"selector": null}))),
        slice("kube", "kube", endpoints),
        host,
    ]);
    assert!(world.services_of("api").is_empty());
    assert_eq!(world.0.workloads().len(), 2);
}
