//! Clients of HTTP/2 that keep the waypoint busy or waiting, and what becomes of them. Others are served all the while.

use crate::backend::Backend;
use crate::client::Client;
use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Outcome, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, Wire, frame, get, post,
};
use crate::world::{OK, World, all_to, run};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_tunnel::handshakes::HANDSHAKES_MAX;

const WHOLE: u8 = END_STREAM | END_HEADERS;

async fn world(settings: &[(&str, &str)]) -> (World, Backend) {
    let world = World::start_with(settings).await;
    let web = world.backend("web", 10, Backend::large(LARGE_BYTES)).await;
    world.routes("web", &all_to("web")).await;
    (world, web)
}

/// More than all windows and buffers on the way to a client that reads nothing.
const LARGE_BYTES: usize = 64 << 20;

/// Sends these bytes again and again until the waypoint ends the connection, and reads what comes.
async fn flood(world: &World, client: &Client, mut piece: impl FnMut(u32) -> Vec<u8>) {
    let wire = Wire::connect(world, "web", &[]).await;
    let (mut read, mut write) = tokio::io::split(wire.io);
    let sending = async {
        for round in 0.. {
            let bytes: Vec<u8> = (0..100).flat_map(|number| piece(round * 100 + number)).collect();
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
        // What it said last is read to its end.
        std::future::pending::<()>().await;
    };
    let receiving = async {
        let mut bytes = vec![0; 65_536];
        while let Ok(1..) = read.read(&mut bytes).await {}
    };
    let others = async {
        loop {
            assert_eq!(client.get("web", "/the-tests-own-generation").await.status, OK, "others are served");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = sending => {}
        () = receiving => {}
        () = others => {}
    }
}

#[test]
fn floods_end_the_connection() {
    run(async {
        let (world, web) = world(&[]).await;
        let client = world.client().await;
        flood(&world, &client, |_| frame(SETTINGS, 0, 0, &[])).await;
        flood(&world, &client, |_| frame(PING, 0, 0, &[0; 8])).await;
        flood(&world, &client, |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])).await;
        flood(&world, &client, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
        flood(&world, &client, |_| frame(0x77, 0, 0, &[])).await;
        // DATA without bytes, on a stream that is open.
        let begin = frame(HEADERS, END_HEADERS, 1, &post("/", &[]));
        flood(&world, &client, |number| if number == 0 { begin.clone() } else { frame(DATA, 0, 1, &[]) })
            .await;
        // A head that never ends (CVE-2024-27316).
        let begin = frame(HEADERS, 0, 1, &get("/", &[]));
        flood(&world, &client, |number| {
            if number == 0 {
                begin.clone()
            } else {
                frame(CONTINUATION, 0, 1, &crate::frames::block(&[("a", "b")]))
            }
        })
        .await;
        // An end that never comes, of nothing at all.
        flood(
            &world,
            &client,
            |number| if number == 0 { begin.clone() } else { frame(CONTINUATION, 0, 1, &[]) },
        )
        .await;
        assert_eq!(web.hits(), 0, "nothing of it was a request");
    });
}

#[test]
fn streams_that_are_reset_at_once_do_not_reach_backends_for_ever() {
    run(async {
        let (world, web) = world(&[]).await;
        let client = world.client().await;
        let path = "/reset";
        flood(&world, &client, |number| {
            let stream = 2 * number + 1;
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [frame(HEADERS, WHOLE, stream, &get(path, &[])), reset].concat()
        })
        .await;
        assert!(web.hits() < 5_000, "{}", web.hits());
    });
}

#[test]
fn a_burst_of_requests_that_are_withdrawn_at_once_is_no_flood() {
    run(async {
        let (world, _web) = world(&[]).await;
        let mut wire = Wire::connect(&world, "web", &[]).await;
        let withdrawn = |stream: u32| {
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [frame(HEADERS, WHOLE, stream, &get("/withdrawn", &[])), reset].concat()
        };
        let burst: Vec<u8> = (0..100).flat_map(|number| withdrawn(2 * number + 1)).collect();
        wire.write(&burst).await;
        wire.send(HEADERS, WHOLE, 201, &get("/the-tests-own-generation", &[])).await;
        assert_eq!(wire.outcome(201).await, Outcome::Answered(200));
    });
}

#[test]
fn heads_have_a_size() {
    run(async {
        let (world, web) = world(&[]).await;
        let long = "a".repeat(10_000);
        let headers: Vec<(String, &str)> =
            (0..10).map(|number| (format!("x-{number}"), long.as_str())).collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let block = get("/large", &headers);
        let mut wire = Wire::connect(&world, "web", &[]).await;
        let mut pieces = block.chunks(16_000).peekable();
        wire.send(HEADERS, END_STREAM, 1, pieces.next().unwrap()).await;
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            wire.send(CONTINUATION, last, 1, piece).await;
        }
        let outcome = wire.outcome(1).await;
        assert!(
            matches!(outcome, Outcome::Answered(431) | Outcome::Reset(_) | Outcome::Over(_)),
            "{outcome:?}"
        );
        // Few bytes on the wire that are many in memory: one long header in the table, and a thousand times its number.
        let mut bomb = get("/bomb", &[]);
        bomb.extend([0x40, 1, b'x', 127, 0x80 | 1, 31]);
        bomb.extend([b'a'; 4096]);
        bomb.resize(bomb.len() + 1_000, 0xbe);
        let mut wire = Wire::connect(&world, "web", &[]).await;
        wire.send(HEADERS, WHOLE, 1, &bomb).await;
        let outcome = wire.outcome(1).await;
        assert!(
            matches!(outcome, Outcome::Answered(431) | Outcome::Reset(_) | Outcome::Over(_)),
            "{outcome:?}"
        );
        assert_eq!(web.hits(), 0);
    });
}

#[test]
fn clients_that_take_their_time_are_not_waited_for() {
    run(async {
        let settings = [
            ("WEFT_REQUEST_HEAD_SECONDS", "1"),
            ("WEFT_REQUEST_BODY_IDLE_SECONDS", "1"),
            ("WEFT_KEEP_ALIVE_SECONDS", "3"),
        ];
        let (world, web) = world(&settings).await;
        // None of these ends by itself.
        let mut wire = Wire::connect(&world, "web", &[]).await;
        wire.send(HEADERS, END_STREAM, 1, &get("/", &[])).await;
        assert_eq!(wire.outcome(1).await, Outcome::Over(None), "a head that does not go on");
        let mut wire = Wire::connect(&world, "web", &[]).await;
        wire.write(&frame(HEADERS, WHOLE, 1, &get("/", &[]))[..5]).await;
        assert!(matches!(wire.outcome(1).await, Outcome::Over(_)), "a frame that does not go on");
        let mut wire = Wire::connect(&world, "web", &[]).await;
        while wire.receive().await.is_some() {}
        assert_eq!(web.hits(), 0);
        // Of a body only the stream ends: the others go on.
        let mut wire = Wire::connect(&world, "web", &[]).await;
        wire.send(HEADERS, END_HEADERS, 1, &post("/stuck", &[("content-length", "10")])).await;
        wire.send(DATA, 0, 1, b"abc").await;
        assert!(matches!(wire.outcome(1).await, Outcome::Reset(_)), "a body that does not go on");
        wire.send(HEADERS, WHOLE, 3, &get("/the-tests-own-generation", &[])).await;
        assert_eq!(wire.outcome(3).await, Outcome::Answered(200));
        world.line_where(|line| line["path"] == "/stuck" && line["flags"] != "-").await;
    });
}

#[test]
fn clients_that_take_nothing_are_not_waited_for() {
    run(async {
        let (world, _web) = world(&[("WEFT_RESPONSE_BODY_IDLE_SECONDS", "1")]).await;
        let ended = |path: &'static str| move |line: &Value| line["path"] == path && line["flags"] == "DC";
        // A window without room: only that stream ends.
        let mut wire = Wire::connect(&world, "web", &[(4, 0)]).await;
        wire.send(HEADERS, WHOLE, 1, &get("/window", &[])).await;
        assert!(matches!(wire.outcome(1).await, Outcome::Reset(_)));
        world.line_where(ended("/window")).await;
        wire.send(PING, 0, 0, &[7; 8]).await;
        while wire.await_kind(PING).await.unwrap().flags & ACK == 0 {}
        // A window that opens by one byte at a time, and then no more.
        wire.send(HEADERS, WHOLE, 3, &get("/drip", &[])).await;
        wire.send(WINDOW_UPDATE, 0, 3, &1_u32.to_be_bytes()).await;
        assert!(matches!(wire.outcome(3).await, Outcome::Reset(_)));
        // All the room that there is, and nobody who reads: the connection ends, by HTTP/2 and by HTTP/1.
        let mut wire = Wire::connect(&world, "web", &[(4, 0x7fff_ffff)]).await;
        wire.send(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()).await;
        wire.send(HEADERS, WHOLE, 1, &get("/unread-2", &[])).await;
        world.line_where(ended("/unread-2")).await;
        let client = world.client().await;
        let mut io = client.raw("web").await;
        io.write_all(b"GET /unread-1 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        world.line_where(ended("/unread-1")).await;
    });
}

#[test]
fn peers_that_say_nothing_keep_nobody_out() {
    weft_runtime::fds::raise_open_files_limit().unwrap();
    run(async {
        let (world, _web) = world(&[]).await;
        let connect = || async { tokio::net::TcpStream::connect((world.ip(2), 15008)).await.unwrap() };
        let mut oldest = connect().await;
        let mut silent = Vec::new();
        for _ in 0..HANDSHAKES_MAX {
            silent.push(connect().await);
        }
        assert_eq!(
            oldest.read(&mut [0; 8]).await.unwrap(),
            0,
            "the one that has been silent for longest goes"
        );
        assert_eq!(world.client().await.get("web", "/the-tests-own-generation").await.status, OK);
    });
}
