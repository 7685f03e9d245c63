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
    method: Method,
    uri: Uri,
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
        let protocol = match head.version {
            _ if grpc::is_grpc(&head.headers) => "grpc",
            Version::HTTP_2 => "http2",
            _ => "http",
        };
        Box::new(Self {
            telemetry: telemetry.clone(),
            connection: connection.clone(),
            begun,
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            protocol,
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
            kept: told.map(|told| keep(&told.headers, &head.headers)).unwrap_or_default(),
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
    pub(crate) fn asked_in_vain(&mut self, status: Option<u16>) {
        self.end_asking(status.unwrap_or_default());
    }

    fn end_asking(&mut self, status: u16) {
        if let Some(Asking { span, begun }) = self.asking.take() {
            let span = span::of_try(self, span, (begun.elapsed(), status));
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

    pub(super) fn method(&self) -> &str {
        self.method.as_str()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
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

fn keep(names: &[Arc<str>], headers: &HeaderMap) -> Vec<(Arc<str>, HeaderValue)> {
    names.iter().filter_map(|name| Some((name.clone(), headers.get(&**name)?.clone()))).collect()
}

impl Drop for Record {
    fn drop(&mut self) {
        self.end_asking(self.status);
        let telemetry = self.telemetry.clone();
        telemetry.tell(self);
    }
}
