//! Bodies of requests that do not come as quickly, or as well, as their backends would like.

use crate::backend::Backend;
use crate::words::{PORT, forward, to, workload};
use crate::world::{OK, World, all_to, run};
use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use std::cell::Cell;
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use weft_core::workload::TunnelProtocol;

/// A backend of `web` that answers each request as soon as it has its head, and reads its body then. Gives how many
/// connections it has had.
async fn hasty(world: &World) -> Rc<Cell<usize>> {
    world.put_workload(&workload("web-10", world.ip(10), "web", TunnelProtocol::Plain));
    let listener = TcpListener::bind((world.ip(10), PORT)).await.unwrap();
    let connections = Rc::<Cell<usize>>::default();
    let counted = connections.clone();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.set(counted.get() + 1);
            spawn_local(async move {
                let mut last = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    last.push(byte);
                    if last.ends_with(b"\r\n\r\n") {
                        last.clear();
                        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                    }
                }
            });
        }
    });
    connections
}

#[test]
fn who_is_answered_before_its_body_has_come_keeps_nobody_waiting() {
    run(async {
        let world = World::start().await;
        let connections = hasty(&world).await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        let mut slow = client.raw("web").await;
        slow.write_all(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            answer.push(slow.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        // The rest of its body is still to come, and the same backend is asked.
        assert_eq!(client.get("web", "/other").await.text(), "ok");
        let before = connections.get();
        slow.write_all(b"defghij").await.unwrap();
        slow.write_all(b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut rest = String::new();
        slow.read_to_string(&mut rest).await.unwrap();
        assert!(rest.ends_with("\r\n\r\nok"), "{rest}");
        assert_eq!(connections.get(), before, "nothing more is opened");
    });
}

#[test]
fn a_body_that_breaks_off_is_its_clients_fault() {
    run(async {
        let world = World::start_with(&[("WEFT_REQUEST_BODY_IDLE_SECONDS", "1")]).await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        // One failure is enough for the only endpoint to be left alone.
        let outlier = json!({"consecutive5xx": 1, "interval": 1_000, "base": 3_600_000, "max": 3_600_000, "ejectedMax": 1_000_000, "healthyMin": 0});
        let retry =
            json!({"retry": {"retries": 3, "on": {"conditions": ["5xx"]}, "backoff": {"base": 1, "max": 1}}});
        let rules = [(json!({}), forward(&[to("web", 1)], retry))];
        world.traffic("web", &rules, &json!({"settings": {"outlier": outlier}})).await;
        let client = world.client().await;
        for (path, body, status) in [
            // A chunk that is longer than it says.
            ("/bad", "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", "400"),
            ("/late", "Content-Length: 10\r\n\r\nabc", "408"),
        ] {
            let before = web.hits();
            let mut io = client.raw("web").await;
            io.write_all(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{body}").as_bytes()).await.unwrap();
            let mut answer = String::new();
            io.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
            let line = world.line(path).await;
            assert_eq!((line["flags"].as_str(), line["tries"].as_u64()), (Some("DPE"), Some(1)), "{line}");
            assert!(web.hits() <= before + 1, "{path}: it is not tried again");
            assert_eq!(client.get("web", "/after").await.status, OK, "{path}: the endpoint is not to blame");
        }
    });
}

#[test]
fn who_is_refused_often_keeps_its_connection() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        let respond = json!({"action": {"respond": {"status": 503, "body": []}}});
        world.routes("web", &[(json!({}), respond)]).await;
        let sender = world.client().await.http2("web").await;
        // Most of each is still on its way when it is answered.
        let body = Bytes::from(vec![b'x'; 200_000]);
        for _ in 0..40 {
            let all = (0..80).map(|_| {
                let (mut sender, body) = (sender.clone(), Full::new(body.clone()));
                async move { sender.send_request(Request::post("http://web/").body(body).unwrap()).await }
            });
            for response in join_all(all).await {
                assert_eq!(response.expect("a response").status(), 503);
            }
        }
    });
}
