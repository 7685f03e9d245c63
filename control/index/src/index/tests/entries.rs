//! ServiceEntries and WorkloadEntries: services and workloads that Kubernetes does not know.

use super::world::{World, labelled, meshed, pod, served, service, waypoint, with};
use serde_json::{Value, json};
use std::sync::Arc;
use weft_control_api::kind::Kind;
use weft_core::names::{ServiceName, WorkloadUid};
use weft_core::service::{LoadBalancingMode, Service};
use weft_core::workload::{TunnelProtocol, Workload};

const HOST: &str = "api.example.org";

fn entry(name: &str, over: Value) -> Value {
    let spec = json!({
        "hosts": [HOST], "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}, {"number": 443, "name": "tls"}],
        "endpoints": [{"address": "192.0.2.1"}],
    });
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "shop"}, "spec": with(spec, over),
    })
}

fn machine(name: &str, over: Value) -> Value {
    let spec = json!({"address": "192.0.2.9", "labels": {"app": "vm"}, "serviceAccount": "vm"});
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
        "metadata": {"name": name, "namespace": "shop"}, "spec": with(spec, over),
    })
}

fn told<'a>(world: &'a World, host: &str) -> Option<&'a Arc<Service>> {
    world.0.service(&ServiceName::new("shop", host))
}

fn workload<'a>(world: &'a World, uid: &str) -> Option<&'a Arc<Workload>> {
    world.0.workload(&WorkloadUid::new(format!("Kubernetes/networking.istio.io/{uid}")))
}

fn services(workload: &Workload) -> Vec<String> {
    workload.services.iter().map(served).collect()
}

#[test]
fn a_service_outside_with_its_endpoints() {
    let endpoints = json!({"endpoints": [
        {"address": "192.0.2.1", "ports": {"http": 9090}, "locality": "eu/a/1", "weight": 3, "labels": {"version": "v1"}},
        {"address": "2001:db8::1", "weight": 0},
    ]});
    let mut world = World::of([meshed(), waypoint("wp"), entry("out", endpoints)]);
    let service = told(&world, HOST).expect("the entry makes it").clone();
    assert_eq!(service.ports.len(), 2);
    assert_eq!(world.problems(), [""; 0]);
    let first = workload(&world, "ServiceEntry/shop/out/192.0.2.1").expect("an endpoint").clone();
    assert_eq!(services(&first), ["api 80>9090,443>443"]);
    assert_eq!((first.protocol, first.weight), (TunnelProtocol::Plain, 3));
    assert_eq!((&*first.locality.region, &*first.locality.zone, &*first.locality.subzone), ("eu", "a", "1"));
    let second = workload(&world, "ServiceEntry/shop/out/2001:db8::1").expect("an endpoint");
    assert_eq!(services(second), ["api 80>8080,443>443"]);
    assert_eq!(second.weight, 1, "zero is nothing, as in Istio");

    // Nobody gave it an address, so it has one that is nobody's; and it keeps that.
    let [vip] = service.vips.as_slice() else { panic!("{:?}", service.vips) };
    let range: ipnet::IpNet = "240.240.0.0/16".parse().expect("a range");
    assert!(range.contains(&vip.range), "{vip:?}");
    world.put(labelled(entry("out", json!({})), json!({"weft.dev/waypoint": "wp"})));
    let bound = told(&world, HOST).expect("the entry makes it");
    assert_eq!(bound.vips, service.vips);
    assert!(bound.waypoint.is_some(), "an egress gateway");
    assert!(workload(&world, "ServiceEntry/shop/out/2001:db8::1").is_none(), "it is listed no more");
    let diff = world.delete(Kind::ServiceEntry, "shop", "out");
    assert_eq!((diff.services.removed.len(), diff.workloads.removed.len()), (1, 1));
    assert_eq!(told(&world, HOST), None);
}

#[test]
fn endpoints_that_share_an_address() {
    let at = |port: u16| json!({"address": "192.0.2.1", "ports": {"http": port}});
    for (case, resolution) in [("of an address", "STATIC"), ("looked up", "DNS")] {
        let spec = json!({"resolution": resolution, "endpoints": [at(8080), at(8081), at(8080)]});
        let world = World::of([meshed(), entry("out", spec)]);
        let seen =
            |uid: &str| workload(&world, &format!("ServiceEntry/shop/out/{uid}")).map(|one| services(one));
        let want = |port: u16| Some(vec![format!("api 80>{port},443>443")]);
        assert_eq!(seen("192.0.2.1"), want(8080), "{case}");
        assert_eq!(seen("192.0.2.1/2"), want(8081), "{case}");
        assert_eq!(seen("192.0.2.1/3"), None, "{case}: it is said twice, and is one");
    }
}

#[test]
fn addresses_and_ranges() {
    for (case, over, want, mode) in [
        ("an address", json!({"addresses": ["198.51.100.7"]}), "198.51.100.7/32", LoadBalancingMode::Any),
        ("a range", json!({"addresses": ["198.51.100.0/24"]}), "198.51.100.0/24", LoadBalancingMode::Any),
        (
            "passed on",
            json!({"addresses": ["198.51.100.0/24"], "resolution": "NONE", "endpoints": null}),
            "198.51.100.0/24",
            LoadBalancingMode::Passthrough,
        ),
    ] {
        let labels = json!({"metadata": {"labels": {"weft.dev/waypoint": "wp"}}});
        let namespace = with(meshed(), labels);
        let world = World::of([namespace, waypoint("wp"), entry("out", over)]);
        let service = told(&world, HOST).expect("the entry makes it");
        let vips: Vec<_> = service.vips.iter().map(|vip| vip.range.to_string()).collect();
        assert_eq!((vips.as_slice(), service.load_balancing.mode), (&[want.to_owned()][..], mode), "{case}");
        let stands = mode != LoadBalancingMode::Passthrough;
        assert_eq!(service.waypoint.is_some(), stands, "{case}: there is nothing to choose from");
    }
}

#[test]
fn selectors_take_pods_and_machines() {
    let selecting = entry("out", json!({"endpoints": null, "workloadSelector": {"labels": {"app": "vm"}}}));
    let selected = labelled(pod("a", "10.0.0.1"), json!({"app": "vm"}));
    let classic = with(service("classic", "10.1.0.1"), json!({"spec": {"selector": {"app": "vm"}}}));
    let mut world = World::of([meshed(), selecting, selected, machine("m", json!({"ports": {"http": 81}}))]);
    assert_eq!(world.services_of("a"), ["api 80>8080,443>443"]);
    let seen = |world: &World| services(workload(world, "WorkloadEntry/shop/m").expect("a machine"));
    assert_eq!(seen(&world), ["api 80>81,443>443"]);
    world.put(classic);
    assert_eq!(seen(&world), ["api 80>81,443>443", "classic 80>81"]);
    let machine_now = workload(&world, "WorkloadEntry/shop/m").expect("a machine");
    assert_eq!(machine_now.identity.service_account(), "vm");
    world.put(machine("m", json!({"labels": {"app": "other"}})));
    assert_eq!(seen(&world), [""; 0]);
    world.put(pod("b", "192.0.2.9"));
    assert!(workload(&world, "WorkloadEntry/shop/m").is_none(), "a pod has the address");
    world.delete(Kind::Pod, "shop", "b");
    assert!(workload(&world, "WorkloadEntry/shop/m").is_some());
    world.delete(Kind::WorkloadEntry, "shop", "m");
    assert!(workload(&world, "WorkloadEntry/shop/m").is_none());
}

#[test]
fn of_several_entries_for_a_host_the_oldest_has_it() {
    let aged = |name: &str, day: u32, address: &str| {
        let metadata = json!({"metadata": {"creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")}});
        with(entry(name, json!({"addresses": [address]})), metadata)
    };
    let (old, young) = (aged("z", 1, "198.51.100.1"), aged("a", 2, "198.51.100.2"));
    let vip = |world: &World| told(world, HOST).expect("somebody has it").vips[0].range.addr().to_string();
    let note = "warning test: ServiceEntry shop/a: spec.hosts[0]: is a host of ServiceEntry shop/z, which is older: this \
                one has no effect for it";
    for order in [[&old, &young], [&young, &old]] {
        let mut world = World::new();
        order.into_iter().for_each(|one| drop(world.put(one.clone())));
        assert_eq!(vip(&world), "198.51.100.1");
        assert_eq!(world.problems(), [note]);
        let of = |world: &World, name: &str| {
            services(workload(world, &format!("ServiceEntry/shop/{name}/192.0.2.1")).expect("an endpoint"))
        };
        assert_eq!((of(&world, "a").len(), of(&world, "z").len()), (0, 1));
        world.delete(Kind::ServiceEntry, "shop", "z");
        assert_eq!((vip(&world), of(&world, "a").len()), ("198.51.100.2".into(), 1));
        assert_eq!(world.problems(), [""; 0]);
    }
}

#[test]
fn routes_and_rules_know_hosts_of_entries() {
    let istio = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": kind,
            "metadata": {"name": "x", "namespace": "shop"}, "spec": spec,
        })
    };
    let hosts = ["example.org", HOST];
    for host in hosts {
        let endpoint = json!({"address": "192.0.2.1", "labels": {"version": "v1", "other": "x"}});
        let outside = entry("out", json!({"hosts": [host], "endpoints": [endpoint]}));
        let outside = labelled(outside, json!({"istio.io/use-waypoint": "wp"}));
        let routes = json!({"hosts": [host], "http": [{"timeout": "3s", "route": [{"destination": {"host": host, "subset": "v1"}}]}]});
        let rule = json!({"host": host, "subsets": [{"name": "v1", "labels": {"version": "v1"}}]});
        let objects = [
            istio("VirtualService", routes),
            istio("DestinationRule", rule),
            outside,
            waypoint("wp"),
            meshed(),
        ];
        let world = World::of(objects);
        assert_eq!(world.problems(), [""; 0], "{host}");
        let traffic: Vec<_> = world.0.traffic().map(|one| one.said.clone()).collect();
        let [traffic] = traffic.as_slice() else { panic!("{traffic:?}") };
        assert_eq!(*traffic.service.hostname, *host);
        assert_eq!(
            (traffic.routes.len(), traffic.destination.subsets.len()),
            (1, 1),
            "{host}: of two ports one is HTTP's"
        );
        assert_eq!(traffic.services().into_iter().map(|one| &*one.hostname).collect::<Vec<_>>(), [host]);
        let endpoint = workload(&world, "ServiceEntry/shop/out/192.0.2.1").expect("an endpoint");
        let labels: Vec<_> = endpoint.labels.keys().map(|name| &**name).collect();
        assert_eq!(labels, ["version"], "only what is asked for is told");
    }
}

#[test]
fn names_are_told_to_be_looked_up() {
    let dns = |mut over: Value| {
        over["resolution"] = json!("DNS");
        entry("out", over)
    };
    let uids = |world: &World| {
        let mut all: Vec<_> = world
            .0
            .workloads()
            .map(|one| {
                (
                    one.uid.to_string().rsplit('/').next().unwrap_or_default().to_owned(),
                    one.hostname.to_string(),
                    services(one),
                )
            })
            .collect();
        all.sort();
        all
    };
    let all = || vec!["api 80>8080,443>443".to_owned()];
    // The hosts themselves, each for itself.
    let hosts = dns(json!({"hosts": [HOST, "b.example.org"], "endpoints": null}));
    let mut world =
        World::of([meshed(), waypoint("wp"), labelled(hosts.clone(), json!({"weft.dev/waypoint": "wp"}))]);
    let own = |host: &str, served: Vec<String>| (host.to_owned(), host.to_owned(), served);
    let b = vec!["b 80>8080,443>443".to_owned()];
    assert_eq!(uids(&world), [own(HOST, all()), own("b.example.org", b)]);
    assert!(world.0.workloads().all(|one| one.addresses.is_empty()));
    assert!(told(&world, HOST).expect("the entry makes it").waypoint.is_some());
    assert_eq!(
        told(&world, HOST).expect("the entry makes it").vips.len(),
        1,
        "clients have an address to ask for"
    );
    assert_eq!((world.problems(), world.0.findings()), (vec![], vec![]));
    // Without a waypoint nobody looks them up.
    world.put(hosts);
    assert_eq!(world.problems(), [BY_NOBODY]);
    // The namespace may ask for one, too.
    let bound = |by: &str| with(meshed(), json!({"metadata": {"labels": {"weft.dev/waypoint": by}}}));
    world.put(bound("wp"));
    assert_eq!(world.problems(), [""; 0]);
    world.put(bound("none"));
    assert_eq!(world.problems(), [BY_NOBODY]);
    // Endpoints with names of their own, and with addresses.
    world.put(dns(json!({"endpoints": [{"address": "EU.example.org"}, {"address": "192.0.2.1"}]})));
    let plain = ("192.0.2.1".to_owned(), String::new(), all());
    assert_eq!(uids(&world), [plain, own("eu.example.org", all())]);
    world.delete(Kind::ServiceEntry, "shop", "out");
    assert_eq!(uids(&world), []);
}

const BY_NOBODY: &str = "warning test: ServiceEntry shop/out: spec.resolution: has names looked up, which waypoints do, \
                         and none stands before it: what is sent there is refused; bind it with the label weft.dev/waypoint";

/// One for all names below a domain, each of which is looked up.
fn any_name(over: Value) -> Value {
    let dynamic = json!({"resolution": "DYNAMIC_DNS", "hosts": ["*.example.org"], "endpoints": null});
    entry("out", with(dynamic, over))
}

#[test]
fn names_that_clients_say_are_told_as_a_pattern() {
    let labels = json!({"weft.dev/waypoint": "wp"});
    let mut world = World::of([meshed(), waypoint("wp"), labelled(any_name(json!({})), labels.clone())]);
    assert_eq!((world.problems(), world.0.findings()), (vec![], vec![]));
    let service = told(&world, "*.example.org").expect("the entry makes it");
    assert_eq!(service.vips.len(), 1, "clients have an address to ask for");
    assert!(service.waypoint.is_some());
    let pattern = workload(&world, "ServiceEntry/shop/out/*.example.org").expect("a pattern of endpoints");
    assert_eq!((&*pattern.hostname, pattern.addresses.len()), ("*.example.org", 0));
    assert_eq!(pattern.protocol, TunnelProtocol::Plain);
    assert_eq!(pattern.services[0].1.len(), 2, "at both ports, the target's where it is another one");
    assert_eq!(pattern.services[0].1[0].target_port, 8080);
    // Endpoints that are written are not looked at, and that is said.
    let listed = any_name(json!({"endpoints": [{"address": "192.0.2.1"}, {"address": "a.example.org"}]}));
    world.put(labelled(listed, labels));
    let problems = world.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("spec.endpoints: is not looked at"), "{problems:?}");
    assert_eq!(world.0.workloads().count(), 1);
    // Without a waypoint nobody looks anything up, and it says so.
    world.put(any_name(json!({})));
    assert_eq!(world.problems(), [BY_NOBODY]);
    assert!(told(&world, "*.example.org").expect("the entry makes it").waypoint.is_none());
    world.delete(Kind::Gateway, "shop", "wp");
    world.put(labelled(any_name(json!({})), json!({"weft.dev/waypoint": "wp"})));
    let problems = world.problems();
    assert_eq!((problems.len(), &*problems[0]), (2, BY_NOBODY), "{problems:?}");
    assert!(problems[1].contains("there is no Gateway shop/wp"), "{problems:?}");
}

#[test]
fn rules_for_a_host_with_a_star_are_for_the_entry_that_has_it() {
    let istio = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": kind,
            "metadata": {"name": "x", "namespace": "shop"}, "spec": spec,
        })
    };
    let host = "*.example.org";
    let routes =
        json!({"hosts": [host], "http": [{"timeout": "3s", "route": [{"destination": {"host": host}}]}]});
    let rule = json!({"host": host, "trafficPolicy": {"tls": {"mode": "SIMPLE"}}});
    let objects = [
        istio("VirtualService", routes),
        istio("DestinationRule", rule),
        labelled(any_name(json!({})), json!({"weft.dev/waypoint": "wp"})),
        waypoint("wp"),
        meshed(),
    ];
    let mut world = World::of(objects);
    assert_eq!((world.problems(), world.0.findings()), (vec![], vec![]));
    let traffic: Vec<_> = world.0.traffic().map(|one| one.said.clone()).collect();
    let [said] = traffic.as_slice() else { panic!("{traffic:?}") };
    assert_eq!((&*said.service.hostname, said.routes.len()), (host, 1));
    let tls = said.destination.settings(80, None).and_then(|settings| settings.tls.clone());
    assert_eq!(tls.expect("TLS is begun").server_name, None, "the name is the request's");
    // Istio would take them for an entry of a single name below it too.
    let single = json!({"hosts": ["api.example.org"], "resolution": "STATIC"});
    world.put(with(entry("api", single), json!({"metadata": {"labels": {"weft.dev/waypoint": "wp"}}})));
    let mut findings: Vec<_> =
        world.0.findings().into_iter().map(|(key, note)| format!("{key}: {}", note.text())).collect();
    findings.sort();
    let why = "is for the ServiceEntry with this very host, and not for api.example.org below it: name that too if it is \
               meant";
    assert_eq!(
        findings,
        [
            format!("DestinationRule shop/x: spec.host: {why}"),
            format!("VirtualService shop/x: spec.hosts[0]: {why}"),
        ]
    );
}

#[test]
fn endpoints_that_are_pods_are_named() {
    let world = World::of([
        meshed(),
        pod("a", "192.0.2.1"),
        pod("b", "192.0.2.9"),
        entry("out", json!({})),
        machine("m", json!({})),
    ]);
    let findings: Vec<_> =
        world.0.findings().into_iter().map(|(key, note)| format!("{key}: {}", note.text())).collect();
    assert_eq!(
        findings,
        [
            "ServiceEntry shop/out: spec.endpoints[0].address: is the address of pod shop/a, and left out: a pod serves a \
         ServiceEntry whose workloadSelector selects it",
            "WorkloadEntry shop/m: spec.address: is the address of pod shop/b, which stands for itself: this entry has no effect",
        ]
    );
}

#[test]
fn addresses_that_are_somebody_elses_are_named() {
    let named = |name: &str, ips: Value| with(service(name, ""), json!({"spec": {"externalIPs": ips}}));
    let passed_on = |addresses: Value| {
        entry("all", json!({"resolution": "NONE", "endpoints": null, "addresses": addresses}))
    };
    let world = World::of([
        meshed(),
        pod("a", "10.0.0.1"),
        service("own", "10.96.0.1"),
        named("first", json!(["10.96.0.1", "198.51.100.1"])),
        named("second", json!(["198.51.100.1", "198.51.100.2"])),
        passed_on(json!(["10.0.0.1", "10.0.0.0/8"])),
    ]);
    let mut findings: Vec<_> =
        world.0.findings().into_iter().map(|(key, note)| format!("{key}: {}", note.text())).collect();
    findings.sort();
    assert_eq!(
        findings,
        [
            "Service shop/first: spec.externalIPs: 10.96.0.1 is the cluster IP of shop/own.shop.svc.cluster.local: nothing \
             that is sent there comes here",
            "Service shop/second: spec.externalIPs: 198.51.100.1 is named by shop/first.shop.svc.cluster.local too, with the \
             same port 80: clients come there",
            "ServiceEntry shop/all: spec.addresses: 10.0.0.1 is the address of pod shop/a: nothing that is sent there comes \
             here",
        ]
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let endpoint = |one: Value| json!({"endpoints": [one]});
    let bound = |over: Value| labelled(entry("e", over), json!({"weft.dev/waypoint": "wp"}));
    for (object, field) in [
        (any_name(json!({"location": "MESH_INTERNAL"})), "spec.location"),
        (any_name(json!({"workloadSelector": {"labels": {"app": "vm"}}})), "spec.workloadSelector"),
        (
            any_name(json!({"ports": [{"number": 80, "name": "http"}, {"number": 3306, "name": "mysql"}]})),
            "spec.ports[1].protocol",
        ),
        (
            any_name(json!({"ports": [{"number": 90, "name": "x", "protocol": "TCP"}]})),
            "spec.ports[0].protocol",
        ),
        (any_name(json!({"hosts": ["*.shop.svc.cluster.local"]})), "spec.hosts[0]"),
        (entry("e", json!({"resolution": "NONE", "endpoints": null})), "spec.addresses"),
        (
            bound(json!({"resolution": "NONE", "endpoints": null, "addresses": ["198.51.100.1"]})),
            "spec.resolution",
        ),
        (entry("e", json!({"hosts": ["api"]})), "spec.hosts[0]"),
        (entry("e", json!({"hosts": ["web.shop.svc.cluster.local"]})), "spec.hosts[0]"),
        (entry("e", json!({"hosts": ["*-v1.example.org"]})), "spec.hosts[0]"),
        (entry("e", json!({"exportTo": ["."]})), "spec.exportTo"),
        (entry("e", endpoint(json!({"network": "other"}))), "spec.endpoints[0].network"),
        (
            entry("e", endpoint(json!({"address": "192.0.2.1", "network": "other"}))),
            "spec.endpoints[0].network",
        ),
        (machine("m", json!({"address": "vm.example.org"})), "spec.address"),
        (machine("m", json!({"address": "unix:///run/a.sock"})), "spec.address"),
    ] {
        let world = World::of([waypoint("wp"), object]);
        let told = world.problems();
        let errors: Vec<_> = told.iter().filter(|one| one.starts_with("error")).collect();
        assert!(errors.iter().any(|one| one.contains(&format!(": {field}: "))), "{field}: {told:?}");
        assert_eq!(
            world.0.services().filter(|one| !one.name.hostname.starts_with("wp.")).count(),
            0,
            "{field}"
        );
    }
}
