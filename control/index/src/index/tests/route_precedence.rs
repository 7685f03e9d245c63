//! Which of several routes counts at a port, and what routes say in the words of waypoints.

use super::world::{World, bound, gateway_route, service, waypoint, with};
use serde_json::{Value, json};
use weft_l7::matches::RequestMatch;
use weft_l7::rule::{Action, RedirectPort, Rule, SessionCarrier};
use weft_l7::target::Target;
use weft_l7::traffic::{PortRoutes, Routes};

fn to(service: &str) -> Value {
    json!({"name": service, "port": 80})
}

fn rules(backend: &str, over: Value) -> Value {
    let rule = with(json!({"backendRefs": [to(backend)]}), over);
    json!({"spec": {"rules": [rule]}})
}

fn aged(object: Value, day: u32) -> Value {
    with(object, json!({"metadata": {"creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")}}))
}

fn virtual_service(name: &str, to: &str, over: Value) -> Value {
    let spec = json!({"hosts": ["web"], "http": [{"route": [{"destination": {"host": to}}]}]});
    with(
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
        }),
        over,
    )
}

/// `web` with a waypoint, `a`, `b` and `c` to send to, and these objects.
fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let others = ["a", "b", "c"].map(|name| service(name, "10.1.0.2"));
    let web = with(
        bound("web", "wp"),
        json!({"spec": {"ports": [
            {"name": "http", "port": 80, "targetPort": 8080}, {"name": "tcp-db", "port": 90},
            {"name": "tls-x", "port": 91},
        ]}}),
    );
    World::of([waypoint("wp"), web].into_iter().chain(others).chain(objects))
}

fn target(target: &Target) -> String {
    match target {
        Target::Service(one) => one.service.hostname.split('.').next().unwrap_or_default().to_owned(),
        Target::Nowhere(why) => format!("nowhere: {why}"),
    }
}

/// `port clients kind: targets`, of the first target of each rule.
fn shown(routes: &PortRoutes) -> String {
    let port = routes.port.map_or("*".to_owned(), |port| port.to_string());
    let clients = routes.clients.as_deref().unwrap_or("*");
    let (kind, targets): (_, Vec<String>) = match &routes.routes {
        Routes::Http(http) => {
            let one = |rule: usize| match &http.rules[rule].action {
                Action::Forward(forward) => {
                    forward.backends.first().map_or("none".into(), |one| target(&one.to.target))
                }
                other => format!("{other:?}"),
            };
            ("http", http.entries.iter().map(|entry| one(entry.rule)).collect())
        }
        Routes::Tls(tls) => {
            let one = |route: &weft_l7::traffic::TlsRoute| {
                format!("{}>{}", route.server_names.join(","), target(&route.connection.backends[0].to))
            };
            ("tls", tls.iter().map(one).collect())
        }
        Routes::Tcp(tcp) => ("tcp", tcp.iter().map(|route| target(&route.backends[0].to)).collect()),
    };
    format!("{port} {clients} {kind}: {}", targets.join(" "))
}

fn routes(world: &World) -> Vec<String> {
    let traffic = world.traffic_of("wp", "web").expect("wp stands before it");
    traffic.routes.iter().map(shown).collect()
}

#[test]
fn which_route_counts() {
    let http = |name: &str, to: &str, over: Value| {
        with(gateway_route("HTTPRoute", name, "web", rules(to, json!({}))), over)
    };
    let grpc = |name: &str, to: &str| gateway_route("GRPCRoute", name, "web", rules(to, json!({})));
    let tcp = |name: &str, to: &str| gateway_route("TCPRoute", name, "web", rules(to, json!({})));
    let tls = |name: &str, to: &str, hosts: Value| {
        with(
            gateway_route("TLSRoute", name, "web", rules(to, json!({}))),
            json!({"spec": {"hostnames": hosts}}),
        )
    };
    let at = |port: u16| json!({"spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "web", "port": port}]}});
    let named = |name: &str| json!({"spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "web", "sectionName": name}]}});
    let consumer = || {
        let parents = json!([{"group": "", "kind": "Service", "name": "web", "namespace": "shop"}]);
        let back = json!({"name": "web", "namespace": "shop", "port": 80});
        json!({
            "metadata": {"namespace": "mall"},
            "spec": {"parentRefs": parents, "rules": [{"backendRefs": [back]}]},
        })
    };
    for (case, objects, want) in [
        ("one for all ports that carry requests", vec![http("r", "a", json!({}))], vec!["80 * http: a"]),
        ("by the port's number", vec![http("r", "a", at(80))], vec!["80 * http: a"]),
        ("by the port's name", vec![http("r", "a", named("http"))], vec!["80 * http: a"]),
        ("at a port of TCP", vec![http("r", "a", named("tcp-db"))], vec![]),
        (
            "those of one port and of all are merged there",
            vec![aged(http("r", "a", at(80)), 2), aged(http("s", "b", json!({})), 1)],
            vec!["80 * http: b a"],
        ),
        (
            "the older one first, whatever its name",
            vec![aged(http("r", "a", json!({})), 2), aged(http("s", "b", json!({})), 1)],
            vec!["80 * http: b a"],
        ),
        (
            "of one age the first by name",
            vec![http("s", "b", json!({})), http("r", "a", json!({}))],
            vec!["80 * http: a b"],
        ),
        (
            "GRPCRoute before HTTPRoute, though it is younger",
            vec![aged(http("r", "a", json!({})), 1), aged(grpc("s", "b"), 2)],
            vec!["80 * http: b"],
        ),
        (
            "an HTTPRoute for all ports leaves those of bytes to others",
            vec![
                http("r", "a", json!({})),
                with(tcp("t", "c"), at(90)),
                with(tls("s", "b", json!(["x.org"])), at(91)),
            ],
            vec!["80 * http: a", "90 * tcp: c", "91 * tls: x.org>b"],
        ),
        (
            "and to VirtualServices",
            vec![
                http("r", "b", json!({})),
                virtual_service(
                    "v",
                    "a",
                    json!({"spec": {"tcp": [{"route": [{"destination": {"host": "c"}}]}]}}),
                ),
            ],
            vec!["80 * http: b", "90 * tcp: c", "91 * tcp: c"],
        ),
        (
            "HTTPRoute before TLSRoute before TCPRoute",
            vec![http("r", "a", at(80)), tls("s", "b", json!(["x.org"])), tcp("t", "c")],
            vec!["80 * http: a", "90 * tls: x.org>b", "91 * tls: x.org>b"],
        ),
        ("TCPRoute", vec![tcp("r", "a")], vec!["* * tcp: a"]),
        (
            "the closer name first",
            vec![
                tls("r", "a", json!(["*.org", "x.org", "*.x.org"])),
                tls("s", "b", json!(["long.example.org"])),
            ],
            vec![
                "90 * tls: long.example.org>b x.org>a *.x.org>a *.org>a",
                "91 * tls: long.example.org>b x.org>a *.x.org>a *.org>a",
            ],
        ),
        (
            "a consumer's route may lead back, and is for its clients",
            vec![http("r", "a", consumer())],
            vec!["80 mall http: web"],
        ),
        (
            "a consumer's route and the producer's",
            vec![http("r", "a", consumer()), http("s", "b", json!({}))],
            vec!["80 * http: b", "80 mall http: web"],
        ),
        ("Istio's, by what is spoken", vec![virtual_service("v", "a", json!({}))], vec!["80 * http: a"]),
        (
            "Istio's come after Gateway API's",
            vec![virtual_service("v", "a", json!({})), http("r", "b", at(80))],
            vec!["80 * http: b"],
        ),
        (
            "a consumer's route leaves the others Istio's",
            vec![virtual_service("v", "a", json!({})), http("r", "b", consumer())],
            vec!["80 mall http: web", "80 * http: a"],
        ),
        (
            "a consumer's route comes before a VirtualService for the same clients, though that is for a port",
            vec![
                with(
                    virtual_service("v", "a.shop", json!({"spec": {"hosts": ["web.shop"]}})),
                    json!({"metadata": {"namespace": "mall"}}),
                ),
                http("r", "b", consumer()),
            ],
            vec!["80 mall http: web"],
        ),
        (
            "and leaves other clients of it alone",
            vec![
                virtual_service("v", "a", json!({"spec": {"exportTo": ["mall", "."]}})),
                http("r", "b", consumer()),
            ],
            vec!["80 mall http: web", "80 shop http: a"],
        ),
        (
            "the older VirtualService",
            vec![
                aged(virtual_service("v", "a", json!({})), 2),
                aged(virtual_service("w", "b", json!({})), 1),
            ],
            vec!["80 * http: b"],
        ),
        (
            "one that is exported to a namespace",
            vec![
                virtual_service("v", "a", json!({"spec": {"exportTo": ["mall", "."]}})),
                virtual_service("w", "b", json!({})),
            ],
            vec!["80 * http: b", "80 mall http: a", "80 shop http: a"],
        ),
        (
            "tcp and tls of Istio",
            vec![virtual_service(
                "v",
                "a",
                json!({"spec": {
                    "hosts": ["web", "x.org"],
                    "tcp": [
                        {"match": [{"port": 90}], "route": [{"destination": {"host": "b"}}]},
                        {"match": [{"port": 91}], "route": [{"destination": {"host": "c"}}]},
                    ],
                    "tls": [{"match": [{"sniHosts": ["x.org"]}], "route": [{"destination": {"host": "b"}}]}],
                }}),
            )],
            vec!["80 * http: a", "90 * tcp: b", "91 * tls: x.org>b >c"],
        ),
        (
            "bytes that no rule of Istio's takes go on to the Service",
            vec![virtual_service(
                "v",
                "a",
                json!({"spec": {"tcp": [
                    {"match": [{"port": 90, "sourceLabels": {"app": "x"}}], "route": [{"destination": {"host": "b"}}]},
                ]}}),
            )],
            vec!["80 * http: a", "90 * tcp: b web"],
        ),
        (
            "no route of Istio's is for the port",
            vec![virtual_service(
                "v",
                "a",
                json!({"spec": {"http": [
                    {"match": [{"port": 81}], "route": [{"destination": {"host": "a"}}]},
                ]}}),
            )],
            vec![],
        ),
    ] {
        let world = world(objects);
        let found = world.traffic_of("wp", "web").map(|_| routes(&world)).unwrap_or_default();
        assert_eq!(found, want, "{case}");
    }
}

#[test]
fn which_path_comes_first() {
    let regex = |value: &str| json!({"path": {"type": "RegularExpression", "value": value}});
    let header = json!([{"name": "x", "value": "1"}]);
    let matches = json!([
        {},
        regex("/reviews/[0-9]+"),
        {"headers": header},
        {"path": {"value": "/%61/b"}},
        {"path": {"value": "/a/bc"}},
        {"path": {"value": "/a/b"}, "method": "GET"},
        {"path": {"type": "Exact", "value": "/a"}},
    ]);
    let world = world([gateway_route("HTTPRoute", "r", "web", rules("a", json!({"matches": matches})))]);
    let traffic = world.traffic_of("wp", "web").expect("wp stands before it");
    let Routes::Http(http) = &traffic.routes[0].routes else { panic!("{traffic:?}") };
    let found: Vec<Value> = http.entries.iter().map(|entry| whens(&entry.when)).collect();
    assert_eq!(
        found,
        [
            json!({"path": {"text": {"exact": "/a"}}}),
            json!({"path": {"within": "/a/bc"}}),
            json!({"path": {"within": "/a/b"}, "method": {"exact": "GET"}}),
            json!({"path": {"within": "/a/b"}}),
            json!({"headers": [{"name": "x", "value": {"exact": "1"}}]}),
            json!({"path": {"text": {"pattern": "/reviews/[0-9]+"}}}),
            json!({}),
        ]
    );
}

#[test]
fn which_call_comes_first() {
    let matches = json!([
        {"headers": [{"name": "x", "value": "1"}]},
        {"method": {"method": "Get"}},
        {"method": {"service": "shop.Cart"}},
        {"method": {"service": "shop.Cart", "method": "Get"}},
        {"method": {"service": "shop.Cart", "method": "Get"}, "headers": [{"name": "X", "value": "1"}]},
        {"method": {"type": "RegularExpression", "service": "shop\\..*|mall"}},
        {"method": {"type": "RegularExpression", "method": "Get|Put"}},
        {},
    ]);
    let world = world([gateway_route("GRPCRoute", "r", "web", rules("a", json!({"matches": matches})))]);
    let traffic = world.traffic_of("wp", "web").expect("wp stands before it");
    let Routes::Http(http) = &traffic.routes[0].routes else { panic!("{traffic:?}") };
    let found: Vec<Value> = http.entries.iter().map(|entry| whens(&entry.when)).collect();
    let header = json!([{"name": "x", "value": {"exact": "1"}}]);
    assert_eq!(
        found,
        [
            json!({"path": {"text": {"pattern": "/(?:shop\\..*|mall)/(?:[^/]+)"}}}),
            json!({"path": {"text": {"exact": "/shop.Cart/Get"}}, "headers": header}),
            json!({"path": {"text": {"exact": "/shop.Cart/Get"}}}),
            json!({"path": {"text": {"prefix": "/shop.Cart/"}}}),
            json!({"path": {"text": {"pattern": "/(?:[^/]+)/(?:Get|Put)"}}}),
            json!({"path": {"text": {"pattern": "/[^/]+/Get"}}}),
            json!({ "headers": header }),
            json!({}),
        ]
    );
}

fn whens(when: &RequestMatch) -> Value {
    let mut value = serde_json::to_value(when).expect("words are JSON");
    // Whoever calls.
    value.as_object_mut().expect("a mapping").remove("client");
    value
}

#[test]
fn what_is_done_to_calls() {
    let modifier = |kind: &str, field: &str, name: &str| json!({"type": kind, field: {"set": [{"name": name, "value": "1"}]}});
    let request = modifier("RequestHeaderModifier", "requestHeaderModifier", "x-request");
    let response = modifier("ResponseHeaderModifier", "responseHeaderModifier", "x-response");
    let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": to("b"), "percent": 5}});
    let backend = with(to("a"), json!({"weight": 7, "filters": [&response, &mirror]}));
    let rule = json!({
        "name": "all", "filters": [request, response, mirror], "backendRefs": [backend],
        "sessionPersistence": {"sessionName": "s", "type": "Header"},
    });
    let world = world([gateway_route("GRPCRoute", "r", "web", json!({"spec": {"rules": [rule]}}))]);
    let traffic = world.traffic_of("wp", "web").expect("wp stands before it");
    let Routes::Http(http) = &traffic.routes[0].routes else { panic!("{traffic:?}") };
    let found = &http.rules[0];
    assert_eq!(found.origin.to_string(), "GRPCRoute shop/r rule all");
    assert_eq!(found.request_headers.set[0].0.0.as_str(), "x-request");
    assert_eq!(found.response_headers.set[0].0.0.as_str(), "x-response");
    let Action::Forward(forward) = &found.action else { panic!("{found:?}") };
    assert!(forward.session.is_some());
    assert_eq!((forward.mirrors.len(), forward.backends[0].weight), (1, 7));
    let backend = &forward.backends[0].to;
    assert_eq!((backend.mirrors.len(), backend.response_headers.set.len()), (1, 1));
}

#[test]
fn the_port_of_a_redirect() {
    for (redirect, want) in [
        (json!({"hostname": "x.org"}), RedirectPort::OfListener),
        (json!({"scheme": "http"}), RedirectPort::OfScheme),
        (json!({"scheme": "https", "port": 8443}), RedirectPort::Number(8443)),
    ] {
        let filter = json!({"type": "RequestRedirect", "requestRedirect": redirect});
        let rule = json!({"spec": {"rules": [{"filters": [filter]}]}});
        let world = world([gateway_route("HTTPRoute", "r", "web", rule)]);
        let traffic = world.traffic_of("wp", "web").expect("wp stands before it");
        let Routes::Http(http) = &traffic.routes[0].routes else { panic!("{traffic:?}") };
        let Action::Redirect(found) = &http.rules[0].action else { panic!("{traffic:?}") };
        assert_eq!(found.port, want, "{filter}");
    }
}

#[test]
fn a_filter_that_cannot_be_obeyed_is_not_skipped() {
    let auth = json!({"type": "ExternalAuth", "externalAuth": {"protocol": "HTTP", "http": {}, "backendRef": to("b")}});
    let extension =
        json!({"type": "ExtensionRef", "extensionRef": {"group": "x.org", "kind": "Wasm", "name": "w"}});
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {"hostname": "x.org"}});
    for (kind, at_rule, filter, want) in [
        ("HTTPRoute", true, &auth, "nowhere: ExternalAuth is not supported: what it is for gets 500"),
        ("HTTPRoute", false, &auth, "nowhere: ExternalAuth is not supported: what it is for gets 500"),
        (
            "HTTPRoute",
            true,
            &extension,
            "nowhere: Wasm w is no filter that is known here: what it is for gets 500",
        ),
        (
            "GRPCRoute",
            true,
            &extension,
            "nowhere: Wasm w is no filter that is known here: what it is for gets 500",
        ),
        (
            "GRPCRoute",
            false,
            &extension,
            "nowhere: Wasm w is no filter that is known here: what it is for gets 500",
        ),
        (
            "HTTPRoute",
            false,
            &redirect,
            "nowhere: RequestRedirect is for rules, not for single backends: what goes to this one gets 500",
        ),
    ] {
        let rule = match at_rule {
            true => json!({"filters": [filter]}),
            false => json!({"backendRefs": [with(to("a"), json!({"filters": [filter]}))]}),
        };
        let world = world([gateway_route(kind, "r", "web", rules("a", rule))]);
        assert_eq!(routes(&world), [format!("80 * http: {want}")], "{kind} {filter}");
        let told = world.problems();
        assert!(
            told.len() == 1 && want.ends_with(told[0].rsplit_once("]: ").expect("a field").1),
            "{told:?}"
        );
    }
}

/// Of each rule of what `wp` is told: the name and the path of the cookie of its sessions.
fn cookies(world: &World) -> Vec<(String, String)> {
    let traffic = world.traffic_of("wp", "web").expect("wp stands before it");
    let Routes::Http(http) = &traffic.routes[0].routes else { panic!("{traffic:?}") };
    let cookie = |rule: &Rule| {
        let Action::Forward(forward) = &rule.action else { panic!("{rule:?}") };
        match &forward.session.as_ref().expect("a session").carrier {
            SessionCarrier::Cookie { name, path, .. } => (name.to_string(), path.to_string()),
            SessionCarrier::Header(name) => (name.0.to_string(), String::new()),
        }
    };
    http.rules.iter().map(|rule| cookie(rule)).collect()
}

#[test]
fn sessions_of_two_rules_are_two() {
    let path = |kind: &str, value: &str| json!({"path": {"type": kind, "value": value}});
    let rule = |matches: Value, over: Value| json!({"matches": matches, "backendRefs": [to("a")], "sessionPersistence": over});
    let route = |kind: &str, rules: Value| {
        cookies(&world([gateway_route(kind, "r", "web", json!({"spec": {"rules": rules}}))]))
    };
    let found = route(
        "HTTPRoute",
        json!([
            rule(json!([path("PathPrefix", "/cart/"), path("Exact", "/checkout")]), json!({})),
            rule(json!([path("RegularExpression", "/items/[0-9]+")]), json!({"type": "Header"})),
            rule(json!([path("PathPrefix", "/")]), json!({"sessionName": "own"})),
            rule(json!([path("PathPrefix", "/c")]), json!({})),
        ]),
    );
    let at = |want: &str| {
        found.iter().find(|(_, path)| path == want).map(|(name, _)| name.as_str()).unwrap_or_default()
    };
    let [cart, checkout, items, own, last] = ["/cart", "/checkout", "", "/", "/c"].map(at);
    assert!(cart.starts_with("weft-session-") && items.starts_with("weft-session-"), "{found:?}");
    assert_eq!((checkout, own), (cart, "own"), "matches of one rule have its name: {found:?}");
    assert!(cart != items && cart != last && items != last, "{found:?}");
    let method = |service: &str| json!([{"method": {"service": service}}]);
    let found =
        route("GRPCRoute", json!([rule(method("shop.A"), json!({})), rule(method("shop.B"), json!({}))]));
    let [one, another] = found.as_slice() else { panic!("{found:?}") };
    assert_ne!(one.0, another.0);
    assert_eq!((one.1.as_str(), another.1.as_str()), ("/shop.A", "/shop.B"));
}
