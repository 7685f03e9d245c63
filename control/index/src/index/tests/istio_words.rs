//! What Istio's resources mean to a waypoint, where Istio's own reading is easily missed.

use super::world::{World, bound, gateway_route, service, waypoint, with};
use serde_json::{Value, json};
use weft_l7::traffic::{HttpRoutes, Routes};

fn istio(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    })
}

fn virtual_service(route: Value) -> Value {
    istio("VirtualService", "v", json!({"hosts": ["web"], "http": [route]}))
}

fn leading_to_a(over: Value) -> Value {
    virtual_service(with(json!({"route": [{"destination": {"host": "a"}}]}), over))
}

fn world(objects: impl IntoIterator<Item = Value>) -> World {
    World::of([waypoint("wp"), bound("web", "wp"), service("a", "10.1.0.2")].into_iter().chain(objects))
}

fn http(world: &World) -> HttpRoutes {
    let traffic = world.traffic_of("wp", "web").unwrap_or_else(|| panic!("{:?}", world.problems()));
    let [one] = &*traffic.routes else { panic!("{traffic:?}") };
    let Routes::Http(http) = &one.routes else { panic!("{traffic:?}") };
    http.clone()
}

#[test]
fn where_redirects_lead() {
    let to = |redirect: Value| json!({"redirect": redirect});
    let matched = |uri: Value, by: &str| json!({"match": [{"uri": uri}], "redirect": {"uri": by}});
    for (case, route, want) in [
        ("a host", to(json!({"authority": "x.org"})), json!({"host": "x.org", "port": "ofScheme"})),
        ("no host", to(json!({"scheme": "https"})), json!({"scheme": "https", "port": "ofRequest"})),
        (
            "an empty host",
            to(json!({"authority": "", "scheme": "https"})),
            json!({"scheme": "https", "port": "ofRequest"}),
        ),
        ("a port", to(json!({"port": 8083})), json!({"port": {"number": 8083}})),
        (
            "the connection's port",
            to(json!({"authority": "x.org", "derivePort": "FROM_REQUEST_PORT"})),
            json!({"host": "x.org", "port": "ofConnection"}),
        ),
        (
            "the scheme's port",
            to(json!({"derivePort": "FROM_PROTOCOL_DEFAULT"})),
            json!({"port": "ofScheme"}),
        ),
        (
            "the whole path, though a prefix matched",
            matched(json!({"prefix": "/old"}), "/new"),
            json!({"port": "ofRequest", "path": {"whole": "/new"}}),
        ),
        (
            "the whole path, though nothing was asked of it",
            to(json!({"uri": "/new"})),
            json!({"port": "ofRequest", "path": {"whole": "/new"}}),
        ),
    ] {
        let routes = http(&world([virtual_service(route)]));
        let want = with(json!({"status": 301}), want);
        assert_eq!(json!(routes.rules[0].action), json!({ "redirect": want }), "{case}");
    }
}
