//! Slow and failing backends, and what is done about them.

use crate::backend::{Backend, ReplyBody, reply};
use crate::client::{get, whole};
use crate::words::{forward, to, with};
use crate::world::{OK, World, all_to, eventually, run};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use weft_core::service::AppProtocol;

fn retries(on: &Value) -> Value {
    json!({"retry": {"retries": 3, "on": on, "backoff": {"base": 1, "max": 5}, "elsewhereFirst": true}})
}

#[test]
fn a_retry_saves_a_flaky_backend_and_its_body() {
    run(async {
        let world = World::start().await;
        let flaky =
            Backend::replying(|before| if before % 3 == 2 { reply(200, "at last") } else { reply(503, "") });
        let flaky = world.backend("web", 10, flaky).await;
        let on = json!({"conditions": ["5xx"]});
        world.routes("web", &[(json!({}), forward(&[to("web", 1)], retries(&on)))]).await;
        let client = world.client().await;
        let post = |bytes: usize, path: &str| {
            let body = Full::new(Bytes::from(vec![b'x'; bytes]));
            Request::post(path).header("host", "web").body(body).unwrap()
        };
        let answer = client.ask("web", post(10_000, "/small")).await;
        assert_eq!((answer.status, &*answer.text()), (OK, "at last"));
        assert!(flaky.seen().iter().all(|(_, body)| body.len() == 10_000), "each try brings all of it");
        let line = world.line("/small").await;
        assert_eq!(
            (line["tries"].as_u64(), line["bytes_received"].as_u64()),
            (Some(3), Some(10_000)),
            "{line}"
        );
        // What is larger than what is kept is sent once.
        let answer = client.ask("web", post(1_000_000, "/large")).await;
        assert_eq!(answer.status, 503);
        assert_eq!(world.line("/large").await["tries"], 1);
    });
}

#[test]
fn a_retry_goes_elsewhere_first() {
    run(async {
        let world = World::start().await;
        let bad = world.backend("web", 10, Backend::replying(|_| reply(503, ""))).await;
        let good = world.backend("web", 11, Backend::named("good")).await;
        let on = json!({"conditions": ["5xx"]});
        world.routes("web", &[(json!({}), forward(&[to("web", 1)], retries(&on)))]).await;
        let client = world.client().await;
        for _ in 0..100 {
            assert_eq!(client.get("web", "/").await.text(), "good");
        }
        assert_eq!(good.hits(), 100);
        assert!(bad.hits() <= 100, "{}: no request asks it twice", bad.hits());
    });
}

#[test]
fn timeouts() {
    run(async {
        let world = World::start().await;
        let slow = world.backend("web", 10, Backend::slow(Duration::from_secs(30))).await;
        let per_try = json!({"timeouts": {}, "retry": {"retries": 1, "on": {"conditions": ["reset"]}, "backoff": {"base": 1, "max": 1}, "tryHead": 100}});
        let rules = [
            (
                json!({"path": {"within": "/whole"}}),
                forward(&[to("web", 1)], json!({"timeouts": {"request": 200}})),
            ),
            (json!({"path": {"within": "/try"}}), forward(&[to("web", 1)], per_try)),
        ];
        world.routes("web", &rules).await;
        let client = world.client().await;
        let answer = client.get("web", "/whole").await;
        assert_eq!((answer.status.as_u16(), &*answer.text()), (504, "request timeout"));
        assert_eq!(world.line("/whole").await["flags"], "UT");
        assert_eq!(slow.hits(), 1);
        assert_eq!(client.get("web", "/try").await.status, 504);
        assert_eq!((slow.hits(), world.line("/try").await["tries"].as_u64()), (3, Some(2)));
    });
}

#[test]
fn faults() {
    run(async {
        let world = World::start().await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        let user = json!({"headers": [{"name": "x-user", "value": {"exact": "jason"}}]});
        let fault = json!({"fault": {"delay": {"share": 1_000_000, "wait": 100}, "abort": {"share": 1_000_000, "with": {"status": 418}}}});
        let plain = || forward(&[to("web", 1)], json!({}));
        world.routes("web", &[(user, with(plain(), fault)), (json!({}), plain())]).await;
        let client = world.client().await;
        let begun = std::time::Instant::now();
        let answer = client.ask("web", get("/faulty", &[("x-user", "jason")])).await;
        assert_eq!((answer.status.as_u16(), web.hits()), (418, 0));
        assert!(begun.elapsed() >= Duration::from_millis(100), "it waits first");
        assert_eq!(world.line("/faulty").await["flags"], "FI");
        assert_eq!(client.ask("web", get("/", &[("x-user", "anna")])).await.status, OK);
    });
}

#[test]
fn what_waits_on_purpose_has_its_whole_time_after_that() {
    run(async {
        let world = World::start().await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        let fault = json!({"fault": {"delay": {"share": 1_000_000, "wait": 1_500}}});
        let rule = forward(&[to("web", 1)], json!({"timeouts": {"request": 1_000}}));
        world.routes("web", &[(json!({}), with(rule, fault))]).await;
        let answer = world.client().await.get("web", "/delayed").await;
        assert_eq!((answer.status, web.hits()), (OK, 1));
        assert_eq!(world.line("/delayed").await["flags"], "DI");
    });
}

/// A response of gRPC that fails, in its head or behind its body.
fn failing_call(in_head: bool) -> Response<ReplyBody> {
    let status = || (HeaderName::from_static("grpc-status"), HeaderValue::from_static("14"));
    let body = Full::new(Bytes::from_static(if in_head { &b""[..] } else { &b"\0\0\0\0\0"[..] }));
    let trailers: HeaderMap = [status()].into_iter().collect();
    let body = body.with_trailers(async move { (!in_head).then_some(Ok(trailers)) });
    let mut response = Response::new(body.map_err(|never: Infallible| match never {}).boxed_unsync());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if in_head {
        response.headers_mut().extend([status()]);
    }
    response
}

#[test]
fn a_call_that_fails_counts_by_its_own_status() {
    for in_head in [true, false] {
        run(async {
            let world = World::start().await;
            world.put_service("grpc", AppProtocol::Grpc);
            let bad = Backend::replying(move |_| failing_call(in_head)).by_http2();
            let bad = world.backend("grpc", 10, bad).await;
            let good = world.backend("grpc", 11, Backend::echo_grpc()).await;
            let outlier = json!({"consecutive5xx": 3, "interval": 1_000, "base": 3_600_000, "max": 3_600_000, "ejectedMax": 1_000_000, "healthyMin": 0});
            let destination = json!({"settings": {"balancer": "roundRobin", "outlier": outlier}});
            world.traffic("grpc", &[(json!({}), forward(&[to("grpc", 1)], json!({})))], &destination).await;
            let client = world.client().await;
            let mut sender = client.http2("grpc").await;
            for _ in 0..20 {
                let call =
                    Request::post("http://grpc/echo.Echo/One").header("content-type", "application/grpc");
                let call = call.header("te", "trailers").body(Full::<Bytes>::default()).unwrap();
                whole(sender.send_request(call).await.unwrap()).await;
            }
            assert_eq!((bad.hits(), good.hits()), (3, 17), "in the head: {in_head}");
        });
    }
}

#[test]
fn a_circuit_opens_and_closes() {
    run(async {
        let world = World::start().await;
        let healthy = std::rc::Rc::new(std::cell::Cell::new(false));
        let seen = healthy.clone();
        let bad = Backend::replying(move |_| if seen.get() { reply(200, "well") } else { reply(500, "ill") });
        let bad = world.backend("web", 10, bad).await;
        let _good = world.backend("web", 11, Backend::named("good")).await;
        let outlier = json!({"consecutive5xx": 3, "interval": 50, "base": 300, "max": 300, "ejectedMax": 1_000_000, "healthyMin": 0});
        let destination = json!({"settings": {"balancer": "roundRobin", "outlier": outlier}});
        let rules = [(json!({}), forward(&[to("web", 1)], json!({})))];
        world.traffic("web", &rules, &destination).await;
        let client = world.client().await;
        eventually(|| async {
            (client.get("web", "/").await.text() == "ill" && bad.hits() >= 3).then_some(())
        })
        .await;
        let before = bad.hits();
        for _ in 0..20 {
            assert_eq!(client.get("web", "/").await.text(), "good");
        }
        assert_eq!(bad.hits(), before, "it is left alone");
        healthy.set(true);
        eventually(|| async { (client.get("web", "/").await.text() == "well").then_some(()) }).await;
    });
}

#[test]
fn more_than_there_is_room_for_is_refused_at_once() {
    run(async {
        let world = World::start().await;
        let slow = world.backend("web", 10, Backend::slow(Duration::from_secs(1))).await;
        let destination = json!({"settings": {"limits": {"requests": 2}}});
        world.traffic("web", &[(json!({}), forward(&[to("web", 1)], json!({})))], &destination).await;
        let client = world.client().await;
        let asked = futures::future::join_all((0..5).map(|_| client.get("web", "/crowd"))).await;
        let count = |status: u16| asked.iter().filter(|answer| answer.status == status).count();
        assert_eq!((count(200), count(503), slow.hits()), (2, 3, 2));
        eventually(|| async { (world.line("/crowd").await["flags"] == "UO").then_some(()) }).await;
    });
}

#[test]
fn a_limit_that_finds_itself_is_there_for_who_asks_for_it() {
    /// What it begins with, before it has learnt anything.
    const START: usize = 20;
    for (setting, status) in [("off", 200), ("on", 503)] {
        run(async {
            let world = World::start_with(&[("WEFT_ADAPTIVE_CONCURRENCY", setting)]).await;
            let hung = world.backend("web", 10, Backend::hanging("/hung")).await;
            world.routes("web", &all_to("web")).await;
            let client = world.client().await;
            let hangs = futures::future::join_all((0..START).map(|_| client.get("web", "/hung")));
            let beyond = async {
                eventually(|| async { (hung.hung() == START).then_some(()) }).await;
                assert_eq!(client.get("web", "/beyond").await.status, status, "{setting}");
            };
            tokio::select! {
                _ = hangs => panic!("they hang"),
                () = beyond => {}
            }
            let line = world.line("/beyond").await;
            let (flags, why) = (line["flags"].as_str(), line["why"].as_str().unwrap_or_default());
            let shed = flags == Some("UO") && why.contains("without a queue");
            assert_eq!(shed, setting == "on", "{line}");
            // Whoever goes away makes room.
            eventually(|| async { (client.get("web", "/after").await.status == OK).then_some(()) }).await;
        });
    }
}

#[test]
fn requests_wait_for_the_connections_that_there_may_be() {
    run(async {
        let world = World::start().await;
        let slow = world.backend("web", 10, Backend::slow(Duration::from_millis(50))).await;
        let destination = json!({"settings": {"limits": {"connections": 1, "pending": 10}}});
        world.traffic("web", &[(json!({}), forward(&[to("web", 1)], json!({})))], &destination).await;
        let client = world.client().await;
        let asked = futures::future::join_all((0..5).map(|_| client.get("web", "/"))).await;
        assert!(
            asked.iter().all(|answer| answer.status == OK),
            "all of them come through, one after the other"
        );
        assert_eq!(slow.hits(), 5);
    });
}

#[test]
fn requests_do_not_wait_for_ever() {
    for by_http2 in [false, true] {
        run(async {
            let world = World::start_with(&[("WEFT_PENDING_TIMEOUT_SECONDS", "1")]).await;
            let hung = Backend::hanging("/hung");
            if by_http2 {
                world.put_service("web", AppProtocol::Http2);
            }
            let hung = world.backend("web", 10, if by_http2 { hung.by_http2() } else { hung }).await;
            let limits = json!({"connections": 1, "streamsPerConnection": 1});
            let destination = json!({"settings": {"limits": limits}});
            world.traffic("web", &[(json!({}), forward(&[to("web", 1)], json!({})))], &destination).await;
            let client = world.client().await;
            let hangs = client.get("web", "/hung");
            let wait = async {
                eventually(|| async { (hung.hung() == 1).then_some(()) }).await;
                let all = futures::future::join_all((0..3).map(|_| client.get("web", "/waits"))).await;
                assert!(all.iter().all(|answer| answer.status == 503), "by HTTP/2: {by_http2}");
            };
            tokio::select! {
                answer = hangs => panic!("it hangs: {}", answer.status),
                () = wait => {}
            }
            let line = world.line("/waits").await;
            let told = (line["flags"].as_str(), line["why"].as_str());
            assert_eq!(told, (Some("UO"), Some("no connection became free within 1s")), "{line}");
            assert_eq!(hung.hits(), 1, "nobody has asked it for what waited");
        });
    }
}

#[test]
fn what_there_is_room_for_is_for_all_workers_together() {
    run(async {
        let world = World::start_with(&[("WEFT_WORKERS", "4")]).await;
        world.backend("web", 10, Backend::slow(Duration::from_millis(500))).await;
        let destination = json!({"settings": {"limits": {"requests": 2}}});
        world.traffic("web", &[(json!({}), forward(&[to("web", 1)], json!({})))], &destination).await;
        // Each has a tunnel of its own, and tunnels are spread over the workers.
        let clients: Vec<_> = futures::future::join_all((0..16).map(|_| world.client())).await;
        // Not every worker has heard of the limit at the same moment.
        eventually(|| async {
            let asked = futures::future::join_all(clients.iter().map(|client| client.get("web", "/"))).await;
            (asked.iter().filter(|answer| answer.status == OK).count() == 2).then_some(())
        })
        .await;
    });
}

#[test]
fn connections_that_were_kept_are_too_much_for_a_new_limit() {
    for by_http2 in [false, true] {
        run(async {
            let world = World::start().await;
            let slow = Backend::slow(Duration::from_millis(300));
            if by_http2 {
                world.put_service("web", AppProtocol::Http2);
            }
            world.backend("web", 10, if by_http2 { slow.by_http2() } else { slow }).await;
            let rules = [(json!({}), forward(&[to("web", 1)], json!({})))];
            let say = async |limits| {
                world.traffic("web", &rules, &json!({"settings": {"limits": limits}})).await;
            };
            // One request for a connection, by both.
            say(json!({"streamsPerConnection": 1})).await;
            let client = world.client().await;
            let all = || futures::future::join_all((0..6).map(|_| client.get("web", "/crowd")));
            assert!(all().await.iter().all(|answer| answer.status == OK), "six connections");
            say(json!({"streamsPerConnection": 1, "connections": 1, "pending": 1})).await;
            let asked = all().await;
            let count = |status: u16| asked.iter().filter(|answer| answer.status == status).count();
            assert_eq!((count(200), count(503)), (2, 4), "one goes and one waits; by HTTP/2: {by_http2}");
        });
    }
}

#[test]
fn nobody_is_there() {
    run(async {
        let world = World::start().await;
        // It is an endpoint, and nothing listens there.
        let gone =
            crate::words::workload("gone", world.ip(77), "web", weft_core::workload::TunnelProtocol::Plain);
        world.routes("web", &[(json!({}), forward(&[to("web", 1)], json!({})))]).await;
        let client = world.client().await;
        assert_eq!(client.get("web", "/none").await.status, 503);
        assert_eq!(world.line("/none").await["flags"], "UH");
        world.put_workload(&gone);
        eventually(|| async { (client.get("web", "/closed").await.status == 503).then_some(()) }).await;
        eventually(|| async {
            client.get("web", "/refused").await;
            (world.line("/refused").await["flags"] != "-").then_some(())
        })
        .await;
    });
}

#[test]
fn streams_that_last_leave_room_under_a_limit_that_finds_itself() {
    run(async {
        let world = World::start_with(&[("WEFT_ADAPTIVE_CONCURRENCY", "on")]).await;
        world.put_service("grpc", AppProtocol::Grpc);
        let _grpc = world.backend("grpc", 10, Backend::echo_grpc()).await;
        world.routes("grpc", &[(json!({}), forward(&[to("grpc", 1)], json!({})))]).await;
        let mut sender = world.client().await.http2("grpc").await;
        let mut open = Vec::new();
        // More than it begins with.
        for number in 0..40 {
            let (more, rest) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
            let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(rest));
            let call = Request::post("http://grpc/echo.Echo/Both").header("content-type", "application/grpc");
            let call = call.header("te", "trailers").body(body).unwrap();
            let response = sender.send_request(call).await.unwrap();
            assert_eq!(response.headers().get("grpc-status"), None, "call {number}");
            open.push((more, response));
        }
    });
}
