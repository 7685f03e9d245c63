//! What clients see.

use super::values::*;
use super::world::*;
use crate::state::{Entry, Form, Key, Kind};
use crate::table::Table;
use std::time::Duration;
use weft_core::policy::Ruleset;
use weft_proto::ads::encode_resource;
use weft_xds::{AgentPods, Answer, Effect, Mesh, Role, TypeState};

#[tokio::test]
async fn a_proxy_sees_the_mesh_and_what_becomes_of_it() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.1", &["web"]));
        batch.put_workload(&workload("b", "10.0.0.2", &["web"]));
        batch.put_service(&service("web", "10.96.0.1"));
        batch.put_policy(&policy("p"));
        batch.put_agent_pod(&agent_pod("a", "n1"));
    });
    let (mut view, _tasks) = run::<Mesh>(world.config(Role::NodeProxy, "n1"));
    let sync = soon(view.usable()).await.unwrap();
    assert!(sync.is_in_sync() && sync.types.iter().all(|one| one.rejected.is_empty()), "{sync:?}");
    assert!(sync.types.iter().all(|one| one.state == TypeState::InSync));
    let snapshot = view.now();
    assert_eq!(**snapshot.workload(&uid("a")).unwrap(), workload("a", "10.0.0.1", &["web"]));
    assert_eq!(snapshot.endpoints(&service_name("web")).count(), 2);
    assert_eq!(snapshot.policies().count(), 1);

    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.9", &["web"]));
        batch.remove_workload(&uid("b"));
        batch.remove_service(&service_name("web"));
        batch.remove_policy(&policy_name("p"));
    });
    until(&mut view, |now| now.policies().count() == 0).await;
    let now = view.now();
    assert!(now.workload_at(&addr("10.0.0.9")).is_some() && now.workload_at(&addr("10.0.0.1")).is_none());
    assert!(now.workload(&uid("b")).is_none() && now.service(&service_name("web")).is_none());
    // The one who looked before still sees what was.
    assert!(snapshot.workload(&uid("b")).is_some());
    let streams = world.clients.streams();
    assert_eq!((streams.len(), streams[0].role, &*streams[0].node), (1, crate::Role::NodeProxy, "n1"));
}

#[tokio::test]
async fn an_empty_table_is_not_an_empty_cluster() {
    let mut world = World::start().await;
    let (mut view, _tasks) = run::<Mesh>(world.config(Role::NodeProxy, "n1"));
    soon(async {
        while view.sync().connected_since.is_none() {
            view.sync_changed().await.unwrap();
        }
    })
    .await;
    assert!(!view.sync().is_usable());
    world.apply(|_| {});
    soon(view.usable()).await.unwrap();
}

#[tokio::test]
async fn an_agent_sees_the_pods_of_its_node_and_no_others() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_agent_pod(&agent_pod("a", "n1"));
        batch.put_agent_pod(&agent_pod("b", "n2"));
        batch.put_workload(&workload("a", "10.0.0.1", &[]));
    });
    let (mut one, _one) = run::<AgentPods>(world.config(Role::Agent, "n1"));
    let (mut two, _two) = run::<AgentPods>(world.config(Role::Agent, "n2"));
    until(&mut one, |pods| pods.len() == 1).await;
    until(&mut two, |pods| pods.len() == 1).await;
    assert_eq!(*one.now()[&uid("a")], agent_pod("a", "n1"));
    assert_eq!(*two.now()[&uid("b")], agent_pod("b", "n2"));

    // The same name on another node: one loses it, the other gets it.
    world.apply(|batch| {
        batch.put_agent_pod(&agent_pod("a", "n2"));
        batch.remove_agent_pod(&weft_core::names::NodeName::new("n1"), &uid("a"));
    });
    until(&mut one, |pods| pods.is_empty()).await;
    until(&mut two, |pods| pods.len() == 2).await;
}

/// Puts bytes into the table that no batch would.
fn put_raw(table: &mut Table, kind: Kind, name: &str, body: &[u8]) {
    let encoded = encode_resource(name, Vec::new(), "bad", kind.type_url(), body.to_vec());
    let key = Key { kind, scope: "".into(), name: name.into() };
    let form = Form { version: "bad".into(), encoded };
    let entry = Entry { form, for_waypoints: None, links: Vec::new(), by_name: false };
    table.apply(crate::Batch(vec![crate::batch::Op::Put(key, entry)]));
}

#[tokio::test]
async fn what_is_not_understood_is_rejected_and_a_policy_denies() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.1", &[]));
        batch.put_policy(&policy("p"));
    });
    let (mut view, _tasks) = run::<Mesh>(world.config(Role::NodeProxy, "n1"));
    until(&mut view, |now| now.workloads().len() == 1).await;

    put_raw(&mut world.table, Kind::Authorization, "default/p", &[0xff]);
    until(&mut view, |now| now.policies().all(|policy| matches!(policy.ruleset, Ruleset::Unusable(_)))).await;
    put_raw(&mut world.table, Kind::Address, uid("a").as_str(), &[0xff]);
    soon(async {
        while world.clients.nacks() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // A workload that is not understood stays as it was.
    assert_eq!(**view.now().workload(&uid("a")).unwrap(), workload("a", "10.0.0.1", &[]));
    let rejected: Vec<_> = view.sync().types.iter().flat_map(|one| one.rejected.clone()).collect();
    let effects: Vec<_> = rejected.iter().map(|one| (&*one.name, one.effect)).collect();
    assert_eq!(effects, [("default/p", Effect::Denies), (uid("a").as_str(), Effect::Kept)]);
    let nacks = &world.clients.streams()[0].nacks;
    assert!(nacks[0].message.starts_with("default/p: not a message"), "{nacks:?}");
    assert!(nacks[1].message.starts_with(uid("a").as_str()), "{nacks:?}");

    // Mended, nothing is rejected any more.
    world.apply(|batch| {
        batch.put_policy(&policy("p"));
        batch.put_workload(&workload("a", "10.0.0.2", &[]));
    });
    until(&mut view, |now| now.workload_at(&addr("10.0.0.2")).is_some()).await;
    soon(async {
        while view.sync().types.iter().any(|one| !one.rejected.is_empty()) {
            view.sync_changed().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_goes_on_after_the_control_plane_was_away() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_workload(&workload("stays", "10.0.0.1", &[]));
        batch.put_workload(&workload("goes", "10.0.0.2", &[]));
    });
    let (mut view, _tasks) = run::<Mesh>(world.config(Role::NodeProxy, "n1"));
    until(&mut view, |now| now.workloads().len() == 2).await;
    let stays = view.now().workload(&uid("stays")).unwrap().clone();

    world.stop().await;
    soon(async {
        while view.sync().connected_since.is_some() {
            view.sync_changed().await.unwrap();
        }
    })
    .await;
    assert!(view.sync().last_error.is_some() && view.sync().is_usable());
    assert_eq!(view.now().workloads().len(), 2);
    // A question that is asked now is answered when somebody is there.
    let asked = {
        let view = view.clone();
        async move { view.ask(addr("10.0.0.3")).await }
    };
    world.apply(|batch| {
        batch.remove_workload(&uid("goes"));
        batch.put_workload(&workload("comes", "10.0.0.3", &[]));
    });
    let (answer, ()) = tokio::join!(soon(asked), world.serve());
    assert!(matches!(answer, Answer::Known(now) if now.workload(&uid("comes")).is_some()));
    until(&mut view, |now| now.workload(&uid("goes")).is_none()).await;
    // What did not change did not come again: it is the very same value.
    assert!(std::sync::Arc::ptr_eq(&stays, view.now().workload(&uid("stays")).unwrap()));
}

#[tokio::test]
async fn a_control_plane_without_the_right_certificate_is_not_believed() {
    let world = World::start().await;
    let other = World::start().await;
    let mut config = world.config(Role::NodeProxy, "n1");
    config.control.roots = other.config(Role::NodeProxy, "n1").control.roots;
    let (mut view, _tasks) = run::<Mesh>(config);
    let error = soon(async {
        loop {
            if let Some(error) = view.sync().last_error.clone() {
                break error;
            }
            view.sync_changed().await.unwrap();
        }
    })
    .await;
    assert!(error.contains("certificate"), "{error}");
    assert!(world.clients.streams().is_empty());
}
