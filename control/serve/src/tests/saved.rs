//! The last known configuration.

use super::values::*;
use super::world::*;
use weft_xds::{AgentPods, Mesh, Role, TypeState};

#[tokio::test]
async fn a_client_that_starts_alone_knows_what_the_last_one_knew() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_workload(&workload("a", "10.0.0.1", &["web"]));
        batch.put_service(&service("web", "10.96.0.1"));
        batch.put_policy(&policy("p"));
    });
    let mut config = world.config(Role::NodeProxy, "n1");
    let file = world.folder.path().join("state/discovery");
    config.state_file = Some(file.clone());
    let (mut view, tasks) = run::<Mesh>(config.clone());
    until(&mut view, |now| now.workloads().len() == 1 && now.policies().len() == 1).await;
    exists(&file).await;
    // Renamed over, so never half there; but the first one may be older than the last change.
    soon(async {
        while !std::fs::read(&file).unwrap().windows(5).any(|part| part == b"web-1" || part == b"web.d") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    drop(tasks);
    world.stop().await;
    let before = view.now();

    let (mut view, _tasks) = run::<Mesh>(config.clone());
    let sync = soon(view.usable()).await.unwrap();
    assert!(sync.types.iter().all(|one| one.state == TypeState::Saved), "{sync:?}");
    let now = view.now();
    assert_eq!(now.workload(&uid("a")), before.workload(&uid("a")));
    assert_eq!(now.service(&service_name("web")), before.service(&service_name("web")));
    assert_eq!(now.policies().collect::<Vec<_>>(), before.policies().collect::<Vec<_>>());

    // What went meanwhile goes when the control plane is back.
    world.apply(|batch| batch.remove_workload(&uid("a")));
    world.serve().await;
    until(&mut view, |now| now.workloads().len() == 0).await;
    assert!(view.now().service(&service_name("web")).is_some());
}

#[tokio::test]
async fn a_corrupt_file_is_as_good_as_none() {
    let mut world = World::start().await;
    let file = world.folder.path().join("state");
    std::fs::write(&file, b"weftlkc\x01garbage that is long enough").unwrap();
    let mut config = world.config(Role::Agent, "n1");
    config.state_file = Some(file);
    let (mut view, _tasks) = run::<AgentPods>(config);
    assert!(!view.sync().is_usable());
    world.apply(|batch| batch.put_agent_pod(&agent_pod("a", "n1")));
    until(&mut view, |pods| pods.len() == 1).await;
}
