//! The messages themselves, seen by a client that is not ours.

use super::values::*;
use super::world::*;
use std::collections::HashMap;
use std::time::Duration;
use tonic::Code;
use weft_core::policy::PolicyScope;
use weft_proto::ads::DeltaDiscoveryRequest;
use weft_proto::{ADDRESS_TYPE, AGENT_POD_TYPE, AUTHORIZATION_TYPE};

fn wants(type_url: &str, subscribe: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.into(),
        resource_names_subscribe: subscribe.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn has(type_url: &str, versions: HashMap<String, String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { initial_resource_versions: versions, ..wants(type_url, &["*"]) }
}

#[tokio::test]
async fn a_stream_goes_on_from_versions() {
    let mut world = World::start().await;
    world.apply(|batch| {
        for (name, ip) in [("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")] {
            batch.put_workload(&workload(name, ip, &[]));
        }
    });
    let mut first = world.raw("ztunnel", Some(world.token("p", "n1"))).await.unwrap();
    // The older form: no names at all is everything.
    first.send(wants(ADDRESS_TYPE, &[])).await;
    let seen = first.next().await.unwrap();
    assert_eq!(seen.names, ["a", "b", "c"].map(|name| uid(name).to_string()));

    world.apply(|batch| {
        batch.put_workload(&workload("b", "10.0.0.9", &[]));
        batch.remove_workload(&uid("c"));
    });
    let change = first.next().await.unwrap();
    assert_eq!((change.names, change.removed), (vec![uid("b").to_string()], vec![uid("c").to_string()]));

    let mut second = world.raw("ztunnel", Some(world.token("p", "n1"))).await.unwrap();
    second.send(has(ADDRESS_TYPE, seen.versions)).await;
    let resumed = second.next().await.unwrap();
    assert_eq!((resumed.names, resumed.removed), (vec![uid("b").to_string()], vec![uid("c").to_string()]));

    let mut third = world.raw("ztunnel", Some(world.token("p", "n1"))).await.unwrap();
    let versions = HashMap::from([(uid("b").to_string(), resumed.versions[uid("b").as_str()].clone())]);
    third.send(has(ADDRESS_TYPE, versions)).await;
    assert_eq!(third.next().await.unwrap().names, [uid("a").to_string()]);
    // Nothing new is said too, or the client would wait for it.
    third.send(wants(AUTHORIZATION_TYPE, &["*"])).await;
    let none = third.next().await.unwrap();
    assert_eq!((none.type_url.as_str(), none.names.len()), (AUTHORIZATION_TYPE, 0));
}

#[tokio::test]
async fn policies_come_before_workloads_and_go_after_them() {
    let mut world = World::start().await;
    world.apply(|_| {});
    let mut raw = world.raw("ztunnel", Some(world.token("p", "n1"))).await.unwrap();
    raw.send(wants(ADDRESS_TYPE, &["*"])).await;
    raw.send(wants(AUTHORIZATION_TYPE, &["*"])).await;
    raw.next().await.unwrap();
    raw.next().await.unwrap();
    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.1", &[]));
        batch.put_policy(&policy("p"));
    });
    let order = [raw.next().await.unwrap(), raw.next().await.unwrap()].map(|seen| seen.type_url);
    assert_eq!(order, [AUTHORIZATION_TYPE, ADDRESS_TYPE]);
    world.apply(|batch| {
        batch.remove_policy(&policy_name("p"));
        batch.remove_workload(&uid("a"));
    });
    let order = [raw.next().await.unwrap(), raw.next().await.unwrap()].map(|seen| seen.type_url);
    assert_eq!(order, [ADDRESS_TYPE, AUTHORIZATION_TYPE]);
}

#[tokio::test]
async fn a_policy_holds_for_all_until_those_that_it_is_for_name_it() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.1", &[]));
        batch.put_policy(&policy("p"));
    });
    let mut raw = world.raw("ztunnel", Some(world.token("p", "n1"))).await.unwrap();
    raw.send(wants(AUTHORIZATION_TYPE, &["*"])).await;
    raw.next().await.unwrap();
    raw.send(wants(ADDRESS_TYPE, &["*"])).await;
    raw.next().await.unwrap();
    let scoped = |scope| weft_core::policy::Policy { scope, ..policy("p") };
    let named = |policies: &[weft_core::names::PolicyName]| {
        let policies = policies.to_vec();
        weft_core::workload::Workload { policies, ..workload("a", "10.0.0.1", &[]) }
    };
    let mut told = async |names: &[_], scope| {
        world.apply(|batch| {
            batch.put_workload(&named(names));
            batch.put_policy(&scoped(scope));
        });
        [raw.next().await.unwrap(), raw.next().await.unwrap()].map(|seen| seen.type_url)
    };
    let (all, some) = (PolicyScope::Namespace, PolicyScope::Selector);
    assert_eq!(told(&[policy_name("p")], some).await, [ADDRESS_TYPE, AUTHORIZATION_TYPE], "for fewer");
    assert_eq!(told(&[], all).await, [AUTHORIZATION_TYPE, ADDRESS_TYPE], "for all again");
    assert_eq!(told(&[policy_name("p")], some).await, [ADDRESS_TYPE, AUTHORIZATION_TYPE], "and for fewer");
}

#[tokio::test]
async fn a_slow_reader_gets_the_last_word_and_not_every_one() {
    const CHANGES: usize = 3000;
    let mut world = World::start().await;
    world.apply(|_| {});
    let mut raw = world.raw("ztunnel", Some(world.token("p", "n1"))).await.unwrap();
    raw.send(wants(ADDRESS_TYPE, &["*"])).await;
    raw.next().await.unwrap();
    for round in 0..CHANGES {
        let mut big = workload("a", "10.0.0.1", &[]);
        big.workload_name = "x".repeat(4096).into();
        big.weight = u32::try_from(round).unwrap();
        world.apply(|batch| batch.put_workload(&big));
        tokio::task::yield_now().await;
    }
    world.apply(|batch| batch.remove_workload(&uid("a")));
    let mut pushes = 0;
    while raw.next().await.unwrap().removed.is_empty() {
        pushes += 1;
    }
    assert!(pushes < CHANGES / 2, "{pushes} pushes");
}

#[tokio::test]
async fn names_beside_all_stay_when_all_is_left() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.1", &[]));
        batch.put_workload(&workload("b", "10.0.0.2", &[]));
    });
    let mut raw = world.raw("ztunnel", Some(world.token("p", "n1"))).await.unwrap();
    raw.send(wants(ADDRESS_TYPE, &["*", uid("a").as_str()])).await;
    assert_eq!(raw.next().await.unwrap().names, [uid("a").to_string(), uid("b").to_string()]);
    let leave = |name: &str| {
        let mut leave = wants(ADDRESS_TYPE, &["/10.0.0.9"]);
        leave.resource_names_unsubscribe = vec![name.to_owned()];
        leave
    };
    raw.send(leave("*")).await;
    // An answer says that it was heard.
    assert_eq!(raw.next().await.unwrap().removed, ["/10.0.0.9"]);
    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.3", &[]));
        batch.put_workload(&workload("b", "10.0.0.4", &[]));
    });
    assert_eq!(raw.next().await.unwrap().names, [uid("a").to_string()]);

    raw.send(leave(uid("a").as_str())).await;
    assert_eq!(raw.next().await.unwrap().removed, ["/10.0.0.9"]);
    world.apply(|batch| {
        batch.remove_workload(&uid("a"));
        batch.put_workload(&workload("c", "10.0.0.9", &[]));
    });
    let seen = raw.next().await.unwrap();
    assert_eq!((seen.names, seen.removed), (vec![uid("c").to_string()], vec![]), "it has been let go of");
}

#[tokio::test]
async fn names_are_answered_one_by_one_and_left_again() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.1", &[]));
        batch.put_workload(&workload("b", "10.0.0.2", &[]));
    });
    let mut raw = world.raw("ztunnel", Some(world.token("p", "n1"))).await.unwrap();
    raw.send(wants(ADDRESS_TYPE, &["/10.0.0.1", uid("b").as_str(), "/10.0.0.3"])).await;
    let seen = raw.next().await.unwrap();
    assert_eq!(seen.names, [uid("a").to_string(), uid("b").to_string()]);
    assert_eq!(seen.removed, ["/10.0.0.3"]);

    // The address moves to another workload.
    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.8", &[]));
        batch.put_workload(&workload("c", "10.0.0.1", &[]));
    });
    let seen = raw.next().await.unwrap();
    assert_eq!((seen.names, seen.removed), (vec![uid("c").to_string()], vec![uid("a").to_string()]));

    let mut leave = wants(ADDRESS_TYPE, &[]);
    leave.resource_names_unsubscribe = vec![uid("b").to_string()];
    raw.send(leave).await;
    raw.send(wants(ADDRESS_TYPE, &["/10.0.0.8"])).await;
    assert_eq!(raw.next().await.unwrap().names, [uid("a").to_string()]);
    world.apply(|batch| {
        batch.put_workload(&workload("b", "10.0.0.5", &[]));
        batch.remove_workload(&uid("c"));
    });
    let seen = raw.next().await.unwrap();
    assert!(seen.names.is_empty(), "b is not wanted any more: {seen:?}");
    assert!(seen.removed.contains(&uid("c").to_string()), "{seen:?}");
}

#[tokio::test]
async fn who_is_not_known_or_not_allowed_gets_nothing() {
    let mut world = World::start().await;
    world.apply(|batch| batch.put_agent_pod(&agent_pod("a", "n1")));
    let fresh = Duration::from_secs(600);
    let other = World::start().await;
    for (case, role, token, type_url, want) in [
        ("no token", "ztunnel", None, ADDRESS_TYPE, Code::Unauthenticated),
        ("no token's shape", "ztunnel", Some("x".into()), ADDRESS_TYPE, Code::Unauthenticated),
        ("another key", "ztunnel", Some(other.token("p", "n1")), ADDRESS_TYPE, Code::Unauthenticated),
        (
            "expired",
            "ztunnel",
            Some(world.token_of_pod("p", "n1", "u", Duration::ZERO)),
            ADDRESS_TYPE,
            Code::Unauthenticated,
        ),
        ("no role", "envoy", Some(world.token("p", "n1")), ADDRESS_TYPE, Code::InvalidArgument),
        (
            "a proxy asks for pods",
            "ztunnel",
            Some(world.token("weft-node-proxy", "n1")),
            AGENT_POD_TYPE,
            Code::InvalidArgument,
        ),
        (
            "an agent asks for the mesh",
            "agent",
            Some(world.token("weft-agent", "n1")),
            ADDRESS_TYPE,
            Code::InvalidArgument,
        ),
        (
            "somebody else as an agent",
            "agent",
            Some(world.token("web", "n1")),
            AGENT_POD_TYPE,
            Code::PermissionDenied,
        ),
        (
            "an agent whose pod is gone",
            "agent",
            Some(world.token_of_pod("weft-agent", "n1", "gone", fresh)),
            AGENT_POD_TYPE,
            Code::FailedPrecondition,
        ),
    ] {
        let code = match world.raw(role, token).await {
            Err(status) => status.code(),
            Ok(mut raw) => {
                raw.send(wants(type_url, &["*"])).await;
                raw.next().await.expect_err(case).code()
            }
        };
        assert_eq!(code, want, "{case}");
    }
    assert!(world.clients.streams().is_empty());
}
