//! What is found of routes and rules beside each other when somebody asks: rules that never take a connection, and ports that
//! are not there or left open.

use super::world::{World, bound, gateway_route, service, waypoint, with};
use serde_json::{Value, json};

fn istio(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    })
}

fn ports(ports: &[(&str, u16)]) -> Value {
    let ports: Vec<Value> =
        ports.iter().map(|(name, port)| json!({"name": name, "port": port, "targetPort": port})).collect();
    json!({"spec": {"ports": ports}})
}

/// `web` with ports for requests, TLS and bytes, `a` with some of them, `b` with one, and these objects.
fn found(objects: impl IntoIterator<Item = Value>) -> Vec<String> {
    let web = with(bound("web", "wp"), ports(&[("http", 80), ("tls", 443), ("tcp", 90)]));
    let a = with(service("a", "10.1.0.2"), ports(&[("http", 80), ("tcp", 90)]));
    let base = [waypoint("wp"), web, a, service("b", "10.1.0.3")];
    let world = World::of(base.into_iter().chain(objects));
    let found = world.0.findings().into_iter();
    found.map(|(key, note)| format!("{} {key}: {}", note.severity.as_str(), note.text())).collect()
}

#[test]
fn rules_of_a_virtual_service_that_never_take_a_connection() {
    let to = || json!([{"destination": {"host": "b"}}]);
    let tcp = |matches: Value| json!({"match": matches, "route": to()});
    let tls = |matches: Value| json!({"match": matches, "route": to()});
    let never = |field: &str, before: &str| {
        vec![format!(
            "warning VirtualService shop/v: {field}: never takes a connection: {before} stands before it and takes all that \
             it would"
        )]
    };
    let everything = || json!({"route": to()});
    let hosts = json!(["web", "x.org", "*.y.org"]);
    for (case, spec, want) in [
        (
            "all before one",
            json!({"tcp": [everything(), tcp(json!([{"port": 90}]))]}),
            never("spec.tcp[1]", "spec.tcp[0]"),
        ),
        ("one before all", json!({"tcp": [tcp(json!([{"port": 90}])), everything()]}), vec![]),
        ("another port", json!({"tcp": [tcp(json!([{"port": 90}])), tcp(json!([{"port": 443}]))]}), vec![]),
        (
            "one of two is left",
            json!({"tcp": [tcp(json!([{"port": 90}])), tcp(json!([{"port": 90}, {"port": 443}]))]}),
            vec![],
        ),
        (
            "two by two",
            json!({"tcp": [
                tcp(json!([{"port": 90}])), tcp(json!([{"sourceNamespace": "mall"}])),
                tcp(json!([{"port": 90, "sourceLabels": {"app": "x"}}, {"port": 443, "sourceNamespace": "mall"}])),
            ]}),
            never("spec.tcp[2]", "spec.tcp[0]"),
        ),
        (
            "a part of a range",
            json!({"tcp": [
                tcp(json!([{"destinationSubnets": ["10.0.0.0/8"]}])),
                tcp(json!([{"destinationSubnets": ["10.1.0.1"]}])),
            ]}),
            never("spec.tcp[1]", "spec.tcp[0]"),
        ),
        (
            "only for gateways",
            json!({"gateways": ["mesh", "front"], "tcp": [tcp(json!([{"gateways": ["front"]}])), everything()]}),
            vec![],
        ),
        (
            "the same name",
            json!({"hosts": hosts, "tls": [
                tls(json!([{"sniHosts": ["x.org", "*.y.org"]}])), tls(json!([{"sniHosts": ["a.y.org"]}])),
                tls(json!([{"sniHosts": ["web"]}])),
            ]}),
            never("spec.tls[1]", "spec.tls[0]"),
        ),
        (
            "a name among others",
            json!({"hosts": hosts, "tls": [
                tls(json!([{"sniHosts": ["x.org"]}])), tls(json!([{"sniHosts": ["x.org", "web"]}])),
            ]}),
            vec![],
        ),
    ] {
        let object = istio("VirtualService", "v", with(json!({"hosts": ["web"]}), spec));
        assert_eq!(found([object]), want, "{case}");
    }
}

#[test]
fn names_of_tls_routes_that_an_older_one_has() {
    let route = |name: &str, day: u32, over: Value| {
        let rules = json!({"spec": {"rules": [{"backendRefs": [{"name": "b", "port": 80}]}]}});
        let created = json!({"metadata": {"creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")}});
        let route = with(gateway_route("TLSRoute", name, "web", rules), created);
        with(route, json!({ "spec": over }))
    };
    let at =
        |port: u16| json!({"parentRefs": [{"group": "", "kind": "Service", "name": "web", "port": port}]});
    let names = |names: Value| json!({ "hostnames": names });
    let never = |field: &str| {
        vec![format!(
            "warning TLSRoute shop/new: {field}: never takes a connection: TLSRoute shop/old, which is older, has all of them \
             at each port"
        )]
    };
    for (case, old, new, want) in [
        ("other names", names(json!(["a.org"])), names(json!(["*.org", "b.org"])), vec![]),
        ("one name", names(json!(["a.org"])), names(json!(["b.org", "a.org"])), never("spec.hostnames[1]")),
        ("any name", json!({}), json!({}), never("spec.rules[0]")),
        ("a name, and any", json!({}), names(json!(["a.org"])), vec![]),
        (
            "another port",
            with(names(json!(["a.org"])), at(443)),
            with(names(json!(["a.org"])), at(90)),
            vec![],
        ),
        ("left at one port", with(names(json!(["a.org"])), at(443)), names(json!(["a.org"])), vec![]),
    ] {
        assert_eq!(found([route("new", 2, new), route("old", 1, old)]), want, "{case}");
    }
}

#[test]
fn destinations_that_leave_the_port_open() {
    let to = |host: &str| json!([{"destination": {"host": host}}]);
    let http = |host: &str| json!({"http": [{"route": to(host)}]});
    let spec = |part: Value| istio("VirtualService", "v", with(json!({"hosts": ["web"]}), part));
    let told = |severity: &str, field: &str, says: &str| {
        vec![format!(
            "{severity} VirtualService shop/v: {field}.destination.port: is not written, and {says}"
        )]
    };
    let the_same = "Service shop/a has several: the one that was asked for is meant; write it";
    for (case, object, want) in [
        ("a Service with one", spec(http("b")), vec![]),
        ("the Service itself", spec(http("web")), vec![]),
        (
            "one that has what is asked for",
            spec(http("a")),
            told("warning", "spec.http[0].route[0]", the_same),
        ),
        (
            "a delegate, whose ports are others'",
            istio("VirtualService", "v", http("a")),
            told("warning", "spec.http[0].route[0]", the_same),
        ),
        (
            "a port that is written",
            spec(json!({"http": [{"route": [{"destination": {"host": "a", "port": {"number": 80}}}]}]})),
            vec![],
        ),
        (
            "bytes, of TLS too",
            spec(json!({"tcp": [{"route": to("a")}]})),
            told(
                "error",
                "spec.tcp[0].route[0]",
                "Service shop/a has several, but not 443, which was asked for: what comes there fails; write the one that \
                 is meant",
            ),
        ),
        (
            "bytes of a port that is there",
            spec(json!({"tcp": [{"match": [{"port": 90}], "route": to("a")}]})),
            told("warning", "spec.tcp[0].route[0]", the_same),
        ),
        (
            "TLS",
            spec(json!({"tls": [{"match": [{"sniHosts": ["web"]}], "route": to("a")}]})),
            told(
                "error",
                "spec.tls[0].route[0]",
                "Service shop/a has several, but not 443, which was asked for: what comes there fails; write the one that \
                 is meant",
            ),
        ),
    ] {
        assert_eq!(found([object]), want, "{case}");
    }
}

#[test]
fn settings_of_ports_that_are_not_there() {
    let settings = |ports: &[u16]| {
        let ports: Vec<Value> = ports.iter().map(|port| json!({"port": {"number": port}})).collect();
        json!({"trafficPolicy": {"portLevelSettings": ports}})
    };
    let subset = with(json!({"name": "v1"}), settings(&[82]));
    let rule = |spec: Value| istio("DestinationRule", "d", with(json!({"host": "web"}), spec));
    let told = |field: &str, port: u16| {
        format!(
            "warning DestinationRule shop/d: {field}.portLevelSettings[0].port.number: Service shop/web has no port {port}: \
             these settings have no effect"
        )
    };
    assert_eq!(found([rule(settings(&[80, 90]))]), [""; 0]);
    assert_eq!(
        found([rule(with(settings(&[81, 80]), json!({"subsets": [subset]})))]),
        [told("spec.trafficPolicy", 81), told("spec.subsets[0].trafficPolicy", 82)]
    );
}
