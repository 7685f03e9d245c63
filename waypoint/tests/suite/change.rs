//! Changes while requests run, and the end of a waypoint.

use crate::backend::Backend;
use crate::client::get;
use crate::words::{forward, to, workload};
use crate::world::{OK, World, all_to, eventually, in_both, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use weft_core::service::AppProtocol;
use weft_core::workload::{TunnelProtocol, Workload};

#[test]
fn a_hundred_changes_a_second_fail_no_request() {
    in_both(|dialect| async move {
        let world = World::start().await.spoken_to_in(dialect);
        world.put_service("a", AppProtocol::Http11);
        world.put_service("b", AppProtocol::Http11);
        let a = world.backend("a", 10, Backend::named("a")).await;
        let b = world.backend("b", 11, Backend::named("b")).await;
        world.routes("web", &all_to("a")).await;
        let client = world.client().await;
        let done = std::rc::Rc::new(std::cell::Cell::new(false));
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut sender = client.http1("web").await;
            let done = done.clone();
            clients.push(spawn_local(async move {
                let mut count = 0;
                while !done.get() {
                    sender.ready().await.expect("the connection stays");
                    let response = sender.send_request(get("/", &[])).await.expect("a response");
                    assert_eq!(response.status(), OK);
                    let answer = crate::client::whole(response).await;
                    assert!(["a", "b"].contains(&&*answer.text()));
                    count += 1;
                }
                count
            }));
        }
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        for number in 0..300_u32 {
            ticks.tick().await;
            let rules = [(json!({}), forward(&[to("a", number % 2), to("b", (number + 1) % 2)], json!({})))];
            let destination = json!({"settings": {"limits": {"requests": 1000 + number}}});
            world.say("web", &rules, &destination);
            let mut extra = workload("a-10", world.ip(10), "a", TunnelProtocol::Plain);
            extra.weight = 1 + number % 3;
            world.put_workload(&extra);
        }
        done.set(true);
        let mut served = 0;
        for client in clients {
            served += client.await.expect("no request failed");
        }
        assert_eq!(a.hits() + b.hits(), served);
        assert!(a.hits() > 0 && b.hits() > 0, "changes took effect while requests ran");
    });
}

#[test]
fn an_endpoint_that_leaves_answers_what_it_was_asked() {
    for terminating in [true, false] {
        run(async {
            let world = World::start().await;
            let gate = Rc::new(Semaphore::new(0));
            let old = world.backend("web", 10, Backend::waiting_at("/begun", "old", &gate)).await;
            world.routes("web", &all_to("web")).await;
            let (client, before) = (world.client().await, old.hits());
            let leaves = async {
                eventually(|| async { (old.hits() > before).then_some(()) }).await;
                world.backend("web", 11, Backend::named("new")).await;
                let leaving = workload("web-10", world.ip(10), "web", TunnelProtocol::Plain);
                if terminating {
                    world.put_workload(&Workload { terminating, ..leaving });
                } else {
                    world.take_workload(&leaving);
                }
                // Of two that share the requests one is asked fifty times in a row when the other one is not asked.
                eventually(|| async {
                    for _ in 0..50 {
                        if client.get("web", "/next").await.text() != "new" {
                            return None;
                        }
                    }
                    Some(())
                })
                .await;
                gate.add_permits(1);
            };
            let (begun, ()) = futures::future::join(client.get("web", "/begun"), leaves).await;
            assert_eq!((begun.status, &*begun.text()), (OK, "old"), "terminating: {terminating}");
        });
    }
}

#[test]
fn a_drain_lets_requests_end_and_closes_in_order() {
    in_both(|dialect| async move {
        let mut world = World::start().await.spoken_to_in(dialect);
        let slow = world.backend("web", 10, Backend::slow(Duration::from_secs(1))).await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        let mut idle = client.raw("web").await;
        let mut one = client.http1("web").await;
        let mut two = client.http2("web").await;
        let running = futures::future::join(
            one.send_request(get("/one", &[])),
            two.send_request(
                http::Request::get("http://web/two")
                    .body(http_body_util::Full::<bytes::Bytes>::default())
                    .unwrap(),
            ),
        );
        let terminated = async {
            eventually(|| async { (slow.hits() == 2).then_some(()) }).await;
            kill(Pid::from_raw(world.process.id() as i32), Signal::SIGTERM).unwrap();
        };
        let ((one_response, two_response), ()) = futures::future::join(running, terminated).await;
        let one_response = one_response.expect("a running request is answered");
        assert_eq!(one_response.headers()["connection"], "close");
        assert_eq!(crate::client::whole(one_response).await.text(), "slow");
        assert_eq!(
            crate::client::whole(two_response.expect("a running request is answered")).await.text(),
            "slow"
        );
        // What idled is closed, and the process ends without being killed.
        let mut rest = Vec::new();
        let _ = idle.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        drop((one, two, idle));
        let status = eventually(|| {
            let status = world.process.try_wait().unwrap();
            async move { status }
        })
        .await;
        assert!(status.success(), "{status}");
    });
}

#[test]
fn what_the_end_of_a_drain_cuts_off_has_its_line() {
    in_both(|dialect| async move {
        let mut world = World::start_with(&[("WEFT_DRAIN_SECONDS", "1")]).await.spoken_to_in(dialect);
        let hung = world.backend("web", 10, Backend::hanging("/hung")).await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        let mut one = client.http1("web").await;
        let mut two = client.http2("web").await;
        let body = http_body_util::Full::<bytes::Bytes>::default();
        let running = futures::future::join(
            one.send_request(get("/hung", &[])),
            two.send_request(http::Request::get("http://web/hung").body(body).unwrap()),
        );
        let terminated = async {
            eventually(|| async { (hung.hung() == 2).then_some(()) }).await;
            kill(Pid::from_raw(world.process.id() as i32), Signal::SIGTERM).unwrap();
        };
        let ((one, two), ()) = futures::future::join(running, terminated).await;
        assert!(one.is_err() && two.is_err(), "nobody has answered them");
        let status = eventually(|| {
            let status = world.process.try_wait().unwrap();
            async move { status }
        })
        .await;
        assert!(status.success(), "{status}");
        for protocol in ["HTTP/1.1", "HTTP/2"] {
            let line = world.find_line(|line| line["path"] == "/hung" && line["protocol"] == protocol);
            let line = line.unwrap_or_else(|| panic!("{protocol}: no line"));
            let told = (line["flags"].as_str(), line["status"].as_u64(), line["why"].as_str());
            assert_eq!(told, (Some("DC"), Some(0), Some("the waypoint has ended")), "{line}");
        }
    });
}
