//! What a VirtualService may not say, where, and why.

use super::whole::{destination, virtual_service};
use crate::testing::{assert_refused, object, refused};
use serde_json::{Value, json};

fn whole() -> Value {
    object("networking.istio.io/v1", "VirtualService", &virtual_service())
}

#[test]
fn values_that_are_none() {
    let at = "/http/0/match/0";
    assert_refused(
        &whole(),
        &[
            ("unknown field", "/http/0/retry", json!({}), "spec.http[0].retry", "unknown field `retry`"),
            (
                "deep",
                "/http/0/match/0/uri",
                json!({"suffix": "a"}),
                "spec.http[0].match[0].uri.suffix",
                "unknown field",
            ),
            (
                "snake case",
                "/http/0/retries/retry_on",
                json!("5xx"),
                "spec.http[0].retries.retry_on",
                "unknown field",
            ),
            (
                "two of one",
                "/http/0/match/0/uri",
                json!({"exact": "/a", "prefix": "/b"}),
                "spec.http[0].match[0].uri",
                { "has exact and prefix, of which one may be set" },
            ),
            ("none of one", "/http/0/match/0/method", json!({}), "spec.http[0].match[0].method", {
                "needs one of exact, prefix, regex"
            }),
            (
                "text for a match",
                at,
                json!({"uri": "/a"}),
                "spec.http[0].match[0].uri",
                "invalid type: string",
            ),
            (
                "regex",
                at,
                json!({"headers": {"user-agent": {"regex": "(?=Chrome)"}}}),
                { "spec.http[0].match[0].headers.user-agent.regex" },
                "no regular expression of RE2's syntax: look-around",
            ),
            (
                "empty prefix",
                at,
                json!({"uri": {"prefix": ""}}),
                "spec.http[0].match[0].uri.prefix",
                "would match everything",
            ),
            (
                "header",
                at,
                json!({"headers": {"a b": {"exact": "1"}}}),
                "spec.http[0].match[0].headers",
                "\"a b\" is no name",
            ),
            (
                "label",
                at,
                json!({"sourceLabels": {"a": "b c"}}),
                "spec.http[0].match[0].sourceLabels",
                "\"b c\" is no value",
            ),
            ("duration", "/http/0/timeout", json!("5 s"), "spec.http[0].timeout", {
                "\"5 s\" is no duration: 1h30m, 5s, 250ms are"
            }),
            ("negative duration", "/http/0/timeout", json!("-1s"), "spec.http[0].timeout", "is no duration"),
            ("number for a duration", "/http/0/timeout", json!(5), "spec.http[0].timeout", {
                "invalid type: integer `5`, expected a duration with its unit: 1h30m, 5s, 250ms are"
            }),
            ("text for a list", "/hosts", json!("web"), "spec.hosts", "expected a list"),
            (
                "text for a mapping",
                "/http/0/route",
                json!(["web"]),
                "spec.http[0].route[0]",
                "expected a mapping",
            ),
            (
                "truth for a text",
                "/http/0/headers",
                json!({"request": {"set": {"a": true}}}),
                { "spec.http[0].headers.request.set.a" },
                "expected a text: write it in quotes",
            ),
            (
                "port",
                "/http/0/route/0/destination/port",
                json!({"number": 65536}),
                { "spec.http[0].route[0].destination.port.number" },
                "65536 is no port",
            ),
            (
                "port by name",
                "/http/0/route/0/destination/port",
                json!({"name": "http"}),
                { "spec.http[0].route[0].destination.port.name" },
                "unknown field",
            ),
            (
                "percentage",
                "/http/0/fault/delay/percentage",
                json!({"value": 100.1}),
                { "spec.http[0].fault.delay.percentage.value" },
                "is no percentage: 0 to 100 are",
            ),
            (
                "negative weight",
                "/http/0/route/0/weight",
                json!(-1),
                "spec.http[0].route[0].weight",
                "invalid value",
            ),
            (
                "subnet",
                "/tcp/0/match/0/destinationSubnets",
                json!(["10.0.0.0/40"]),
                { "spec.tcp[0].match[0].destinationSubnets[0]" },
                "is no address or range",
            ),
            (
                "redirect",
                "/http/2/redirect/redirectCode",
                json!(200),
                "spec.http[2].redirect.redirectCode",
                "no redirect",
            ),
            (
                "two ports",
                "/http/2/redirect/derivePort",
                json!("FROM_REQUEST_PORT"),
                "spec.http[2].redirect",
                { "has port and derivePort, of which one may be set" },
            ),
            (
                "status",
                "/http/1/directResponse/status",
                json!(42),
                "spec.http[1].directResponse.status",
                "200 to 599",
            ),
            (
                "body",
                "/http/1/directResponse/body",
                json!({}),
                "spec.http[1].directResponse.body",
                "needs one of string, bytes",
            ),
            (
                "condition",
                "/http/0/retries/retryOn",
                json!("5xx,often"),
                "spec.http[0].retries.retryOn",
                "\"often\"",
            ),
            (
                "gRPC",
                "/http/1/fault/abort/grpcStatus",
                json!("AWAY"),
                "spec.http[1].fault.abort.grpcStatus",
                "UNAVAILABLE",
            ),
        ],
    );
}

#[test]
fn routes_that_contradict() {
    let route = json!([{"destination": destination("v1")}]);
    let zero = json!([{"destination": destination("v1"), "weight": 0}, {"destination": destination("v2"), "weight": 0}]);
    assert_refused(
        &whole(),
        &[
            ("redirect and route", "/http/2/route", route.clone(), "spec.http[2]", {
                "has route and redirect, of which one may be set"
            }),
            ("delegate and route", "/http/4/route", route, "spec.http[4]", "has route and delegate"),
            ("nothing", "/http/0", json!({"timeout": "1s"}), "spec.http[0]", {
                "needs one of route, redirect, directResponse, delegate"
            }),
            (
                "redirect and rewrite",
                "/http/2/rewrite",
                json!({"uri": "/"}),
                "spec.http[2].rewrite",
                "these are answered",
            ),
            (
                "the prefix of no prefix",
                "/http/2",
                { json!({"match": [{"uri": {"exact": "/old"}}], "redirect": {"prefixRewrite": "/new"}}) },
                "spec.http[2].redirect.prefixRewrite",
                "needs a prefix in every uri that is matched",
            ),
            (
                "redirect to the same",
                "/http/2/redirect",
                json!({"uri": "", "redirectCode": 302}),
                { "spec.http[2].redirect" },
                "says nothing",
            ),
            ("two paths", "/http/2/redirect/prefixRewrite", json!("/x"), "spec.http[2].redirect", {
                "has uri and prefixRewrite, of which one may be set"
            }),
            (
                "rewrite to the same",
                "/http/0/rewrite",
                json!({"uri": "", "authority": ""}),
                "spec.http[0].rewrite",
                { "says nothing" },
            ),
            ("redirect and fault", "/http/2/fault", json!({}), "spec.http[2].fault", "these are answered"),
            ("weights", "/http/0/route", zero.clone(), "spec.http[0].route", "weights that are all zero"),
            ("weights of TCP", "/tcp/0/route", zero, "spec.tcp[0].route", "weights that are all zero"),
            ("no route of TCP", "/tcp/0/route", json!([]), "spec.tcp[0].route", "is empty or missing"),
            (
                "mirror and mirrors",
                "/http/0/mirror",
                destination("v2"),
                "spec.http[0]",
                "has mirror and mirrors",
            ),
            (
                "two rewrites",
                "/http/0/rewrite/uri",
                json!("/"),
                "spec.http[0].rewrite",
                "uri and uriRegexRewrite",
            ),
            ("empty rewrite", "/http/0/rewrite", json!({}), "spec.http[0].rewrite", "says nothing"),
            (
                "host twice",
                "/http/3/headers",
                json!({"request": {"set": {"Host": "b.example"}}}),
                { "spec.http[3].headers" },
                "changes the host, which is changed elsewhere too",
            ),
            ("no tries", "/http/0/retries/attempts", json!(0), "spec.http[0].retries.attempts", "is zero"),
            ("two failures", "/http/0/fault/abort/grpcStatus", json!("14"), "spec.http[0].fault.abort", {
                "has httpStatus and grpcStatus"
            }),
            (
                "no failure",
                "/http/0/fault/abort",
                json!({"percentage": {"value": 1}}),
                "spec.http[0].fault.abort",
                "needs one",
            ),
            (
                "no wait",
                "/http/0/fault/delay",
                json!({"fixedDelay": "0s"}),
                "spec.http[0].fault.delay",
                "shorter",
            ),
            (
                "header value",
                "/http/0/headers/request/set",
                json!({"x-a": "1\n2"}),
                { "spec.http[0].headers.request.set.x-a" },
                "no header may have",
            ),
        ],
    );
}

#[test]
fn hosts_and_names() {
    assert_refused(
        &whole(),
        &[
            ("no host", "/hosts", json!(["a b"]), "spec.hosts[0]", "is no host"),
            ("star inside", "/hosts", json!(["a.*.b"]), "spec.hosts[0]", "is no host"),
            ("every host in the mesh", "/hosts", json!(["*"]), "spec.hosts[0]", "only gateways may have"),
            ("host twice", "/hosts", json!(["reviews", "Reviews"]), "spec.hosts[1]", "is there before"),
            ("no host at all", "/hosts", json!([]), "spec.hosts", "http routes without gateways"),
            (
                "destination",
                "/http/0/route/0/destination/host",
                json!("*"),
                "spec.http[0].route[0].destination.host",
                "no host",
            ),
            ("gateway", "/gateways", json!(["a/b/c"]), "spec.gateways[0]", "is no Gateway"),
            ("export", "/exportTo", json!(["*", "a"]), "spec.exportTo", "contradict"),
            (
                "handshake",
                "/tls/0/match/0/sniHosts",
                json!(["b.example"]),
                "spec.tls[0].match[0].sniHosts[0]",
                { "belongs to none of the hosts" },
            ),
            (
                "wider handshake",
                "/tls/0/match/0/sniHosts",
                json!(["*.example"]),
                "spec.tls[0].match[0].sniHosts[0]",
                "none",
            ),
            ("no handshake", "/tls/0/match", json!([]), "spec.tls[0].match", "is empty"),
        ],
    );
    for (case, spec, field, reason) in [
        ("nothing", json!({"hosts": ["a"]}), "spec", "has no route"),
        (
            "a chain of delegates",
            json!({"http": [{"delegate": {"name": "a"}}]}),
            "spec.http",
            "is a delegate itself",
        ),
        (
            "no delegate",
            json!({"hosts": ["a"], "http": [{"delegate": {}}]}),
            "spec.http[0].delegate.name",
            "is missing",
        ),
    ] {
        let notes = refused(case, &object("networking.istio.io/v1", "VirtualService", &spec));
        assert!(notes[0].field == field && notes[0].reason.contains(reason), "{case}: {notes:?}");
    }
}

#[test]
fn a_resource_without_a_spec_is_none() {
    let bare =
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}});
    assert_eq!(refused("bare", &bare)[0].text(), "missing field `spec`");
}
