//! What is noted of a request while it goes on. It is told when the record is dropped, so no way out is without a line.

use super::{Flag, Telemetry, span};
use crate::body::{BodyError, Follow};
use crate::client::Connection;
use crate::gate::Busy;
use crate::trace::Begun;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, Version, request};
use hyper::body::Frame;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_core::balance::Chance;
use weft_core::workload::Workload;
use weft_l7::grpc;
use weft_l7::rule::Rule;
use weft_l7::telemetry::effective::Effective;

/// A request, as far as it has gone.
pub(crate) struct Record {
    telemetry: Rc<Telemetry>,
    connection: Rc<Connection>,
    begun: Instant,
    /// Nothing, if what came is no request.
    asks: Option<(Method, Uri)>,
    version: Version,
    protocol: &'static str,
    id: Option<HeaderValue>,
    trace: Option<HeaderValue>,
    request_bytes: Option<Rc<Cell<u64>>>,
    response_bytes: u64,
    status: u16,
    grpc: Option<u32>,
    is_over: bool,
    /// The rule that took it.
    pub(crate) rule: Option<Arc<Rule>>,
    /// The last endpoint that was asked.
    pub(crate) asked: Option<Arc<Workload>>,
    /// Tries.
    pub(crate) tries: u32,
    /// Why the response is what it is.
    pub(crate) flag: Flag,
    /// The same in words, for people.
    pub(crate) why: Option<String>,
    /// The request that is to make the connection another protocol's, as policy saw it.
    pub(crate) upgrade: Option<Box<request::Parts>>,
    /// The connection is not idle while the request goes on.
    pub(crate) busy: Option<Busy>,
    /// What dry-run policies would have done, in words.
    pub(crate) dry_run: Option<String>,
    /// Its span, if it has one.
    pub(crate) span: Option<Begun>,
    told: Option<Arc<Effective>>,
    /// Headers that what is told looks at, by their names in lower case.
    kept: Vec<(Arc<str>, HeaderValue)>,
    /// The try that is under way, or brought the response.
    asking: Option<Asking>,
}

/// What there is for an answer: the status of HTTP, zero for none, and of a call gRPC's own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brought {
    pub(super) status: u16,
    pub(super) grpc: Option<u32>,
}

/// A try, in a span of its own.
struct Asking {
    span: Begun,
    begun: Instant,
}

impl Record {
    /// Of a request that has just come, and what Telemetries come to for it.
    pub(crate) fn new(
        telemetry: &Rc<Telemetry>,
        connection: &Rc<Connection>,
        head: &request::Parts,
        begun: Instant,
        told: Option<&Arc<Effective>>,
    ) -> Box<Self> {
        let mut record = Self::begin(telemetry, connection, (head.version, begun), told);
        record.asks = Some((head.method.clone(), head.uri.clone()));
        if grpc::is_grpc(&head.headers) {
            record.protocol = "grpc";
        }
        if let Some(told) = told {
            record.kept = keep(&told.headers, &head.headers);
        }
        record
    }

    /// Tells of what is no request: nobody here has seen it, because the connection has answered it by itself with this
    /// status, or has ended (zero). And why.
    pub(crate) fn tell_none(
        telemetry: &Rc<Telemetry>,
        connection: &Rc<Connection>,
        version: Version,
        (status, why): (u16, String),
        told: Option<&Arc<Effective>>,
    ) {
        let mut record = Self::begin(telemetry, connection, (version, Instant::now()), told);
        (record.status, record.flag, record.why) = (status, Flag::BadRequest, Some(why));
        record.is_over = true;
    }

    fn begin(
        telemetry: &Rc<Telemetry>,
        connection: &Rc<Connection>,
        (version, begun): (Version, Instant),
        told: Option<&Arc<Effective>>,
    ) -> Box<Self> {
        Box::new(Self {
            telemetry: telemetry.clone(),
            connection: connection.clone(),
            begun,
            asks: None,
            version,
            protocol: if version == Version::HTTP_2 { "http2" } else { "http" },
            id: None,
            trace: None,
            request_bytes: None,
            response_bytes: 0,
            status: 0,
            grpc: None,
            is_over: false,
            rule: None,
            asked: None,
            tries: 0,
            flag: Flag::None,
            why: None,
            upgrade: None,
            busy: None,
            dry_run: None,
            span: None,
            told: told.cloned(),
            kept: Vec::new(),
            asking: None,
        })
    }

    /// Its span begins, if it is to have one, and its headers say so.
    pub(crate) fn begin_span(&mut self, headers: &mut HeaderMap, chance: &mut impl Chance) {
        self.span = self.telemetry.begin_span(self.told.as_deref(), headers, chance);
    }

    /// It is sent to an endpoint now: that is a span of its own, of which the headers tell.
    pub(crate) fn ask(&mut self, headers: &mut HeaderMap, chance: &mut impl Chance, begun: Instant) {
        if let Some(span) = &self.span {
            let id = (chance.below(1 << 32) << 32 | chance.below(1 << 32)).max(1);
            self.asking = Some(Asking { span: span.ask(id, headers), begun });
        }
    }

    /// The try is over, and its response, if it has brought one, is not the client's.
    pub(crate) fn asked_in_vain(&mut self, response: Option<(u16, &HeaderMap)>) {
        let grpc =
            response.filter(|_| self.protocol == "grpc").and_then(|(_, headers)| grpc::status(headers));
        self.end_asking(Brought { status: response.map_or(0, |(status, _)| status), grpc });
    }

    fn end_asking(&mut self, brought: Brought) {
        if let Some(Asking { span, begun }) = self.asking.take() {
            let span = span::of_try(self, span, (begun.elapsed(), brought));
            self.telemetry.end_span(span);
        }
    }

    /// What tells this request from others, in other processes' logs too.
    pub(crate) fn identify(&mut self, headers: &HeaderMap) {
        self.id = headers.get("x-request-id").cloned();
        self.trace = headers.get("traceparent").cloned();
    }

    /// Its body comes, and is counted there.
    pub(crate) fn uploads(&mut self, bytes: Rc<Cell<u64>>) {
        self.request_bytes = Some(bytes);
    }

    /// This is the response's head.
    pub(crate) fn answered(&mut self, status: u16, headers: &HeaderMap) {
        self.status = status;
        if self.protocol == "grpc" {
            self.grpc = grpc::status(headers);
        }
    }

    /// So many bytes went back that are no response's body, and it is over: the connection was another protocol's.
    pub(crate) fn switched(&mut self, sent: u64, received: u64) {
        self.request_bytes = Some(Rc::new(Cell::new(sent)));
        self.response_bytes = received;
        self.is_over = true;
    }

    pub(super) fn told(&self) -> Option<&Arc<Effective>> {
        self.told.as_ref()
    }

    /// A header that came with it, of those that what is told looks at.
    pub(super) fn kept(&self, name: &str) -> Option<&HeaderValue> {
        self.kept.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn endpoint(&self) -> Option<&Arc<Workload>> {
        self.asked.as_ref()
    }

    pub(super) fn protocol(&self) -> &'static str {
        self.protocol
    }

    /// What it asks for; nothing, if it is no request.
    pub(super) fn asks(&self) -> Option<(&str, &Uri)> {
        self.asks.as_ref().map(|(method, uri)| (method.as_str(), uri))
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_ref()?.to_str().ok()
    }

    pub(super) fn trace(&self) -> Option<&str> {
        self.trace.as_ref()?.to_str().ok()
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn brought(&self) -> Brought {
        Brought { status: self.status, grpc: self.grpc }
    }

    pub(super) fn grpc(&self) -> Option<u32> {
        self.grpc
    }

    pub(super) fn flag(&self) -> Flag {
        // Nobody said that it is over: whoever was to get the rest has gone.
        if !self.is_over && self.flag == Flag::None { Flag::ClientReset } else { self.flag }
    }

    pub(super) fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(super) fn request_bytes(&self) -> u64 {
        self.request_bytes.as_ref().map_or(0, |bytes| bytes.get())
    }

    pub(super) fn response_bytes(&self) -> u64 {
        self.response_bytes
    }
}

impl Follow for Record {
    fn piece(&mut self, frame: &Frame<Bytes>) {
        if let Some(bytes) = frame.data_ref() {
            self.response_bytes += bytes.len() as u64;
        } else if let Some(trailers) = frame.trailers_ref()
            && self.protocol == "grpc"
        {
            self.grpc = grpc::status(trailers).or(self.grpc);
        }
    }

    fn done(mut self: Box<Self>) {
        self.is_over = true;
    }

    fn broken(&mut self, error: &BodyError) {
        self.is_over = true;
        self.flag = match error {
            BodyError::Late(_) => Flag::UpstreamTimeout,
            BodyError::Sender(_) | BodyError::Superseded | BodyError::Slow => Flag::UpstreamReset,
        };
        self.why = Some(weft_runtime::log::describe(error));
    }
}

/// Why a request is not over whose waypoint is.
const CUT: &str = "the waypoint has ended";

fn keep(names: &[Arc<str>], headers: &HeaderMap) -> Vec<(Arc<str>, HeaderValue)> {
    names.iter().filter_map(|name| Some((name.clone(), headers.get(&**name)?.clone()))).collect()
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_over && self.why.is_none() && self.telemetry.is_cut() {
            self.why = Some(CUT.to_owned());
        }
        self.end_asking(self.brought());
        let telemetry = self.telemetry.clone();
        telemetry.tell(self);
    }
}
