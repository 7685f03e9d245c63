//! What the demo applications print, so that the program and those who run it agree: JSON on standard output.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What `weft-testapp http` answers with, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The server's name.
    pub name: String,
    /// The server's version.
    pub version: String,
    /// The client as the server's socket sees it.
    pub peer: SocketAddr,
    /// The server's own end of the connection.
    pub local: SocketAddr,
    /// Method and path of the request.
    pub request: String,
    /// The request's `Host`, or `:authority`.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// `HTTP/1.1`, `HTTP/2.0` or `gRPC`.
    pub protocol: String,
    /// Header names and values of the request; repeated ones are joined by commas.
    pub headers: BTreeMap<String, String>,
    /// How many requests this connection has carried, this one included.
    pub on_connection: u64,
}

/// What one request brought.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The status, or 0 if there was none.
    pub status: u16,
    /// Header names, in small letters, and values of the response; repeated ones are joined by commas.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
    /// What went wrong, empty if nothing did. `refused`, `reset`, `timeout`, `closed` and `resolve` stand for themselves;
    /// a call that is not OK has its `grpc-status` here.
    pub error: String,
    /// From the first packet to the last byte, in microseconds.
    pub micros: u64,
}

impl Answer {
    /// The body as [`Hello`], if it is one.
    pub fn hello(&self) -> Option<Hello> {
        serde_json::from_str(&self.body).ok()
    }

    /// Whether there was an answer with a status below 400.
    pub fn is_ok(&self) -> bool {
        self.error.is_empty() && (100..400).contains(&self.status)
    }

    /// The version of the server that answered, empty if it was not `weft-testapp http`.
    pub fn version(&self) -> String {
        self.hello().map(|hello| hello.version).unwrap_or_default()
    }

    /// The client's address as the server saw it.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.hello().map(|hello| hello.peer)
    }
}

/// What many requests brought.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GetReport {
    /// The answers, at most as many as were asked to be kept.
    pub answers: Vec<Answer>,
    /// Requests answered with a status below 400.
    pub ok: u64,
    /// All others.
    pub failed: u64,
    /// How often each kind of failure came: an error's name, or a status.
    pub failures: BTreeMap<String, u64>,
    /// How often each version answered.
    pub versions: BTreeMap<String, u64>,
    /// Times of the successful requests.
    pub latency: Latency,
}

/// A distribution, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half are below.
    pub p50: u64,
    /// Nine in ten are below.
    pub p90: u64,
    /// Ninety-nine in a hundred are below.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    /// The distribution of these times.
    pub fn of(mut micros: Vec<u64>) -> Self {
        micros.sort_unstable();
        let at = |part: usize| micros.get((micros.len() * part / 100).min(micros.len().saturating_sub(1)));
        let at = |part| at(part).copied().unwrap_or(0);
        Self { p50: at(50), p90: at(90), p99: at(99), max: micros.last().copied().unwrap_or(0) }
    }
}

/// What a stream of new connections met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectsReport {
    /// Connections tried.
    pub tried: u64,
    /// Opened, and (if asked for) answered.
    pub ok: u64,
    /// Refused.
    pub refused: u64,
    /// Opened and then reset.
    pub reset: u64,
    /// Opened and then closed without the answer.
    pub closed: u64,
    /// No answer in time, to the SYN or to what was sent.
    pub timeout: u64,
    /// No local port was free.
    pub no_port: u64,
    /// Everything else, by text.
    pub other: BTreeMap<String, u64>,
    /// From connect to open, or to the answer's first byte if one was asked for.
    pub latency: Latency,
    /// How late the slowest one was begun, in microseconds: the rate was not kept if this is big.
    pub late_max: u64,
}

/// What an integrity probe found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Connections that carried every byte unchanged both ways and closed in order.
    pub ok: u64,
    /// What was wrong with the others.
    pub failures: Vec<String>,
    /// Bytes sent by the client.
    pub sent: u64,
    /// Bytes received by the client.
    pub received: u64,
}

/// What a holder of connections has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldReport {
    /// Connections that are open.
    pub open: u64,
    /// Connections that could not be opened.
    pub failed: u64,
    /// Of the open ones, those that the other side has closed or reset since.
    pub ended: u64,
}
