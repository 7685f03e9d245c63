//! What several workers hold in common: who is left alone, and what is left to try again, is the same for all of them.

use crate::backend::{Backend, reply};
use crate::client::{Client, get};
use crate::words::{forward, to, with};
use crate::world::{OK, World, eventually, run};
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::rc::Rc;
use tokio::sync::Semaphore;

/// Tunnels are spread over the workers, so that each has some.
const CLIENTS: usize = 16;

async fn world() -> World {
    World::start_with(&[("WEFT_WORKERS", "4")]).await
}

/// Says it, and waits until every client's worker goes by it.
async fn said(world: &World, more: Value, settings: Value) -> Vec<Client> {
    let rules = [(json!({}), forward(&[to("web", 1)], more))];
    let marker = world.say("web", &rules, &json!({ "settings": settings }));
    let clients = join_all((0..CLIENTS).map(|_| world.client())).await;
    for client in &clients {
        eventually(|| async {
            (client.get("web", "/the-tests-own-generation").await.text() == marker).then_some(())
        })
        .await;
    }
    clients
}

fn outlier(more: Value) -> Value {
    let words =
        json!({"consecutive5xx": 5, "interval": 1_000, "base": 3_600_000, "max": 3_600_000, "healthyMin": 0});
    json!({"balancer": "roundRobin", "outlier": with(words, more)})
}

#[test]
fn failures_are_counted_by_all_workers_together() {
    run(async {
        let world = world().await;
        let bad = world.backend("web", 10, Backend::replying(|_| reply(500, "ill"))).await;
        let good = world.backend("web", 11, Backend::named("good")).await;
        let clients = said(&world, json!({}), outlier(json!({"ejectedMax": 1_000_000}))).await;
        let before = (bad.hits(), good.hits());
        for _ in 0..4 {
            for client in &clients {
                client.get("web", "/").await;
            }
        }
        let hits = (bad.hits() - before.0, good.hits() - before.1);
        assert_eq!(hits, (5, 4 * CLIENTS - 5), "it is left alone by all after five");
    });
}

#[test]
fn a_success_of_one_worker_ends_the_row_of_all() {
    run(async {
        let world = world().await;
        // Four of five fail, whoever asks.
        let flaky = Backend::replying(|before| reply(if before % 5 == 4 { 200 } else { 500 }, ""));
        let flaky = world.backend("web", 10, flaky).await;
        let _good = world.backend("web", 11, Backend::named("good")).await;
        let clients = said(&world, json!({}), outlier(json!({"ejectedMax": 1_000_000}))).await;
        for _ in 0..8 {
            for client in &clients {
                client.get("web", "/").await;
            }
        }
        assert!(flaky.hits() > 2 * CLIENTS, "{} of {}", flaky.hits(), 8 * CLIENTS);
    });
}

#[test]
fn no_more_are_left_alone_than_may_be_of_all_workers() {
    run(async {
        let world = world().await;
        for host in 10..14 {
            world.backend("web", host, Backend::replying(|_| reply(500, "ill"))).await;
        }
        // One of four.
        let clients =
            said(&world, json!({}), outlier(json!({"consecutive5xx": 1, "ejectedMax": 250_000}))).await;
        for _ in 0..8 {
            for client in &clients {
                assert_eq!(client.get("web", "/").await.status, 500);
            }
        }
        let told = world.told("/endpoints");
        // A row for each worker.
        let ejected = told.as_array().expect("a list").iter().filter(|row| row["ejected"] == true);
        let names: BTreeSet<&str> = ejected.filter_map(|row| row["workload"].as_str()).collect();
        assert_eq!(names.len(), 1, "{told}");
    });
}

#[test]
fn shares_of_failures_are_of_all_workers() {
    run(async {
        let world = world().await;
        // Never two in a row.
        let flaky = Backend::replying(|before| reply(if before % 2 == 0 { 500 } else { 200 }, ""));
        let flaky = world.backend("web", 10, flaky).await;
        let _good = world.backend("web", 11, Backend::named("good")).await;
        let words = json!({
            "consecutive5xx": null, "ejectedMax": 1_000_000,
            "failureShare": {"endpointsMin": 2, "requestsMin": 8, "above": 400_000},
        });
        let clients = said(&world, json!({}), outlier(words)).await;
        eventually(|| async {
            let before = flaky.hits();
            for _ in 0..4 {
                join_all(clients.iter().map(|client| client.get("web", "/"))).await;
            }
            (flaky.hits() == before).then_some(())
        })
        .await;
    });
}

fn one_retry() -> Value {
    json!({"retry": {"retries": 1, "on": {"conditions": ["5xx"]}, "backoff": {"base": 1, "max": 1}, "elsewhereFirst": true}})
}

#[test]
fn a_rate_of_retries_is_of_all_workers() {
    run(async {
        let world = world().await;
        let bad = world.backend("web", 10, Backend::replying(|_| reply(503, ""))).await;
        let budget =
            json!({"rate": {"share": 0, "interval": 3_600_000, "always": 4, "alwaysInterval": 3_600_000}});
        let clients = said(&world, one_retry(), json!({ "retryBudget": budget })).await;
        let before = bad.hits();
        for client in &clients {
            client.get("web", "/").await;
            client.get("web", "/").await;
        }
        assert_eq!(bad.hits() - before, 2 * CLIENTS + 4);
    });
}

#[test]
fn a_budget_of_what_goes_on_is_free_again_when_its_tries_are_over() {
    run(async {
        let world = world().await;
        let gate = Rc::new(Semaphore::new(0));
        let bad = world.backend("web", 10, Backend::failing_behind(&gate)).await;
        // Three of ten, and no more for the pool's own limit.
        let budget = json!({"atATime": {"share": 300_000, "always": 1}});
        let settings = json!({"retryBudget": budget, "limits": {"retries": 1}});
        let clients = said(&world, one_retry(), settings).await;
        for round in 1..=2 {
            let before = bad.hits();
            let asking = join_all(clients[..10].iter().map(|client| client.ask("web", get("/", &[]))));
            let watching = async {
                eventually(|| async { (bad.hits() >= before + 10).then_some(()) }).await;
                gate.add_permits(10);
                eventually(|| async { (bad.hits() >= before + 13).then_some(()) }).await;
                gate.add_permits(3);
            };
            let (answers, ()) = futures::join!(asking, watching);
            assert!(answers.iter().all(|answer| answer.status == 503));
            assert_eq!(bad.hits(), before + 13, "in round {round}");
        }
        assert_eq!(clients[0].get("web", "/the-tests-own-generation").await.status, OK);
    });
}
