//! Telemetries: which waypoints are told of each, what they say there, and what is refused.

use super::world::{World, bound, waypoint, with};
use serde_json::{Value, json};
use weft_control_api::kind::Kind;
use weft_core::names::{GatewayName, ServiceName};
use weft_l7::policy::PolicyScope;
use weft_l7::telemetry::{LabelChange, Metric, Reach, Sink, Switch, TagValue, Telemetry};

const GROUP: &str = "gateway.networking.k8s.io";

fn telemetry(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    })
}

fn elsewhere(namespace: &str, object: Value) -> Value {
    with(object, json!({"metadata": {"namespace": namespace}}))
}

/// What the waypoint `wp` of a namespace is told, in the order of names.
fn told(world: &World, namespace: &str) -> Vec<Telemetry> {
    let at = GatewayName::new(namespace, "wp");
    let here = world.0.telemetries().filter(|one| one.gateway == at);
    let mut all: Vec<Telemetry> = here.map(|one| one.said.clone()).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Waypoints in two namespaces; the one of `shop` stands before `web`.
fn world(more: impl IntoIterator<Item = Value>) -> World {
    let own = [waypoint("wp"), elsewhere("other", waypoint("wp")), bound("web", "wp")];
    World::of(own.into_iter().chain(more))
}

#[test]
fn each_waypoint_is_told_of_those_that_are_for_it() {
    let to = |kind: &str, group: &str, name: &str| json!({"targetRefs": [{"kind": kind, "group": group, "name": name}]});
    let service = ServiceName::new("shop", "web.shop.svc.cluster.local");
    let named = PolicyScope::Services(vec![service]);
    for (case, object, shop, other) in [
        (
            "of the mesh",
            elsewhere("istio-system", telemetry("t", json!({}))),
            Some((Reach::Mesh, PolicyScope::Waypoint)),
            Some((Reach::Mesh, PolicyScope::Waypoint)),
        ),
        ("of a namespace", telemetry("t", json!({})), Some((Reach::Namespace, PolicyScope::Waypoint)), None),
        (
            "a gateway",
            telemetry("t", to("Gateway", GROUP, "wp")),
            Some((Reach::Named, PolicyScope::Waypoint)),
            None,
        ),
        ("a service", telemetry("t", to("Service", "", "web")), Some((Reach::Named, named)), None),
        ("a service that is not there", telemetry("t", to("Service", "", "db")), None, None),
    ] {
        let world = world([object]);
        for (namespace, want) in [("shop", shop), ("other", other)] {
            let told = told(&world, namespace).into_iter().next().map(|one| (one.reach, one.scope));
            assert_eq!(told, want, "{case}, in {namespace}");
        }
    }
}

#[test]
fn those_that_hold_at_a_waypoint_are_told_apart() {
    let older = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}});
    let later = json!({"metadata": {"creationTimestamp": "2026-01-02T00:00:00Z"}});
    let world = world([
        with(telemetry("later", json!({})), later),
        with(telemetry("older", json!({})), older),
        elsewhere("istio-system", telemetry("mesh", json!({}))),
        telemetry("named", json!({"targetRefs": [{"kind": "Service", "name": "web"}]})),
    ]);
    let hold = |namespace: &str| -> Vec<String> {
        let at = world.0.telemetries_at(&GatewayName::new(namespace, "wp"));
        at.iter().map(|one| one.name.to_string()).collect()
    };
    assert_eq!(hold("shop"), ["istio-system/mesh", "shop/older", "shop/named"]);
    assert_eq!(hold("other"), ["istio-system/mesh"]);
    assert_eq!(hold("nowhere"), [""; 0]);
}

#[test]
fn what_comes_and_goes_is_told() {
    let mut world = world([telemetry("t", json!({"targetRefs": [{"kind": "Service", "name": "web"}]}))]);
    assert_eq!(told(&world, "shop").len(), 1);
    let diff = world.delete(Kind::Gateway, "shop", "wp");
    assert_eq!(diff.telemetries.removed.len(), 1);
    world.put(waypoint("wp"));
    assert_eq!(told(&world, "shop").len(), 1);
    world.put(telemetry("t", json!({"tracing": [{"randomSamplingPercentage": 5}]})));
    assert_eq!(told(&world, "shop")[0].tracing[0].sampled_ppm, Some(50_000));
    world.put(elsewhere("shop", waypoint("second")));
    assert_eq!(world.0.telemetries().count(), 2, "a new waypoint is told of what is there");
    let diff = world.delete(Kind::Telemetry, "shop", "t");
    assert_eq!(diff.telemetries.removed.len(), 2);
}

#[test]
fn what_it_says() {
    let spec = json!({
        "tracing": [{
            "providers": [{"name": "tracing"}], "randomSamplingPercentage": 0.5, "disableSpanReporting": true,
            "disableContextPropagation": false, "enableIstioTags": false,
            "customTags": {"a": {"literal": {"value": "x"}}, "b": {"header": {"name": "X-User"}}},
        }],
        "accessLogging": [
            {"providers": [{"name": "envoy"}, {"name": "otlp"}], "filter": {"expression": "response.code >= 400"}},
            {"match": {"mode": "CLIENT"}, "disabled": true},
        ],
        "metrics": [{"providers": [{"name": "prometheus"}], "overrides": [
            {"match": {"metric": "REQUEST_COUNT", "mode": "SERVER"}, "disabled": true},
            {"match": {"metric": "ALL_METRICS"}, "tagOverrides": {
                "source_app": {"operation": "REMOVE"}, "response_flags": {"value": "\"all\""}}},
            {"match": {"metric": "GRPC_REQUEST_MESSAGES"}, "disabled": true},
        ]}],
    });
    let world = world([telemetry("t", spec)]);
    let one = told(&world, "shop").remove(0);
    let tracing = &one.tracing[0];
    assert_eq!((tracing.sampled_ppm, tracing.reporting), (Some(5_000), Some(Switch::Off)));
    assert_eq!(tracing.propagation, Some(Switch::On));
    assert_eq!(tracing.tags["a"], TagValue::Literal("x".into()));
    assert_eq!(tracing.tags["b"], TagValue::Header("x-user".into(), None));
    assert_eq!(one.logging.len(), 1, "the other one is for clients");
    assert_eq!(one.logging[0].sinks, [Sink::Text, Sink::Otlp]);
    assert_eq!(one.logging[0].filter.as_ref().map(|filter| filter.as_str()), Some("response.code >= 400"));
    let metrics: Vec<_> = one.metrics.iter().map(|one| (one.metric, one.disabled)).collect();
    assert_eq!(metrics, [(Some(Metric::Requests), Some(true)), (None, None)]);
    assert_eq!(one.metrics[1].labels["source_app"], LabelChange::Remove);
    assert_eq!(one.metrics[1].labels["response_flags"], LabelChange::Set("all".into()));
    assert_eq!(
        world.problems(),
        [
            "warning test: Telemetry shop/t: spec.accessLogging[1].match.mode: is CLIENT: waypoints stand on the side of \
             servers, and the entry has no effect"
        ]
    );
}

#[test]
fn what_waypoints_cannot_do_is_refused_by_name() {
    let tag = |tag: Value| json!({"tracing": [{"customTags": {"t": tag}}]});
    let change = |one: Value| json!({"metrics": [{"overrides": [one]}]});
    for (spec, field, why) in [
        (json!({"selector": {"matchLabels": {"app": "web"}}}), "spec.selector", "selects pods"),
        (
            json!({"tracing": [{"providers": [{"name": "zipkin"}]}]}),
            "spec.tracing[0].providers[0].name",
            "\"zipkin\" is no provider that is known here (tracing are)",
        ),
        (
            json!({"accessLogging": [{"providers": [{"name": "prometheus"}]}]}),
            "spec.accessLogging[0].providers[0].name",
            "envoy, json, otlp, text",
        ),
        (
            json!({"accessLogging": [{"filter": {"expression": "xds.cluster_name == 'x'"}}]}),
            "spec.accessLogging[0].filter.expression",
            "xds.cluster_name is not known",
        ),
        (
            json!({"metrics": [{"providers": [{"name": "stackdriver"}]}]}),
            "spec.metrics[0].providers[0].name",
            "is no provider",
        ),
        (
            tag(json!({"environment": {"name": "POD"}})),
            "spec.tracing[0].customTags.t.environment",
            "is not supported",
        ),
        (
            tag(json!({"formatter": {"value": "%PROTOCOL%"}})),
            "spec.tracing[0].customTags.t.formatter",
            "is not supported",
        ),
        (
            json!({"tracing": [{"enableIstioTags": true}]}),
            "spec.tracing[0].enableIstioTags",
            "none of Istio's own tags",
        ),
        (
            change(json!({"match": {"customMetric": "mine"}})),
            "spec.metrics[0].overrides[0].match.customMetric",
            "is no metric of Weft's",
        ),
        (
            change(json!({"match": {"metric": "GRPC_REQUEST_MESSAGES"}})),
            "spec.metrics[0].overrides[0].match.metric",
            "is not counted",
        ),
        (
            change(json!({"tagOverrides": {"request_host": {"value": "request.host"}}})),
            "spec.metrics[0].overrides[0].tagOverrides.request_host",
            "is no label",
        ),
        (
            change(json!({"tagOverrides": {"source_app": {"value": "request.host"}}})),
            "spec.metrics[0].overrides[0].tagOverrides.source_app.value",
            "is no text in quotes",
        ),
        (
            json!({"targetRefs": [{"kind": "Pod", "name": "web"}]}),
            "spec.targetRefs[0].kind",
            "Pod is nothing",
        ),
    ] {
        let world = world([telemetry("t", spec.clone())]);
        let problems = world.problems();
        let text = problems.join("\n");
        assert!(problems.len() == 1 && text.starts_with("error"), "{spec}: {text}");
        assert!(text.contains(&format!(" {field}: ")) && text.contains(why), "{spec}: {text}");
        assert!(told(&world, "shop").is_empty(), "{spec}: none of it is told");
    }
}

#[test]
fn what_has_no_effect_beside_others_says_so() {
    let dated = |name: &str, date: &str, spec: Value| {
        with(telemetry(name, spec), json!({"metadata": {"creationTimestamp": date}}))
    };
    let of_web = json!({"targetRefs": [{"kind": "Service", "name": "web"}]});
    let mut world = world([
        dated("old", "2024-01-01T00:00:00Z", of_web.clone()),
        dated("young", "2025-01-01T00:00:00Z", of_web),
        telemetry("lost", json!({"targetRefs": [{"kind": "Gateway", "group": GROUP, "name": "gone"}]})),
    ]);
    let older = "warning test: Telemetry shop/young: spec: Telemetry shop/old, which is older, is for the same: this one has \
                 no effect there";
    let lost = "warning test: Telemetry shop/lost: spec.targetRefs[0]: shop/gone is no Gateway of a class of waypoints: the \
                Telemetry has no effect there";
    assert_eq!(world.problems(), [lost, older]);
    world.delete(Kind::Telemetry, "shop", "old");
    assert_eq!(world.problems(), [lost]);
}
