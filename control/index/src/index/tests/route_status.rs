//! What routes and Gateways say of themselves in their status, and what their authors are told.

use super::world::{World, bound, gateway_route, instance, labelled, meshed, service, waypoint, with};
use serde_json::{Value, json};
use weft_control_api::gateway_api::status::{Condition, Status};
use weft_control_api::kind::{Kind, ObjectKey};

fn route(kind: &str, over: Value) -> Value {
    let rules = json!({"spec": {"rules": [{"backendRefs": [{"name": "a", "port": 80}]}]}});
    gateway_route(kind, "r", "web", with(rules, over))
}

fn parent(over: Value) -> Value {
    json!({"spec": {"parentRefs": [with(json!({"group": "", "kind": "Service", "name": "web"}), over)]}})
}

fn backend(over: Value) -> Value {
    json!({"spec": {"rules": [{"backendRefs": [with(json!({"name": "a", "port": 80}), over)]}]}})
}

/// The conditions of each parent: `type=status reason`.
fn conditions(world: &World, kind: Kind) -> Vec<String> {
    match world.0.status(&ObjectKey::new(kind, "shop", "r")) {
        None => Vec::new(),
        Some(Status::Route(route)) => route.parents.iter().map(|parent| shown(&parent.conditions)).collect(),
        Some(Status::Gateway(_) | Status::Policy(_)) => panic!("no route"),
    }
}

fn shown(conditions: &[Condition]) -> String {
    let one = |one: &Condition| format!("{:?}={:?} {:?}", one.kind, one.status, one.reason);
    conditions.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let headless = with(service("bare", "None"), json!({"spec": {"clusterIP": "None"}}));
    let bytes = with(
        service("raw", "10.1.0.4"),
        json!({"spec": {"ports": [{"name": "tcp", "port": 5432}, {"name": "db", "port": 5433, "appProtocol": "https"}]}}),
    );
    let base = [
        meshed(),
        waypoint("wp"),
        bound("web", "wp"),
        service("a", "10.1.0.2"),
        service("alone", "10.1.0.3"),
        bound("astray", "nobody"),
        labelled(headless, json!({"weft.dev/waypoint": "wp"})),
        labelled(bytes, json!({"weft.dev/waypoint": "wp"})),
    ];
    World::of(base.into_iter().chain(objects))
}

#[test]
fn what_becomes_of_a_route() {
    const GOOD: &str = "ResolvedRefs=True ResolvedRefs";
    const TAKEN: &str = "Accepted=True Accepted";
    let cases = [
        ("all is well", route("HTTPRoute", json!({})), TAKEN, GOOD, ""),
        (
            "no such Service",
            route("HTTPRoute", parent(json!({"name": "none"}))),
            "Accepted=False NoMatchingParent",
            GOOD,
            "spec.parentRefs[0]: there is no Service shop/none: the route has no effect there",
        ),
        (
            "no such port",
            route("GRPCRoute", parent(json!({"port": 81}))),
            "Accepted=False NoMatchingParent",
            GOOD,
            "spec.parentRefs[0]: Service shop/web has no such port: the route has no effect there",
        ),
        (
            "a port of TCP",
            route("HTTPRoute", parent(json!({"name": "raw", "port": 5432}))),
            "Accepted=False UnsupportedValue",
            GOOD,
            "spec.parentRefs[0]: what is spoken there to Service shop/raw is TCP or TLS, of which no requests are read: the \
             route has no effect there; if it is HTTP, say so in the port's appProtocol",
        ),
        (
            "no port but for bytes",
            route("GRPCRoute", parent(json!({"name": "raw"}))),
            "Accepted=False UnsupportedValue",
            GOOD,
            "spec.parentRefs[0]: what is spoken there to Service shop/raw is TCP or TLS, of which no requests are read: the \
             route has no effect there; if it is HTTP, say so in the port's appProtocol",
        ),
        (
            "no port but for HTTP",
            route("TLSRoute", json!({"spec": {"hostnames": ["x.org"]}})),
            "Accepted=False UnsupportedValue",
            GOOD,
            "spec.parentRefs[0]: what is spoken there to Service shop/web is HTTP, where no names of TLS are asked for: the \
             route has no effect there; if it is TLS, say so in the port's appProtocol",
        ),
        ("bytes", route("TCPRoute", parent(json!({"name": "raw"}))), TAKEN, GOOD, ""),
        (
            "no port of that name",
            route("TCPRoute", parent(json!({"sectionName": "x"}))),
            "Accepted=False NoMatchingParent",
            GOOD,
            "spec.parentRefs[0]: Service shop/web has no such port: the route has no effect there",
        ),
        (
            "no waypoint",
            route("HTTPRoute", parent(json!({"name": "alone"}))),
            "Accepted=False NoWaypoint",
            GOOD,
            "spec.parentRefs[0]: no waypoint stands before Service shop/alone: the route has no effect there; bind it \
             with the label weft.dev/waypoint",
        ),
        (
            "a waypoint that is not there",
            route("HTTPRoute", parent(json!({"name": "astray"}))),
            "Accepted=False NoWaypoint",
            GOOD,
            "spec.parentRefs[0]: the waypoint that Service shop/astray asks for does not stand before it: the route has \
             no effect there",
        ),
        (
            "headless",
            route("HTTPRoute", parent(json!({"name": "bare"}))),
            "Accepted=False UnsupportedValue",
            GOOD,
            "spec.parentRefs[0]: Service shop/bare has no address of its own (it is headless or an ExternalName): the \
             route has no effect there",
        ),
        (
            "a waypoint as parent",
            route("HTTPRoute", json!({"spec": {"parentRefs": [{"name": "wp"}]}})),
            "Accepted=False NotAllowedByListeners",
            GOOD,
            "spec.parentRefs[0]: Gateway shop/wp is a waypoint: routes are attached to Services, not to waypoints",
        ),
        (
            "a ServiceEntry as parent",
            route(
                "HTTPRoute",
                parent(json!({"group": "networking.istio.io", "kind": "ServiceEntry", "name": "out"})),
            ),
            "Accepted=False UnsupportedValue",
            GOOD,
            "spec.parentRefs[0]: routes of Gateway API are attached to Services, and not to ServiceEntry shop/out: the route \
             has no effect there; a VirtualService of that namespace may be for the hosts",
        ),
        (
            "no such backend",
            route(
                "TLSRoute",
                with(
                    with(backend(json!({"name": "none"})), parent(json!({"name": "raw"}))),
                    json!({"spec": {"hostnames": ["x.org"]}}),
                ),
            ),
            TAKEN,
            "ResolvedRefs=False BackendNotFound",
            "spec.rules[0].backendRefs[0]: there is no Service shop/none: its share gets 500",
        ),
        (
            "no such port of the backend",
            route("HTTPRoute", backend(json!({"port": 81}))),
            TAKEN,
            "ResolvedRefs=False BackendNotFound",
            "spec.rules[0].backendRefs[0]: Service shop/a has no port 81: its share gets 500",
        ),
        (
            "no leave",
            route("HTTPRoute", backend(json!({"namespace": "mall"}))),
            TAKEN,
            "ResolvedRefs=False RefNotPermitted",
            "spec.rules[0].backendRefs[0]: no ReferenceGrant of namespace mall allows Service a: its share gets 500",
        ),
        (
            "no Service",
            route("HTTPRoute", backend(json!({"group": "x.org", "kind": "Bucket", "port": null}))),
            TAKEN,
            "ResolvedRefs=False InvalidKind",
            "spec.rules[0].backendRefs[0]: Bucket a is no Service: its share gets 500",
        ),
        (
            "an extension",
            route(
                "HTTPRoute",
                json!({"spec": {"rules": [{"filters": [{
                    "type": "ExtensionRef", "extensionRef": {"group": "x.org", "kind": "Wasm", "name": "w"},
                }]}]}}),
            ),
            TAKEN,
            "ResolvedRefs=False InvalidKind",
            "spec.rules[0].filters[0]: Wasm w is no filter that is known here: what it is for gets 500",
        ),
        (
            "a filter that is not supported",
            route(
                "HTTPRoute",
                json!({"spec": {"rules": [{"filters": [{
                    "type": "ExternalAuth",
                    "externalAuth": {"protocol": "GRPC", "grpc": {}, "backendRef": {"name": "a", "port": 80}},
                }]}]}}),
            ),
            "Accepted=False UnsupportedValue",
            GOOD,
            "spec.rules[0].filters[0]: ExternalAuth is not supported: what it is for gets 500",
        ),
    ];
    for (case, object, accepted, resolved, problem) in cases {
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        let kind = Kind::ALL.into_iter().find(|one| one.name() == kind).expect("a known kind");
        let world = world([object]);
        assert_eq!(conditions(&world, kind), [format!("{accepted}, {resolved}")], "{case}");
        let told: Vec<_> = world.problems().into_iter().filter(|one| one.contains(" shop/r: ")).collect();
        let want: Vec<_> = (!problem.is_empty())
            .then(|| format!("warning test: {kind} shop/r: {problem}"))
            .into_iter()
            .collect();
        assert_eq!(told, want, "{case}");
    }
}

#[test]
fn routes_of_other_gateways_are_left_alone() {
    let ingress = |over: Value| {
        let front = json!({"spec": {"parentRefs": [{"name": "front"}]}});
        world([route("HTTPRoute", with(front, over))])
    };
    for (case, over) in [
        ("a backend that is no Service", backend(json!({"group": "x.org", "kind": "Bucket", "port": null}))),
        ("one that is not there", backend(json!({"name": "none"}))),
        ("nobody takes anything", backend(json!({"weight": 0}))),
    ] {
        let world = ingress(over);
        assert_eq!(conditions(&world, Kind::HttpRoute), [""; 0], "{case}");
        let told: Vec<_> = world.problems().into_iter().filter(|one| one.contains(" shop/r: ")).collect();
        assert_eq!(told, [""; 0], "{case}");
        assert!(world.0.findings().iter().all(|(key, _)| *key.name != *"r"), "{case}");
    }
}

#[test]
fn routes_that_come_after_others_say_so() {
    let http = || route("HTTPRoute", json!({}));
    let tcp = |name: &str| with(route("TCPRoute", json!({})), json!({"metadata": {"name": name}}));
    let lost = "Accepted=False Conflicted, ResolvedRefs=True ResolvedRefs";
    let won = "Accepted=True Accepted, ResolvedRefs=True ResolvedRefs";
    let mut world = world([http()]);
    assert_eq!(conditions(&world, Kind::HttpRoute), [won]);
    let diff = world.put(route("GRPCRoute", json!({})));
    assert_eq!(conditions(&world, Kind::HttpRoute), [lost]);
    assert_eq!(conditions(&world, Kind::GrpcRoute), [won]);
    assert_eq!(diff.statuses.len(), 2, "both are told");
    let told = "HTTPRoute shop/r: spec.parentRefs[0]: Service shop/web has routes of kind GRPCRoute there, which are more \
                specific: the route has no effect (GEP-1294)";
    assert!(world.problems().contains(&format!("warning test: {told}")));
    world.delete(Kind::GrpcRoute, "shop", "r");
    world.delete(Kind::HttpRoute, "shop", "r");
    assert_eq!(world.0.statuses().filter(|(key, _)| key.kind != Kind::Gateway).count(), 0);
    world.put(tcp("r"));
    world.put(tcp("q"));
    assert_eq!(conditions(&world, Kind::TcpRoute), [lost], "nothing tells their connections apart");
    assert!(
        world.put(tcp("z")).statuses.iter().all(|(key, _)| *key.name == *"z"),
        "what is the same is not told"
    );
}

#[test]
fn a_status_follows_what_it_depends_on() {
    let mut world = World::of([service("web", "10.1.0.1"), route("HTTPRoute", json!({}))]);
    let both = |accepted: &str, resolved: &str| [format!("{accepted}, {resolved}")];
    let (good, missing) = ("ResolvedRefs=True ResolvedRefs", "ResolvedRefs=False BackendNotFound");
    let seen = |world: &World| conditions(world, Kind::HttpRoute);
    assert_eq!(seen(&world), both("Accepted=False NoWaypoint", missing));
    world.put(waypoint("wp"));
    world.put(bound("web", "wp"));
    assert_eq!(seen(&world), both("Accepted=True Accepted", missing));
    world.put(service("a", "10.1.0.2"));
    assert_eq!(seen(&world), both("Accepted=True Accepted", good));
    world.put(route(
        "HTTPRoute",
        with(backend(json!({"namespace": "mall"})), json!({"metadata": {"generation": 2}})),
    ));
    assert_eq!(seen(&world), both("Accepted=True Accepted", "ResolvedRefs=False RefNotPermitted"));
    world.put(json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "ReferenceGrant",
        "metadata": {"name": "g", "namespace": "mall"},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "shop"}],
            "to": [{"group": "", "kind": "Service"}],
        },
    }));
    assert_eq!(seen(&world), both("Accepted=True Accepted", missing), "allowed, and not there");
    world.delete(Kind::Gateway, "shop", "wp");
    assert_eq!(seen(&world), both("Accepted=False NoWaypoint", missing));
    world.put(waypoint("wp"));
    world.put(route("HTTPRoute", parent(json!({"name": "A b"}))));
    let refused = both("Accepted=False UnsupportedValue", missing);
    assert_eq!(seen(&world), refused, "the last good version is in force, and this one is not");
    world.delete(Kind::HttpRoute, "shop", "r");
    assert_eq!(seen(&world), [""; 0]);
}

#[test]
fn what_becomes_of_a_gateway() {
    let key = ObjectKey::new(Kind::Gateway, "shop", "wp");
    let shown = |world: &World| match world.0.status(&key) {
        None => "none".to_owned(),
        Some(Status::Route(_) | Status::Policy(_)) => panic!("no Gateway"),
        Some(Status::Gateway(one)) => {
            let addresses: Vec<_> = one.addresses.iter().map(|address| address.value.as_str()).collect();
            let listeners: Vec<_> =
                one.listeners.iter().map(|one| format!("{} {}", one.name, one.conditions.len())).collect();
            format!("{}; {}; {}", shown(&one.conditions), addresses.join(" "), listeners.join(" "))
        }
    };
    let host = "wp.shop.svc.cluster.local; mesh 3";
    let mut world = World::of([waypoint("wp")]);
    assert_eq!(shown(&world), format!("Accepted=True Accepted, Programmed=False Pending; {host}"));
    world.put(instance("wp-1", "wp", "10.0.0.9"));
    let good = format!("Accepted=True Accepted, Programmed=True Programmed; {host}");
    assert_eq!(shown(&world), good);
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    world.put(with(instance("wp-1", "wp", "10.0.0.9"), unready));
    assert_eq!(shown(&world), format!("Accepted=True Accepted, Programmed=False Pending; {host}"));
    world.put(instance("wp-1", "wp", "10.0.0.9"));
    let diff = world.put(with(waypoint("wp"), json!({"spec": {"listeners": []}})));
    assert_eq!(diff.statuses.len(), 1);
    assert_eq!(shown(&world), format!("Accepted=False Invalid, Programmed=True Programmed; {host}"));
    world.put(waypoint("wp"));
    let tunnels = json!({"spec": {"ports": [{"name": "hbone", "port": 15008}]}});
    world.put(with(service("wp", "10.1.0.9"), tunnels));
    assert_eq!(shown(&world), good.replace("; wp", "; 10.1.0.9 wp"));
    world.put(with(waypoint("wp"), json!({"spec": {"gatewayClassName": "other"}})));
    assert_eq!(shown(&world), "none", "somebody else's");
    world.put(waypoint("wp"));
    assert_eq!(world.delete(Kind::Gateway, "shop", "wp").statuses, [(key.clone(), None)]);
}
