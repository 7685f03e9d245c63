//! Requests of one client's connection: each is decided by itself, on one moment of what discovery has told.

use crate::body::Body;
use crate::client::{Connection, Destination};
use crate::forward::{self, Forwarded};
use crate::telemetry::Told;
use crate::upstream::LocalExecutor;
use crate::worker::Worker;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::borrow::Cow;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use weft_l7::matches::Subject;
use weft_l7::path::normalise;
use weft_l7::rule::{Action, Rule};
use weft_l7::service::Found;
use weft_l7::target::ServiceTarget;
use weft_runtime::log::describe;

/// A client that has begun a request has so long to finish its head.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 65_536;
/// Headers of a request.
const HEADERS_MAX: usize = 128;

/// Serves a connection of HTTP/1.1.
pub(crate) async fn serve_one(
    worker: Rc<Worker>,
    connection: Connection,
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
) {
    let connection = Rc::new(connection);
    let client = connection.client.addr;
    let service = service_fn(|request| answer(worker.clone(), connection.clone(), request));
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(true)
        .serve_connection(TokioIo::new(io), service);
    if let Err(error) = serving.await {
        tracing::debug!(%client, error = describe(&error), "a client's connection ended");
    }
}

/// Serves a connection of HTTP/2.
pub(crate) async fn serve_two(
    worker: Rc<Worker>,
    connection: Connection,
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
) {
    let connection = Rc::new(connection);
    let client = connection.client.addr;
    let service = service_fn(|request| answer(worker.clone(), connection.clone(), request));
    let serving = hyper::server::conn::http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .serve_connection(TokioIo::new(io), service);
    if let Err(error) = serving.await {
        tracing::debug!(%client, error = describe(&error), "a client's connection ended");
    }
}

/// What becomes of a request, and why.
pub(crate) struct Answer {
    /// The response.
    pub(crate) response: Response<Body>,
    /// Why it is what it is, in Envoy's letters; empty if a backend said so.
    pub(crate) flags: &'static str,
    /// What was done for it.
    pub(crate) forwarded: Forwarded,
}

async fn answer(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let begun = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let protocol = protocol(&request);
    let mut rule = None;
    let answer = decide(&worker, &connection, request, &mut rule).await;
    worker.telemetry.tell(&Told {
        connection: &connection,
        endpoint: answer.forwarded.endpoint.as_deref(),
        protocol,
        method: method.as_str(),
        path: &path,
        status: answer.response.status().as_u16(),
        flags: answer.flags,
        rule: rule.as_ref().map(|rule: &Arc<Rule>| &rule.origin),
        tries: answer.forwarded.tries,
        took: begun.elapsed(),
    });
    Ok(answer.response)
}

fn protocol(request: &Request<Incoming>) -> &'static str {
    let grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    match request.version() {
        _ if grpc => "grpc",
        Version::HTTP_2 => "http2",
        _ => "http",
    }
}

async fn decide(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    mut request: Request<Incoming>,
    taken: &mut Option<Arc<Rule>>,
) -> Answer {
    let moment = worker.view.now();
    let Ok(path) = normalise(request.uri().path()).map(Cow::into_owned) else {
        return refuse(StatusCode::BAD_REQUEST, "", "the path of the request is none");
    };
    if path != request.uri().path() && forward::set_path(&mut request, &path).is_err() {
        return refuse(StatusCode::BAD_REQUEST, "", "the path of the request is none");
    }
    let port = connection.addr.port();
    let service = match &connection.destination {
        Destination::Workload(workload) => {
            return forward::to_workload(worker, connection, workload, request).await;
        }
        Destination::Service(service) => service,
    };
    let traffic = moment.traffic(&service.name);
    let routes = traffic.and_then(|traffic| traffic.routes(port, connection.client.namespace()));
    let Some(Found::Http(table)) = routes else {
        let own = ServiceTarget { service: service.name.clone(), port, subset: None };
        return forward::to_service(worker, connection, &moment, &own, request).await;
    };
    let Some(rule) = table.find(&View { request: &request, connection }).cloned() else {
        return refuse(StatusCode::NOT_FOUND, "NR", "");
    };
    *taken = Some(rule.clone());
    act(worker, connection, &moment, &rule, request).await
}

async fn act(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    moment: &Arc<crate::knowledge::Moment>,
    rule: &Rule,
    mut request: Request<Incoming>,
) -> Answer {
    rule.request_headers.apply(request.headers_mut());
    let mut answer = match &rule.action {
        Action::Forward(forward) => forward::by_rule(worker, connection, moment, forward, request).await,
        Action::Redirect(redirect) => respond(forward::redirect(redirect, &request)),
        Action::Respond(said) => {
            let status = StatusCode::from_u16(said.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = Response::new(Body::text(said.body.clone()));
            *response.status_mut() = status;
            respond(response)
        }
    };
    rule.response_headers.apply(answer.response.headers_mut());
    answer
}

fn respond(response: Response<Body>) -> Answer {
    Answer { response, flags: "", forwarded: Forwarded::default() }
}

/// A response of the waypoint's own.
pub(crate) fn refuse(status: StatusCode, flags: &'static str, why: &'static str) -> Answer {
    let mut response = Response::new(Body::text(why));
    *response.status_mut() = status;
    if !why.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    Answer { response, flags, forwarded: Forwarded::default() }
}

/// Headers that concern one connection and not the message (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 5] =
    [header::CONNECTION, header::PROXY_AUTHENTICATE, header::TE, header::TRAILER, header::TRANSFER_ENCODING];

/// Takes away what concerns the connection that a message came on.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let trailers = headers.get(header::TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    if trailers {
        // gRPC asks for them from end to end.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// A request as rules see it.
struct View<'a> {
    request: &'a Request<Incoming>,
    connection: &'a Connection,
}

impl Subject for View<'_> {
    fn path(&self) -> &str {
        self.request.uri().path()
    }

    fn query(&self) -> &str {
        self.request.uri().query().unwrap_or_default()
    }

    fn method(&self) -> &str {
        self.request.method().as_str()
    }

    fn scheme(&self) -> &str {
        "http"
    }

    fn authority(&self) -> &str {
        let host = || self.request.headers().get(header::HOST)?.to_str().ok();
        self.request.uri().authority().map(http::uri::Authority::as_str).or_else(host).unwrap_or_default()
    }

    fn header(&self, name: &str) -> impl Iterator<Item = &str> {
        self.request.headers().get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    fn source_namespace(&self) -> &str {
        self.connection.client.namespace()
    }

    fn source_label(&self, name: &str) -> Option<&str> {
        let workload = self.connection.client.workload.as_ref()?;
        workload.labels.get(name).map(|value| &**value)
    }
}
