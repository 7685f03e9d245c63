//! The HTTP server: HTTP/1.1, HTTP/2 from the first byte and gRPC on one port. It says who it is and what it was asked.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use weft_testkit::report::Hello;

use crate::Server;
use crate::grpc;
use crate::http::{Next, joined};
use crate::socket::{accept, canonical, listen};

/// How HTTP/2 begins (RFC 9113, section 3.4), as far as no method does.
const HTTP2: &[u8; 4] = b"PRI ";
/// A header by which a client asks for an answer that comes late; it holds milliseconds.
const DELAY: &str = "answer-after-ms";
/// UNAVAILABLE.
const GRPC_UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");

/// Serves until killed.
pub(crate) async fn serve(server: &Server, manner: Manner) -> Result<()> {
    let listener = listen(server)?;
    let next = manner.next.as_deref().map(Next::at).transpose()?;
    let who = Arc::new(Who { name: server.name.clone(), manner, next, asked: AtomicU64::new(0) });
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = accept(&listener).await;
        let who = Arc::clone(&who);
        connections.spawn(async move { serve_one(stream, peer, &who).await });
        while connections.try_join_next().is_some() {}
    }
}

/// How requests are answered.
#[derive(Args, Clone)]
pub(crate) struct Manner {
    #[arg(long, default_value = "v1")]
    version: String,
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// While this file is there, answers every Nth request with 503; it holds the N.
    #[arg(long)]
    fail_file: Option<PathBuf>,
    /// Writes each request to standard error.
    #[arg(long)]
    log_requests: bool,
    /// Asks this URL before it answers, and hands on what the request says of its trace.
    #[arg(long)]
    next: Option<String>,
}

/// Who answers, and how.
struct Who {
    name: String,
    manner: Manner,
    next: Option<Next>,
    /// Requests so far.
    asked: AtomicU64,
}

impl Who {
    /// Whether the next request is one that fails.
    fn fails(&self) -> bool {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let text = self.manner.fail_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let every = text.and_then(|text| text.trim().parse::<u64>().ok());
        every.is_some_and(|every| number.is_multiple_of(every))
    }

    /// How long this answer takes.
    fn delay(&self, headers: &HeaderMap) -> Duration {
        let asked = headers.get(DELAY).and_then(|text| text.to_str().ok()?.parse().ok());
        Duration::from_millis(asked.unwrap_or(self.manner.delay_ms))
    }
}

async fn serve_one(stream: TcpStream, peer: SocketAddr, who: &Arc<Who>) {
    let Ok(local) = stream.local_addr().map(canonical) else { return };
    let carried = AtomicU64::new(0);
    let service = service_fn(|request: Request<Incoming>| {
        let on_connection = carried.fetch_add(1, Ordering::Relaxed) + 1;
        let who = Arc::clone(who);
        async move { Ok::<_, Infallible>(answer(&who, &request, [peer, local], on_connection).await) }
    });
    // A connection that breaks is its client's business.
    match speaks_http2(&stream).await {
        Ok(true) => {
            let server = http2::Builder::new(TokioExecutor::new());
            let _broken = server.serve_connection(TokioIo::new(stream), service).await;
        }
        Ok(false) => {
            let _broken = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
        Err(_broken) => {}
    }
}

/// Looks at what comes first, and leaves it there.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; HTTP2.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == 0 || !HTTP2.starts_with(&first[..seen]) {
            return Ok(false);
        }
        if seen == HTTP2.len() {
            return Ok(true);
        }
        // A part of the word is there, so there is nothing to be woken by but the rest.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn answer(
    who: &Who,
    request: &Request<Incoming>,
    [peer, local]: [SocketAddr; 2],
    on_connection: u64,
) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let (uri, headers) = (request.uri(), request.headers());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let is_call = grpc::is_call(headers);
    let hello = Hello {
        name: who.name.clone(),
        version: who.manner.version.clone(),
        peer,
        local,
        request: format!("{} {path}", request.method()),
        host: uri.authority().map(ToString::to_string).or(host).unwrap_or_default(),
        path: path.to_owned(),
        protocol: if is_call { "gRPC".to_owned() } else { format!("{:?}", request.version()) },
        headers: joined(headers),
        on_connection,
    };
    if who.manner.log_requests {
        eprintln!("asked: {} of {}", hello.request, hello.host);
    }
    let delay = who.delay(headers);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let next_is_well = match &who.next {
        Some(next) => next.ask(headers).await,
        None => true,
    };
    let body = serde_json::to_vec(&hello).unwrap_or_default();
    let fails = who.fails();
    if is_call {
        return of_call(&body, fails || !next_is_well);
    }
    match (next_is_well, fails) {
        (false, _) => of_request(body, StatusCode::BAD_GATEWAY),
        (true, true) => of_request(body, StatusCode::SERVICE_UNAVAILABLE),
        (true, false) => of_request(body, StatusCode::OK),
    }
}

fn of_request(body: Vec<u8>, status: StatusCode) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A failed call has no message, and its status is told at once.
fn of_call(message: &[u8], fails: bool) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let status = |status: HeaderValue| HeaderMap::from_iter([(grpc::STATUS, status)]);
    let mut response = if fails {
        let mut response = Response::new(Full::default().boxed_unsync());
        response.headers_mut().extend(status(GRPC_UNAVAILABLE));
        response
    } else {
        let trailers = async move { Some(Ok(status(HeaderValue::from_static("0")))) };
        Response::new(Full::new(grpc::frame(message)).with_trailers(trailers).boxed_unsync())
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    response
}
