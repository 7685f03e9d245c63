//! A request on its way: what it was decided on, from the first look to the last.

use crate::body::{Body, Follow};
use crate::client::Connection;
use crate::endpoints::NoEndpoint;
use crate::lines::Lease;
use crate::outside::Asked;
use crate::streams::Stream;
use crate::target::Target;
use crate::targets::Placed;
use crate::telemetry::{Flag, Record};
use crate::worker::{Now, Worker, settle};
use http::{HeaderName, HeaderValue, Response, header, request};
use std::rc::Rc;
use std::time::Instant;
use weft_core::workload::Workload;
use weft_l7::apply::reply::{Said, Speaks, reply};
use weft_l7::deadline::{Deadline, Limit};
use weft_l7::matches::Subject;

/// What the client spoke with the first proxy on the way. What is there already is that one's word and goes on.
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What all decisions about one request start from.
pub(crate) struct Way {
    /// Who carries it.
    pub(crate) worker: Rc<Worker>,
    /// Whose it is.
    pub(crate) connection: Rc<Connection>,
    /// What is known: one moment for all of it.
    pub(crate) moment: Rc<Now>,
    /// What the client understands as an answer.
    pub(crate) speaks: Speaks,
    /// Its stream, if it came by HTTP/2.
    pub(crate) stream: Option<Rc<Stream>>,
    /// When it came.
    pub(crate) begun: Instant,
}

/// What becomes of a request.
pub(crate) struct Answer {
    /// The response.
    pub(crate) response: Response<Body>,
    /// The backend's connection, if the response is that it becomes another protocol's.
    pub(crate) switching: Option<Switching>,
}

/// A backend's connection that becomes another protocol's.
pub(crate) struct Switching {
    /// The connection.
    pub(crate) lease: Lease,
    /// What the request takes up at its backend, until this is dropped.
    pub(crate) held: Box<dyn Follow>,
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self { response, switching: None }
    }
}

impl From<Response<Vec<u8>>> for Answer {
    fn from(response: Response<Vec<u8>>) -> Self {
        response.map(Body::from).into()
    }
}

/// Why a request has no target.
pub(crate) enum Unplaced {
    /// Nobody is there.
    Nobody(NoEndpoint),
    /// It took too long to find out.
    Late(Limit),
}

impl Way {
    /// Where a request of this head goes, which may have to be looked up first: no longer than until the deadline.
    ///
    /// # Errors
    /// As [`Unplaced`] says.
    pub(crate) async fn target(
        &self,
        head: &request::Parts,
        deadline: Option<Deadline>,
        place: impl Fn(Asked<'_>) -> Result<Placed, NoEndpoint>,
    ) -> Result<Rc<Target>, Unplaced> {
        let seen = Seen::new(head, &self.connection);
        let name = Some(seen.authority()).filter(|name| !name.is_empty());
        let asked = Asked { name, namespace: self.connection.client.namespace() };
        let settled = settle(|| place(asked), deadline.map(|deadline| deadline.at)).await;
        settled.map_err(|error| match deadline {
            Some(Deadline { at, limit }) if Instant::now() >= at => Unplaced::Late(limit),
            _ => Unplaced::Nobody(error),
        })
    }

    /// What a request without a target gets.
    pub(crate) fn unplaced(&self, record: &mut Record, why: &Unplaced) -> Answer {
        match why {
            Unplaced::Nobody(error) => self.no_endpoint(record, error),
            Unplaced::Late(limit) => self.late(record, *limit),
        }
    }

    /// It took too long.
    pub(crate) fn late(&self, record: &mut Record, limit: Limit) -> Answer {
        let (status, grpc) = limit.status();
        let text = limit.text();
        (record.flag, record.why) = (Flag::UpstreamTimeout, Some(text.to_owned()));
        reply(self.speaks, Said { status, grpc: Some(grpc), text: text.as_bytes() }).into()
    }

    /// An answer of the waypoint's own. `why` is for people, and stays here.
    pub(crate) fn refuse(
        &self,
        record: &mut Record,
        (status, text): (u16, &str),
        flag: Flag,
        why: Option<String>,
    ) -> Answer {
        (record.flag, record.why) = (flag, why);
        reply(self.speaks, Said::new(status, text)).into()
    }

    /// Nobody is there.
    pub(crate) fn no_endpoint(&self, record: &mut Record, error: &NoEndpoint) -> Answer {
        let flag = Flag::from(error);
        let answer = match flag {
            Flag::NoRoute => (404, no_route(self.speaks)),
            _ => (503, "no healthy upstream"),
        };
        self.refuse(record, answer, flag, Some(error.to_string()))
    }
}

/// What a client is told where no route takes its request. Of HTTP the status says it all.
pub(crate) fn no_route(speaks: Speaks) -> &'static str {
    match speaks {
        Speaks::Grpc => "no route takes it",
        Speaks::Http => "",
    }
}

/// A request as rules see it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    head: &'a request::Parts,
    namespace: &'a str,
    workload: Option<&'a Workload>,
}

impl<'a> Seen<'a> {
    /// A request of a connection.
    pub(crate) fn new(head: &'a request::Parts, connection: &'a Connection) -> Self {
        let client = &connection.client;
        Self::of(head, client.namespace(), client.workload.as_deref())
    }

    /// A request of a client of a namespace, empty if nobody knows it, and what discovery knows of that client.
    pub(crate) fn of(head: &'a request::Parts, namespace: &'a str, workload: Option<&'a Workload>) -> Self {
        Self { head, namespace, workload }
    }
}

impl Subject for Seen<'_> {
    fn path(&self) -> &str {
        self.head.uri.path()
    }

    fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    fn method(&self) -> &str {
        self.head.method.as_str()
    }

    /// Clients in the mesh speak HTTP in plain text as far as they know; before an ingress gateway, it says what they spoke.
    fn scheme(&self) -> &str {
        let said = self.head.headers.get(FORWARDED_PROTO).map(HeaderValue::as_bytes).unwrap_or_default();
        if said.eq_ignore_ascii_case(b"https") { "https" } else { "http" }
    }

    fn authority(&self) -> &str {
        let host = || self.head.headers.get(header::HOST)?.to_str().ok();
        self.head.uri.authority().map(http::uri::Authority::as_str).or_else(host).unwrap_or_default()
    }

    /// The host is one by that name too where HTTP/2 says it in the target alone (RFC 9113 §8.3.1).
    fn header(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let said = self.head.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let is_host = name == header::HOST.as_str() && !self.head.headers.contains_key(header::HOST);
        let target = self.head.uri.authority().filter(|_| is_host);
        said.chain(target.map(|authority| authority.as_str().as_bytes()))
    }

    fn source_namespace(&self) -> &str {
        self.namespace
    }

    fn source_label(&self, name: &str) -> Option<&str> {
        self.workload?.labels.get(name).map(|value| &**value)
    }
}
