//! Who is at the other end: the two dialects on one listener, strangers, and peers that break the rules.

use super::serve;
use crate::support::{configs, hbone, name, pair, read_all, run, socket, tcp_pair};
use bytes::Bytes;
use h2::Reason;
use http::{Method, Request, StatusCode};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use weft_tunnel::accept::{ALPNS, AcceptError, Dialect, Tunnel, accept};
use weft_tunnel::end::{Carried, End, Refused};
use weft_tunnel::handle::{Handle, TunnelError};
use weft_tunnel::hbone::{ALPN, BadRequest, HboneError, Incoming};
use weft_tunnel::mux::{self, Mux, OpenRequest};
use weft_tunnel::stream::Stream;
use weft_tunnel::tls::Session;
use weft_tunnel::words::Authority;

#[test]
fn both_dialects_share_a_listener() {
    run(async {
        for (case, offered, want) in [
            ("a Weft peer", ALPNS.as_slice(), Ok(Dialect::Mux)),
            ("another mesh's peer", &[ALPN], Ok(Dialect::Hbone)),
            ("only Weft's", &[mux::ALPN], Ok(Dialect::Mux)),
            ("no dialect", &[], Err("none")),
            ("another protocol", &[b"http/1.1"], Err("other")),
        ] {
            let (client_config, server_config) = configs(offered);
            let (near, far) = pair().await;
            let (client, accepted) =
                tokio::join!(Session::connect(&near, client_config, name()), accept(far, server_config));
            match (accepted, want) {
                (Ok(accepted), want) => assert_eq!(Ok(accepted.dialect()), want, "{case}"),
                (Err(AcceptError::Alpn), want) => assert_eq!(want, Err("none"), "{case}"),
                (Err(AcceptError::Tls(_)), want) => {
                    assert_eq!(want, Err("other"), "{case}");
                    assert!(client.is_err(), "{case}");
                }
            }
        }
        // And Weft's own goes on as a mux.
        let (client_config, server_config) = configs(&ALPNS);
        let (near, far) = pair().await;
        let (client, accepted) =
            tokio::join!(Session::connect(&near, client_config, name()), accept(far, server_config));
        let (session, leftover) = client.unwrap();
        let (client, driver) = Mux::client(near, session, leftover);
        spawn_local(driver.run(|_| panic!("a server opens no streams")));
        let Tunnel::Mux(_, driver) = accepted.unwrap().into_tunnel() else {
            panic!("both offered weft/1");
        };
        spawn_local(driver.run(|incoming| match incoming {
            mux::Incoming::Open(_, stream) => Stream::from(stream).refuse(Refused::NoWorkload),
            mux::Incoming::Bad(bad) => panic!("{bad}"),
        }));
        let connect = "10.0.0.1:80".parse::<Authority>().unwrap().into();
        let open = OpenRequest { source: "10.0.0.1:4000".parse().unwrap(), connect };
        let mut stream = Stream::from(client.open(&open).unwrap());
        assert_eq!(stream.opened().await, Err(End::Refused(Refused::NoWorkload)));
    });
}

#[test]
fn a_client_speaks_what_the_server_chooses() {
    run(async {
        for (case, offered, spoken, want) in [
            ("a Weft peer", Dialect::Mux.offers(), &ALPNS[..], Ok(Dialect::Mux)),
            ("a later version beside it", Dialect::Mux.offers(), &[b"weft/2", mux::ALPN], Ok(Dialect::Mux)),
            ("what is older or not Weft", Dialect::Mux.offers(), &[ALPN], Ok(Dialect::Hbone)),
            ("HBONE is asked for", Dialect::Hbone.offers(), &ALPNS[..], Ok(Dialect::Hbone)),
            ("Weft's own or none, of another", &[mux::ALPN], &[ALPN], Err("TLS")),
            ("who knows no dialects", Dialect::Mux.offers(), &[], Err("none")),
        ] {
            let (client_config, server_config) = configs(offered);
            let mut server_config = Arc::unwrap_or_clone(server_config);
            server_config.alpn_protocols = spoken.iter().map(|alpn| alpn.to_vec()).collect();
            let (near, far) = pair().await;
            let server = accept(far, Arc::new(server_config));
            let (client, _server) = tokio::join!(Handle::connect(near, client_config, name()), server);
            let got = match client {
                Ok((Handle::Mux(_), _)) => Ok(Dialect::Mux),
                Ok((Handle::Hbone(_), _)) => Ok(Dialect::Hbone),
                Err(TunnelError::Tls(_)) => Err("TLS"),
                Err(TunnelError::Alpn) => Err("none"),
                Err(other) => panic!("{case}: {other}"),
            };
            assert_eq!(got, want, "{case}");
        }
    });
}

/// A client that is not ours: h2 over tokio-rustls, which sends what it is told to.
async fn stranger(
    seen: Rc<RefCell<Vec<Incoming>>>,
) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), HboneError>>) {
    stranger_over(tcp_pair().await, seen).await
}

async fn stranger_over(
    (near, far): (TcpStream, TcpStream),
    seen: Rc<RefCell<Vec<Incoming>>>,
) -> (h2::client::SendRequest<Bytes>, JoinHandle<Result<(), HboneError>>) {
    let (client_config, server_config) = configs(&[ALPN]);
    let server = serve(socket(far), server_config, move |incoming| seen.borrow_mut().push(incoming));
    let tls = tokio_rustls::TlsConnector::from(client_config).connect(name(), near).await.unwrap();
    let (requests, connection) = h2::client::handshake(tls).await.unwrap();
    spawn_local(connection);
    (requests, server.await.unwrap().1)
}

/// Two ends that are far from each other.
async fn far_apart() -> (TcpStream, TcpStream) {
    let ((near, one), (other, far)) = (tcp_pair().await, tcp_pair().await);
    let (one, other) = (one.into_split(), other.into_split());
    for (mut from, mut to) in [(one.0, other.1), (other.0, one.1)] {
        spawn_local(async move {
            let mut bytes = vec![0; 65_536];
            while let Ok(count @ 1..) = from.read(&mut bytes).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
                to.write_all(&bytes[..count]).await.unwrap();
            }
        });
    }
    (near, far)
}

#[test]
fn requests_that_are_no_connect_of_the_mesh_get_400() {
    run(async {
        let connect = || Request::connect("10.0.0.1:80");
        for (case, request, want) in [
            ("GET", Request::get("https://10.0.0.1:80/").body(()), StatusCode::BAD_REQUEST),
            ("POST", Request::post("https://10.0.0.1:80/").body(()), StatusCode::BAD_REQUEST),
            ("no such host", Request::connect("127.1:80").body(()), StatusCode::BAD_REQUEST),
            ("port zero", Request::connect("10.0.0.1:0").body(()), StatusCode::BAD_REQUEST),
            ("no port", Request::connect("web.shop").body(()), StatusCode::BAD_REQUEST),
            ("user", Request::connect("root@web.shop:80").body(()), StatusCode::BAD_REQUEST),
            ("forwarded", connect().header("forwarded", "for=\"").body(()), StatusCode::BAD_REQUEST),
            (
                "headers beyond the limit",
                connect().header("x", "a".repeat(17_000)).body(()),
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ),
        ] {
            let seen = Rc::default();
            let (mut requests, _server) = stranger(Rc::clone(&seen)).await;
            let (answer, _) = requests.send_request(request.unwrap(), false).unwrap();
            assert_eq!(answer.await.unwrap().status(), want, "{case}");
            let bad = match seen.borrow_mut().pop() {
                None => {
                    assert_eq!(want, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "{case}");
                    continue;
                }
                Some(Incoming::Bad(bad)) => bad,
                Some(Incoming::Connect(..)) => panic!("{case}"),
            };
            match case {
                "GET" => assert_eq!(bad, BadRequest::Method(Method::GET), "{case}"),
                "POST" => assert_eq!(bad, BadRequest::Method(Method::POST), "{case}"),
                "forwarded" => assert!(matches!(bad, BadRequest::Forwarded(_)), "{case}"),
                _ => assert!(matches!(bad, BadRequest::Authority(_)), "{case}: {bad}"),
            }
            // The connection goes on.
            let (_answer, _stream) = requests.send_request(connect().body(()).unwrap(), false).unwrap();
            while seen.borrow().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
}

#[test]
fn a_client_that_only_resets_is_sent_away() {
    run(async {
        let seen = Rc::<RefCell<Vec<Incoming>>>::default();
        let (requests, server) = stranger(seen.clone()).await;
        for count in 1..2_000 {
            let Ok(mut requests) = requests.clone().ready().await else {
                break;
            };
            let request = Request::connect("10.0.0.1:80").body(()).unwrap();
            let Ok((_answer, mut stream)) = requests.send_request(request, false) else {
                break;
            };
            stream.send_reset(Reason::CANCEL);
            if count % 16 == 0 {
                // The server gets to see the requests and their resets, and lets go of them.
                tokio::time::sleep(Duration::from_millis(2)).await;
                seen.borrow_mut().clear();
            }
        }
        assert!(requests.clone().ready().await.is_err(), "nothing more may be asked");
        drop((requests, server.await.unwrap()));
    });
}

#[test]
fn many_that_break_off_at_once_leave_the_others_alone() {
    run(async {
        let seen = Rc::<RefCell<Vec<Incoming>>>::default();
        let (requests, _server) = stranger_over(far_apart().await, seen.clone()).await;
        let begin = async || {
            let mut requests = requests.clone().ready().await.unwrap();
            requests.send_request(Request::connect("10.0.0.1:80").body(()).unwrap(), false).unwrap()
        };
        let arrived = async |count| {
            while seen.borrow().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        for _ in 0..4 {
            let mut streams = Vec::new();
            for _ in 0..500 {
                streams.push(begin().await);
            }
            arrived(streams.len()).await;
            // All applications go away in the middle of what is sent to them.
            for (_, stream) in &mut streams {
                stream.send_data(Bytes::from_static(b"more"), false).unwrap();
            }
            seen.borrow_mut().clear();
            for (_, mut stream) in streams {
                poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
            }
        }
        let _other = begin().await;
        arrived(1).await;
    });
}

#[test]
fn garbage_ends_its_connection_and_no_process() {
    run(async {
        for (case, bytes) in [
            ("no preface", &b"GET / HTTP/1.1\r\n\r\n"[..]),
            (
                "a preface and rubbish",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            ),
            (
                "data for a stream that never was",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\x01x",
            ),
        ] {
            let (client_config, server_config) = configs(&[ALPN]);
            let (near, far) = tcp_pair().await;
            let server = serve(socket(far), server_config, |_| panic!("nothing was asked"));
            let client = tokio_rustls::TlsConnector::from(client_config);
            let mut near = client.connect(name(), near).await.unwrap();
            near.write_all(bytes).await.unwrap();
            near.flush().await.unwrap();
            let ended = server.await.unwrap().1.await.unwrap();
            assert!(ended.is_err(), "{case}");
        }
    });
}

#[test]
fn a_closed_server_does_not_wait_for_a_silent_client() {
    run(async {
        let (client_config, server_config) = configs(&[ALPN]);
        let (near, far) = pair().await;
        let server = serve(far, server_config, |_| panic!("nothing was asked"));
        let (_session, _) = Session::connect(&near, client_config, name()).await.unwrap();
        let (handle, driver) = server.await.unwrap();
        tokio::task::yield_now().await;
        handle.close();
        assert!(driver.await.unwrap().is_ok());
    });
}

#[test]
fn a_server_that_has_said_all_may_hear_no_more() {
    run(async {
        let (client_config, server_config) = configs(&[ALPN]);
        let (near, far) = tcp_pair().await;
        spawn_local(async move {
            let tls = tokio_rustls::TlsAcceptor::from(server_config).accept(far).await.unwrap();
            let mut server = h2::server::handshake(tls).await.unwrap();
            while let Some(Ok((_request, mut answer))) = server.accept().await {
                let mut stream = answer.send_response(http::Response::new(()), false).unwrap();
                stream.send_data(Bytes::from(vec![7; 50_000]), true).unwrap();
                // Nobody holds the stream any more: h2 sends NO_ERROR behind the data.
            }
        });
        let client = hbone(socket(near), client_config, name()).await.unwrap();
        let authority: Authority = "10.0.0.1:80".parse().unwrap();
        let stream = client.open(&authority.into()).unwrap();
        let (app, proxy) = pair().await;
        let end = stream.relay(Rc::new(proxy), &Carried::default()).await;
        assert_eq!(end, End::Closed);
        assert_eq!(read_all(&app).await.len(), 50_000);
    });
}
