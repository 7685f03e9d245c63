//! VirtualServices that leave a part of their requests to others.

use super::world::{World, bound, service, waypoint, with};
use serde_json::{Value, json};
use weft_control_api::kind::Kind;
use weft_l7::rule::Action;
use weft_l7::target::Target;
use weft_l7::traffic::Routes;

fn virtual_service((namespace, name): (&str, &str), spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// Requests below `/cart` are the team's to route; all others go to `web`.
fn root(over: Value) -> Value {
    let cart = json!({
        "name": "cart", "match": [{"uri": {"prefix": "/cart"}}], "timeout": "9s",
        "delegate": {"name": "cart", "namespace": "team"},
    });
    let rest = json!({"route": [{"destination": {"host": "web"}}]});
    virtual_service(("shop", "root"), json!({"hosts": ["web"], "http": [with(cart, over), rest]}))
}

fn leaf(http: Value) -> Value {
    virtual_service(("team", "cart"), json!({ "http": http }))
}

fn to(host: &str, over: Value) -> Value {
    with(json!({"route": [{"destination": {"host": host}}]}), over)
}

fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let cart = with(service("cart", "10.1.0.2"), json!({"metadata": {"namespace": "team"}}));
    World::of([waypoint("wp"), bound("web", "wp"), cart].into_iter().chain(objects))
}

/// Rules in their order: name, path, timeout, first backend.
fn rules(world: &World) -> Vec<String> {
    let traffic = world.traffic_of("wp", "web").expect("routes");
    let Routes::Http(routes) = &traffic.routes[0].routes else { panic!("{traffic:?}") };
    let shown = routes.entries.iter().map(|entry| {
        let rule = &routes.rules[entry.rule];
        let path = entry.when.path.as_ref().map(|path| format!("{path:?}"));
        let Action::Forward(forward) = &rule.action else { return format!("{} answers", rule.origin.rule) };
        let Target::Service(target) = &forward.backends[0].to.target else { panic!("{forward:?}") };
        let timeout = forward.timeouts.request.map(|timeout| timeout.as_secs());
        let path = path.unwrap_or_default();
        format!("{} {path} {timeout:?} {}", rule.origin.rule, target.service.hostname)
    });
    shown.collect()
}

#[test]
fn a_delegate_routes_a_part_of_the_requests() {
    let checkout = to("cart", json!({"match": [{"uri": {"exact": "/cart/checkout"}}], "timeout": "1s"}));
    let any = to("cart", json!({}));
    let mut world = world([root(json!({})), leaf(json!([checkout, any]))]);
    let cart = "cart.team.svc.cluster.local";
    assert_eq!(
        rules(&world),
        [
            format!("cart-0 Text(Exact(\"/cart/checkout\")) Some(1) {cart}"),
            format!("cart-1 Text(Prefix(\"/cart\")) Some(9) {cart}"),
            "1  None web.shop.svc.cluster.local".to_owned(),
        ]
    );
    assert_eq!(world.problems(), [""; 0]);
    // It changes, and so does what is told; it goes, and its part has no effect.
    world.put(leaf(json!([{"directResponse": {"status": 404}}])));
    assert_eq!(rules(&world), ["cart-0 answers", "1  None web.shop.svc.cluster.local"]);
    world.delete(Kind::VirtualService, "team", "cart");
    assert_eq!(rules(&world), ["1  None web.shop.svc.cluster.local"]);
    let problem = "warning test: VirtualService shop/root: spec.http[0].delegate: there is no VirtualService team/cart without \
                   hosts: the route has no effect";
    assert_eq!(world.problems(), [problem]);
}

#[test]
fn matches_that_are_no_part_of_the_roots_have_no_effect() {
    let header = |value: Value| json!({"headers": {"x": value}});
    for (case, root_match, leaf_match, want) in [
        ("a longer prefix", json!({}), json!({"uri": {"prefix": "/cart/a"}}), true),
        ("another prefix", json!({}), json!({"uri": {"prefix": "/other"}}), false),
        ("a shorter prefix", json!({}), json!({"uri": {"prefix": "/"}}), false),
        ("a regular expression", json!({}), json!({"uri": {"regex": "/cart/.*"}}), false),
        ("something else besides", json!({}), json!({"method": {"exact": "GET"}}), true),
        ("a header", header(json!({})), header(json!({"exact": "a"})), true),
        ("the same header", header(json!({"exact": "a"})), header(json!({"exact": "a"})), true),
        ("another header", header(json!({"exact": "a"})), header(json!({"exact": "b"})), false),
        ("any header", header(json!({"exact": "a"})), header(json!({})), false),
        ("another port", json!({"port": 80}), json!({"port": 81}), false),
        ("another namespace", json!({"sourceNamespace": "a"}), json!({"sourceNamespace": "b"}), false),
        ("the letters' case", json!({}), json!({"uri": {"prefix": "/cart"}, "ignoreUriCase": true}), false),
    ] {
        let root_match = with(json!({"uri": {"prefix": "/cart"}}), root_match);
        let root = root(json!({"match": [root_match]}));
        let world = world([root, leaf(json!([to("cart", json!({"match": [leaf_match]}))]))]);
        assert_eq!(rules(&world).len(), 1 + usize::from(want), "{case}: {:?}", rules(&world));
        let lost = world.problems();
        assert_eq!(lost.is_empty(), want, "{case}: {lost:?}");
        let said =
            "no match of route 0 of VirtualService team/cart is a part of this route's: it has no effect";
        assert!(lost.iter().all(|one| one.ends_with(said)), "{case}: {lost:?}");
    }
}

#[test]
fn delegates_that_nobody_may_or_does_use_say_so() {
    let routes = json!([to("cart", json!({}))]);
    let alone = world([leaf(routes.clone())]);
    let problem = "warning test: VirtualService team/cart: spec.hosts: is empty, and no VirtualService delegates to this one: it \
                   has no effect";
    assert_eq!(alone.problems(), [problem]);
    let own = virtual_service(("team", "cart"), json!({"http": routes, "exportTo": ["."]}));
    let hidden = world([root(json!({})), own]);
    let problems = hidden.problems();
    assert!(problems.iter().any(|one| one.contains("is not exported to this namespace")), "{problems:?}");
    // One with hosts of its own is nobody's delegate.
    let hosted =
        virtual_service(("team", "cart"), json!({"hosts": ["cart"], "http": [to("cart", json!({}))]}));
    let problems = world([root(json!({})), hosted]).problems();
    assert!(
        problems.iter().any(|one| one.contains("there is no VirtualService team/cart without hosts")),
        "{problems:?}"
    );
}
