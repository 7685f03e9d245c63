//! A change tells what changed, whatever the order in which things came.

use super::world::{
    World, at_pod, authorization, change, instance, labelled, meshed, namespace, node, peer, pod, service,
    slice, waypoint, with,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use weft_control_api::kind::Kind;

#[test]
fn what_stays_the_same_is_not_told() {
    let mut world = World::of([meshed(), node("n1"), service("web", "10.1.0.1"), pod("web", "10.0.0.1")]);
    for object in [meshed(), node("n1"), service("web", "10.1.0.1"), pod("web", "10.0.0.1")] {
        assert!(world.put(object).is_empty());
    }
    let heartbeat = json!({"metadata": {"resourceVersion": "7", "annotations": {"x": "y"}}});
    assert!(world.put(with(pod("web", "10.0.0.1"), heartbeat.clone())).is_empty());
    assert!(world.put(with(node("n1"), heartbeat)).is_empty());
}

#[test]
fn one_change_tells_of_what_it_concerns() {
    let pods: Vec<_> = (0..50).map(|n| pod(&format!("p{n}"), &format!("10.0.1.{n}"))).collect();
    let mut world = World::of([vec![meshed(), node("n1"), pod("web", "10.0.0.1")], pods].concat());
    let named = |diff: &crate::change::Diff| -> Vec<String> {
        diff.workloads.upserted.iter().map(|one| one.name.to_string()).collect()
    };
    let diff = world.put(service("web", "10.1.0.1"));
    assert_eq!((named(&diff), diff.services.upserted.len()), (vec!["web".to_owned()], 1));
    let moved = with(service("web", "10.1.0.1"), json!({"spec": {"selector": {"app": "p7"}}}));
    let diff = world.put(moved);
    assert_eq!(named(&diff), ["p7", "web"]);
    assert!(diff.services.is_empty(), "nothing of it is told to clients");
    let diff = world.put(service("web", "10.1.0.2"));
    assert_eq!(named(&diff), ["p7", "web"]);
    assert!(named(&world.put(service("web", "10.1.0.3"))).is_empty(), "its address is no concern of pods");
    let policy = json!({"selector": {"matchLabels": {"app": "p8"}}, "rules": [{}]});
    let diff = world.put(authorization("p", policy));
    assert_eq!((named(&diff), diff.policies.upserted.len()), (vec!["p8".to_owned()], 1));
    let other_rules = json!({"selector": {"matchLabels": {"app": "p8"}}, "rules": []});
    assert!(world.put(authorization("p", other_rules)).workloads.is_empty(), "only the rules are different");
    let diff = world.put(namespace(json!({})));
    assert_eq!((diff.workloads.upserted.len(), diff.agent_pods.upserted.len()), (51, 51));
    let diff = world.delete(Kind::Pod, "shop", "p8");
    assert_eq!((diff.workloads.removed.len(), diff.agent_pods.removed.len()), (1, 1));
}

/// Everything that interacts.
fn objects() -> Vec<Value> {
    let web = json!({"selector": {"matchLabels": {"app": "web"}}});
    vec![
        meshed(),
        node("n1"),
        pod("web", "10.0.0.1"),
        with(pod("db", "10.0.0.2"), json!({"spec": {"hostname": "db", "subdomain": "db"}})),
        service("web", "10.1.0.1"),
        service("db", "None"),
        slice("web-1", "web", json!([at_pod("web", "10.0.0.1"), {"addresses": ["192.0.2.1"]}])),
        slice("db-1", "db", json!([{"addresses": ["10.0.0.2"]}])),
        authorization("p", with(web.clone(), json!({"rules": [{}]}))),
        peer("shop", "own", with(web, json!({"portLevelMtls": {"80": {"mode": "STRICT"}}}))),
        peer("weft-system", "mesh", json!({"mtls": {"mode": "STRICT"}})),
        peer("shop", "shop", json!({"mtls": {"mode": "PERMISSIVE"}})),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "np", "namespace": "shop"}, "spec": {"podSelector": {"matchLabels": {"app": "db"}}},
        }),
        labelled(waypoint("wp"), json!({"istio.io/waypoint-for": "all"})),
        instance("wp-1", "wp", "10.0.0.9"),
        labelled(service("front", "10.1.0.3"), json!({"weft.dev/waypoint": "wp"})),
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "db", "namespace": "shop", "labels": {"istio.io/use-waypoint": "wp"}}}),
        authorization("q", json!({"targetRefs": [{"kind": "Service", "name": "front"}]})),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "front", "namespace": "shop"},
            "spec": {"hosts": ["front"], "http": [{"route": [{"destination": {"host": "web"}}]}]},
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"host": "web", "subsets": [{"name": "s", "labels": {"app": "web"}}]},
        }),
    ]
}

/// All that an index tells, in a comparable form.
fn told(world: &World) -> BTreeMap<String, String> {
    let index = &world.0;
    let workloads = index.workloads().map(|one| (one.uid.to_string(), format!("{one:?}")));
    let services = index.services().map(|one| (one.name.to_string(), format!("{one:?}")));
    let policies = index.policies().map(|one| (format!("policy {}", one.name), format!("{one:?}")));
    let agents = index.agent_pods().map(|one| (format!("agent {}", one.workload), format!("{one:?}")));
    let traffic = index
        .traffic()
        .map(|one| (format!("traffic {} {}", one.gateway, one.said.service), format!("{one:?}")));
    let requests = index
        .requests()
        .map(|one| (format!("request {} {}", one.gateway, one.said.name), format!("{one:?}")));
    let problems = index.problems().map(|one| (format!("problem {one}"), String::new()));
    let all = workloads.chain(services).chain(policies).chain(agents);
    all.chain(traffic).chain(requests).chain(problems).collect()
}

#[test]
fn order_does_not_matter_and_diffs_add_up() {
    let want = told(&World::of(objects()));
    let count = objects().len();
    // Every rotation, forwards and backwards, one by one; then each object goes and comes back.
    for start in 0..count {
        for backwards in [false, true] {
            let mut order = objects();
            order.rotate_left(start);
            if backwards {
                order.reverse();
            }
            let mut world = World::new();
            for object in &order {
                world.put(object.clone());
            }
            assert_eq!(told(&world), want, "from {start}, backwards: {backwards}");
            for object in order {
                let key = change(object.clone()).key();
                world.delete(key.kind, &key.namespace, &key.name);
                world.put(object);
                assert_eq!(told(&world), want, "{key} came back");
            }
        }
    }
    let mut world = World::of(objects());
    for object in objects() {
        let key = change(object).key();
        world.delete(key.kind, &key.namespace, &key.name);
    }
    assert_eq!(told(&world).len(), 1, "only the fixed policy is left");
}
