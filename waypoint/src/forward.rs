//! Brings a request to a backend, and its response back.

use crate::body::Body;
use crate::client::Connection;
use crate::endpoints::{Endpoint, NoEndpoint, endpoint_of, reach};
use crate::knowledge::Moment;
use crate::requests::{Answer, refuse, strip_hop_by_hop};
use crate::upstream::{UpstreamError, Version};
use crate::worker::Worker;
use http::header::{self, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use std::rc::Rc;
use std::sync::Arc;
use weft_core::service::AppProtocol;
use weft_core::workload::Workload;
use weft_l7::path::replace_prefix;
use weft_l7::rule::{Backend, Forward, PathChange, Redirect, RedirectPort, Rewrite};
use weft_l7::target::{ServiceTarget, Target, choose};
use weft_runtime::log::describe;

/// What was done for a request.
#[derive(Debug, Default)]
pub(crate) struct Forwarded {
    /// The last endpoint that was asked.
    pub(crate) endpoint: Option<Arc<Workload>>,
    /// Tries.
    pub(crate) tries: u32,
}

/// By what a rule says.
pub(crate) async fn by_rule(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    moment: &Arc<Moment>,
    forward: &Forward,
    mut request: Request<Incoming>,
) -> Answer {
    let Some(backend) = choose(&forward.backends, &mut |bound| worker.below(bound)) else {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "NR", "");
    };
    let target = match &backend.target {
        Target::Service(target) => target,
        Target::Nowhere(why) => {
            tracing::debug!(%why, "a request's backend is nowhere");
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "NR", "");
        }
    };
    backend.request_headers.apply(request.headers_mut());
    if rewrite(&mut request, forward, backend).is_err() {
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "NR", "");
    }
    let mut answer = match forward.timeouts.request {
        None => to_service(worker, connection, moment, target, request).await,
        Some(limit) => {
            let forwarded = to_service(worker, connection, moment, target, request);
            let late = || refuse(StatusCode::GATEWAY_TIMEOUT, "UT", "upstream request timeout");
            tokio::time::timeout(limit, forwarded).await.unwrap_or_else(|_| late())
        }
    };
    backend.response_headers.apply(answer.response.headers_mut());
    answer
}

/// To an endpoint of a service.
pub(crate) async fn to_service(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    moment: &Arc<Moment>,
    target: &ServiceTarget,
    request: Request<Incoming>,
) -> Answer {
    match endpoint_of(moment, &connection.near, target, &mut |bound| worker.below(bound)) {
        Ok(endpoint) => {
            let service = moment.mesh.service(&target.service);
            let port = service.and_then(|service| service.port(target.port));
            let spoken = port.map_or(AppProtocol::Unknown, |port| port.app_protocol);
            to_endpoint(worker, connection, &endpoint, spoken, request).await
        }
        Err(error) => no_endpoint(&error),
    }
}

/// To a workload that the client named itself.
pub(crate) async fn to_workload(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    workload: &Arc<Workload>,
    request: Request<Incoming>,
) -> Answer {
    match reach(workload, connection.addr.port()) {
        Ok(endpoint) => to_endpoint(worker, connection, &endpoint, AppProtocol::Unknown, request).await,
        Err(error) => no_endpoint(&error),
    }
}

fn no_endpoint(error: &NoEndpoint) -> Answer {
    tracing::debug!(%error, "a request has no endpoint");
    refuse(StatusCode::SERVICE_UNAVAILABLE, "UH", "no healthy upstream")
}

async fn to_endpoint(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    endpoint: &Endpoint,
    spoken: AppProtocol,
    mut request: Request<Incoming>,
) -> Answer {
    strip_hop_by_hop(request.headers_mut());
    let version = match (spoken, request.version()) {
        (AppProtocol::Http2 | AppProtocol::Grpc, _) | (AppProtocol::Unknown, http::Version::HTTP_2) => {
            Version::Two
        }
        _ => Version::One,
    };
    let prepared = prepare(request, version);
    let forwarded = Forwarded { endpoint: Some(endpoint.workload.clone()), tries: 1 };
    match worker.upstreams.send(endpoint, version, &connection.client, prepared).await {
        Ok(mut response) => {
            strip_hop_by_hop(response.headers_mut());
            Answer { response, flags: "", forwarded }
        }
        Err(error) => {
            tracing::debug!(endpoint = %endpoint.workload.uid, error = describe(&error), "a request got no response");
            let flags = match error {
                UpstreamError::Tunnel(_) | UpstreamError::Connect { .. } => "UF",
                UpstreamError::Handshake(_) | UpstreamError::Broken { .. } => "UC",
            };
            let why = "upstream connect error or disconnect before headers";
            Answer { forwarded, ..refuse(StatusCode::SERVICE_UNAVAILABLE, flags, why) }
        }
    }
}

/// The request as the backend's version of HTTP writes it.
fn prepare(request: Request<Incoming>, version: Version) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    match version {
        Version::One => {
            if let Some(authority) = parts.uri.authority()
                && let Ok(host) = HeaderValue::from_str(authority.as_str())
            {
                parts.headers.insert(header::HOST, host);
            }
            let path = parts.uri.path_and_query().cloned();
            parts.uri = path.map_or_else(Uri::default, Uri::from);
            parts.version = http::Version::HTTP_11;
        }
        Version::Two => {
            let host = parts.headers.remove(header::HOST);
            if parts.uri.authority().is_none()
                && let Some(host) = host.as_ref().and_then(|host| host.to_str().ok())
            {
                let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
                let uri = Uri::builder().scheme("http").authority(host).path_and_query(path).build();
                parts.uri = uri.unwrap_or(parts.uri);
            }
            parts.version = http::Version::HTTP_2;
        }
    }
    Request::from_parts(parts, Body::from(body))
}

/// A path or host that is none after it was rewritten.
#[derive(Debug)]
pub(crate) struct BadUri;

/// Sets the path; the query stays.
///
/// # Errors
/// If it is no path.
pub(crate) fn set_path<B>(request: &mut Request<B>, path: &str) -> Result<(), BadUri> {
    let whole = match request.uri().query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(whole.map_err(|_| BadUri)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| BadUri)?;
    Ok(())
}

fn rewrite(request: &mut Request<Incoming>, forward: &Forward, backend: &Backend) -> Result<(), BadUri> {
    let Rewrite { host, path } = &backend.rewrite;
    if let Some(change) = path.as_ref().or(forward.rewrite.path.as_ref()) {
        let path = changed(change, request.uri().path());
        set_path(request, &path)?;
    }
    if let Some(host) = host.as_ref().or(forward.rewrite.host.as_ref()) {
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(host).map_err(|_| BadUri)?);
        let mut parts = request.uri().clone().into_parts();
        if parts.authority.is_some() {
            parts.authority = Some(host.parse().map_err(|_| BadUri)?);
            *request.uri_mut() = Uri::from_parts(parts).map_err(|_| BadUri)?;
        }
    }
    Ok(())
}

/// A path after a change.
fn changed(change: &PathChange, path: &str) -> String {
    match change {
        PathChange::Whole(whole) => whole.to_string(),
        PathChange::Segments { prefix, by } => replace_prefix(path, prefix, by),
        PathChange::Text { prefix, by } => match path.get(prefix.len()..) {
            Some(rest) => format!("{by}{rest}"),
            None => by.to_string(),
        },
        PathChange::Pattern { .. } => path.to_owned(),
    }
}

/// The response that tells to ask elsewhere.
pub(crate) fn redirect(redirect: &Redirect, request: &Request<Incoming>) -> Response<Body> {
    let host = || request.headers().get(header::HOST)?.to_str().ok();
    let authority = request.uri().authority().map(|one| one.as_str()).or_else(host).unwrap_or_default();
    let (own_host, own_port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok()),
        None => (authority, None),
    };
    let scheme = redirect.scheme.as_deref().unwrap_or("http");
    let port = match redirect.port {
        Some(RedirectPort::Number(port)) => Some(port),
        Some(RedirectPort::OfScheme) => None,
        Some(RedirectPort::OfRequest) => own_port,
        None => {
            if redirect.scheme.is_some() {
                None
            } else {
                own_port
            }
        }
    };
    let usual = if scheme == "https" { 443 } else { 80 };
    let port = port.filter(|port| *port != usual).map(|port| format!(":{port}")).unwrap_or_default();
    let path = redirect.path.as_ref().map(|change| changed(change, request.uri().path()));
    let path = path.unwrap_or_else(|| request.uri().path().to_owned());
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let host = redirect.host.as_deref().unwrap_or(own_host);
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND);
    if let Ok(location) = HeaderValue::from_str(&format!("{scheme}://{host}{port}{path}{query}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
