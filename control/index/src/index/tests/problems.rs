//! Objects that cannot be taken: the last good version stays, and all is told.

use super::world::{World, namespace, pod, service, slice, with};
use serde_json::json;
use weft_control_api::kind::Kind;

#[test]
fn what_is_no_policy_keeps_its_last_good_version() {
    for (case, good, bad, field) in [
        ("unknown field", service("web", "10.1.0.1"), json!({"spec": {"slector": {}}}), "spec.slector"),
        (
            "no address",
            service("web", "10.1.0.1"),
            json!({"spec": {"externalIPs": ["x"]}}),
            "spec.externalIPs[0]",
        ),
        (
            "no port",
            service("web", "10.1.0.1"),
            json!({"spec": {"ports": [{"port": 0}]}}),
            "spec.ports[0].port",
        ),
        (
            "affinity",
            service("web", "10.1.0.1"),
            json!({"spec": {"sessionAffinity": "Cookie"}}),
            "spec.sessionAffinity",
        ),
        (
            "pod",
            pod("web", "10.0.0.1"),
            json!({"status": {"podIPs": [{"ip": "10.0.0"}]}}),
            "status.podIPs[0].ip",
        ),
        (
            "account",
            pod("web", "10.0.0.1"),
            json!({"spec": {"serviceAccountName": "a/b"}}),
            "spec.serviceAccountName",
        ),
        (
            "slice",
            slice("web-1", "web", json!([{"addresses": ["10.0.0.1"]}])),
            json!({"endpoints": [{"addresses": ["10.0.0.1", "x"]}]}),
            "endpoints[0].addresses[1]",
        ),
    ] {
        let mut world = World::of([good.clone()]);
        let diff = world.put(with(good.clone(), bad));
        assert_eq!((diff.workloads.is_empty(), diff.services.is_empty()), (true, true), "{case}");
        assert_eq!(diff.problems[0].1[0].field, field, "{case}");
        let diff = world.put(good);
        assert!(diff.problems[0].1.is_empty(), "{case}, mended");
    }
}

#[test]
fn warnings_are_told_and_refuse_nothing() {
    let mut world = World::of([namespace(json!({"weft.dev/mesh": "yes"}))]);
    let same = json!({"spec": {"trafficDistribution": "PreferMoon"}});
    world.put(with(service("web", "10.1.0.1"), same));
    world.put(with(
        pod("web", "10.0.0.1"),
        json!({"metadata": {"annotations": {"weft.dev/existing": "drop"}}}),
    ));
    assert_eq!(
        world.problems(),
        [
            "warning test: Namespace shop: metadata.labels.weft.dev/mesh: \"yes\" means nothing here: enabled and disabled do; it counts as enabled",
            "warning test: Pod shop/web: metadata.annotations.weft.dev/existing: \"drop\" means nothing here: keep and reset do; it counts as keep",
            "warning test: Service shop/web: spec.trafficDistribution: \"PreferMoon\" is not known; endpoints count alike",
        ]
    );
    world.delete(Kind::Namespace, "", "shop");
    assert_eq!(world.problems().len(), 2);
}
