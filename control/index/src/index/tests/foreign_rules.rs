//! Of which namespaces' resources a Service's traffic is ruled, and what several of them are together.

use super::world::{World, bound, gateway_route, service, waypoint, with};
use serde_json::{Value, json};
use weft_control_api::kind::Kind;
use weft_l7::destination::EmptySubset;

const WEB: &str = "web.shop.svc.cluster.local";

fn istio(kind: &str, (namespace, name): (&str, &str), spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// A rule that is known by how many connections it allows.
fn limit(namespace: &str, name: &str, connections: u32) -> Value {
    let policy = json!({"connectionPool": {"tcp": {"maxConnections": connections}}});
    istio("DestinationRule", (namespace, name), json!({"host": WEB, "trafficPolicy": policy}))
}

/// A rule with subsets by these names, each asking for a label `of` of the rule's name.
fn subsets(name: &str, subsets: &[&str]) -> Value {
    let subsets: Vec<Value> =
        subsets.iter().map(|subset| json!({"name": subset, "labels": {"of": name}})).collect();
    istio("DestinationRule", ("shop", name), json!({"host": WEB, "subsets": subsets}))
}

fn world(objects: impl IntoIterator<Item = Value>) -> World {
    World::of([waypoint("wp"), bound("web", "wp"), service("a", "10.1.0.2")].into_iter().chain(objects))
}

fn connections(world: &World) -> Option<u32> {
    world.traffic_of("wp", "web")?.destination.settings.limits.connections
}

#[test]
fn whose_destination_rules_count() {
    let foreign = "warning test: DestinationRule mall/d: spec.host: Service shop/web is ruled by DestinationRules of its own \
                   namespace, or of a root namespace (weft-system, istio-system): this one has no effect";
    let of_root = "warning test: DestinationRule istio-system/r: spec.host: DestinationRule shop/d is of the namespace of \
                   Service shop/web itself, and comes before those of root namespaces: this one has no effect";
    for (case, objects, want, told) in [
        ("its own namespace's", vec![limit("shop", "d", 1)], Some(1), vec![]),
        ("another namespace's", vec![limit("mall", "d", 2)], None, vec![foreign]),
        ("a root namespace's", vec![limit("istio-system", "r", 3)], Some(3), vec![]),
        (
            "its own comes before the root's",
            vec![limit("istio-system", "r", 3), limit("shop", "d", 1)],
            Some(1),
            vec![of_root],
        ),
        (
            "an older one of another namespace stands in nobody's way",
            vec![
                with(
                    limit("mall", "d", 2),
                    json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}),
                ),
                with(
                    limit("shop", "d", 1),
                    json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}),
                ),
            ],
            Some(1),
            vec![foreign],
        ),
    ] {
        let world = world(objects);
        assert_eq!(connections(&world), want, "{case}");
        assert_eq!(world.problems(), told, "{case}");
    }
}

#[test]
fn rules_come_and_go() {
    let mut world = world([limit("mall", "m", 2), limit("istio-system", "r", 3)]);
    assert_eq!(connections(&world), Some(3));
    world.put(limit("shop", "d", 1));
    assert_eq!(connections(&world), Some(1));
    assert_eq!(world.problems().len(), 2, "both others have no effect: {:?}", world.problems());
    world.delete(Kind::DestinationRule, "shop", "d");
    assert_eq!((connections(&world), world.problems().len()), (Some(3), 1));
    world.delete(Kind::DestinationRule, "istio-system", "r");
    assert_eq!(connections(&world), None);
}

#[test]
fn several_rules_of_one_namespace_are_one() {
    let aged = |object: Value, day: u32| {
        with(object, json!({"metadata": {"creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")}}))
    };
    let world = world([
        aged(subsets("first", &["v1", "v2"]), 1),
        aged(subsets("second", &["v2", "v3"]), 2),
        aged(limit("shop", "third", 3), 3),
        aged(limit("shop", "fourth", 4), 4),
    ]);
    let destination = world.traffic_of("wp", "web").expect("wp stands before it").destination.clone();
    let of: Vec<(&str, &str)> = destination
        .subsets
        .iter()
        .map(|(name, subset)| (&**name, subset.labels.values().next().map_or("", |of| &**of)))
        .collect();
    assert_eq!(of, [("v1", "first"), ("v2", "first"), ("v3", "second")]);
    assert_eq!(connections(&world), Some(3));
    assert_eq!(destination.subsets["v1"].settings.limits.connections, Some(3), "subsets inherit it");
    assert_eq!(
        world.problems(),
        [
            "warning test: DestinationRule shop/fourth: spec.trafficPolicy: DestinationRule shop/third, which is older, has \
             one for the same host: this one has no effect",
            "warning test: DestinationRule shop/second: spec.subsets[0]: DestinationRule shop/first, which is older, has a \
             subset v2 of the same host: this one has no effect",
        ]
    );
}

/// What an annotation says is said of its own rule, whichever is the oldest.
#[test]
fn annotations_of_several_rules() {
    let annotated = |name: &str, day: u32, annotations: Value, spec: Value| {
        let created = format!("2026-01-{day:02}T00:00:00Z");
        let own = json!({"metadata": {"creationTimestamp": created, "annotations": annotations}});
        with(istio("DestinationRule", ("shop", name), with(json!({"host": WEB}), spec)), own)
    };
    let rate =
        |deviations: &str| json!({"weft.dev/outlier-success-rate": format!("deviations={deviations}")});
    let outlier = || json!({"outlierDetection": {}});
    let any = json!({"weft.dev/subset-fallback": "any"});
    let world = world([
        annotated("first", 1, json!({}), json!({"subsets": [{"name": "v1", "labels": {"v": "1"}}]})),
        annotated("second", 2, rate("1"), json!({"trafficPolicy": outlier()})),
        annotated("third", 3, any, json!({"subsets": [{"name": "v2", "labels": {"v": "2"}}]})),
        annotated("fourth", 4, rate("2"), json!({"subsets": [{"name": "v3", "trafficPolicy": outlier()}]})),
        annotated("fifth", 5, rate("3"), json!({"trafficPolicy": outlier()})),
    ]);
    let destination = world.traffic_of("wp", "web").expect("wp stands before it").destination.clone();
    let told = |subset: Option<&str>| {
        let settings = destination.settings(80, subset).expect("there is such a subset");
        let rate = settings.outlier.as_ref().and_then(|outlier| outlier.success_rate);
        (rate.map(|rate| rate.deviations_thousandths), subset.map(|name| destination.subsets[name].empty))
    };
    for (subset, want) in [
        (None, (Some(1_000), None)),
        (Some("v1"), (Some(1_000), Some(EmptySubset::Nobody))),
        (Some("v2"), (Some(1_000), Some(EmptySubset::Everybody))),
        (Some("v3"), (Some(2_000), Some(EmptySubset::Nobody))),
    ] {
        assert_eq!(told(subset), want, "{subset:?}");
    }
    assert_eq!(
        world.problems(),
        [
            "warning test: DestinationRule shop/fifth: spec.trafficPolicy: DestinationRule shop/second, which is older, has one \
          for the same host: this one has no effect"
        ]
    );
}

#[test]
fn whose_virtual_services_lead_whom() {
    let route = |namespace: &str, over: Value| {
        let to = json!({"destination": {"host": "a.shop.svc.cluster.local"}});
        let spec = json!({"hosts": [WEB], "http": [{"route": [to]}]});
        istio("VirtualService", (namespace, "v"), with(spec, over))
    };
    let told = |why: &str| {
        vec![format!(
            "warning test: VirtualService mall/v: spec.hosts[0]: Service shop/web is of another namespace{why}"
        )]
    };
    let alone = told(": the routes are for the clients of mall alone");
    let nobody = told(
        ", and the routes are not exported to the clients of mall, for whom alone they might be: they have no effect for it",
    );
    for (case, object, want, told) in [
        ("its own namespace's", route("shop", json!({})), vec![None], vec![]),
        ("a root namespace's", route("weft-system", json!({})), vec![None], vec![]),
        ("another namespace's", route("mall", json!({})), vec![Some("mall")], alone.clone()),
        ("for its own clients", route("mall", json!({"exportTo": ["."]})), vec![Some("mall")], vec![]),
        ("for others too", route("mall", json!({"exportTo": ["shop", "."]})), vec![Some("mall")], alone),
        ("for others", route("mall", json!({"exportTo": ["shop"]})), vec![], nobody),
    ] {
        let world = world([object]);
        let traffic = world.traffic_of("wp", "web");
        let routes = traffic.iter().flat_map(|traffic| &traffic.routes);
        let clients: Vec<Option<&str>> = routes.map(|routes| routes.clients.as_deref()).collect();
        assert_eq!(clients, want, "{case}");
        assert_eq!(world.problems(), told, "{case}");
    }
}

#[test]
fn who_comes_before_a_virtual_service_for_some_clients_is_told() {
    let route = |name: &str| {
        let to = json!({"destination": {"host": "a.shop.svc.cluster.local"}});
        let spec = json!({"hosts": [WEB], "http": [{"route": [to]}], "exportTo": ["."]});
        istio("VirtualService", ("mall", name), spec)
    };
    let web = |over: Value| with(json!({"name": "web", "namespace": "shop"}), over);
    let consumer = json!({
        "metadata": {"namespace": "mall"},
        "spec": {
            "parentRefs": [web(json!({"group": "", "kind": "Service"}))],
            "rules": [{"backendRefs": [web(json!({"port": 80}))]}],
        },
    });
    let consumer = gateway_route("HTTPRoute", "r", "web", consumer);
    let of_gateway = "Service shop/web has routes of Gateway API there, which come before Istio's: these have no effect for it";
    let older =
        "VirtualService mall/v, which is older, is for Service shop/web too: this one has no effect for it";
    for (case, objects, name, why) in [
        ("a consumer's route", vec![route("v"), consumer], "v", of_gateway),
        ("an older one for the same", vec![route("v"), route("w")], "w", older),
    ] {
        let told = format!("warning test: VirtualService mall/{name}: spec.hosts[0]: {why}");
        assert_eq!(world(objects).problems(), [told], "{case}");
    }
}

/// Who runs the waypoint that a Service asks for is trusted with its requests.
#[test]
fn a_waypoints_own_namespace_leads_all() {
    let from_all = json!({"namespaces": {"from": "All"}});
    let shared = with(
        waypoint("shared"),
        json!({"metadata": {"namespace": "infra"}, "spec": {"listeners": [
            {"name": "mesh", "port": 15008, "protocol": "HBONE", "allowedRoutes": from_all},
        ]}}),
    );
    let web = |over: Value| with(service("web", "10.1.0.1"), json!({"metadata": {"labels": over}}));
    let to = json!({"destination": {"host": "a.shop.svc.cluster.local"}});
    let route = istio("VirtualService", ("infra", "v"), json!({"hosts": [WEB], "http": [{"route": [to]}]}));
    let asks = json!({"weft.dev/waypoint": "shared", "weft.dev/waypoint-namespace": "infra"});
    let mut world = World::of([shared, waypoint("wp"), web(asks), service("a", "10.1.0.2"), route]);
    assert_eq!(world.problems(), [""; 0]);
    let clients = |world: &World| -> Vec<Option<String>> {
        let all = world.0.traffic().filter(|one| one.said.service.hostname.starts_with("web."));
        all.flat_map(|one| {
            one.said
                .routes
                .iter()
                .map(|routes| routes.clients.as_deref().map(str::to_owned))
                .collect::<Vec<_>>()
        })
        .collect()
    };
    assert_eq!(clients(&world), [None]);
    world.put(web(json!({"weft.dev/waypoint": "wp"})));
    assert_eq!(clients(&world), [Some("infra".to_owned())], "another waypoint");
}
