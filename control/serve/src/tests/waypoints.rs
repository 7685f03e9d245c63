//! What waypoints see, and who is one.

use super::values::*;
use super::world::*;
use std::sync::Arc;
use tonic::Code;
use weft_core::names::{GatewayName, PolicyName};
use weft_core::policy::{Action, Enforcement};
use weft_l7::policy::{Policy, PolicyScope, Ruleset};
use weft_l7::traffic::Traffic;
use weft_proto::ads::DeltaDiscoveryRequest;
use weft_proto::{ADDRESS_TYPE, Address, REQUEST_POLICY_TYPE, TRAFFIC_TYPE};

fn gateway(name: &str) -> GatewayName {
    GatewayName::new("weft-system", name)
}

fn traffic(service: &str) -> Traffic {
    Traffic { service: service_name(service), routes: Vec::new(), destination: Default::default() }
}

fn request_policy(name: &str) -> Policy {
    Policy {
        name: PolicyName::new("default", name),
        scope: PolicyScope::Waypoint,
        action: Action::Allow,
        enforcement: Enforcement::Enforced,
        ruleset: Ruleset::Rules(Vec::new()),
    }
}

fn all_of(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_subscribe: vec!["*".into()],
        ..DeltaDiscoveryRequest::default()
    }
}

async fn instance(world: &World, pod: &str) -> Raw {
    let token = world.token_bound("waypoint", pod);
    world.raw_of("waypoint", &format!("{pod}.weft-system"), Some(token)).await.unwrap()
}

#[tokio::test]
async fn each_waypoint_sees_its_own_policies_and_traffic() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_traffic(&gateway("wp"), &traffic("a"));
        batch.put_traffic(&gateway("other"), &traffic("b"));
        batch.put_request_policy(&gateway("wp"), &request_policy("p"));
        batch.put_request_policy(&gateway("other"), &request_policy("q"));
    });
    let (mut wp, mut other) = (instance(&world, "wp-1").await, instance(&world, "other-1").await);
    for (raw, service, name) in [(&mut wp, "a", "default/p"), (&mut other, "b", "default/q")] {
        raw.send(all_of(TRAFFIC_TYPE)).await;
        assert_eq!(raw.next().await.unwrap().names, [service_name(service).to_string()]);
        raw.send(all_of(REQUEST_POLICY_TYPE)).await;
        let seen = raw.next().await.unwrap();
        assert_eq!(seen.names, [name]);
        let json = weft_proto::decode_request_policy(&seen.bodies[0]).unwrap();
        let policy: Policy = serde_json::from_slice(&json).unwrap();
        assert_eq!(policy.name.to_string(), name);
    }
    // A change of one is none of the other's business: the next that it hears is its own.
    world.apply(|batch| batch.remove_request_policy(&gateway("wp"), &PolicyName::new("default", "p")));
    world.apply(|batch| batch.remove_traffic(&gateway("other"), &service_name("b")));
    assert_eq!(wp.next().await.unwrap().removed, ["default/p"]);
    assert_eq!(other.next().await.unwrap().removed, [service_name("b").to_string()]);
}

#[tokio::test]
async fn labels_are_told_to_waypoints_alone() {
    let mut world = World::start().await;
    let labelled = |version: &str| {
        let mut one = workload("a", "10.0.0.1", &[]);
        one.labels.insert("version".into(), version.into());
        one
    };
    world.apply(|batch| batch.put_workload(&labelled("v1")));
    let mut waypoint = instance(&world, "wp-1").await;
    let mut proxy = world.raw("ztunnel", Some(world.token("weft-node-proxy", "n1"))).await.unwrap();
    let labels = |seen: &Seen| -> Vec<Arc<str>> {
        let Ok(Address::Workload(one)) = weft_proto::decode_address(&seen.bodies[0]) else {
            panic!("{seen:?}");
        };
        one.labels.values().cloned().collect()
    };
    for raw in [&mut waypoint, &mut proxy] {
        raw.send(all_of(ADDRESS_TYPE)).await;
    }
    assert_eq!(labels(&waypoint.next().await.unwrap()), ["v1".into()]);
    let seen = proxy.next().await.unwrap();
    assert!(labels(&seen).is_empty());
    assert_ne!(seen.versions[uid("a").as_str()], "", "it has a version of its own");
    // Another label is no change to a proxy: the next that it hears is the one after.
    world.apply(|batch| batch.put_workload(&labelled("v2")));
    assert_eq!(labels(&waypoint.next().await.unwrap()), ["v2".into()]);
    world.apply(|batch| batch.put_workload(&workload("b", "10.0.0.2", &[])));
    assert_eq!(proxy.next().await.unwrap().names, [uid("b").as_str()]);
}

#[tokio::test]
async fn nobody_is_a_waypoint_by_saying_so() {
    let mut world = World::start().await;
    world.apply(|_| {});
    for (case, account, bound, says, code) in [
        ("an instance", "waypoint", "wp-1", "wp-1", None),
        ("another pod's token", "waypoint", "wp-2", "wp-1", Some(Code::PermissionDenied)),
        ("another account", "web", "wp-1", "wp-1", Some(Code::PermissionDenied)),
        ("no instance", "waypoint", "web", "web", Some(Code::FailedPrecondition)),
    ] {
        let token = world.token_bound(account, bound);
        let place = format!("{says}.weft-system");
        let mut raw = world.raw_of("waypoint", &place, Some(token)).await.unwrap();
        raw.send(all_of(TRAFFIC_TYPE)).await;
        assert_eq!(raw.next().await.err().map(|status| status.code()), code, "{case}");
    }
}

#[tokio::test]
async fn an_instance_of_another_waypoint_than_before_begins_anew() {
    let mut world = World::start().await;
    world.apply(|batch| batch.put_traffic(&gateway("wp"), &traffic("a")));
    let mut raw = instance(&world, "wp-1").await;
    raw.send(all_of(TRAFFIC_TYPE)).await;
    assert_eq!(raw.next().await.unwrap().names.len(), 1);
    *world.waypoints.0.lock() = Some("other");
    world.apply(|batch| batch.put_traffic(&gateway("wp"), &traffic("b")));
    assert_eq!(raw.next().await.err().map(|status| status.code()), Some(Code::Aborted));
    let mut raw = instance(&world, "wp-1").await;
    raw.send(all_of(TRAFFIC_TYPE)).await;
    assert!(raw.next().await.unwrap().names.is_empty());
}
