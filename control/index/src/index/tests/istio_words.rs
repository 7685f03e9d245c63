//! What Istio's resources mean to a waypoint, where Istio's own reading is easily missed.

use super::world::{World, bound, gateway_route, service, waypoint, with};
use serde_json::{Value, json};
use weft_l7::destination::{Balancer, HashKey};
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
            "the prefix that matched",
            json!({"match": [{"uri": {"prefix": "/old/"}}], "redirect": {"prefixRewrite": "/"}}),
            json!({"port": "ofRequest", "path": {"text": {"prefix": "/old/", "by": "/"}}}),
        ),
        (
            "any prefix",
            to(json!({"prefixRewrite": "/new/"})),
            json!({"port": "ofRequest", "path": {"text": {"prefix": "/", "by": "/new/"}}}),
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

#[test]
fn faults_without_a_part_are_nobodys() {
    let told = |field: &str, what: &str| {
        vec![format!(
            "warning test: VirtualService shop/v: spec.http[0].fault.{field}.percentage: is not written, so no request is \
             {what}, as in Istio: write 100 for all"
        )]
    };
    for (fault, want, problems) in [
        (
            json!({"delay": {"fixedDelay": "1s"}}),
            json!({"delay": {"share": 0, "wait": 1000}}),
            told("delay", "delayed"),
        ),
        (
            json!({"delay": {"fixedDelay": "1s", "percent": 5}}),
            json!({"delay": {"share": 50_000, "wait": 1000}}),
            vec![],
        ),
        (
            json!({"delay": {"fixedDelay": "1s", "percent": 5, "percentage": {"value": 0.5}}}),
            json!({"delay": {"share": 5_000, "wait": 1000}}),
            vec![],
        ),
        (
            json!({"abort": {"httpStatus": 503}}),
            json!({"abort": {"share": 0, "with": {"status": 503}}}),
            told("abort", "aborted"),
        ),
        (
            json!({"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 100.0}}}),
            json!({"abort": {"share": 1_000_000, "with": {"grpc": 14}}}),
            vec![],
        ),
    ] {
        let world = world([leading_to_a(json!({ "fault": fault }))]);
        assert_eq!(json!(http(&world).rules[0].fault), want, "{fault}");
        assert_eq!(world.problems(), problems, "{fault}");
    }
}

#[test]
fn paths_are_compared_in_the_form_that_requests_have() {
    for (uri, want) in [
        (json!({"exact": "/%7Ejoe/../a%2fb"}), json!({"text": {"exact": "/a%2Fb"}})),
        (json!({"prefix": "/a/./%62"}), json!({"text": {"prefix": "/a/b"}})),
        (json!({"prefix": "/a/../b/."}), json!({"text": {"prefix": "/b/."}})),
        (json!({"prefix": "/.well-known/"}), json!({"text": {"prefix": "/.well-known/"}})),
        (json!({"regex": "/%7E.*"}), json!({"text": {"pattern": "/%7E.*"}})),
    ] {
        let routes = http(&world([leading_to_a(json!({"match": [{ "uri": uri }]}))]));
        assert_eq!(json!(routes.entries[0].when), json!({ "path": want }), "{uri}");
    }
    let rewrite = json!({"match": [{"uri": {"prefix": "/%7Ejoe"}}], "rewrite": {"uri": "/joe"}});
    let action = json!(http(&world([leading_to_a(rewrite)])).rules[0].action);
    assert_eq!(action["forward"]["rewrite"]["path"], json!({"text": {"prefix": "/~joe", "by": "/joe"}}));
    let empty = json!({"match": [{"uri": {"prefix": "/a"}}], "rewrite": {"uri": "", "authority": "x.org"}});
    let action = json!(http(&world([leading_to_a(empty)])).rules[0].action);
    assert_eq!(action["forward"]["rewrite"], json!({"host": "x.org"}), "an empty path is none");

    let of_gateway = |path: Value| {
        let rule = json!({"matches": [{ "path": path }], "backendRefs": [{"name": "a", "port": 80}]});
        gateway_route("HTTPRoute", "r", "web", json!({"spec": {"rules": [rule]}}))
    };
    for (path, want) in [
        (json!({"type": "Exact", "value": "/%7Ejoe"}), json!({"text": {"exact": "/~joe"}})),
        (json!({"value": "/%61/b/"}), json!({"within": "/a/b/"})),
        (json!({"type": "RegularExpression", "value": "/%7E.*"}), json!({"text": {"pattern": "/%7E.*"}})),
    ] {
        let routes = http(&world([of_gateway(path.clone())]));
        assert_eq!(json!(routes.entries[0].when), json!({ "path": want }), "{path}");
    }

    let uri = |uri: Value| leading_to_a(json!({"match": [{"method": {"exact": "GET"}}, { "uri": uri }]}));
    let never = "is no path that a request may have";
    for (object, want) in [
        (uri(json!({"exact": "joe"})), "VirtualService shop/v: spec.http[0].match[1].uri"),
        (uri(json!({"exact": "/a?b=1"})), "VirtualService shop/v: spec.http[0].match[1].uri"),
        (uri(json!({"prefix": "/a%2"})), "VirtualService shop/v: spec.http[0].match[1].uri"),
        (of_gateway(json!({"value": "/a%00"})), "HTTPRoute shop/r: spec.rules[0].matches[0].path.value"),
    ] {
        let told = world([object]).problems();
        let want = format!("error test: {want}: {never}");
        assert!(told.len() == 1 && told[0].starts_with(&want), "{want}: {told:?}");
    }
}

#[test]
fn claims_of_tokens_are_refused_by_name() {
    for (key, name) in
        [("headers", "@request.auth.claims.sub"), ("withoutHeaders", "@request.auth.claims[group][id]")]
    {
        let matches = json!([{key: {name: {"exact": "root"}}}]);
        let told = world([leading_to_a(json!({ "match": matches }))]).problems();
        let want = format!(
            "error test: VirtualService shop/v: spec.http[0].match[0].{key}.{name}: is a claim of a token, which is not \
             supported: no waypoint reads tokens yet"
        );
        assert_eq!(told, [want]);
    }
}

#[test]
fn how_long_tries_wait_and_what_for() {
    let retry =
        |rule: usize, world: &World| json!(http(world).rules[rule].action)["forward"]["retry"].clone();
    let usual = retry(0, &world([leading_to_a(json!({}))]));
    let backoff = json!({"base": 25, "max": 250, "jitter": "part"});
    assert_eq!(usual["backoff"], backoff);
    for (case, written, on, backoff) in [
        ("no conditions", json!({"attempts": 2, "retryOn": ""}), usual["on"].clone(), backoff.clone()),
        (
            "conditions and a pause",
            json!({"attempts": 2, "retryOn": "5xx", "backoff": "100ms"}),
            json!({"conditions": ["5xx"]}),
            json!({"base": 100, "max": 1000, "jitter": "part"}),
        ),
    ] {
        let got = retry(0, &world([leading_to_a(json!({ "retries": written }))]));
        assert_eq!((&got["on"], &got["backoff"]), (&on, &backoff), "{case}");
    }
    for (written, want) in [
        (json!({"attempts": 2}), backoff),
        (json!({"backoff": "100ms"}), json!({"base": 100, "max": 1000, "jitter": "more"})),
    ] {
        let rule = json!({"retry": written, "backendRefs": [{"name": "a", "port": 80}]});
        let route = gateway_route("HTTPRoute", "r", "web", json!({"spec": {"rules": [rule]}}));
        assert_eq!(retry(0, &world([route]))["backoff"], want, "HTTPRoute, {written}");
    }
}

#[test]
fn where_endpoints_should_be() {
    let outlier = |over: Value| with(json!({"outlierDetection": {"consecutive5xxErrors": 3}}), over);
    let locality = |over: Value| json!({"loadBalancer": {"localityLbSetting": over}});
    let near = json!({"near": {"regions": []}});
    for (case, policy, prefers, want) in [
        ("nothing is said", json!({}), json!({}), json!({"failover": "asService"})),
        ("outliers alone: the mesh's default", outlier(json!({})), json!({}), json!({ "failover": near })),
        (
            "the Service's own preference",
            outlier(json!({})),
            json!({"spec": {"trafficDistribution": "PreferClose"}}),
            json!({"failover": "asService"}),
        ),
        ("turned off", outlier(locality(json!({"enabled": false}))), json!({}), json!({"failover": "off"})),
        ("written", outlier(locality(json!({"enabled": true}))), json!({}), json!({ "failover": near })),
        ("without outliers", locality(json!({"enabled": true})), json!({}), json!({"failover": "asService"})),
        (
            "labels",
            outlier(locality(json!({"failoverPriority": ["version"]}))),
            json!({}),
            json!({"failover": {"labels": ["version"]}}),
        ),
        (
            "few are healthy",
            json!({"outlierDetection": {"minHealthPercent": 30}}),
            json!({}),
            json!({"failover": near, "healthyMin": 300_000}),
        ),
        (
            "few are healthy, wherever they are",
            with(json!({"outlierDetection": {"minHealthPercent": 30}}), locality(json!({"enabled": false}))),
            json!({}),
            json!({"failover": "off", "healthyMin": 300_000}),
        ),
    ] {
        let rule = istio("DestinationRule", "d", json!({"host": "web", "trafficPolicy": policy}));
        let world = world([with(bound("web", "wp"), prefers), rule]);
        let traffic = world.traffic_of("wp", "web").expect("a rule is said of it");
        assert_eq!(json!(traffic.destination.settings.locality), want, "{case}");
    }
}

#[test]
fn the_host_is_hashed_by_either_name() {
    for (name, want) in [("Host", "host"), (":authority", "host"), ("X-User", "x-user")] {
        let policy = json!({"loadBalancer": {"consistentHash": {"httpHeaderName": name}}});
        let world = world([istio("DestinationRule", "d", json!({"host": "web", "trafficPolicy": policy}))]);
        let traffic = world.traffic_of("wp", "web").unwrap_or_else(|| panic!("{:?}", world.problems()));
        let want = Balancer::RingHash { key: HashKey::Header(want.into()), points_min: 1024 };
        assert_eq!(traffic.destination.settings.balancer, want, "{name}");
    }
}

/// What a subset says comes before what its host says, also of a port; what it says of a port itself stands alone there.
#[test]
fn subsets_at_ports_of_which_something_is_said() {
    let limit = |connections: u32| json!({"connectionPool": {"tcp": {"maxConnections": connections}}});
    let balancer = |simple: &str| json!({"loadBalancer": {"simple": simple}});
    let at = |port: u16, over: Value| with(json!({"port": {"number": port}}), over);
    let host = with(limit(1), balancer("RANDOM"));
    let host = with(host, json!({"portLevelSettings": [at(81, limit(2)), at(82, balancer("ROUND_ROBIN"))]}));
    let own =
        with(balancer("LEAST_REQUEST"), json!({"portLevelSettings": [at(82, limit(3)), at(83, limit(4))]}));
    let subsets = json!([
        {"name": "own", "labels": {"v": "1"}, "trafficPolicy": own},
        {"name": "same", "labels": {"v": "2"}},
    ]);
    let rule = json!({"host": "web", "trafficPolicy": host, "subsets": subsets});
    let world = world([istio("DestinationRule", "d", rule)]);
    assert_eq!(world.problems(), [""; 0]);
    let destination = world.traffic_of("wp", "web").expect("a rule is said of it").destination.clone();
    for (subset, port, balancer, connections) in [
        (None, 80, Balancer::Random, Some(1)),
        (None, 81, Balancer::PeakEwma, Some(2)),
        (None, 82, Balancer::RoundRobin, None),
        (Some("own"), 80, Balancer::LeastRequest, Some(1)),
        (Some("own"), 81, Balancer::LeastRequest, Some(2)),
        (Some("own"), 82, Balancer::PeakEwma, Some(3)),
        (Some("own"), 83, Balancer::PeakEwma, Some(4)),
        (Some("same"), 80, Balancer::Random, Some(1)),
        (Some("same"), 81, Balancer::PeakEwma, Some(2)),
        (Some("same"), 82, Balancer::RoundRobin, None),
    ] {
        let settings = destination.settings(port, subset).expect("there is such a subset");
        let found = (&settings.balancer, settings.limits.connections);
        assert_eq!(found, (&balancer, connections), "{subset:?} at {port}");
    }
}

#[test]
fn stars_that_stand_for_services() {
    let service = |host: &str| {
        istio(
            "VirtualService",
            "v",
            json!({"hosts": [host], "http": [{"route": [{"destination": {"host": "a"}}]}]}),
        )
    };
    let rule = |host: &str| istio("DestinationRule", "d", json!({"host": host}));
    let several = "which is not supported";
    for (host, why) in [
        ("*", "which only gateways may have"),
        ("*.local", several),
        ("*.cluster.local", several),
        ("*.svc.cluster.local", several),
        ("*.shop.svc.cluster.local", several),
        ("*.shop.svc", several),
        ("*.example", "has the host *.example"),
        ("*.example.org", "has the host *.example.org"),
    ] {
        let said = World::of([service(host)]).problems();
        assert!(said.iter().any(|one| one.contains(why)), "VirtualService {host}: {said:?}");
        let why = if host == "*" { several } else { why };
        let said = World::of([rule(host)]).problems();
        assert!(said.iter().any(|one| one.contains(why)), "DestinationRule {host}: {said:?}");
    }
    let of_gateway = with(service("*"), json!({"spec": {"gateways": ["ingress"]}}));
    let said = World::of([of_gateway]).problems();
    assert!(matches!(&*said, [one] if one.contains("has Gateways only")), "{said:?}");
}
