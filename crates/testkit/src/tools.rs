//! Clients that run in pods as processes of their own: what to ask for, and how to get their report.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;

use crate::process::Process;
use crate::report::{ConnectsReport, GetReport, HoldReport, ProbeReport};

/// What a client may take longer than it was told to, before it counts as stuck.
const GRACE: Duration = Duration::from_secs(30);

/// A subcommand of `weft-testapp` that ends with a report.
pub trait Tool {
    /// What it prints at its end.
    type Report: DeserializeOwned;
    /// Its command line, the subcommand first.
    fn args(&self) -> Vec<String>;
    /// How long it may run.
    fn patience(&self) -> Duration;
}

/// A client that is at work.
#[derive(Debug)]
pub struct Running<R> {
    process: Arc<Process>,
    patience: Duration,
    report: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Running<R> {
    pub(crate) fn new(process: Arc<Process>, patience: Duration) -> Self {
        Self { process, patience, report: PhantomData }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits for its end and its report.
    pub fn finish(self) -> Result<R> {
        let output = self.process.output(self.patience)?;
        let name = self.process.name();
        serde_json::from_str(&output.stdout).with_context(|| {
            format!("{name}: {}, no report\n{}{}", output.status, output.stdout, output.stderr)
        })
    }

    /// Tells it to end now (SIGTERM), and takes its report.
    pub fn end(self) -> Result<R> {
        self.process.terminate()?;
        self.finish()
    }

    /// Waits until it has written a line with this text to standard error.
    pub fn wait_for(&self, text: &str, deadline: Duration) -> Result<()> {
        self.process.wait_until(&format!("saying {text:?}"), deadline, || self.process.log().contains(text))
    }
}

/// HTTP requests; SIGTERM ends them early.
#[derive(Clone, Debug)]
pub struct Get {
    /// What to get; `http://` only.
    pub url: String,
    /// How many requests.
    pub count: u64,
    /// Over how many connections at once.
    pub connections: u64,
    /// Whether a connection carries one request only.
    pub close: bool,
    /// Another method than GET.
    pub method: String,
    /// What is spoken.
    pub speaks: Speaks,
    /// Headers, as `name: value`.
    pub headers: Vec<String>,
    /// How long each request may take.
    pub timeout: Duration,
    /// Pause between two requests of a connection.
    pub pause: Duration,
    /// How many answers the report holds.
    pub keep: u64,
}

/// What an HTTP client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 from the first byte.
    Http2,
    /// gRPC, one message each way; the path is service and method.
    Grpc,
}

impl Get {
    /// One request.
    pub fn url(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            count: 1,
            connections: 1,
            close: false,
            method: "GET".to_owned(),
            speaks: Speaks::Http1,
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            pause: Duration::ZERO,
            keep: 16,
        }
    }

    /// So many requests, one after the other on one connection.
    pub fn times(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// Each request on a connection of its own.
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// So many connections at once.
    pub fn connections(mut self, connections: u64) -> Self {
        self.connections = connections;
        self
    }

    /// Another method than GET.
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// Something else than HTTP/1.1.
    pub fn speaks(mut self, speaks: Speaks) -> Self {
        self.speaks = speaks;
        self
    }

    /// Adds a header; `host` stands instead of the URL's.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(format!("{name}: {value}"));
        self
    }

    /// Gives each request so long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Waits between requests.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

impl Tool for Get {
    type Report = GetReport;

    fn args(&self) -> Vec<String> {
        let mut args = vec!["get".to_owned(), self.url.clone()];
        option(&mut args, "--count", &self.count);
        option(&mut args, "--connections", &self.connections);
        option(&mut args, "--keep", &self.keep);
        option(&mut args, "--timeout-ms", &self.timeout.as_millis());
        option(&mut args, "--pause-ms", &self.pause.as_millis());
        option(&mut args, "--method", &self.method);
        args.extend(match self.speaks {
            Speaks::Http1 => None,
            Speaks::Http2 => Some("--http2".to_owned()),
            Speaks::Grpc => Some("--grpc".to_owned()),
        });
        for header in &self.headers {
            option(&mut args, "--header", header);
        }
        if self.close {
            args.push("--close".to_owned());
        }
        args
    }

    fn patience(&self) -> Duration {
        let each = u32::try_from(self.count.div_ceil(self.connections.max(1))).unwrap_or(u32::MAX);
        (self.timeout + self.pause).saturating_mul(each).min(Duration::from_secs(600)) + GRACE
    }
}

/// New connections at a steady rate.
#[derive(Clone, Debug)]
pub struct Connects {
    /// Host and port.
    pub target: String,
    /// Connections begun in a second.
    pub rate: u64,
    /// For how long.
    pub duration: Duration,
    /// What is sent; then the first byte of the answer is waited for. With nothing to send, `wait` decides.
    pub send: String,
    /// Waits for a first byte even though nothing is sent (a server that speaks first).
    pub wait: bool,
    /// How long each connection may take in all.
    pub timeout: Duration,
    /// Closes with a reset, which leaves no port waiting behind.
    pub reset: bool,
}

impl Connects {
    /// A hundred a second for a second, opened and closed.
    pub fn to(target: &(impl ToString + ?Sized)) -> Self {
        Self {
            target: target.to_string(),
            rate: 100,
            duration: Duration::from_secs(1),
            send: String::new(),
            wait: false,
            timeout: Duration::from_secs(10),
            reset: false,
        }
    }

    /// So many in a second.
    pub fn rate(mut self, rate: u64) -> Self {
        self.rate = rate;
        self
    }

    /// For so long.
    pub fn during(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Sends this and waits for the answer's first byte.
    pub fn send(mut self, text: &str) -> Self {
        text.clone_into(&mut self.send);
        self
    }

    /// Waits for the first byte of a server that speaks first.
    pub fn wait(mut self) -> Self {
        self.wait = true;
        self
    }

    /// Gives each connection so long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Ends each connection with a reset.
    pub fn reset(mut self) -> Self {
        self.reset = true;
        self
    }
}

impl Tool for Connects {
    type Report = ConnectsReport;

    fn args(&self) -> Vec<String> {
        let mut args = vec!["connects".to_owned(), self.target.clone()];
        option(&mut args, "--rate", &self.rate);
        option(&mut args, "--duration-ms", &self.duration.as_millis());
        option(&mut args, "--timeout-ms", &self.timeout.as_millis());
        if !self.send.is_empty() {
            option(&mut args, "--send", &self.send);
        }
        args.extend(self.wait.then(|| "--wait".to_owned()));
        args.extend(self.reset.then(|| "--reset".to_owned()));
        args
    }

    fn patience(&self) -> Duration {
        self.duration + self.timeout + GRACE
    }
}

/// Bytes of every kind both ways at once, with random sizes and pauses, each one checked. Its other end is
/// [`crate::App::probe`].
#[derive(Clone, Debug)]
pub struct Probe {
    /// Host and port.
    pub target: String,
    /// Connections at once.
    pub connections: u64,
    /// Bytes each way on each connection.
    pub bytes: u64,
    /// The biggest write.
    pub write_max: u64,
    /// The longest pause between two writes, in microseconds; most writes follow without one.
    pub pause_max_micros: u64,
    /// Makes sizes, pauses and bytes repeatable.
    pub seed: u64,
    /// How long all of it may take.
    pub timeout: Duration,
}

impl Probe {
    /// Eight connections with a mebibyte each way.
    pub fn to(target: &(impl ToString + ?Sized)) -> Self {
        Self {
            target: target.to_string(),
            connections: 8,
            bytes: 1 << 20,
            write_max: 40_000,
            pause_max_micros: 3000,
            seed: 1,
            timeout: Duration::from_secs(60),
        }
    }

    /// So many at once.
    pub fn connections(mut self, connections: u64) -> Self {
        self.connections = connections;
        self
    }

    /// So many bytes each way.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Writes of at most so many bytes.
    pub fn write_max(mut self, write_max: u64) -> Self {
        self.write_max = write_max;
        self
    }

    /// Other sizes, pauses and bytes.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

impl Tool for Probe {
    type Report = ProbeReport;

    fn args(&self) -> Vec<String> {
        let mut args = vec!["probe".to_owned(), self.target.clone()];
        option(&mut args, "--connections", &self.connections);
        option(&mut args, "--bytes", &self.bytes);
        option(&mut args, "--write-max", &self.write_max);
        option(&mut args, "--pause-max-micros", &self.pause_max_micros);
        option(&mut args, "--seed", &self.seed);
        option(&mut args, "--timeout-ms", &self.timeout.as_millis());
        args
    }

    fn patience(&self) -> Duration {
        self.timeout + GRACE
    }
}

/// Connections that are opened and kept until [`Running::end`]. It says `holding` on standard error once all are open.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Host and port.
    pub target: String,
    /// How many.
    pub connections: u64,
}

impl Hold {
    /// So many connections.
    pub fn to(target: &(impl ToString + ?Sized), connections: u64) -> Self {
        Self { target: target.to_string(), connections }
    }
}

impl Tool for Hold {
    type Report = HoldReport;

    fn args(&self) -> Vec<String> {
        let mut args = vec!["hold".to_owned(), self.target.clone()];
        option(&mut args, "--connections", &self.connections);
        args
    }

    fn patience(&self) -> Duration {
        GRACE
    }
}

fn option(args: &mut Vec<String>, name: &str, value: &(impl ToString + ?Sized)) {
    args.push(name.to_owned());
    args.push(value.to_string());
}
