//! Responses that no backend made: errors, aborts and what a rule answers itself, in the client's own protocol.

use crate::grpc;
use crate::resilience::AbortWith;
use crate::rule::{Respond, RuleOrigin};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP.
    Http,
    /// gRPC: errors are statuses of its own, in a response of status 200.
    Grpc,
}

impl Speaks {
    /// What a request speaks, by its content type.
    pub fn of(headers: &HeaderMap) -> Self {
        if grpc::is_grpc(headers) { Self::Grpc } else { Self::Http }
    }
}

/// What a response says, in both protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said<'a> {
    /// The status of HTTP.
    pub status: u16,
    /// The status of gRPC, where it is not the one that HTTP's stands for.
    pub grpc: Option<u32>,
    /// The body, and the message of gRPC.
    pub text: &'a [u8],
}

impl<'a> Said<'a> {
    /// A status and a text.
    pub fn new(status: u16, text: &'a str) -> Self {
        Self { status, grpc: None, text: text.as_bytes() }
    }
}

/// A response. A status that is none (the words' own readers refuse those) becomes 500.
pub fn reply(speaks: Speaks, said: Said<'_>) -> Response<Vec<u8>> {
    match speaks {
        Speaks::Http => http(said),
        Speaks::Grpc => trailers_only(said.grpc.unwrap_or_else(|| grpc::from_http(said.status)), said.text),
    }
}

/// What a rule answers itself.
pub fn direct(speaks: Speaks, respond: &Respond) -> Response<Vec<u8>> {
    reply(speaks, Said { status: respond.status, grpc: None, text: &respond.body })
}

/// What a request gets whose rule has no backend that may take it (Gateway API, `backendRefs` of HTTPRouteRule and
/// GRPCRouteRule): 500; and UNAVAILABLE, if the rule is of a GRPCRoute or the client speaks gRPC.
pub fn nowhere(speaks: Speaks, origin: &RuleOrigin) -> Response<Vec<u8>> {
    let speaks = if origin.is_grpc() { Speaks::Grpc } else { speaks };
    let text = b"no backend of the route's rule can take it";
    reply(speaks, Said { status: 500, grpc: Some(grpc::UNAVAILABLE), text })
}

/// What stands in the trailers of a response of gRPC that has begun, and that this side ends.
pub fn trailers(number: u32, text: &[u8]) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(grpc::STATUS, HeaderValue::from(number));
    if !text.is_empty() {
        trailers.insert(grpc::MESSAGE, escaped(text));
    }
    trailers
}

/// What an aborted request gets.
pub fn abort(speaks: Speaks, with: AbortWith) -> Response<Vec<u8>> {
    let (status, grpc) = match with {
        AbortWith::Status(status) => (status, None),
        AbortWith::Grpc(number) => (grpc::to_http(number), Some(number)),
    };
    reply(speaks, Said { status, grpc, text: b"fault filter abort" })
}

fn http(said: Said<'_>) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = StatusCode::from_u16(said.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        // There is none, whatever there is to say (RFC 9110 §15.3.5, §15.4.5): clients of HTTP/2 take it for an error.
        return response;
    }
    *response.body_mut() = said.text.to_vec();
    let headers = response.headers_mut();
    if !said.text.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(said.text.len()));
    response
}

/// A head that is all there is, with the status that would stand in trailers (gRPC over HTTP/2, "Trailers-Only").
fn trailers_only(number: u32, text: &[u8]) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPE));
    headers.extend(trailers(number, text));
    response
}

/// A message as gRPC wants it: printable ASCII but for `%`, the rest percent-encoded.
fn escaped(text: &[u8]) -> HeaderValue {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            byte => out.push(char::from(*byte)),
        }
    }
    HeaderValue::try_from(out).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(response: &Response<Vec<u8>>) -> String {
        let headers: Vec<String> = response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")))
            .collect();
        let body = String::from_utf8_lossy(response.body());
        format!("{} [{}] {body}", response.status().as_u16(), headers.join(", "))
    }

    fn origin(kind: &str) -> RuleOrigin {
        RuleOrigin { kind: kind.into(), namespace: "shop".into(), route: "web".into(), rule: "0".into() }
    }

    #[test]
    fn in_the_clients_protocol() {
        let plain = "content-type: text/plain, content-length";
        let grpc = "content-type: application/grpc, grpc-status";
        let made = Said { grpc: Some(grpc::DEADLINE_EXCEEDED), ..Said::new(504, "too late") };
        for (case, got, want) in [
            ("an error", reply(Speaks::Http, Said::new(503, "no")), format!("503 [{plain}: 2] no")),
            (
                "to gRPC",
                reply(Speaks::Grpc, Said::new(503, "no")),
                format!("200 [{grpc}: 14, grpc-message: no] "),
            ),
            (
                "its own status",
                reply(Speaks::Grpc, made),
                format!("200 [{grpc}: 4, grpc-message: too late] "),
            ),
            ("its own status, not there", reply(Speaks::Http, made), format!("504 [{plain}: 8] too late")),
            ("no text", reply(Speaks::Http, Said::new(403, "")), "403 [content-length: 0] ".to_owned()),
            ("no text to gRPC", reply(Speaks::Grpc, Said::new(403, "")), format!("200 [{grpc}: 7] ")),
            (
                "what may not stand in a header",
                reply(Speaks::Grpc, Said::new(500, "ä\n100%")),
                format!("200 [{grpc}: 2, grpc-message: %C3%A4%0A100%25] "),
            ),
            (
                "nowhere to go",
                nowhere(Speaks::Http, &origin("HTTPRoute")),
                format!("500 [{plain}: 42] no backend of the route's rule can take it"),
            ),
            (
                "nowhere for gRPC",
                nowhere(Speaks::Grpc, &origin("VirtualService")),
                format!("200 [{grpc}: 14, grpc-message: no backend of the route's rule can take it] "),
            ),
            (
                "nowhere by a GRPCRoute",
                nowhere(Speaks::Http, &origin("GRPCRoute")),
                format!("200 [{grpc}: 14, grpc-message: no backend of the route's rule can take it] "),
            ),
            ("no content", reply(Speaks::Http, Said::new(204, "text")), "204 [] ".to_owned()),
            ("nothing new", reply(Speaks::Http, Said::new(304, "text")), "304 [] ".to_owned()),
            ("no status", reply(Speaks::Http, Said::new(99, "")), "500 [content-length: 0] ".to_owned()),
            (
                "a rule's own",
                direct(Speaks::Http, &Respond { status: 418, body: b"tea".to_vec() }),
                format!("418 [{plain}: 3] tea"),
            ),
            (
                "an abort by gRPC's status",
                abort(Speaks::Http, AbortWith::Grpc(14)),
                format!("503 [{plain}: 18] fault filter abort"),
            ),
            (
                "an abort of gRPC",
                abort(Speaks::Grpc, AbortWith::Grpc(8)),
                format!("200 [{grpc}: 8, grpc-message: fault filter abort] "),
            ),
            (
                "an abort of gRPC by HTTP's status",
                abort(Speaks::Grpc, AbortWith::Status(401)),
                format!("200 [{grpc}: 16, grpc-message: fault filter abort] "),
            ),
        ] {
            assert_eq!(shown(&got), want, "{case}");
        }
    }
}
