//! The HTTP client: HTTP/1.1, HTTP/2 from the first byte, and calls of gRPC.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use weft_testkit::report::{Answer, GetReport, Latency};

use crate::grpc;
use crate::socket::{resolve, word};

#[derive(Args, Clone)]
pub(crate) struct GetArgs {
    url: String,
    #[arg(long, default_value_t = 1)]
    count: u64,
    #[arg(long, default_value_t = 1)]
    connections: u64,
    #[arg(long, default_value_t = 10_000)]
    timeout_ms: u64,
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    #[arg(long, default_value_t = 16)]
    keep: u64,
    #[arg(long)]
    header: Vec<String>,
    #[arg(long)]
    close: bool,
    /// Another method than GET.
    #[arg(long, default_value = "GET")]
    method: String,
    /// HTTP/2 from the first byte.
    #[arg(long)]
    http2: bool,
    /// A call of gRPC with one message each way; the path is service and method.
    #[arg(long)]
    grpc: bool,
    /// Prints what was answered, and no report.
    #[arg(long)]
    pub(crate) body: bool,
}

/// A request taken apart once.
#[derive(Clone)]
struct Target {
    /// Where to connect.
    host: String,
    authority: String,
    path: String,
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    speaks: Speaks,
}

/// What a connection carries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
    Grpc,
}

/// What an application has to hand on, or the parts of a trace do not find each other.
const TRACE_HEADERS: [&str; 9] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "x-request-id",
];

/// Another server, which is asked before a request is answered.
pub(crate) struct Next(Target);

impl Next {
    /// At a URL.
    pub(crate) fn at(url: &str) -> Result<Self> {
        Target::at(url).map(Self)
    }

    /// Asks it, handing on what the request that came says of its trace. Gives whether it has answered well.
    pub(crate) async fn ask(&self, came: &HeaderMap) -> bool {
        let handed_on = |(name, value): (&HeaderName, &HeaderValue)| {
            TRACE_HEADERS.contains(&name.as_str()).then(|| (name.clone(), value.clone()))
        };
        let target = Target { headers: came.iter().filter_map(handed_on).collect(), ..self.0.clone() };
        matches!(one(&target, None).await, Ok((answer, _)) if answer.is_ok())
    }
}

/// Sends all requests, or those until SIGTERM, and reports.
pub(crate) async fn get(args: GetArgs) -> Result<GetReport> {
    let mut terminate = signal(SignalKind::terminate())?;
    let target = Arc::new(target(&args)?);
    let left = Arc::new(AtomicU64::new(args.count));
    let mut workers = JoinSet::new();
    for _ in 0..args.connections.clamp(1, args.count.max(1)) {
        let (args, target, left) = (args.clone(), Arc::clone(&target), Arc::clone(&left));
        workers.spawn(async move { work(&args, &target, &left).await });
    }
    let mut answers = Vec::new();
    loop {
        tokio::select! {
            // What is under way is still answered.
            _ = terminate.recv() => left.store(0, Ordering::Relaxed),
            done = workers.join_next() => match done {
                Some(done) => answers.extend(done?),
                None => return Ok(summary(answers, args.keep)),
            },
        }
    }
}

fn target(args: &GetArgs) -> Result<Target> {
    let plain = Target::at(&args.url)?;
    let headers = args.header.iter().map(|line| {
        let (name, value) = line.split_once(':').context("a header is `name: value`")?;
        Ok((name.trim().parse()?, value.trim().parse()?))
    });
    let mut headers = headers.collect::<Result<Vec<(HeaderName, HeaderValue)>>>()?;
    // Another host than the one that is connected to.
    let named = headers.iter().position(|(name, _)| name == HOST).map(|place| headers.swap_remove(place).1);
    let authority =
        named.map(|host| host.to_str().map(str::to_owned)).transpose().context("a host is text")?;
    let speaks = match (args.grpc, args.http2) {
        (true, _) => Speaks::Grpc,
        (false, true) => Speaks::Http2,
        (false, false) => Speaks::Http1,
    };
    Ok(Target {
        authority: authority.unwrap_or(plain.authority),
        method: args.method.parse().context("reading the method")?,
        headers,
        speaks,
        ..plain
    })
}

impl Target {
    /// A plain request.
    fn at(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().context("reading the URL")?;
        let connect = uri.authority().context("a URL needs a host")?;
        Ok(Self {
            host: format!("{}:{}", connect.host(), connect.port_u16().unwrap_or(80)),
            authority: connect.to_string(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            method: Method::GET,
            headers: Vec::new(),
            speaks: Speaks::Http1,
        })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let request = match self.speaks {
            Speaks::Http1 => {
                Request::builder().method(&self.method).uri(&self.path).header(HOST, &self.authority)
            }
            Speaks::Http2 => Request::builder().method(&self.method).uri(self.absolute()),
            Speaks::Grpc => {
                let request = Request::builder().method(Method::POST).uri(self.absolute());
                request.header(CONTENT_TYPE, grpc::CONTENT_TYPE).header(TE, "trailers")
            }
        };
        let fields = self.headers.iter();
        let request = fields.fold(request, |request, (name, value)| request.header(name, value));
        let body = if self.speaks == Speaks::Grpc { grpc::frame(b"{}") } else { Bytes::new() };
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }

    fn absolute(&self) -> String {
        format!("http://{}{}", self.authority, self.path)
    }
}

async fn work(args: &GetArgs, target: &Target, left: &AtomicU64) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut connection: Option<Kept> = None;
    let take = |left: u64| left.checked_sub(1);
    while left.try_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        if !answers.is_empty() && args.pause_ms > 0 {
            tokio::time::sleep(Duration::from_millis(args.pause_ms)).await;
        }
        let start = Instant::now();
        let request = one(target, connection.take());
        let result = tokio::time::timeout(Duration::from_millis(args.timeout_ms), request).await;
        let mut answer = match result {
            Ok(Ok((answer, kept))) => {
                connection = (!args.close).then_some(kept);
                answer
            }
            Ok(Err(error)) => Answer { error, ..Answer::default() },
            Err(_elapsed) => Answer { error: "timeout".to_owned(), ..Answer::default() },
        };
        answer.micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        answers.push(answer);
    }
    answers
}

/// A connection that may carry another request.
enum Kept {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Kept {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::One(sender) => sender.send_request(request).await,
            Self::Two(sender) => sender.send_request(request).await,
        }
    }

    async fn is_ready(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Two(sender) => sender.ready().await.is_ok(),
        }
    }
}

async fn one(target: &Target, connection: Option<Kept>) -> Result<(Answer, Kept), String> {
    let mut sender = match still_open(connection).await {
        Some(sender) => sender,
        None => open(target).await?,
    };
    let response = sender.send(target.request()?).await.map_err(|error| reason(&error))?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| reason(&error))?;
    let mut answer =
        Answer { status: head.status.as_u16(), headers: joined(&head.headers), ..Answer::default() };
    if target.speaks == Speaks::Grpc {
        let status = grpc::status(body.trailers().unwrap_or(&head.headers));
        answer.error = status.map_or_else(String::new, |status| format!("grpc-status {status}"));
    }
    let body = body.to_bytes();
    let text = if target.speaks == Speaks::Grpc { grpc::message(&body) } else { &body };
    answer.body = String::from_utf8_lossy(text).into_owned();
    Ok((answer, sender))
}

/// Names and values, repeated ones with commas between.
pub(crate) fn joined(map: &HeaderMap) -> BTreeMap<String, String> {
    let mut all = BTreeMap::<String, String>::new();
    for (name, value) in map {
        let value = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.to_string())
            .and_modify(|known| {
                known.push_str(", ");
                known.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    all
}

async fn still_open(connection: Option<Kept>) -> Option<Kept> {
    let mut kept = connection?;
    kept.is_ready().await.then_some(kept)
}

async fn open(target: &Target) -> Result<Kept, String> {
    let addr = resolve(&target.host).await.map_err(|_unknown| "resolve".to_owned())?;
    let stream = TcpStream::connect(addr).await;
    let stream = stream.map_err(|error| word(&error).map_or_else(|| error.to_string(), str::to_owned))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let io = TokioIo::new(stream);
    // A connection ends with its sender, and its errors reach the sender too.
    Ok(match target.speaks {
        Speaks::Http1 => {
            let (sender, connection) = http1::handshake(io).await.map_err(|error| reason(&error))?;
            tokio::spawn(connection);
            Kept::One(sender)
        }
        Speaks::Http2 | Speaks::Grpc => {
            let opened = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = opened.map_err(|error| reason(&error))?;
            tokio::spawn(connection);
            Kept::Two(sender)
        }
    })
}

/// One word for what ended a request.
fn reason(error: &hyper::Error) -> String {
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    if let Some(word) = io.and_then(word) {
        return word.to_owned();
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return "closed".to_owned();
    }
    error.to_string()
}

fn summary(answers: Vec<Answer>, keep: u64) -> GetReport {
    let mut report = GetReport::default();
    let mut times = Vec::new();
    for answer in &answers {
        if answer.is_ok() {
            report.ok += 1;
            times.push(answer.micros);
            *report.versions.entry(answer.version()).or_default() += 1;
        } else {
            report.failed += 1;
            let kind = if answer.error.is_empty() { answer.status.to_string() } else { answer.error.clone() };
            *report.failures.entry(kind).or_default() += 1;
        }
    }
    report.latency = Latency::of(times);
    report.answers = answers.into_iter().take(usize::try_from(keep).unwrap_or(usize::MAX)).collect();
    report
}
