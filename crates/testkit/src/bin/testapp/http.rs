//! The HTTP server and the HTTP client.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use weft_testkit::report::{Answer, GetReport, Hello, Latency};

use crate::Server;
use crate::socket::{accept, canonical, listen, resolve, word};

/// What an HTTP server does with requests.
pub(crate) struct Behaviour {
    pub(crate) version: String,
    pub(crate) delay: Duration,
    /// While this file is there, every Nth request is answered with 503; it holds the N.
    pub(crate) fail_file: Option<PathBuf>,
    /// Asked before each answer.
    pub(crate) next: Option<String>,
}

/// Serves until killed.
pub(crate) async fn serve(server: &Server, does: Behaviour) -> Result<()> {
    let next = does.next.as_deref().map(|url| parse(url, Vec::new())).transpose()?;
    let listener = listen(server)?;
    let name = server.name.clone();
    let who = Arc::new(Who { name, does, next, asked: AtomicU64::new(0) });
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = accept(&listener).await;
        let who = Arc::clone(&who);
        connections.spawn(async move { serve_one(stream, peer, &who).await });
        while connections.try_join_next().is_some() {}
    }
}

/// Who answers, and how.
struct Who {
    name: String,
    does: Behaviour,
    next: Option<Target>,
    /// Requests so far.
    asked: AtomicU64,
}

impl Who {
    /// Whether the next request is one that fails.
    fn fails(&self) -> bool {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let text = self.does.fail_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let every = text.and_then(|text| text.trim().parse::<u64>().ok());
        every.is_some_and(|every| number.is_multiple_of(every))
    }

    /// Asks the one behind it, if there is one. Gives whether it has answered well.
    async fn ask_next(&self, came: &HeaderMap) -> bool {
        let Some(next) = &self.next else { return true };
        let handed_on = |(name, value): (&HeaderName, &HeaderValue)| {
            TRACE_HEADERS.contains(&name.as_str()).then(|| (name.clone(), value.clone()))
        };
        let target = Target { headers: came.iter().filter_map(handed_on).collect(), ..next.clone() };
        matches!(one(&target, None).await, Ok((answer, _)) if answer.is_ok())
    }
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

async fn serve_one(stream: TcpStream, peer: SocketAddr, who: &Who) {
    let Ok(local) = stream.local_addr().map(canonical) else { return };
    let carried = AtomicU64::new(0);
    let service = service_fn(|request: Request<Incoming>| {
        let on_connection = carried.fetch_add(1, Ordering::Relaxed) + 1;
        let hello = Hello {
            name: who.name.clone(),
            version: who.does.version.clone(),
            peer,
            local,
            request: format!("{} {}", request.method(), request.uri()),
            headers: headers(request.headers()),
            on_connection,
        };
        async move {
            if !who.does.delay.is_zero() {
                tokio::time::sleep(who.does.delay).await;
            }
            let next_is_well = who.ask_next(request.headers()).await;
            let body = serde_json::to_vec(&hello).unwrap_or_default();
            let mut response = Response::new(Full::new(Bytes::from(body)));
            if !next_is_well {
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            } else if who.fails() {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
            Ok::<_, Infallible>(response)
        }
    });
    // A connection that breaks is its client's business.
    let _broken =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn headers(map: &HeaderMap) -> BTreeMap<String, String> {
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
    /// Prints what was answered, and no report.
    #[arg(long)]
    pub(crate) body: bool,
}

/// A URL taken apart once.
#[derive(Clone)]
struct Target {
    host: String,
    authority: String,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
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
    let headers = args.header.iter().map(|line| {
        let (name, value) = line.split_once(':').context("a header is `name: value`")?;
        Ok((name.trim().parse()?, value.trim().parse()?))
    });
    parse(&args.url, headers.collect::<Result<_>>()?)
}

fn parse(url: &str, headers: Vec<(HeaderName, HeaderValue)>) -> Result<Target> {
    let uri: Uri = url.parse().context("reading the URL")?;
    let authority = uri.authority().context("a URL needs a host")?;
    Ok(Target {
        host: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
        authority: authority.to_string(),
        path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        headers,
    })
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

type Kept = SendRequest<Empty<Bytes>>;

async fn one(target: &Target, connection: Option<Kept>) -> Result<(Answer, Kept), String> {
    let mut sender = match still_open(connection).await {
        Some(sender) => sender,
        None => open(target).await?,
    };
    let mut request = Request::get(&target.path).header(HOST, &target.authority);
    for (name, value) in &target.headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| reason(&error))?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map_err(|error| reason(&error))?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((Answer { status, body, error: String::new(), micros: 0 }, sender))
}

async fn still_open(connection: Option<Kept>) -> Option<Kept> {
    let mut sender = connection?;
    sender.ready().await.is_ok().then_some(sender)
}

async fn open(target: &Target) -> Result<Kept, String> {
    let addr = resolve(&target.host).await.map_err(|_unknown| "resolve".to_owned())?;
    let stream = TcpStream::connect(addr).await;
    let stream = stream.map_err(|error| word(&error).map_or_else(|| error.to_string(), str::to_owned))?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| reason(&error))?;
    // It ends with its sender, and its errors reach the sender too.
    tokio::spawn(connection);
    Ok(sender)
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
