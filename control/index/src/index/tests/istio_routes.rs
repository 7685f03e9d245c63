//! What the authors of Istio's resources are told: what has no effect, and what is refused by name.

use super::world::{World, bound, gateway_route, service, waypoint, with};
use serde_json::{Value, json};
use weft_l7::destination::{EmptySubset, FailureShare, SuccessRate};
use weft_l7::share::Share;

fn istio(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    })
}

fn virtual_service(name: &str, over: Value) -> Value {
    let spec = json!({"hosts": ["web"], "http": [{"route": [{"destination": {"host": "a"}}]}]});
    istio("VirtualService", name, with(spec, over))
}

fn rule(name: &str, over: Value) -> Value {
    istio("DestinationRule", name, with(json!({"host": "web"}), over))
}

fn constraint(name: &str, over: Value) -> Value {
    let spec =
        json!({"targetRefs": [{"group": "", "kind": "Service", "name": "web"}], "retryConstraint": {}});
    json!({
        "apiVersion": "gateway.networking.x-k8s.io/v1alpha1", "kind": "XBackendTrafficPolicy",
        "metadata": {"name": name, "namespace": "shop"}, "spec": with(spec, over),
    })
}

fn world(objects: impl IntoIterator<Item = Value>) -> World {
    let base = [waypoint("wp"), bound("web", "wp"), service("a", "10.1.0.2"), service("alone", "10.1.0.3")];
    World::of(base.into_iter().chain(objects))
}

#[test]
fn what_has_no_effect_says_so() {
    let gateway = || {
        let rules = json!({"spec": {"rules": [{"backendRefs": [{"name": "a", "port": 80}]}]}});
        gateway_route("HTTPRoute", "r", "web", rules)
    };
    for (case, objects, want) in [
        (
            "in force",
            vec![virtual_service("v", json!({})), rule("d", json!({})), constraint("x", json!({}))],
            "",
        ),
        (
            "a host that is nowhere",
            vec![virtual_service("v", json!({"hosts": ["none"]}))],
            "VirtualService shop/v: spec.hosts[0]: there is no Service shop/none: the routes have no effect for it",
        ),
        (
            "a host outside",
            vec![virtual_service("v", json!({"hosts": ["x.example.org"]}))],
            "VirtualService shop/v: spec.hosts[0]: no ServiceEntry of namespace shop has the host x.example.org: the routes have no effect for it",
        ),
        (
            "no waypoint",
            vec![virtual_service("v", json!({"hosts": ["alone"]}))],
            "VirtualService shop/v: spec.hosts[0]: no waypoint stands before Service shop/alone: the routes have no effect \
             for it; bind it with the label weft.dev/waypoint",
        ),
        (
            "a destination that is nowhere",
            vec![virtual_service("v", json!({"http": [{"route": [{"destination": {"host": "none"}}]}]}))],
            "VirtualService shop/v: spec.http[0].route[0].destination.host: destination none is no Service: what is sent there \
             gets 500",
        ),
        (
            "another protocol",
            vec![virtual_service(
                "v",
                json!({"http": null, "tcp": [{"route": [{"destination": {"host": "a"}}]}]}),
            )],
            "VirtualService shop/v: spec.hosts[0]: no route is for a port of Service shop/web, or for what is spoken \
             there: they have no effect for it",
        ),
        (
            "Gateway API's come first",
            vec![virtual_service("v", json!({})), gateway()],
            "VirtualService shop/v: spec.hosts[0]: Service shop/web has routes of Gateway API there, which come before \
             Istio's: these have no effect for it",
        ),
        (
            "an older one",
            vec![virtual_service("v", json!({})), virtual_service("w", json!({}))],
            "VirtualService shop/w: spec.hosts[0]: VirtualService shop/v, which is older, is for Service shop/web too: \
             this one has no effect for it",
        ),
        (
            "a rule for a host that is nowhere",
            vec![rule("d", json!({"host": "none"}))],
            "DestinationRule shop/d: spec.host: there is no Service shop/none: the rule has no effect",
        ),
        (
            "a rule that no waypoint needs to know",
            vec![rule("d", json!({"host": "alone"}))],
            "DestinationRule shop/d: spec.host: no waypoint stands before Service shop/alone: the rule has no effect; bind \
             it with the label weft.dev/waypoint",
        ),
        (
            "a rule for where a route leads",
            vec![rule("d", json!({"host": "a"})), virtual_service("v", json!({}))],
            "",
        ),
        (
            "an older rule",
            vec![rule("d", json!({"trafficPolicy": {}})), rule("e", json!({"trafficPolicy": {}}))],
            "DestinationRule shop/e: spec.trafficPolicy: DestinationRule shop/d, which is older, has one for the same host: \
             this one has no effect",
        ),
        (
            "an older policy",
            vec![constraint("x", json!({})), constraint("y", json!({}))],
            "XBackendTrafficPolicy shop/y: spec.targetRefs[0]: XBackendTrafficPolicy shop/x, which is older, is for \
             Service shop/web too: this one has no effect on it",
        ),
    ] {
        let want: Vec<String> = Some(want)
            .filter(|one| !one.is_empty())
            .map(|one| format!("warning test: {one}"))
            .into_iter()
            .collect();
        assert_eq!(world(objects).problems(), want, "{case}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let http =
        |over: Value| json!({"http": [with(json!({"route": [{"destination": {"host": "a"}}]}), over)]});
    let abort = |over: Value| http(json!({"fault": {"abort": over}}));
    for (object, field) in [
        (virtual_service("v", json!({"gateways": ["front"]})), "spec.gateways"),
        (virtual_service("v", json!({"hosts": ["*.shop.svc.cluster.local"]})), "spec.hosts[0]"),
        (
            virtual_service("v", http(json!({"fault": {"delay": {"exponentialDelay": "1s"}}}))),
            "spec.http[0].fault.delay.exponentialDelay",
        ),
        (
            virtual_service("v", http(json!({"match": [{"headers": {"uri": {"exact": "/a"}}}]}))),
            "spec.http[0].match[0].headers.uri",
        ),
        (
            virtual_service("v", http(json!({"match": [{"withoutHeaders": {"method": {"exact": "GET"}}}]}))),
            "spec.http[0].match[0].withoutHeaders.method",
        ),
        (virtual_service("v", abort(json!({"http2Error": "X"}))), "spec.http[0].fault.abort.http2Error"),
        (virtual_service("v", abort(json!({"grpcStatus": "SO_SO"}))), "spec.http[0].fault.abort.grpcStatus"),
        (
            virtual_service(
                "v",
                json!({"tcp": [{
                    "match": [{"sourceSubnet": "10.0.0.0/8"}], "route": [{"destination": {"host": "a"}}],
                }]}),
            ),
            "spec.tcp[0].match[0].sourceSubnet",
        ),
        (rule("d", json!({"host": "*.shop.svc.cluster.local"})), "spec.host"),
        (rule("d", json!({"exportTo": ["."]})), "spec.exportTo"),
        (rule("d", json!({"workloadSelector": {"matchLabels": {"a": "b"}}})), "spec.workloadSelector"),
        (rule("d", json!({"trafficPolicy": {"proxyProtocol": {}}})), "spec.trafficPolicy.proxyProtocol"),
        (
            rule("d", json!({"trafficPolicy": {"tunnel": {"targetHost": "x.org", "targetPort": 443}}})),
            "spec.trafficPolicy.tunnel",
        ),
        (
            constraint("x", json!({"targetRefs": [{"group": "x.org", "kind": "B", "name": "web"}]})),
            "spec.targetRefs[0]",
        ),
        (constraint("x", json!({"sessionPersistence": {}})), "spec.sessionPersistence"),
    ] {
        let told = world([object]).problems();
        let name = format!(": {field}: ");
        assert!(
            told.len() == 1 && told[0].starts_with("error") && told[0].contains(&name),
            "{field}: {told:?}"
        );
    }
}

#[test]
fn a_retry_constraint_stands_instead_of_every_other_budget() {
    let budget = json!({"trafficPolicy": {"retryBudget": {"percent": 50.0}}, "subsets": [{"name": "s"}]});
    let given = json!({"retryConstraint": {
        "budget": {"percent": 30, "interval": "5s"}, "minRetryRate": {"count": 3, "interval": "2s"},
    }});
    for (case, over, want) in [
        ("as the policy says", given, [30, 5_000, 3, 2_000]),
        ("where it says nothing", json!({}), [20, 10_000, 10, 1_000]),
    ] {
        let world = world([rule("d", budget.clone()), constraint("x", over)]);
        let destination = world.traffic_of("wp", "web").expect("wp stands before it").destination.clone();
        for settings in [&destination.settings, &destination.subsets["s"].settings] {
            let budget = serde_json::to_value(settings.retry_budget.as_ref()).expect("words are JSON");
            let [percent, interval, always, within] = want;
            assert_eq!(
                budget,
                json!({"rate": {
                    "share": percent * 10_000, "interval": interval, "always": always, "alwaysInterval": within,
                }}),
                "{case}"
            );
        }
    }
}

#[test]
fn the_budget_of_a_destination_rule_is_of_what_goes_on() {
    for (case, said, want) in [
        ("Envoy's defaults", json!({}), json!({"share": 200_000, "always": 3})),
        (
            "as it says",
            json!({"percent": 12.5, "minRetryConcurrency": 1}),
            json!({"share": 125_000, "always": 1}),
        ),
        ("none at all", json!({"percent": 0.0, "minRetryConcurrency": 0}), json!({"share": 0, "always": 0})),
        (
            "of what came lately",
            json!({"budgetInterval": "5s"}),
            json!({"share": 200_000, "always": 3, "interval": 5_000}),
        ),
        ("of no time", json!({"budgetInterval": "0s"}), json!({"share": 200_000, "always": 3})),
    ] {
        let world = world([rule("d", json!({"trafficPolicy": {"retryBudget": said}}))]);
        let settings = &world.traffic_of("wp", "web").expect("wp stands before it").destination.settings;
        let budget = serde_json::to_value(settings.retry_budget.as_ref()).expect("words are JSON");
        assert_eq!(budget, json!({"atATime": want}), "{case}");
    }
}

fn annotated(annotations: Value, spec: Value) -> Value {
    with(rule("d", spec), json!({"metadata": {"name": "d", "namespace": "shop", "annotations": annotations}}))
}

#[test]
fn annotations_of_a_destination_rule() {
    let outlier = json!({"trafficPolicy": {
        "outlierDetection": {},
        "portLevelSettings": [{"port": {"number": 80}, "outlierDetection": {}}],
    }, "subsets": [{"name": "s", "labels": {"app": "web"}}]});
    let world = world([annotated(
        json!({
            "weft.dev/outlier-success-rate": "deviations=2.5",
            "weft.dev/outlier-failure-percentage": "percent=40, requests=9",
            "weft.dev/subset-fallback": "any",
        }),
        outlier,
    )]);
    assert_eq!(world.problems(), [""; 0]);
    let destination = world.traffic_of("wp", "web").expect("wp stands before it").destination.clone();
    let rate = SuccessRate { endpoints_min: 5, requests_min: 100, deviations_thousandths: 2_500 };
    let above = Share::fraction(40, 100).expect("a part");
    let share = FailureShare { endpoints_min: 5, requests_min: 9, above };
    // Of the whole, of its port, and of the subset and its port.
    assert_eq!(destination.all_settings().count(), 4);
    for outlier in destination.all_settings().map(|settings| settings.outlier.as_ref().expect("it is said")) {
        assert_eq!((outlier.success_rate, outlier.failure_share), (Some(rate), Some(share)));
    }
    assert_eq!(destination.subsets["s"].empty, EmptySubset::Everybody);
}

#[test]
fn annotations_that_mean_nothing_refuse_the_rule() {
    let outlier = || json!({"trafficPolicy": {"outlierDetection": {}}});
    let field = |name: &str| format!("metadata.annotations.weft.dev/{name}");
    for (name, text, spec, severity, want) in [
        ("outlier-success-rate", "1.9", outlier(), "error", "\"1.9\" means nothing here"),
        ("outlier-failure-percentage", "percent=200", outlier(), "error", "200 is no percentage"),
        (
            "subset-fallback",
            "all",
            json!({"subsets": [{"name": "s"}]}),
            "error",
            "\"all\" means nothing here: none and any do",
        ),
        ("outlier-success-rate", "deviations=1", json!({}), "warning", "the rule has no outlierDetection"),
        ("subset-fallback", "any", json!({}), "warning", "the rule has no subsets"),
    ] {
        let world = world([annotated(json!({(format!("weft.dev/{name}")): text}), spec)]);
        let told = world.problems();
        let fits =
            |one: &String| one.starts_with(severity) && one.contains(&field(name)) && one.contains(want);
        assert!(told.len() == 1 && told.iter().all(fits), "{name}: {text}: {told:?}");
        assert_eq!(world.traffic_of("wp", "web").is_some(), severity == "warning", "{name}: {text}");
    }
}
