//! Backends of HTTP/2 that say what they take, and what they do not.

use crate::backend::Backend;
use crate::frames::code::{INTERNAL_ERROR, REFUSED_STREAM};
use crate::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire,
};
use crate::words::{PORT, forward, to, workload};
use crate::world::{OK, World, all_to, eventually, run};
use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use weft_core::service::AppProtocol;
use weft_core::workload::TunnelProtocol;

/// Retries of what a backend has not begun.
fn refused() -> Value {
    json!({"retry": {"retries": 2, "on": {"conditions": ["refused-stream"]}, "backoff": {"base": 1, "max": 1}, "elsewhereFirst": true}})
}

/// A backend of `web` by hand; the behaviour gets each connection, and how many came before.
async fn by_hand<F: Future<Output = ()> + 'static>(
    world: &World,
    host: u8,
    behaviour: impl Fn(TcpStream, usize) -> F + 'static,
) -> Rc<Cell<usize>> {
    world.put_workload(&workload(&format!("web-{host}"), world.ip(host), "web", TunnelProtocol::Plain));
    let listener = TcpListener::bind((world.ip(host), PORT)).await.unwrap();
    let connections = Rc::<Cell<usize>>::default();
    let counted = connections.clone();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let before = counted.replace(counted.get() + 1);
            spawn_local(behaviour(stream, before));
        }
    });
    connections
}

#[test]
fn what_is_more_than_a_connection_takes_goes_by_another() {
    run(async {
        let world = World::start().await;
        world.put_service("web", AppProtocol::Http2);
        let web = world.backend("web", 10, Backend::hanging("/stays").by_http2_of(2)).await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        let stay = join_all((0..5).map(|_| client.get("web", "/stays")));
        let others = async {
            eventually(|| async { (web.hung() == 5).then_some(()) }).await;
            assert_eq!(client.get("web", "/goes").await.status, OK);
        };
        tokio::select! {
            _ = stay => panic!("they stay"),
            () = others => {}
        }
    });
}

#[test]
fn what_a_backend_leaves_out_when_it_goes_is_tried_again() {
    run(async {
        let world = World::start().await;
        world.put_service("web", AppProtocol::Http2);
        let connections = by_hand(&world, 10, |stream, before| async move {
            let mut wire = Wire::accept(stream, &[]).await;
            while let Some(request) = wire.await_kind(HEADERS).await {
                if before == 0 {
                    // The last stream that it has looked at, and NO_ERROR.
                    wire.send(GOAWAY, 0, 0, &[0; 8]).await;
                } else {
                    // `:status: 200`, as RFC 7541 (Appendix A) has it.
                    wire.send(HEADERS, END_HEADERS | END_STREAM, request.stream, &[0x88]).await;
                }
            }
        })
        .await;
        world.routes("web", &[(json!({}), forward(&[to("web", 1)], refused()))]).await;
        let client = world.client().await;
        assert_eq!(client.get("web", "/left-out").await.status, OK);
        assert_eq!(connections.get(), 2);
    });
}

/// More than is kept of a body for another try.
const PIECES: usize = 10;
const PIECE_BYTES: usize = 60_000;

#[test]
fn of_a_body_that_is_gone_nobody_gets_the_rest() {
    run(async {
        let world = World::start().await;
        world.put_service("web", AppProtocol::Http2);
        let refused_so_far = Rc::<Cell<usize>>::default();
        let counted = refused_so_far.clone();
        by_hand(&world, 10, move |stream, _| {
            let counted = counted.clone();
            async move {
                // INITIAL_WINDOW_SIZE, and the same for the connection.
                let mut wire = Wire::accept(stream, &[(4, 1 << 20)]).await;
                wire.send(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes()).await;
                let mut bytes = 0;
                while let Some(data) = wire.await_kind(DATA).await {
                    bytes += data.payload.len();
                    if bytes > (PIECES - 2) * PIECE_BYTES {
                        counted.set(counted.get() + 1);
                        wire.send(RST_STREAM, 0, data.stream, &REFUSED_STREAM.to_be_bytes()).await;
                        bytes = 0;
                    }
                }
            }
        })
        .await;
        let good = world.backend("web", 11, Backend::named("good").by_http2()).await;
        let rules = [(json!({}), forward(&[to("web", 1)], refused()))];
        world.traffic("web", &rules, &json!({"settings": {"balancer": "roundRobin"}})).await;
        let client = world.client().await;
        let piece = Bytes::from(vec![b'x'; PIECE_BYTES]);
        eventually(|| async {
            let pieces = std::iter::repeat_n(piece.clone(), PIECES);
            let body = futures::stream::iter(pieces.map(|piece| Ok::<_, Infallible>(Frame::data(piece))));
            let request = Request::post("/large").header("host", "web").body(StreamBody::new(body)).unwrap();
            // Its client may be cut off while it still sends.
            drop(client.http1("web").await.send_request(request).await);
            (refused_so_far.get() >= 2).then_some(())
        })
        .await;
        for (_, body) in good.seen() {
            assert_eq!(body.len(), PIECES * PIECE_BYTES, "all of it, or nothing");
        }
    });
}

#[test]
fn a_backend_that_takes_no_streams_keeps_nobody_for_ever() {
    run(async {
        let world = World::start_with(&[("WEFT_PENDING_TIMEOUT_SECONDS", "1")]).await;
        world.put_service("web", AppProtocol::Http2);
        let connections = by_hand(&world, 10, |stream, _| async move {
            // MAX_CONCURRENT_STREAMS, and not another word.
            let mut wire = Wire::accept(stream, &[(3, 0)]).await;
            while wire.receive().await.is_some() {}
        })
        .await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        let all = join_all((0..3).map(|_| client.get("web", "/none"))).await;
        assert!(all.iter().all(|answer| answer.status == 503));
        let line = world.line("/none").await;
        let told = (line["flags"].as_str(), line["why"].as_str());
        assert_eq!(told, (Some("UO"), Some("no connection became free within 1s")), "{line}");
        assert!(connections.get() <= 3, "{}: another one would hear the same", connections.get());
    });
}

#[test]
fn a_backend_that_takes_streams_later_gets_what_waits() {
    run(async {
        let world = World::start().await;
        world.put_service("web", AppProtocol::Http2);
        let connections = by_hand(&world, 10, |mut stream, _| async move {
            stream.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
            let mut wire = Wire { io: stream };
            // It comes before its client can know better.
            let early = wire.await_kind(HEADERS).await.unwrap();
            let streams = |most: u32| [&3_u16.to_be_bytes()[..], &most.to_be_bytes()].concat();
            wire.send(SETTINGS, 0, 0, &streams(0)).await;
            wire.send(RST_STREAM, 0, early.stream, &REFUSED_STREAM.to_be_bytes()).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            wire.send(SETTINGS, 0, 0, &streams(100)).await;
            while let Some(request) = wire.await_kind(HEADERS).await {
                wire.send(HEADERS, END_HEADERS | END_STREAM, request.stream, &[0x88]).await;
            }
        })
        .await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        assert_eq!(client.get("web", "/early").await.status, 503);
        assert_eq!(client.get("web", "/later").await.status, OK);
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn a_request_that_still_goes_out_is_a_stream_all_the_same() {
    run(async {
        let world = World::start().await;
        world.put_service("web", AppProtocol::Http2);
        let has_all = Rc::<Cell<bool>>::default();
        let heard = has_all.clone();
        let connections = by_hand(&world, 10, move |stream, _| {
            let heard = heard.clone();
            async move {
                // One at a time, and answered before there is a body.
                let mut wire = Wire::accept(stream, &[(3, 1)]).await;
                while let Some(frame) = wire.receive().await {
                    if frame.kind == HEADERS {
                        wire.send(HEADERS, END_HEADERS | END_STREAM, frame.stream, &[0x88]).await;
                    } else if frame.kind == DATA && frame.flags & END_STREAM != 0 {
                        heard.set(true);
                    }
                }
            }
        })
        .await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        assert_eq!(client.get("web", "/first").await.status, OK);
        let (more, rest) = tokio::sync::mpsc::channel(1);
        more.try_send(Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"some")))).unwrap();
        let rest = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(rest));
        let request = Request::post("http://web/long").body(rest).unwrap();
        let mut sender = client.http2("web").await;
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), OK);
        drop(response);
        // h2 keeps what is too much for a connection waiting within itself.
        assert_eq!(client.get("web", "/other").await.status, OK);
        assert_eq!(connections.get(), 2);
        drop(more);
        eventually(|| async { has_all.get().then_some(()) }).await;
        let both = join_all((0..2).map(|_| client.get("web", "/both"))).await;
        assert!(both.iter().all(|answer| answer.status == OK));
        assert_eq!(connections.get(), 2, "the first one is free again");
    });
}

#[test]
fn an_answer_that_breaks_off_counts_for_its_endpoint() {
    run(async {
        let world = World::start().await;
        world.put_service("web", AppProtocol::Grpc);
        let broken_off = Rc::<Cell<usize>>::default();
        let counted = broken_off.clone();
        by_hand(&world, 10, move |stream, _| {
            let counted = counted.clone();
            async move {
                let mut wire = Wire::accept(stream, &[]).await;
                while let Some(call) = wire.await_kind(HEADERS).await {
                    counted.set(counted.get() + 1);
                    wire.send(HEADERS, END_HEADERS, call.stream, &[0x88]).await;
                    wire.send(DATA, 0, call.stream, b"\0\0\0\0\0").await;
                    wire.send(RST_STREAM, 0, call.stream, &INTERNAL_ERROR.to_be_bytes()).await;
                }
            }
        })
        .await;
        let good = world.backend("web", 11, Backend::echo_grpc()).await;
        let outlier = json!({"consecutive5xx": 3, "interval": 1_000, "base": 3_600_000, "max": 3_600_000, "ejectedMax": 1_000_000, "healthyMin": 0});
        let destination = json!({"settings": {"balancer": "roundRobin", "outlier": outlier}});
        world.traffic("web", &all_to("web"), &destination).await;
        let mut sender = world.client().await.http2("web").await;
        for _ in 0..20 {
            let call = Request::post("http://web/echo.Echo/One").header("content-type", "application/grpc");
            let call = call.header("te", "trailers").body(Full::<Bytes>::default()).unwrap();
            // Some break off in the middle, which may overtake their head.
            if let Ok(response) = sender.send_request(call).await {
                let _ = response.into_body().collect().await;
            }
        }
        assert_eq!((broken_off.get(), good.hits()), (3, 17));
    });
}
