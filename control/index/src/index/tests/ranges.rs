//! What is told of the ranges that nodes give their pods addresses from.

use super::world::{World, node};
use serde_json::{Value, json};
use weft_control_api::kind::Kind;
use weft_core::names::ServiceName;
use weft_core::service::VipKind;

fn with_spec(name: &str, spec: Value) -> Value {
    let mut node = node(name);
    node["spec"] = spec;
    node
}

fn told(world: &World) -> Vec<String> {
    let name = ServiceName::new("weft-system", "pod-ranges.weft.internal");
    let service = world.0.service(&name);
    let vips = service.into_iter().flat_map(|service| &service.vips);
    vips.map(|vip| {
        assert_eq!(vip.kind, VipKind::Cluster);
        vip.range.to_string()
    })
    .collect()
}

#[test]
fn ranges_of_all_nodes_are_told_as_few() {
    let mut world = World::of([node("n1")]);
    assert_eq!(told(&world), [""; 0], "nobody says any");
    world.put(with_spec(
        "n1",
        json!({"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00:244::/64"]}),
    ));
    assert_eq!(told(&world), ["10.244.0.0/24", "fd00:244::/64"]);
    let diff = world.put(with_spec("n2", json!({"podCIDR": "10.244.1.0/24"})));
    assert_eq!(diff.services.upserted.len(), 1);
    assert_eq!(told(&world), ["10.244.0.0/23", "fd00:244::/64"], "neighbours are one");
    let diff = world.put(with_spec("n2", json!({"podCIDR": "10.244.1.0/24", "unschedulable": true})));
    assert!(diff.services.upserted.is_empty(), "nothing else is told");
    world.put(with_spec("n2", json!({"podCIDR": "10.244.1.0/240"})));
    assert_eq!(told(&world), ["10.244.0.0/23", "fd00:244::/64"], "a broken one stays as it was");
    world.delete(Kind::Node, "", "n1");
    assert_eq!(told(&world), ["10.244.1.0/24"]);
    let diff = world.delete(Kind::Node, "", "n2");
    assert_eq!((diff.services.removed.len(), told(&world).len()), (1, 0));
}
