//! hyper at both ends of a stream: what a waypoint does.

use super::{DIALECTS, Line};
use crate::support::{byte_at, run};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::task::{JoinHandle, spawn_local};
use weft_tunnel::end::{Broken, Refused};
use weft_tunnel::io::TunnelIo;

/// Answers with what it is sent.
fn serve(io: TunnelIo) -> JoinHandle<Result<(), hyper::Error>> {
    let echo = |request: Request<Incoming>| async move {
        let body = request.into_body().collect().await?.to_bytes();
        Ok::<_, hyper::Error>(Response::new(Full::new(body)))
    };
    spawn_local(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service_fn(echo)),
    )
}

fn request(body: Bytes) -> Request<Full<Bytes>> {
    Request::post("/").header("host", "web.shop").body(Full::new(body)).unwrap()
}

#[test]
fn requests_follow_each_other_on_a_stream() {
    run(async {
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (near, far) = line.ios().await;
            let server = serve(far);
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
            let client = spawn_local(connection);
            for (number, size) in [0, 1, 100, 16_384, 3_000_000, 5].into_iter().enumerate() {
                let body = Bytes::from_iter((0..size).map(|at| byte_at(number as u64, at)));
                sender.ready().await.unwrap();
                let answer = sender.send_request(request(body.clone())).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "{dialect:?}: {size}");
                let got = answer.into_body().collect().await.unwrap().to_bytes();
                assert!(got == body, "{dialect:?}: {size}");
            }
            drop(sender);
            client.await.unwrap().unwrap();
            server.await.unwrap().unwrap();
            line.settle(&format!("{dialect:?}")).await;
        }
    });
}

#[test]
fn a_body_that_ends_with_its_connection_is_whole() {
    run(async {
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (near, far) = line.ios().await;
            // An answer of HTTP/1.0: its length is not told.
            let large = |_request| async {
                let body = Full::new(Bytes::from(vec![7; 1_000_000]));
                Ok::<_, Infallible>(Response::new(Unsized(body)))
            };
            let server = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(far), service_fn(large));
            let server = spawn_local(server);
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
            spawn_local(connection);
            let mut request = Request::get("/").body(Empty::<Bytes>::new()).unwrap();
            *request.version_mut() = hyper::Version::HTTP_10;
            let answer = sender.send_request(request).await.unwrap();
            let got = answer.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(got.len(), 1_000_000, "{dialect:?}");
            server.await.unwrap().unwrap();
        }
    });
}

/// A body that does not tell how long it is.
struct Unsized(Full<Bytes>);

impl hyper::body::Body for Unsized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[test]
fn a_refusal_is_found_in_an_error_of_http() {
    run(async {
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (near, far) = line.stream().await;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(near.into_io())).await.unwrap();
            let client = spawn_local(connection);
            far.refuse(Refused::Policy);
            let answer = sender.send_request(request(Bytes::from_static(b"x"))).await;
            let ended = client.await.unwrap();
            let found =
                [answer.err(), ended.err()].into_iter().flatten().find_map(|error| Broken::find(&error));
            assert_eq!(found, Some(Broken::Refused(Refused::Policy)), "{dialect:?}");
        }
    });
}
