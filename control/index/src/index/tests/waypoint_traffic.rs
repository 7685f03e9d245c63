//! What waypoints are told of services' traffic, and of workloads' labels.

use super::world::{World, bound, instance, labelled, pod, service, waypoint, with};
use serde_json::{Value, json};
use weft_control_api::kind::Kind;
use weft_l7::share::Share;

fn rule(name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"host": name, "subsets": [{"name": "s", "labels": labels}]},
    })
}

/// A VirtualService of `host` that leads to `to`.
fn route(host: &str, to: &str, over: Value) -> Value {
    let route = with(json!({"route": [{"destination": {"host": to}}]}), over);
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": host, "namespace": "shop"},
        "spec": {"hosts": [host], "http": [route]},
    })
}

#[test]
fn a_waypoint_is_told_of_its_services_and_of_those_they_lead_to() {
    let version = || json!({"version": "v1"});
    let services =
        [bound("a", "wp"), bound("b", "other"), service("c", "10.1.0.3"), service("d", "10.1.0.4")];
    let rules = ["a", "b", "c", "d"].map(|name| rule(name, version()));
    let mut world = World::of([waypoint("wp"), waypoint("other")].into_iter().chain(services).chain(rules));
    let told = |world: &World| (world.traffic_at("wp").join(" "), world.traffic_at("other").join(" "));
    assert_eq!(told(&world), ("a".into(), "b".into()));
    let diff = world.put(route("a", "c", json!({"mirrors": [{"destination": {"host": "b"}}]})));
    assert_eq!(told(&world), ("a b c".into(), "b".into()));
    assert_eq!(diff.traffic.upserted.len(), 3, "a is another one, b and c are new to wp");
    let diff = world.put(rule("b", json!({"version": "v2"})));
    assert_eq!(diff.traffic.upserted.len(), 2, "both need to know");
    assert!(world.put(rule("d", json!({"version": "v2"}))).traffic.is_empty(), "nobody needs to know");
    world.put(bound("a", "other"));
    assert_eq!(told(&world), (String::new(), "a b c".into()));
    world.delete(Kind::VirtualService, "shop", "a");
    assert_eq!(told(&world), (String::new(), "a b".into()));
    let diff = world.delete(Kind::Gateway, "shop", "other");
    assert_eq!((told(&world), diff.traffic.removed.len()), ((String::new(), String::new()), 2));
}

#[test]
fn only_labels_that_are_asked_for_are_told() {
    let version = json!({"version": "v1", "tier": "front"});
    let pods = ["a", "b"].map(|name| labelled(pod(name, "10.0.0.1"), version.clone()));
    let services = ["a", "b"].map(|name| service(name, "10.1.0.1"));
    let mut world = World::of(pods.into_iter().chain(services));
    let labels = |world: &World, pod: &str| -> String {
        let all = world.pod(pod).expect("the test made it").labels.iter();
        all.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(labels(&world, "a"), "");
    let diff = world.put(rule("a", json!({"version": "v1"})));
    assert_eq!((labels(&world, "a"), labels(&world, "b")), ("version=v1".into(), String::new()));
    assert_eq!(diff.workloads.upserted.len(), 1);
    assert!(
        world.put(rule("a", json!({"version": "v2"}))).workloads.is_empty(),
        "the same label is asked for"
    );
    let sources = json!({"match": [{"sourceLabels": {"tier": "front"}}]});
    world.put(route("b", "b", sources.clone()));
    assert_eq!(
        (labels(&world, "a"), labels(&world, "b")),
        ("tier=front version=v1".into(), "tier=front".into())
    );
    assert!(world.put(route("c", "b", sources)).workloads.is_empty());
    world.delete(Kind::VirtualService, "shop", "b");
    assert_eq!(labels(&world, "b"), "tier=front", "another one asks too");
    world.delete(Kind::VirtualService, "shop", "c");
    world.delete(Kind::DestinationRule, "shop", "a");
    assert_eq!((labels(&world, "a"), labels(&world, "b")), (String::new(), String::new()));
}

#[test]
fn preferred_endpoints_are_compared_with_the_waypoint_itself() {
    let setting = json!({"localityLbSetting": {"failoverPriority": ["rack", "row=7"]}});
    let policy = json!({"loadBalancer": setting, "outlierDetection": {}});
    let rule = with(rule("a", json!({})), json!({"spec": {"subsets": null, "trafficPolicy": policy}}));
    let racked = labelled(pod("a", "10.0.0.1"), json!({"rack": "1", "row": "7", "other": "x"}));
    let waypoints = [waypoint("wp"), labelled(instance("wp-1", "wp", "10.0.0.9"), json!({"rack": "1"}))];
    let world = World::of([service("a", "10.1.0.1"), racked, rule].into_iter().chain(waypoints));
    let names = |pod: &str| -> Vec<String> {
        world.pod(pod).expect("the test made it").labels.keys().map(ToString::to_string).collect()
    };
    assert_eq!(names("a"), ["rack", "row"]);
    assert_eq!(names("wp-1"), ["gateway.networking.k8s.io/gateway-name", "rack"]);
}

#[test]
fn as_of_when_healthy_and_unhealthy_are_asked_alike() {
    let some = Share::fraction(60, 100);
    for (case, places, outlier, want) in [
        ("never", json!(null), json!({}), None),
        ("zero is never", json!(null), json!({"minHealthPercent": 0}), None),
        ("a part", json!(null), json!({"minHealthPercent": 60}), some),
        ("wherever they are", json!({"enabled": false}), json!({"minHealthPercent": 60}), some),
        ("near ones first", json!({"enabled": true}), json!({"minHealthPercent": 60}), some),
    ] {
        let policy = json!({"loadBalancer": {"localityLbSetting": places}, "outlierDetection": outlier});
        let rule = with(rule("a", json!({})), json!({"spec": {"subsets": null, "trafficPolicy": policy}}));
        let world = World::of([waypoint("wp"), bound("a", "wp"), rule]);
        let told = world.0.traffic().next().expect(case);
        assert_eq!(told.said.destination.settings.locality.healthy_min, want, "{case}");
    }
}
