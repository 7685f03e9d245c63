//! Questions for single addresses.

use super::values::*;
use super::world::*;
use weft_xds::{Answer, Mesh, Role, Subscribe};

#[tokio::test]
async fn who_sees_everything_may_ask_all_the_same() {
    let mut world = World::start().await;
    world.apply(|batch| batch.put_workload(&workload("a", "10.0.0.1", &[])));
    let (view, _tasks) = run::<Mesh>(world.config(Role::NodeProxy, "n1"));
    for (case, ip, known) in [("known", "10.0.0.1", true), ("unknown", "10.0.0.2", false)] {
        let answer = soon(view.ask(addr(ip))).await;
        assert_eq!(matches!(answer, Answer::Known(_)), known, "{case}");
        assert_eq!(matches!(answer, Answer::Unknown), !known, "{case}");
    }
}

#[tokio::test]
async fn only_what_was_asked_for_is_told_and_followed() {
    let mut world = World::start().await;
    world.apply(|batch| {
        batch.put_service(&service("web", "10.96.0.1"));
        batch.put_workload(&workload("web-1", "10.0.0.1", &["web"]));
        batch.put_workload(&workload("other", "10.0.0.2", &[]));
        batch.put_policy(&policy("p"));
    });
    let mut config = world.config(Role::NodeProxy, "n1");
    config.subscribe = Subscribe::OnDemand;
    let (mut view, _tasks) = run::<Mesh>(config);
    soon(view.usable()).await.unwrap();
    assert_eq!(view.now().workloads().len(), 0);
    assert_eq!(view.now().policies().len(), 1, "policies are never on demand");

    let Answer::Known(now) = soon(view.ask(addr("10.96.0.1"))).await else { panic!("the service is known") };
    assert_eq!(now.endpoints(&service_name("web")).count(), 1, "a service comes with its endpoints");
    assert!(now.workload(&uid("other")).is_none());
    assert!(matches!(soon(view.ask(addr("10.0.0.77"))).await, Answer::Unknown));

    world.apply(|batch| {
        batch.put_workload(&workload("web-2", "10.0.0.3", &["web"]));
        batch.remove_workload(&uid("web-1"));
        batch.put_workload(&workload("other", "10.0.0.4", &[]));
    });
    until(&mut view, |now| now.workload(&uid("web-2")).is_some() && now.workload(&uid("web-1")).is_none())
        .await;
    assert!(view.now().workload(&uid("other")).is_none());

    // The subscription outlives the connection.
    world.stop().await;
    world.apply(|batch| {
        batch.put_workload(&workload("web-3", "10.0.0.5", &["web"]));
        batch.remove_workload(&uid("web-2"));
    });
    world.serve().await;
    until(&mut view, |now| now.workload(&uid("web-3")).is_some() && now.workload(&uid("web-2")).is_none())
        .await;
    assert!(view.now().workload(&uid("other")).is_none());
}

#[tokio::test]
async fn a_question_that_is_taken_back_leaves_nothing_behind() {
    let mut world = World::start().await;
    let (view, _tasks) = run::<Mesh>(world.config(Role::NodeProxy, "n1"));
    // The table serves nothing yet, so there is no answer.
    let patience = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(patience, view.ask(addr("10.0.0.1"))).await.is_err());
    world.apply(|batch| batch.put_workload(&workload("a", "10.0.0.1", &[])));
    assert!(matches!(soon(view.ask(addr("10.0.0.1"))).await, Answer::Known(_)));
}
