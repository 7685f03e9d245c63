//! A CONNECT as HTTP carries it, and as the mesh reads it.

use crate::end::Refused;
use crate::request::ConnectRequest;
use crate::words::baggage::BAGGAGE_BYTES_MAX;
use crate::words::{BadAuthority, BadForwarded, is_traceparent};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};

/// Why a request is no CONNECT of the mesh. The sender's fault; it is answered with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Another method than CONNECT.
    #[error("the method is {0}, not CONNECT")]
    Method(Method),
    /// An extended CONNECT (RFC 8441), which asks for another protocol.
    #[error("the request is an extended CONNECT")]
    Protocol,
    /// No authority, or none that can be read.
    #[error("the authority cannot be read")]
    Authority(#[source] BadAuthority),
    /// A `forwarded` header that cannot be read.
    #[error("the forwarded header cannot be read")]
    Forwarded(#[source] BadForwarded),
    /// A `forwarded` header that holds no text.
    #[error("the forwarded header holds no text")]
    ForwardedValue,
}

const BAGGAGE: &str = "baggage";
const TRACEPARENT: &str = "traceparent";

impl ConnectRequest {
    /// Reads a request.
    ///
    /// Baggage and trace context only describe: if they are too long or no text, they are left out.
    ///
    /// # Errors
    /// As [`BadRequest`] says.
    pub fn read<B>(request: &Request<B>) -> Result<Self, BadRequest> {
        if request.method() != Method::CONNECT {
            return Err(BadRequest::Method(request.method().clone()));
        }
        if request.extensions().get::<h2::ext::Protocol>().is_some() {
            return Err(BadRequest::Protocol);
        }
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let authority = authority.parse().map_err(BadRequest::Authority)?;
        let headers = request.headers();
        let lines = headers.get_all(http::header::FORWARDED).iter().map(HeaderValue::to_str);
        let lines = lines.collect::<Result<Vec<_>, _>>().map_err(|_| BadRequest::ForwardedValue)?;
        // Several lines are one list (RFC 7239 §4).
        let forwarded = (!lines.is_empty()).then(|| lines.join(", ").parse()).transpose();
        let forwarded = forwarded.map_err(BadRequest::Forwarded)?;
        Ok(Self {
            authority,
            baggage: text(headers, BAGGAGE).filter(|text| text.len() <= BAGGAGE_BYTES_MAX),
            forwarded,
            traceparent: text(headers, TRACEPARENT).filter(|text| is_traceparent(text)),
        })
    }

    /// The request as HTTP carries it. A description that no header can carry is left out.
    pub(super) fn to_http(&self) -> Option<Request<()>> {
        let authority = self.authority.to_string().parse::<http::uri::Authority>().ok()?;
        let mut parts = http::uri::Parts::default();
        parts.authority = Some(authority);
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from_parts(parts).ok()?;
        let headers = request.headers_mut();
        if let Some(forwarded) = &self.forwarded {
            // Left out, it would change who the server takes for the client.
            headers.insert(http::header::FORWARDED, HeaderValue::try_from(forwarded.to_string()).ok()?);
        }
        let baggage = self.baggage.as_deref().filter(|text| text.len() <= BAGGAGE_BYTES_MAX);
        let traceparent = self.traceparent.as_deref().filter(|text| is_traceparent(text));
        for (name, value) in [(BAGGAGE, baggage), (TRACEPARENT, traceparent)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        Some(request)
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The only place where a refusal becomes a status (wire facts §1).
pub(super) const fn status_of(why: Refused) -> StatusCode {
    match why {
        Refused::Policy | Refused::ForeignSource => StatusCode::UNAUTHORIZED,
        Refused::Malformed => StatusCode::BAD_REQUEST,
        // What a client knows of a workload may be older than what its server knows: it may try again.
        Refused::NoWorkload | Refused::AppUnreachable | Refused::Draining | Refused::Other => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

/// The only place where a status becomes a refusal. Gateways in between have words of their own.
pub(super) fn refusal_of(status: StatusCode) -> Option<Refused> {
    Some(match status {
        status if status.is_success() => return None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refused::Policy,
        StatusCode::BAD_REQUEST | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Refused::Malformed,
        StatusCode::NOT_FOUND => Refused::NoWorkload,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Refused::AppUnreachable
        }
        _ => Refused::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Forwarded;

    #[test]
    fn what_is_written_is_read() {
        for authority in ["10.0.0.1:80", "[fd00::1]:80", "web.shop:80"] {
            let request = ConnectRequest {
                authority: authority.parse().unwrap(),
                baggage: Some("k8s.namespace.name=shop".to_owned()),
                forwarded: Some(Forwarded { client: Some("10.0.0.9:4000".parse().unwrap()), host: None }),
                traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            };
            assert_eq!(ConnectRequest::read(&request.to_http().unwrap()), Ok(request), "{authority}");
        }
    }

    #[test]
    fn a_refusal_survives_the_wire_as_far_as_the_wire_has_a_word() {
        for (why, want) in [
            (Refused::Policy, Refused::Policy),
            (Refused::ForeignSource, Refused::Policy),
            (Refused::Malformed, Refused::Malformed),
            (Refused::AppUnreachable, Refused::AppUnreachable),
            (Refused::NoWorkload, Refused::AppUnreachable),
            (Refused::Draining, Refused::AppUnreachable),
            (Refused::Other, Refused::AppUnreachable),
        ] {
            assert_eq!(refusal_of(status_of(why)), Some(want), "{why}");
        }
        assert_eq!(refusal_of(StatusCode::OK), None);
        assert_eq!(refusal_of(StatusCode::IM_A_TEAPOT), Some(Refused::Other));
    }

    #[test]
    fn requests_are_read_or_refused() {
        let with = |name: &'static str, values: &[&str]| {
            let mut request = Request::connect("10.0.0.1:80").body(()).unwrap();
            for value in values {
                request.headers_mut().append(name, HeaderValue::try_from(*value).unwrap());
            }
            request
        };
        let get = Request::get("http://10.0.0.1:80/").body(()).unwrap();
        assert_eq!(ConnectRequest::read(&get), Err(BadRequest::Method(Method::GET)));
        let mut extended = with("x", &[]);
        extended.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        assert_eq!(ConnectRequest::read(&extended), Err(BadRequest::Protocol));
        let lines = with("forwarded", &["for=10.0.0.7", "for=unknown;host=web"]);
        let list = with("forwarded", &["for=10.0.0.7, for=unknown;host=web"]);
        assert_eq!(ConnectRequest::read(&lines), ConnectRequest::read(&list), "lines are a list");
        assert!(ConnectRequest::read(&lines).unwrap().forwarded.is_some());
        let bad = with("forwarded", &["for"]);
        assert_eq!(ConnectRequest::read(&bad), Err(BadRequest::Forwarded(BadForwarded::Shape)));
        let long = "a".repeat(BAGGAGE_BYTES_MAX + 1);
        let described = ConnectRequest::read(&with("baggage", &[&long])).unwrap();
        assert_eq!(described.baggage, None, "too long to be passed on");
        let described = ConnectRequest::read(&with("traceparent", &["rubbish"])).unwrap();
        assert_eq!(described.traceparent, None, "not a trace context");
    }
}
