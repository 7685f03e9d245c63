//! A CONNECT with whatever headers HTTP/2 lets through. The input's first line is `METHOD authority`, and each
//! further line is a header.

use http::header::FORWARDED;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use weft_tunnel::hbone::BadRequest;
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::words::baggage::BAGGAGE_BYTES_MAX;
use weft_tunnel::words::is_traceparent;

pub(super) const WORDS: &[&str] = &[
    "CONNECT ",
    "GET ",
    "\n",
    "forwarded:",
    "baggage:",
    "traceparent:",
    "for=\"10.0.0.1:80\"",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "\t",
    "@",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        "CONNECT 10.0.0.1:80\nbaggage:k8s.namespace.name=shop\nforwarded:for=\"10.0.0.9:4000\"\n\
         traceparent:00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "CONNECT [fd00::1]:80\nforwarded:for=unknown\nforwarded:for=unknown",
        "CONNECT web.shop:80\nbaggage:a=b\nbaggage:c=d\nx:y",
        "GET 10.0.0.1:80",
        "CONNECT root@web:80",
    ])
}

/// A request is read only if all that policy needs of it was understood, and reads the same from its parts.
pub(super) fn run(bytes: &[u8]) {
    let Some(request) = request(bytes) else {
        return;
    };
    let forwarded = request.headers().get_all(FORWARDED).iter().count();
    let read = match ConnectRequest::read(&request) {
        Ok(read) => read,
        Err(BadRequest::Method(method)) => return assert_ne!(method, Method::CONNECT),
        Err(BadRequest::ForwardedValue | BadRequest::Forwarded(_)) => return assert_ne!(forwarded, 0),
        Err(BadRequest::Authority(_) | BadRequest::Protocol) => return,
    };
    assert_eq!(request.method(), Method::CONNECT);
    assert_eq!(read.forwarded.is_some(), forwarded > 0, "{forwarded} forwarded headers");
    assert!(read.baggage.as_ref().is_none_or(|text| text.len() <= BAGGAGE_BYTES_MAX));
    assert!(read.traceparent.as_ref().is_none_or(|text| is_traceparent(text)));
    assert_eq!(ConnectRequest::read(&written(&read)), Ok(read));
}

fn request(bytes: &[u8]) -> Option<Request<()>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(first.next()?).ok()?;
    let mut parts = http::uri::Parts::default();
    parts.authority = http::uri::Authority::try_from(first.next()?).ok();
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    for line in lines {
        let mut pair = line.splitn(2, |byte| *byte == b':');
        let name = pair.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = pair.next().and_then(|value| HeaderValue::from_bytes(value).ok());
        if let (Some(name), Some(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    Some(request)
}

/// The request as a peer would write what was read.
fn written(read: &ConnectRequest) -> Request<()> {
    let mut builder = Request::connect(read.authority.to_string());
    let forwarded = read.forwarded.as_ref().map(ToString::to_string);
    let headers = [("forwarded", &forwarded), ("baggage", &read.baggage), ("traceparent", &read.traceparent)];
    for (name, value) in headers {
        if let Some(value) = value {
            builder = builder.header(name, value);
        }
    }
    builder.body(()).expect("what was read fits a request")
}
