//! What RFC 9113 says of clients that break HTTP/2: the stream ends, or the connection, and nothing of it is served.

use crate::backend::Backend;
use crate::frames::code::{
    COMPRESSION_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED,
};
use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Outcome, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WINDOW_UPDATE, Wire, block, frame, get, post,
};
use crate::world::{World, all_to, run};

/// What has to end.
#[derive(Debug, Clone, Copy)]
enum Ends {
    /// The connection, with one of these codes.
    Connection(&'static [u32]),
    /// The stream; the connection may too (RFC 9113 §5.4.2), but then with the same code.
    Stream(&'static [u32]),
    /// The request is malformed (RFC 9113 §8.1.1): a stream's error, or 400 before it.
    Malformed,
    /// Nothing: the request is answered.
    Nothing,
}

impl Ends {
    fn allows(self, outcome: Outcome) -> bool {
        match (self, outcome) {
            // The code is for people who look for the fault; this one is for all that have none of their own (§7), and
            // hyper's HTTP/2 says it of most frames that are none.
            (Self::Connection(_) | Self::Stream(_), Outcome::Over(Some(PROTOCOL_ERROR))) => true,
            (Self::Connection(codes), Outcome::Over(Some(code))) => codes.contains(&code),
            (Self::Stream(codes), Outcome::Reset(code) | Outcome::Over(Some(code))) => codes.contains(&code),
            (Self::Malformed, Outcome::Reset(code) | Outcome::Over(Some(code))) => code == PROTOCOL_ERROR,
            (Self::Malformed, Outcome::Answered(status)) => status == 400,
            (Self::Nothing, Outcome::Answered(status)) => status == 200,
            _ => false,
        }
    }
}

const WHOLE: u8 = END_STREAM | END_HEADERS;

/// A request that is being answered, for frames about a stream that is open.
fn open() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &post("/", &[]))
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
}

fn update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// The stream whose outcome counts, the bytes, and what they may lead to.
type Case = (&'static str, u32, Vec<u8>, Ends);

fn states() -> Vec<Case> {
    let whole = frame(HEADERS, WHOLE, 1, &get("/", &[]));
    let reset = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
    vec![
        (
            "5.1 DATA on an idle stream",
            1,
            frame(DATA, 1, 1, b"x"),
            Ends::Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        ("5.1 RST_STREAM on an idle stream", 1, reset.clone(), Ends::Connection(&[PROTOCOL_ERROR])),
        ("5.1 WINDOW_UPDATE on an idle stream", 1, update(1, 1), Ends::Connection(&[PROTOCOL_ERROR])),
        (
            "5.1 DATA behind the end",
            1,
            [frame(HEADERS, WHOLE, 1, &get("/slow", &[])), frame(DATA, 0, 1, b"x")].concat(),
            Ends::Stream(&[STREAM_CLOSED]),
        ),
        (
            "5.1 HEADERS behind the end",
            1,
            [frame(HEADERS, WHOLE, 1, &get("/slow", &[])), frame(HEADERS, WHOLE, 1, &get("/", &[]))].concat(),
            Ends::Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        (
            "5.1 DATA on a stream that was reset",
            1,
            [open(), reset, frame(DATA, 1, 1, b"x"), frame(PING, 0, 1, &[0; 8])].concat(),
            Ends::Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        (
            "5.1.1 an even number",
            2,
            frame(HEADERS, WHOLE, 2, &get("/", &[])),
            Ends::Connection(&[PROTOCOL_ERROR]),
        ),
        (
            "5.1.1 a number that goes back",
            1,
            [frame(HEADERS, WHOLE, 5, &get("/", &[])), frame(HEADERS, WHOLE, 3, &get("/", &[]))].concat(),
            Ends::Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        ("5.5 a frame that nobody knows", 1, [frame(0x50, 255, 3, b"x"), whole].concat(), Ends::Nothing),
        (
            "5.5 one of them within a head",
            1,
            [frame(HEADERS, END_STREAM, 1, &get("/", &[])), frame(0x50, 0, 1, b"x")].concat(),
            Ends::Connection(&[PROTOCOL_ERROR]),
        ),
        ("an unknown flag", 1, frame(HEADERS, WHOLE | 0x80, 1, &get("/", &[])), Ends::Nothing),
    ]
}

fn kinds() -> Vec<Case> {
    let connection = Ends::Connection;
    vec![
        (
            "4.2 a frame that is too large",
            1,
            [open(), frame(DATA, 0, 1, &[0; 16_385])].concat(),
            Ends::Stream(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.2 a head that is too large",
            1,
            frame(HEADERS, WHOLE, 1, &[0; 16_385]),
            connection(&[FRAME_SIZE_ERROR]),
        ),
        (
            "4.3 a block that is none",
            1,
            frame(HEADERS, WHOLE, 1, &[0xff; 8]),
            connection(&[COMPRESSION_ERROR]),
        ),
        ("6.1 DATA on stream 0", 1, frame(DATA, 0, 0, b"x"), connection(&[PROTOCOL_ERROR])),
        (
            "6.1 padding beyond the frame",
            1,
            [open(), frame(DATA, PADDED, 1, &[5, 0])].concat(),
            connection(&[PROTOCOL_ERROR]),
        ),
        (
            "6.2 HEADERS on stream 0",
            1,
            frame(HEADERS, WHOLE, 0, &get("/", &[])),
            connection(&[PROTOCOL_ERROR]),
        ),
        (
            "6.2 a head that another frame cuts in two",
            1,
            [frame(HEADERS, END_STREAM, 1, &get("/", &[])), frame(PING, 0, 0, &[0; 8])].concat(),
            connection(&[PROTOCOL_ERROR]),
        ),
        (
            "6.2 a head that another stream's cuts in two",
            1,
            [frame(HEADERS, END_STREAM, 1, &get("/", &[])), frame(HEADERS, WHOLE, 3, &get("/", &[]))]
                .concat(),
            connection(&[PROTOCOL_ERROR]),
        ),
        (
            "6.2 padding beyond the head",
            1,
            frame(HEADERS, WHOLE | PADDED, 1, &[200, 0x82]),
            connection(&[PROTOCOL_ERROR]),
        ),
        ("6.3 PRIORITY on stream 0", 1, frame(PRIORITY, 0, 0, &[0; 5]), connection(&[PROTOCOL_ERROR])),
        (
            "6.3 PRIORITY of a wrong length",
            1,
            [open(), frame(PRIORITY, 0, 1, &[0; 4])].concat(),
            Ends::Stream(&[FRAME_SIZE_ERROR]),
        ),
        ("6.4 RST_STREAM on stream 0", 1, frame(RST_STREAM, 0, 0, &[0; 4]), connection(&[PROTOCOL_ERROR])),
        (
            "6.4 RST_STREAM of a wrong length",
            1,
            [open(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            connection(&[FRAME_SIZE_ERROR]),
        ),
        ("6.5 SETTINGS on a stream", 1, frame(SETTINGS, 0, 1, &[]), connection(&[PROTOCOL_ERROR])),
        ("6.5 an answer with settings", 1, frame(SETTINGS, ACK, 0, &[0; 6]), connection(&[FRAME_SIZE_ERROR])),
        (
            "6.5 SETTINGS of a wrong length",
            1,
            frame(SETTINGS, 0, 0, &[0; 5]),
            connection(&[FRAME_SIZE_ERROR]),
        ),
        ("6.5.2 ENABLE_PUSH 2", 1, setting(2, 2), connection(&[PROTOCOL_ERROR])),
        ("6.5.2 a window that is too large", 1, setting(4, 1 << 31), connection(&[FLOW_CONTROL_ERROR])),
        ("6.5.2 frames that are too small", 1, setting(5, 16_383), connection(&[PROTOCOL_ERROR])),
        ("6.5.2 frames that are too large", 1, setting(5, 1 << 24), connection(&[PROTOCOL_ERROR])),
        (
            "6.6 PUSH_PROMISE",
            1,
            [open(), frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])].concat(),
            connection(&[PROTOCOL_ERROR]),
        ),
        ("6.7 PING on a stream", 1, frame(PING, 0, 1, &[0; 8]), connection(&[PROTOCOL_ERROR])),
        ("6.7 PING of a wrong length", 1, frame(PING, 0, 0, &[0; 7]), connection(&[FRAME_SIZE_ERROR])),
        ("6.8 GOAWAY on a stream", 1, frame(GOAWAY, 0, 1, &[0; 8]), connection(&[PROTOCOL_ERROR])),
        ("6.9 an update by nothing", 1, update(0, 0), connection(&[PROTOCOL_ERROR])),
        (
            "6.9 a stream's update by nothing",
            1,
            [open(), update(1, 0)].concat(),
            Ends::Stream(&[PROTOCOL_ERROR]),
        ),
        (
            "6.9 an update of a wrong length",
            1,
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            connection(&[FRAME_SIZE_ERROR]),
        ),
        ("6.9.1 a window beyond all", 1, update(0, 0x7fff_ffff), connection(&[FLOW_CONTROL_ERROR])),
        (
            "6.9.1 a stream's window beyond all",
            1,
            [open(), update(1, 0x7fff_ffff)].concat(),
            Ends::Stream(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.10 CONTINUATION of nothing",
            1,
            frame(CONTINUATION, END_HEADERS, 1, &get("/", &[])),
            connection(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 CONTINUATION behind the end",
            1,
            [frame(HEADERS, WHOLE, 1, &get("/", &[])), frame(CONTINUATION, END_HEADERS, 1, &[])].concat(),
            connection(&[PROTOCOL_ERROR]),
        ),
        (
            "6.10 a head in pieces",
            1,
            {
                let block = get("/", &[("x-long", "value")]);
                let (first, rest) = block.split_at(7);
                [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)].concat()
            },
            Ends::Nothing,
        ),
    ]
}

fn messages() -> Vec<Case> {
    let head = |headers: &[(&str, &str)]| frame(HEADERS, WHOLE, 1, &block(headers));
    let (method, scheme, authority, path) =
        ((":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", "/"));
    let with = |more: &[(&str, &str)]| frame(HEADERS, WHOLE, 1, &get("/", more));
    let sized = |length: &str, data: &[u8]| {
        [
            frame(HEADERS, END_HEADERS, 1, &post("/", &[("content-length", length)])),
            frame(DATA, END_STREAM, 1, data),
        ]
        .concat()
    };
    let trailers = |flags: u8, headers: &[(&str, &str)]| {
        [open(), frame(DATA, 0, 1, b"x"), frame(HEADERS, flags, 1, &block(headers))].concat()
    };
    vec![
        ("8.2.1 a name in capitals", 1, with(&[("X-Test", "a")]), Ends::Malformed),
        ("8.2.1 a name that is none", 1, with(&[("x test", "a")]), Ends::Malformed),
        ("8.2.1 a value with a line's end", 1, with(&[("x-test", "a\r\nx: y")]), Ends::Malformed),
        ("8.2.1 a value with NUL", 1, with(&[("x-test", "a\0")]), Ends::Malformed),
        ("8.2.2 connection", 1, with(&[("connection", "keep-alive")]), Ends::Malformed),
        ("8.2.2 transfer-encoding", 1, with(&[("transfer-encoding", "chunked")]), Ends::Malformed),
        ("8.2.2 upgrade", 1, with(&[("upgrade", "websocket")]), Ends::Malformed),
        ("8.2.2 te", 1, with(&[("te", "gzip")]), Ends::Malformed),
        ("8.2.2 te: trailers", 1, with(&[("te", "trailers")]), Ends::Nothing),
        ("8.3 a pseudo-header that nobody knows", 1, with(&[(":test", "a")]), Ends::Malformed),
        ("8.3 one of a response", 1, with(&[(":status", "200")]), Ends::Malformed),
        (
            "8.3 one behind the others",
            1,
            head(&[method, scheme, authority, ("x-test", "a"), path]),
            Ends::Malformed,
        ),
        ("8.3.1 no method", 1, head(&[scheme, authority, path]), Ends::Malformed),
        ("8.3.1 no scheme", 1, head(&[method, authority, path]), Ends::Malformed),
        ("8.3.1 no path", 1, head(&[method, scheme, authority]), Ends::Malformed),
        ("8.3.1 an empty path", 1, head(&[method, scheme, authority, (":path", "")]), Ends::Malformed),
        ("8.3.1 two methods", 1, head(&[method, method, scheme, authority, path]), Ends::Malformed),
        ("8.3.1 two schemes", 1, head(&[method, scheme, scheme, authority, path]), Ends::Malformed),
        ("8.3.1 two paths", 1, head(&[method, scheme, authority, path, path]), Ends::Malformed),
        ("8.3.1 two authorities", 1, head(&[method, scheme, authority, authority, path]), Ends::Malformed),
        ("8.3.1 another host", 1, with(&[("host", "other")]), Ends::Malformed),
        ("8.3.1 a user", 1, head(&[method, scheme, (":authority", "u@web"), path]), Ends::Malformed),
        ("8.1.1 a length that is too long", 1, sized("5", b"x"), Ends::Malformed),
        ("8.1.1 a length that is too short", 1, sized("1", b"xyz"), Ends::Malformed),
        ("8.1.1 a length that is none", 1, sized("x", b"x"), Ends::Malformed),
        ("8.1.1 the right length", 1, sized("3", b"xyz"), Ends::Nothing),
        ("8.1 trailers", 1, trailers(WHOLE, &[("x-sum", "1")]), Ends::Nothing),
        ("8.1 trailers without an end", 1, trailers(END_HEADERS, &[("x-sum", "1")]), Ends::Malformed),
    ]
}

async fn check(cases: Vec<Case>) {
    let world = World::start().await;
    let answering = Backend::named("web");
    let web = world.backend("web", 10, answering.clone()).await;
    world.routes("web", &all_to("web")).await;
    let mut wrong = Vec::new();
    for (case, stream, bytes, want) in cases {
        let before = web.hits();
        let mut wire = Wire::connect(&world, "web", &[]).await;
        wire.write(&bytes).await;
        let outcome = wire.outcome(stream).await;
        if !want.allows(outcome) {
            wrong.push(format!("{case}: {outcome:?} instead of {want:?}"));
        }
        if let (Ends::Malformed, Outcome::Reset(_) | Outcome::Answered(_)) = (want, outcome) {
            // A body may prove wrong after its head has gone on; then the backend gets no whole request.
            let whole = web.seen().len();
            assert!(web.hits() - before <= 1 && whole <= web.hits(), "{case}");
        }
        if !matches!(outcome, Outcome::Over(_)) {
            // The connection goes on.
            wire.send(HEADERS, WHOLE, 101, &get("/after", &[])).await;
            assert_eq!(wire.outcome(101).await, Outcome::Answered(200), "{case}: what comes after it");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn states_of_streams() {
    run(check(states()));
}

#[test]
fn frames_of_each_kind() {
    run(check(kinds()));
}

#[test]
fn requests_that_are_none() {
    run(check(messages()));
}

#[test]
fn what_trailers_say_of_the_request_is_not_handed_on() {
    run(async {
        let world = World::start().await;
        world.put_service("web", weft_core::service::AppProtocol::Http2);
        let echo = Backend::echo_grpc();
        let web = world.backend("web", 10, echo).await;
        world.routes("web", &all_to("web")).await;
        let mut wire = Wire::connect(&world, "web", &[]).await;
        wire.write(&open()).await;
        wire.send(HEADERS, WHOLE, 1, &block(&[(":path", "/admin"), ("x-sum", "1")])).await;
        // hyper's HTTP/2 leaves the pseudo-header out instead of calling it malformed (RFC 9113 §8.1): the backend, which
        // speaks HTTP/2 itself, gets a request without it.
        assert_eq!(wire.outcome(1).await, Outcome::Answered(200));
        assert_eq!(web.hits(), 1);
    });
}

#[test]
fn settings_and_pings_are_answered() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let mut wire = Wire::connect(&world, "web", &[]).await;
        let first = wire.await_kind(SETTINGS).await.unwrap();
        assert_eq!(first.flags & ACK, 0, "a server begins with its settings");
        let value = |name: u16| {
            let settings = first.payload.chunks(6).find(|one| one[..2] == name.to_be_bytes());
            settings.map(|one| u32::from_be_bytes(one[2..].try_into().unwrap()))
        };
        // RFC 9113 §6.5.2: streams at a time, and bytes of a head, have a limit.
        assert_eq!((value(3), value(6)), (Some(1024), Some(65_536)));
        loop {
            if wire.await_kind(SETTINGS).await.unwrap().flags & ACK != 0 {
                break;
            }
        }
        wire.send(PING, 0, 0, b"weftweft").await;
        let pong = loop {
            let ping = wire.await_kind(PING).await.unwrap();
            if ping.flags & ACK != 0 {
                break ping;
            }
        };
        assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"weftweft"[..]));
        wire.send(GOAWAY, 0, 0, &[0; 8]).await;
        // The client wants no more: the server has nothing left to do here.
        while wire.receive().await.is_some() {}
    });
}

#[test]
fn a_client_has_as_many_streams_at_a_time_as_it_was_told() {
    run(async {
        let world = World::start().await;
        let slow = Backend::slow(std::time::Duration::from_secs(300));
        let _web = world.backend("b", 10, slow).await;
        world.put_service("b", weft_core::service::AppProtocol::Http11);
        world.routes("b", &all_to("b")).await;
        let mut wire = Wire::connect(&world, "b", &[]).await;
        // A client that has heard the settings and opens one more than they allow.
        wire.await_kind(SETTINGS).await.unwrap();
        wire.send(SETTINGS, ACK, 0, &[]).await;
        let requests: Vec<u8> =
            (0..=1024).flat_map(|number| frame(HEADERS, WHOLE, 2 * number + 1, &get("/", &[]))).collect();
        wire.write(&requests).await;
        let reset = wire.await_kind(RST_STREAM).await.unwrap();
        let code = u32::from_be_bytes(reset.payload[..].try_into().unwrap());
        assert_eq!((reset.stream, code), (2049, REFUSED_STREAM));
    });
}
