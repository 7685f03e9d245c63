//! What is refused, where, and why.

use super::whole::{backend, gateway, http_route, with};
use crate::testing::{accepted, assert_refused, object};
use serde_json::{Value, json};

const GROUP: &str = "gateway.networking.k8s.io/v1";

#[test]
fn http_routes_that_the_crd_refuses() {
    let route = object(GROUP, "HTTPRoute", &http_route());
    let many = |count: usize, one: Value| Value::from(vec![one; count]);
    assert_refused(
        &route,
        &[
            (
                "unknown field",
                "/rules/0/timeout",
                json!("1s"),
                "spec.rules[0].timeout",
                "unknown field `timeout`",
            ),
            ("rules", "/rules", many(17, json!({})), "spec.rules", "17 items"),
            ("matches", "/rules/0/matches", many(65, json!({})), "spec.rules[0].matches", "65 items"),
            (
                "all matches",
                "/rules",
                many(3, json!({"matches": many(64, json!({}))})),
                "spec.rules",
                "more than 128",
            ),
            ("rule twice", "/rules/1/name", json!("first"), "spec.rules[1]", "is there before"),
            ("host is an address", "/hostnames/0", json!("10.0.0.1"), "spec.hostnames[0]", "is no host name"),
            (
                "host with a star inside",
                "/hostnames/0",
                json!("a.*.example"),
                "spec.hostnames[0]",
                "is no host name",
            ),
            (
                "parent twice",
                "/parentRefs/1",
                http_route()["parentRefs"][0].clone(),
                "spec.parentRefs[1]",
                "before",
            ),
            (
                "parent by part and whole",
                "/parentRefs/1",
                json!({"group": "", "kind": "Service", "name": "reviews",
            "namespace": "shop"}),
                "spec.parentRefs",
                "for all or for none",
            ),
            (
                "port",
                "/parentRefs/0/port",
                json!(70000),
                "spec.parentRefs[0].port",
                "70000 is no port: 1 to 65535 are",
            ),
            (
                "port zero",
                "/rules/0/backendRefs/0/port",
                json!(0),
                "spec.rules[0].backendRefs[0].port",
                "0 is no port",
            ),
            (
                "Service without port",
                "/rules/0/backendRefs/0",
                json!({"name": "a"}),
                { "spec.rules[0].backendRefs[0].port" },
                "a Service needs one",
            ),
            (
                "weight",
                "/rules/0/backendRefs/0/weight",
                json!(1_000_001),
                "spec.rules[0].backendRefs[0].weight",
                "larger",
            ),
            (
                "method",
                "/rules/0/matches/0/method",
                json!("get"),
                "spec.rules[0].matches[0].method",
                "unknown variant",
            ),
            ("duration", "/rules/0/timeouts/request", json!("1.5s"), "spec.rules[0].timeouts.request", {
                "\"1.5s\" is no duration: 1h30m, 5s, 250ms are"
            }),
            (
                "timeouts",
                "/rules/0/timeouts/backendRequest",
                json!("11s"),
                "spec.rules[0].timeouts.backendRequest",
                "longer",
            ),
            (
                "retry",
                "/rules/0/retry/codes",
                json!([200]),
                "spec.rules[0].retry.codes[0]",
                "200 is no status",
            ),
            (
                "session",
                "/rules/0/sessionPersistence/type",
                json!("Header"),
                { "spec.rules[0].sessionPersistence.cookieConfig" },
                "not for sessions of type Header",
            ),
            (
                "forever",
                "/rules/0/sessionPersistence/absoluteTimeout",
                Value::Null,
                { "spec.rules[0].sessionPersistence.absoluteTimeout" },
                "Permanent cookie needs it",
            ),
        ],
    );
}

#[test]
fn paths_that_would_never_match() {
    let route = object(GROUP, "HTTPRoute", &http_route());
    let field = "spec.rules[0].matches[0].path.value";
    for (path, reason) in [
        ("api", "does not start with /"),
        ("/a//b", "has //"),
        ("/a/./b", "has /./"),
        ("/a/..", "ends in /.."),
        ("/a%2Fb", "has %2F"),
        ("/a#b", "has #"),
        ("/a b", "only as %"),
        ("/a%4", "only as %"),
        ("/\u{e4}", "only as %"),
    ] {
        assert_refused(&route, &[(path, "/rules/0/matches/0/path/value", json!(path), field, reason)]);
    }
    let regex = json!({"type": "RegularExpression", "value": "/a//(b"});
    assert_refused(&route, &[("regex", "/rules/0/matches/0/path", regex, field, "unclosed group")]);
}

#[test]
fn filters_that_contradict() {
    let route = object(GROUP, "HTTPRoute", &http_route());
    let redirect = json!({"type": "RequestRedirect", "requestRedirect": {}});
    let rewrite = json!({"type": "URLRewrite", "urlRewrite": {}});
    let headers = |names: &[&str]| -> Value {
        let set: Vec<_> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        json!({"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": set}})
    };
    let mirror = |more: &Value| json!({"type": "RequestMirror", "requestMirror": with(json!({"backendRef": backend()}), more)});
    let (at, field) = ("/rules/0/filters", "spec.rules[0].filters");
    let prefix = json!([{"type": "URLRewrite", "urlRewrite": {
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}]);
    let second = "/rules/1/filters";
    assert_refused(
        &route,
        &[
            ("both", at, json!([redirect, rewrite]), field, "exclude each other"),
            (
                "redirect and backends",
                at,
                json!([redirect]),
                "spec.rules[0].backendRefs",
                "nothing is sent on",
            ),
            (
                "twice",
                at,
                json!([headers(&["a"]), headers(&["b"])]),
                "spec.rules[0].filters[1]",
                "is there before",
            ),
            (
                "header twice",
                at,
                json!([headers(&["a", "A"])]),
                { "spec.rules[0].filters[0].requestHeaderModifier.set[1]" },
                "is there before",
            ),
            (
                "no header",
                at,
                json!([headers(&["a b"])]),
                { "spec.rules[0].filters[0].requestHeaderModifier.set[0].name" },
                "is no name of a header",
            ),
            (
                "type without field",
                at,
                json!([{"type": "CORS"}]),
                "spec.rules[0].filters[0]",
                "lacks cors, which type CORS needs",
            ),
            (
                "another's field",
                at,
                json!([{"type": "CORS", "urlRewrite": {}}]),
                "spec.rules[0].filters[0]",
                { "has urlRewrite, which type CORS does not take" },
            ),
            (
                "unknown type",
                at,
                json!([{"type": "Cache"}]),
                "spec.rules[0].filters[0].type",
                "unknown variant `Cache`",
            ),
            (
                "unknown field inside",
                at,
                json!([mirror(&json!({"percentage": 1}))]),
                { "spec.rules[0].filters[0].requestMirror.percentage" },
                "unknown field",
            ),
            (
                "percent and fraction",
                at,
                json!([mirror(&json!({"percent": 1, "fraction": {"numerator": 1}}))]),
                { "spec.rules[0].filters[0].requestMirror" },
                "has percent and fraction, of which one may be set",
            ),
            (
                "percent",
                at,
                json!([mirror(&json!({"percent": 101}))]),
                { "spec.rules[0].filters[0].requestMirror.percent" },
                "more than 100",
            ),
            (
                "fraction",
                at,
                json!([mirror(&json!({"fraction": {"numerator": 3, "denominator": 2}}))]),
                { "spec.rules[0].filters[0].requestMirror.fraction.numerator" },
                "more than the denominator",
            ),
            (
                "prefix of no prefix",
                second,
                prefix,
                "spec.rules[1].filters[0]",
                "exactly one match, by PathPrefix",
            ),
            (
                "status",
                second,
                json!([{"type": "RequestRedirect", "requestRedirect": {"statusCode": 304}}]),
                { "spec.rules[1].filters[0].requestRedirect.statusCode" },
                "is no redirect",
            ),
            (
                "origins",
                at,
                json!([{"type": "CORS", "cors": {"allowOrigins": ["*", "https://a"]}}]),
                { "spec.rules[0].filters[0].cors.allowOrigins" },
                "which * says already",
            ),
            (
                "origin",
                at,
                json!([{"type": "CORS", "cors": {"allowOrigins": ["a.example"]}}]),
                { "spec.rules[0].filters[0].cors.allowOrigins[0]" },
                "is no origin",
            ),
        ],
    );
}

#[test]
fn a_header_in_two_cases_counts_once() {
    let spec = json!({"rules": [{"matches": [{"headers": [
        {"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}]}]}]});
    let (_, notes) = accepted("headers", &object(GROUP, "HTTPRoute", &spec));
    assert_eq!(
        notes.iter().map(|note| &*note.field).collect::<Vec<_>>(),
        ["spec.rules[0].matches[0].headers"]
    );
}

#[test]
fn other_kinds_that_the_crd_refuses() {
    let grpc = object(GROUP, "GRPCRoute", &json!({"rules": [{"matches": [{"method": {"service": "a.B"}}]}]}));
    let method = "/rules/0/matches/0/method";
    assert_refused(
        &grpc,
        &[
            ("neither", method, json!({}), "spec.rules[0].matches[0].method", "neither service nor method"),
            (
                "service",
                method,
                json!({"service": "a/b"}),
                "spec.rules[0].matches[0].method.service",
                "Protobuf",
            ),
            (
                "regex",
                method,
                json!({"type": "RegularExpression", "method": "("}),
                { "spec.rules[0].matches[0].method.method" },
                "RE2",
            ),
        ],
    );
    let tcp = object(GROUP, "TCPRoute", &json!({"rules": [{"backendRefs": [backend()]}]}));
    assert_refused(
        &tcp,
        &[
            (
                "two rules",
                "/rules",
                json!([{"backendRefs": [backend()]}, {"backendRefs": [backend()]}]),
                "spec.rules",
                "2 items",
            ),
            ("no backend", "/rules/0/backendRefs", json!([]), "spec.rules[0].backendRefs", "is empty"),
            (
                "filters",
                "/rules/0/backendRefs/0/filters",
                json!([]),
                "spec.rules[0].backendRefs[0].filters",
                "unknown field",
            ),
        ],
    );
    let policy = object(
        GROUP,
        "BackendTLSPolicy",
        &json!({
        "targetRefs": [{"group": "", "kind": "Service", "name": "a"}],
        "validation": {"hostname": "a.example", "wellKnownCACertificates": "System"}}),
    );
    assert_refused(
        &policy,
        &[
            (
                "a whole and its part",
                "/targetRefs",
                json!([
                    {"group": "", "kind": "Service", "name": "a"},
                    {"group": "", "kind": "Service", "name": "a", "sectionName": "http"},
                ]),
                { "spec.targetRefs" },
                "sectionName is for all or for none",
            ),
            (
                "both authorities",
                "/validation/caCertificateRefs",
                json!([{"group": "", "kind": "ConfigMap", "name": "a"}]),
                { "spec.validation" },
                "of which one may be set",
            ),
            (
                "no authority",
                "/validation/wellKnownCACertificates",
                Value::Null,
                "spec.validation",
                "needs one of",
            ),
            (
                "name",
                "/validation/subjectAltNames",
                json!([{"type": "URI", "hostname": "a"}]),
                { "spec.validation.subjectAltNames[0]" },
                "has hostname, which type URI does not take",
            ),
        ],
    );
    let traffic = json!({"targetRefs": [{"group": "", "kind": "Service", "name": "a"}], "retryConstraint": {"budget": {}}});
    let traffic = object("gateway.networking.x-k8s.io/v1alpha1", "XBackendTrafficPolicy", &traffic);
    assert_refused(
        &traffic,
        &[
            (
                "percent",
                "/retryConstraint/budget/percent",
                json!(101),
                "spec.retryConstraint.budget.percent",
                "more than 100",
            ),
            (
                "interval",
                "/retryConstraint/budget/interval",
                json!("2h"),
                "spec.retryConstraint.budget.interval",
                "longer",
            ),
        ],
    );
}

#[test]
fn gateways_that_the_crd_refuses() {
    let gateway = object(GROUP, "Gateway", &gateway());
    let listener = |name: &str| json!({"name": name, "port": 80, "protocol": "HTTP"});
    assert_refused(
        &gateway,
        &[
            (
                "name twice",
                "/listeners",
                json!([listener("a"), with(listener("a"), &json!({"port": 81}))]),
                { "spec.listeners[1]" },
                "before",
            ),
            (
                "the same twice",
                "/listeners",
                json!([listener("a"), listener("b")]),
                "spec.listeners[1]",
                "before",
            ),
            ("TLS of HTTP", "/listeners/0/protocol", json!("HTTP"), "spec.listeners[0].tls", "without TLS"),
            (
                "host of TCP",
                "/listeners/0/protocol",
                json!("TCP"),
                "spec.listeners[0].hostname",
                "without host names",
            ),
            (
                "passthrough",
                "/listeners/0/tls/mode",
                json!("Passthrough"),
                "spec.listeners[0].tls.mode",
                "HTTPS",
            ),
            (
                "no certificate",
                "/listeners/0/tls",
                json!({}),
                "spec.listeners[0].tls.certificateRefs",
                "Terminate needs",
            ),
            (
                "no selector",
                "/listeners/0/allowedRoutes",
                json!({"namespaces": {"from": "Selector"}}),
                { "spec.listeners[0].allowedRoutes.namespaces.selector" },
                "from: Selector needs it",
            ),
            (
                "misspelt selector",
                "/listeners/0/allowedRoutes/namespaces/selector",
                json!({"matchLabel": {}}),
                { "spec.listeners[0].allowedRoutes.namespaces.selector.matchLabel" },
                "unknown field",
            ),
        ],
    );
    let class = object(GROUP, "GatewayClass", &json!({"controllerName": "weft"}));
    let notes = crate::testing::refused("class", &class);
    assert_eq!(notes[0].field, "spec.controllerName");
    let grant =
        object(GROUP, "ReferenceGrant", &json!({"from": [], "to": [{"group": "", "kind": "Service"}]}));
    assert_eq!(crate::testing::refused("grant", &grant)[0].text(), "spec.from: is empty or missing");
}
