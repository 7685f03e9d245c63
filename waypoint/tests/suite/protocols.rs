//! What is spoken beside plain requests: upgrades, gRPC, pipelining, chunks and trailers, bytes.

use crate::backend::Backend;
use crate::words::workload;
use crate::world::{OK, World, all_to, eventually, run};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use weft_core::service::AppProtocol;
use weft_core::workload::TunnelProtocol;

#[test]
fn an_upgraded_connection_carries_bytes() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::upgrading()).await;
        world.routes("web", &all_to("web")).await;
        let mut io = world.client().await.raw("web").await;
        io.write_all(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains("upgrade: websocket\r\n") && head.contains("connection: upgrade\r\n"),
            "{head}"
        );
        // What would be no strict HTTP/1 is none of the waypoint's concern any more.
        for message in [&b"hello\n\0\n"[..], b"Content-Length: 1\nContent-Length: 2\n\n"] {
            io.write_all(message).await.unwrap();
            let mut back = vec![0; message.len()];
            io.read_exact(&mut back).await.unwrap();
            assert_eq!(back, message);
        }
        io.shutdown().await.unwrap();
        drop(io);
        let line = world.line("/chat").await;
        assert_eq!((line["status"].as_u64(), line["bytes_sent"].as_u64()), (Some(101), Some(45)), "{line}");
    });
}

#[test]
fn an_upgraded_connection_takes_up_its_room() {
    for limits in [json!({"connections": 1}), json!({"requests": 1})] {
        run(async {
            let world = World::start_with(&[("WEFT_PENDING_TIMEOUT_SECONDS", "1")]).await;
            let _web = world.backend("web", 10, Backend::upgrading()).await;
            world.traffic("web", &all_to("web"), &json!({"settings": {"limits": limits}})).await;
            let client = world.client().await;
            let mut io = client.raw("web").await;
            let head = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            io.write_all(head.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(io.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"HTTP/1.1 101 "), "{limits}");
            assert_eq!(client.get("web", "/crowd").await.status, 503, "{limits}: while it lasts");
            assert_eq!(world.line("/crowd").await["flags"], "UO", "{limits}");
            drop(io);
            eventually(|| async { (client.get("web", "/").await.status == 426).then_some(()) }).await;
        });
    }
}

#[test]
fn a_client_of_http_1_0_need_not_name_a_host() {
    run(async {
        let world = World::start().await;
        world.put_service("a", AppProtocol::Http2);
        let one = world.backend("web", 10, Backend::named("one")).await;
        let two = world.backend("a", 11, Backend::named("two").by_http2()).await;
        let client = world.client().await;
        for service in ["web", "a"] {
            world.routes(service, &all_to(service)).await;
            let mut io = client.raw(service).await;
            io.write_all(b"GET /old HTTP/1.0\r\n\r\n").await.unwrap();
            let mut text = String::new();
            io.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.0 200 "), "{service}: {text}");
        }
        let (one, two) = (&one.seen()[0].0, &two.seen()[0].0);
        assert_eq!(one.headers["host"], world.vip("web").to_string().as_str());
        assert_eq!(two.uri.authority().map(http::uri::Authority::as_str), Some(&*world.vip("a").to_string()));
    });
}

#[test]
fn an_upgraded_connection_ends_when_policy_denies_what_made_it() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::upgrading()).await;
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        let mut open = Vec::new();
        for path in ["/denied", "/other"] {
            let mut io = client.raw("web").await;
            let head =
                format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
            io.write_all(head.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(io.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"HTTP/1.1 101 "), "{path}");
            open.push(io);
        }
        let mut other = open.pop().unwrap();
        let mut denied = open.pop().unwrap();
        world.policy("denied", "deny", "enforced", &json!([{"to": [{"paths": ["/denied"]}]}]));
        assert!(denied.read_u8().await.is_err(), "it is ended, and nothing is said on it");
        let line = world.line("/denied").await;
        assert_eq!(
            (line["flags"].as_str(), line["why"].as_str()),
            (Some("-"), Some("policy_changed")),
            "{line}"
        );
        other.write_all(b"x").await.unwrap();
        assert_eq!(other.read_u8().await.unwrap(), b'x', "the other one goes on");
    });
}

#[test]
fn an_upgrade_to_http2_is_no_way_around_a_policy() {
    run(async {
        let world = World::start().await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        world.policy("secret", "deny", "enforced", &json!([{"to": [{"paths": ["/secret"]}]}]));
        world.routes("web", &all_to("web")).await;
        let client = world.client().await;
        for wish in [
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            "Connection: Upgrade\r\nUpgrade: H2C\r\nHTTP2-Settings: AAMAAABk\r\n",
            "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
            "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
            "Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n",
        ] {
            let before = web.seen().len();
            let mut io = client.raw("web").await;
            let head = format!("GET /public HTTP/1.1\r\nHost: a\r\n{wish}\r\n");
            let next = "GET /secret HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            io.write_all(format!("{head}{next}").as_bytes()).await.unwrap();
            let mut text = String::new();
            io.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200 "), "{wish}: the request goes on without it: {text}");
            assert!(text.contains("HTTP/1.1 403 "), "{wish}: the next one is asked about too: {text}");
            let seen = web.seen().split_off(before);
            assert_eq!(seen.len(), 1, "{wish}");
            for name in ["upgrade", "http2-settings", "connection"] {
                assert!(!seen[0].0.headers.contains_key(name), "{wish}: the backend hears of {name}");
            }
        }
    });
}

#[test]
fn a_backend_that_changes_its_protocol_unasked() {
    run(async {
        let world = World::start().await;
        let switches = |_: usize| {
            let mut response = crate::backend::reply(101, "");
            response.headers_mut().insert("upgrade", http::HeaderValue::from_static("h2c"));
            response.headers_mut().insert("connection", http::HeaderValue::from_static("upgrade"));
            response
        };
        let _web = world.backend("web", 10, Backend::replying(switches)).await;
        world.routes("web", &all_to("web")).await;
        assert_eq!(world.client().await.get("web", "/unasked").await.status, 502);
        let line = world.line("/unasked").await;
        assert_eq!(line["flags"], "UC", "{line}");
    });
}

#[test]
fn grpc_streams_both_ways_and_ends_with_trailers() {
    run(async {
        let world = World::start().await;
        world.put_service("grpc", AppProtocol::Grpc);
        let _grpc = world.backend("grpc", 10, Backend::echo_grpc()).await;
        world.routes("grpc", &all_to("grpc")).await;
        let mut sender = world.client().await.http2("grpc").await;
        let (tx, rx) = mpsc::channel::<Bytes>(1);
        let stream = tokio_stream::wrappers::ReceiverStream::new(rx);
        let body = StreamBody::new(stream.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))));
        let request = Request::post("http://grpc/echo.Echo/Both").header("content-type", "application/grpc");
        let request = request.header("te", "trailers").header("grpc-timeout", "30S").body(body).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), OK);
        let mut body = response.into_body();
        for number in 0..10_u8 {
            // The next message goes out only after the last has come back: nothing is gathered on the way.
            tx.send(Bytes::from(vec![number; 100])).await.unwrap();
            let mut got = 0;
            while got < 100 {
                got += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
            }
        }
        drop(tx);
        let trailers: HeaderMap = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        let line = world.line("/echo.Echo/Both").await;
        assert_eq!(
            (line["grpc_status"].as_u64(), line["bytes_sent"].as_u64()),
            (Some(0), Some(1000)),
            "{line}"
        );
    });
}

#[test]
fn pipelined_and_chunked_requests() {
    run(async {
        let world = World::start().await;
        let web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let before = web.hits();
        let mut io = world.client().await.raw("web").await;
        io.write_all(
            b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n\
              POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nfg",
        )
        .await
        .unwrap();
        let mut text = String::new();
        io.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
        let seen = web.seen().split_off(before);
        let seen: Vec<_> = seen.iter().map(|(head, body)| (head.uri.path(), &body[..])).collect();
        assert_eq!(seen, [("/1", &b""[..]), ("/2", b"abcde"), ("/3", b"fg")]);
    });
}

/// A GET with a body is rare, but some servers are asked so (Elasticsearch's `_search`).
#[test]
fn a_body_goes_on_whatever_the_method() {
    run(async {
        let world = World::start().await;
        world.put_service("a", AppProtocol::Http2);
        let one = world.backend("web", 10, Backend::named("one")).await;
        let two = world.backend("a", 11, Backend::named("two").by_http2()).await;
        let client = world.client().await;
        for (service, backend) in [("web", one), ("a", two)] {
            world.routes(service, &all_to(service)).await;
            for method in ["GET", "DELETE"] {
                let mut io = client.raw(service).await;
                let head = "Host: a\r\nTransfer-Encoding: chunked\r\nConnection: close";
                let request = format!("{method} /1 HTTP/1.1\r\n{head}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
                io.write_all(request.as_bytes()).await.unwrap();
                let mut text = String::new();
                io.read_to_string(&mut text).await.unwrap();
                assert!(text.starts_with("HTTP/1.1 200 "), "{service} {method}: {text}");
                let mut sender = client.http2(service).await;
                let body =
                    futures::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"def")))]);
                let request = Request::builder().method(method).uri("http://web.shop/2");
                let response = sender.send_request(request.body(StreamBody::new(body)).unwrap()).await;
                assert_eq!(response.unwrap().status(), OK, "{service} {method}");
                let seen = backend.seen();
                let seen: Vec<_> = seen.iter().rev().take(2).map(|(_, body)| &body[..]).collect();
                assert_eq!(seen, [b"def", b"abc"], "{service} {method}");
            }
            assert_eq!(client.get(service, "/").await.status, OK);
            let (head, _) = backend.seen().pop().unwrap();
            assert!(
                !head.headers.contains_key("transfer-encoding"),
                "{service}: without a body nothing is said"
            );
        }
    });
}

/// Of what the waypoint answers itself: in HTTP/2 content behind it would be an error of the protocol.
#[test]
fn a_response_to_head_is_a_head() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        world.policy("denied", "deny", "enforced", &json!([{"to": [{"paths": ["/denied"]}]}]));
        let respond = |status: u16| json!({"action": {"respond": {"status": status, "body": b"text"}}});
        let at = |path: &str| json!({"path": {"text": {"exact": path}}});
        let mut rules = vec![(at("/own"), respond(200)), (at("/none"), respond(204))];
        rules.extend(all_to("web"));
        world.routes("web", &rules).await;
        let client = world.client().await;
        for (method, path, status, length) in [
            ("HEAD", "/denied", 403, Some("19")),
            ("HEAD", "/own", 200, Some("4")),
            ("HEAD", "/", 200, Some("3")),
            ("GET", "/none", 204, None),
        ] {
            for version in [Version::HTTP_11, Version::HTTP_2] {
                let request = Request::builder().method(method).uri(format!("http://web.shop{path}"));
                let request = request.header("host", "web.shop").body(Empty::<Bytes>::new()).unwrap();
                let response = match version {
                    Version::HTTP_2 => client.http2("web").await.send_request(request).await,
                    _ => client.http1("web").await.send_request(request).await,
                };
                let answer = crate::client::whole(response.unwrap()).await;
                let got = (answer.status.as_u16(), answer.header("content-length"), answer.body.len());
                assert_eq!(got, (status, length, 0), "{method} {path} by {version:?}");
            }
        }
    });
}

#[test]
fn a_backend_may_say_much_in_its_head() {
    run(async {
        let world = World::start().await;
        let value = http::HeaderValue::from_str(&"x".repeat(10_000)).unwrap();
        let replying = Backend::replying(move |_: usize| {
            let mut response = crate::backend::reply(200, "");
            for _ in 0..4 {
                response.headers_mut().append("set-cookie", value.clone());
            }
            response
        });
        world.put_service("a", AppProtocol::Http2);
        let _one = world.backend("web", 10, replying.clone()).await;
        let _two = world.backend("a", 11, replying.by_http2()).await;
        let client = world.client().await;
        for service in ["web", "a"] {
            world.routes(service, &all_to(service)).await;
            let answer = client.get(service, "/").await;
            assert_eq!(answer.status, OK, "{service}");
            assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 4, "{service}");
        }
    });
}

#[test]
fn bytes_go_to_a_tcp_service_as_they_are() {
    run(async {
        let world = World::start().await;
        world.put_service("tcp", AppProtocol::Tcp);
        world.put_workload(&workload("tcp-10", world.ip(10), "tcp", TunnelProtocol::Plain));
        let listener = TcpListener::bind((world.ip(10), crate::words::PORT)).await.unwrap();
        spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // A server that speaks first.
                stream.write_all(b"hello\n").await.unwrap();
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            }
        });
        let client = world.client().await;
        let text = crate::world::eventually(|| async {
            let mut io = client.raw("tcp").await;
            let _ = io.write_all(b"\0\x01bytes").await;
            let _ = io.shutdown().await;
            let mut all = Vec::new();
            (io.read_to_end(&mut all).await.is_ok() && !all.is_empty()).then_some(all)
        })
        .await;
        assert_eq!(text, b"hello\n\0\x01bytes");
    });
}

/// A server that says its name once it has heard all.
async fn tls_named(world: &World, service: &str, host: u8, name: &'static [u8]) {
    world.put_service(service, AppProtocol::Tls);
    world.put_workload(&workload(
        &format!("{service}-{host}"),
        world.ip(host),
        service,
        TunnelProtocol::Plain,
    ));
    let listener = TcpListener::bind((world.ip(host), crate::words::PORT)).await.unwrap();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = Vec::new();
            stream.read_to_end(&mut hello).await.unwrap();
            assert!(!hello.is_empty(), "what was looked into goes on");
            stream.write_all(name).await.unwrap();
        }
    });
}

/// The first bytes of a client of TLS that asks for a name.
fn hello(name: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder_with_provider(weft_pki::provider::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn tls_goes_by_the_name_that_it_asks_for() {
    run(async {
        let world = World::start().await;
        tls_named(&world, "a", 10, b"a").await;
        tls_named(&world, "b", 11, b"b").await;
        let route = |names: &[&str], service: &str| {
            let backends = [json!({"weight": 1, "to": crate::words::target(service)})];
            json!({"serverNames": names, "backends": backends})
        };
        let routes = [route(&["a.org"], "a"), route(&["*.b.org"], "b")];
        world.say_routes("web", &json!([{"routes": {"tls": routes}}]));
        let client = world.client().await;
        let ask = async |bytes: Vec<u8>, thinks: Duration| {
            let mut io = client.raw("web").await;
            tokio::time::sleep(thinks).await;
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            // A hello may come in pieces. What is refused is closed.
            for piece in [first, rest] {
                let _ = io.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _ = io.shutdown().await;
            let mut answer = Vec::new();
            let _ = io.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        let at_once = Duration::ZERO;
        crate::world::eventually(|| async { (ask(hello("a.org"), at_once).await == "a").then_some(()) })
            .await;
        for (name, want) in [("a.org", "a"), ("x.b.org", "b"), ("b.org", ""), ("c.org", "")] {
            assert_eq!(ask(hello(name), at_once).await, want, "{name}");
        }
        assert_eq!(ask(b"no TLS at all".to_vec(), at_once).await, "");
        // Longer than it takes to find out that a client waits for its server to speak.
        assert_eq!(ask(hello("a.org"), Duration::from_secs(1)).await, "a", "a client that thinks first");
    });
}

#[test]
fn a_connection_that_has_rested_goes_on() {
    run(async {
        let world = World::start().await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let mut io = world.client().await.raw("web").await;
        let pieces: [&[&[u8]]; 3] = [
            &[b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"],
            &[b"GET /2 HT", b"TP/1.1\r\nHost: a\r\n\r\n"],
            &[b"GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
        ];
        for request in pieces {
            for piece in request {
                // Longer than the waypoint keeps buffers for an idle connection; nothing fails if it is not.
                tokio::time::sleep(Duration::from_millis(1200)).await;
                io.write_all(piece).await.unwrap();
            }
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\nweb") {
                answer.push(io.read_u8().await.unwrap());
            }
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        }
        assert_eq!(io.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    });
}

#[test]
fn a_server_as_a_whole_may_be_asked_what_it_does() {
    run(async {
        let world = World::start().await;
        world.put_service("a", AppProtocol::Http2);
        let one = world.backend("web", 10, Backend::named("one")).await;
        let two = world.backend("a", 11, Backend::named("two").by_http2()).await;
        let client = world.client().await;
        let ask = async |service: &str, method: &str| {
            let mut io = client.raw(service).await;
            let head = format!("{method} * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            io.write_all(head.as_bytes()).await.unwrap();
            let mut text = String::new();
            io.read_to_string(&mut text).await.unwrap();
            text[9..12].to_owned()
        };
        let root = json!({"path": {"within": "/"}});
        for service in ["web", "a"] {
            let rule = crate::words::forward(&[crate::words::to(service, 1)], json!({}));
            world.routes(service, &[(root.clone(), rule)]).await;
            assert_eq!(ask(service, "OPTIONS").await, "200", "{service}");
            assert_eq!(ask(service, "GET").await, "400", "{service}: nobody else may");
        }
        for seen in [one.seen(), two.seen()] {
            let asked = seen.iter().map(|(head, _)| (head.method.as_str(), head.uri.path()));
            let whole: Vec<_> = asked.filter(|(_, path)| *path == "*").collect();
            assert_eq!(whole, [("OPTIONS", "*")]);
        }
        world.policy("asked", "deny", "enforced", &json!([{"to": [{"methods": ["OPTIONS"]}]}]));
        eventually(|| async { (ask("web", "OPTIONS").await == "403").then_some(()) }).await;
    });
}

#[test]
fn a_copy_of_an_upgrade_is_none() {
    run(async {
        let world = World::start().await;
        world.put_service("b", AppProtocol::Http11);
        let _web = world.backend("web", 10, Backend::upgrading()).await;
        let copies = world.backend("b", 11, Backend::named("b")).await;
        let mirrors = json!({"mirrors": [{"share": 1_000_000, "target": crate::words::target("b")}]});
        let rule = crate::words::forward(&[crate::words::to("web", 1)], mirrors);
        world.routes("web", &[(json!({}), rule)]).await;
        let mut io = world.client().await.raw("web").await;
        io.write_all(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "the request itself is one");
        let (head, _) = eventually(|| async { copies.seen().pop() }).await;
        assert_eq!(head.uri.path(), "/chat");
        assert!(
            !head.headers.contains_key("upgrade") && !head.headers.contains_key("connection"),
            "{head:?}"
        );
    });
}

#[test]
fn whoever_asks_first_is_told_to_go_on() {
    run(async {
        let world = World::start().await;
        world.put_service("a", AppProtocol::Http2);
        let one = world.backend("web", 10, Backend::named("one")).await;
        let two = world.backend("a", 11, Backend::named("two").by_http2()).await;
        world.policy("denied", "deny", "enforced", &json!([{"to": [{"paths": ["/denied"]}]}]));
        let client = world.client().await;
        for (service, backend) in [("web", one), ("a", two)] {
            world.routes(service, &all_to(service)).await;
            let asks = |path: &str| {
                let more = "Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close";
                format!("POST {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n\r\n")
            };
            let mut io = client.raw(service).await;
            io.write_all(asks("/asks").as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(io.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"HTTP/1.1 100 "), "{service}: {}", String::from_utf8_lossy(&head));
            io.write_all(b"fg").await.unwrap();
            let mut text = String::new();
            io.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200 "), "{service}: {text}");
            let (head, body) = backend.seen().pop().unwrap();
            assert_eq!((head.uri.path(), &body[..]), ("/asks", &b"fg"[..]), "{service}");
            assert!(!head.headers.contains_key("expect"), "{service}: this side has answered it");
            let mut io = client.raw(service).await;
            io.write_all(asks("/denied").as_bytes()).await.unwrap();
            let mut text = String::new();
            io.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 403 "), "{service}: {text}");
        }
    });
}
