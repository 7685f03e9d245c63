//! Requests that two servers would read differently, and clients that take their time.

use crate::backend::Backend;
use crate::frames::{DATA, Outcome, Wire, frame};
use crate::world::{World, all_to, eventually, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What comes back for these bytes, until the waypoint closes the connection.
async fn answer(world: &World, bytes: &[u8]) -> String {
    let mut io = world.client().await.raw("web").await;
    // It may be closed before all is sent.
    let _ = io.write_all(bytes).await;
    let mut text = Vec::new();
    let _ = io.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn where_http_is_written_nothing_else_is_passed_on() {
    run(async {
        let world = World::start().await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let before = web.hits();
        let hello = "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03";
        for garbage in
            ["\0\x01\x02 garbage\r\n\r\n", "QUIT\r\n\r\n", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", hello]
        {
            let answer = answer(&world, garbage.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{garbage:?}: {answer:?}");
        }
        assert_eq!(web.hits(), before);
        // Empty lines may come before a request (RFC 9112 §2.2), and it is one for policy and routes too.
        let late = "\r\n\r\nGET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = answer(&world, late.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
        world.line("/late").await;
        assert!(world.find_line(|line| line["protocol"] == "TCP").is_none(), "no connection of bytes");
    });
}

#[test]
fn what_is_ambiguous_is_refused_and_nothing_behind_it_is_served() {
    run(async {
        let world = World::start().await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let before = web.hits();
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        for (case, head, status) in [
            (
                "both lengths",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "400",
            ),
            (
                "both lengths, turned",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
                "400",
            ),
            (
                "two lengths",
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 41\r\n\r\n",
                "400",
            ),
            ("a list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 41\r\n\r\n", "400"),
            ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n", "400"),
            (
                "another coding",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                "400",
            ),
            (
                "a lone LF in a chunk's extensions",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;\n\r\nabc\r\n0\r\n\r\n",
                "400",
            ),
            (
                "a coding that is none",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
                "400",
            ),
            (
                "a coding behind a tab and more",
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n",
                "400",
            ),
            (
                "a coding in HTTP/1.0",
                "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                "400",
            ),
            ("whitespace before a colon", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n", "400"),
            ("obs-fold", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", "400"),
            ("obs-fold at first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400"),
            ("a lone LF", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "400"),
            ("lone LFs", "GET / HTTP/1.1\nHost: a\n\n", "400"),
            ("a lone CR", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "400"),
            ("NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "400"),
            ("no host", "GET / HTTP/1.1\r\n\r\n", "400"),
            ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
            ("a host that is none", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
            ("two names of a host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            ("a user", "GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"),
            ("a space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "501"),
        ] {
            let text = answer(&world, format!("{head}{smuggled}").as_bytes()).await;
            let first = text.split(' ').nth(1).unwrap_or_default();
            assert_eq!(first, status, "{case}: {text:?}");
            assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{case}: {text:?}");
        }
        assert_eq!(web.hits(), before, "nothing of it got through");
    });
}

#[test]
fn heads_that_are_too_large() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let many: String = (0..200).map(|number| format!("X-{number}: a\r\n")).collect();
        let long = format!("X: {}\r\n", "a".repeat(100_000));
        for (case, headers) in [("many", many), ("long", long)] {
            let text = answer(&world, format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes()).await;
            assert!(text.starts_with("HTTP/1.1 431 "), "{case}: {text:?}");
        }
    });
}

#[test]
fn slow_senders_are_not_waited_for() {
    run(async {
        let settings = [
            ("WEFT_REQUEST_HEAD_SECONDS", "1"),
            ("WEFT_REQUEST_BODY_IDLE_SECONDS", "1"),
            ("WEFT_KEEP_ALIVE_SECONDS", "1"),
        ];
        let world = World::start_with(&settings).await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        // None of these ends by itself: that reading comes to an end says that the waypoint closed.
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost"[..],
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
            b"GET /idle HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            answer(&world, bytes).await;
        }
        assert_eq!(world.line("/idle").await["status"], 200);
    });
}

#[test]
fn what_is_no_request_is_told_all_the_same() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let many: String = (0..200).map(|number| format!("X-{number}: a\r\n")).collect();
        for (case, status, bytes) in [
            ("a lone LF", 400, "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n".to_owned()),
            ("too many headers", 431, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
        ] {
            let text = answer(&world, bytes.as_bytes()).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{case}: {text:?}");
            let line = world.line_where(|line| line["status"] == status).await;
            assert_eq!((line["flags"].as_str(), line["protocol"].as_str()), (Some("DPE"), Some("HTTP/1.1")));
            let has =
                ["method", "path", "why", "src.identity", "dst.service"].map(|key| line[key].is_string());
            assert_eq!(has, [false, false, true, true, true], "{case}: {line}");
        }
        let mut wire = Wire::connect(&world, "web", &[]).await;
        wire.write(&frame(DATA, 1, 1, b"of no stream")).await;
        assert!(matches!(wire.outcome(1).await, Outcome::Over(Some(_))));
        let line = world.line_where(|line| line["protocol"] == "HTTP/2").await;
        assert_eq!((line["flags"].as_str(), line["status"].as_u64()), (Some("DPE"), Some(0)), "{line}");
        for (protocol, code) in [("http", 400), ("http", 431), ("http2", 0)] {
            let labels = [
                format!("request_protocol=\"{protocol}\""),
                format!("response_code=\"{code}\""),
                "response_flags=\"DPE\"".to_owned(),
            ];
            eventually(|| async {
                let text = world.http(15020, "/metrics")?;
                let mut series = text.lines().filter(|line| line.starts_with("istio_requests_total{"));
                series.find(|line| labels.iter().all(|label| line.contains(label))).map(|_| ())
            })
            .await;
        }
    });
}
