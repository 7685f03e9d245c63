//! Heads as the other version of HTTP writes them.

use crate::lines::Version;
use http::header::{self, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{request, response};
use weft_core::service::AppProtocol;
use weft_l7::apply::hop::{self, Upgrading};
use weft_l7::destination::{Settings, Upgrade};
use weft_l7::grpc::is_grpc;

/// How a request goes out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outbound {
    /// By which version.
    pub(crate) version: Version,
}

/// Makes a request's head one of the version that its backend speaks. One that makes its connection another protocol's is
/// of HTTP/1.1: HTTP/2 has no such word.
pub(crate) fn prepare(
    head: &mut request::Parts,
    spoken: AppProtocol,
    settings: &Settings,
    upgrading: Upgrading,
) -> Outbound {
    let came_by_two = head.version == http::Version::HTTP_2;
    let two = upgrading == Upgrading::No && by_two(settings.limits.upgrade, spoken, came_by_two);
    // What the server side of hyper keeps there is for this side only.
    head.extensions = http::Extensions::new();
    if two {
        into_two(head, if settings.tls.is_some() { &Scheme::HTTPS } else { &Scheme::HTTP });
        Outbound { version: Version::Two }
    } else {
        into_one(head);
        Outbound { version: Version::One }
    }
}

/// Whether a request goes out by HTTP/2. What came by it goes by it where nothing is said, or gRPC would lose its
/// trailers.
fn by_two(upgrade: Upgrade, spoken: AppProtocol, came_by_two: bool) -> bool {
    match (upgrade, spoken) {
        (Upgrade::AsItCame, _) | (Upgrade::AsPortSays, AppProtocol::Unknown) => came_by_two,
        (Upgrade::Always, _) | (Upgrade::AsPortSays, AppProtocol::Http2 | AppProtocol::Grpc) => true,
        (Upgrade::AsPortSays, AppProtocol::Http11 | AppProtocol::Tcp | AppProtocol::Tls) => false,
    }
}

fn into_one(head: &mut request::Parts) {
    if let Some(authority) = head.uri.authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            head.headers.insert(header::HOST, host);
        }
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map_or_else(Uri::default, Uri::from);
    }
    if head.headers.contains_key(header::TE) {
        // It is for the next hop alone, and has to say so (RFC 9110 §10.1.4).
        head.headers.append(header::CONNECTION, HeaderValue::from_static("te"));
    }
    head.version = http::Version::HTTP_11;
}

/// `scheme` is what the backend is spoken to in, whatever the client said to this side (RFC 9113 §8.3.1).
fn into_two(head: &mut request::Parts, scheme: &Scheme) {
    let host = head.headers.remove(header::HOST);
    if head.uri.authority().is_none() || head.uri.scheme() != Some(scheme) {
        let host = host.as_ref().and_then(|host| host.to_str().ok());
        if let Some(authority) = head.uri.authority().map(Authority::as_str).or(host) {
            let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            let uri = Uri::builder().scheme(scheme.clone()).authority(authority).path_and_query(path).build();
            head.uri = uri.unwrap_or_else(|_| std::mem::take(&mut head.uri));
        }
    }
    if is_grpc(&head.headers) {
        // Servers may refuse a call without it (gRPC over HTTP/2, "Call-Definition").
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    head.version = http::Version::HTTP_2;
}

/// Takes away what was for this hop only.
pub(crate) fn clean(head: &mut response::Parts, upgrading: Upgrading) {
    // A backend that says both meant the coding (RFC 9112 §6.3), and hyper has read it so.
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    hop::strip(&mut head.headers, upgrading);
    head.extensions = http::Extensions::new();
    // The server side writes its own.
    head.version = http::Version::HTTP_11;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_next_hop_hears_of_trailers() {
        let grpc = ("content-type", "application/grpc");
        for (case, spoken, has, te, connection) in [
            ("by HTTP/1.1", AppProtocol::Http11, &[("te", "trailers")][..], Some("trailers"), Some("te")),
            ("nothing by HTTP/1.1", AppProtocol::Http11, &[], None, None),
            ("a call by HTTP/1.1", AppProtocol::Http11, &[grpc], None, None),
            ("nothing by HTTP/2", AppProtocol::Http2, &[], None, None),
            ("by HTTP/2", AppProtocol::Http2, &[("te", "trailers")], Some("trailers"), None),
            ("a call by HTTP/2", AppProtocol::Http2, &[grpc], Some("trailers"), None),
        ] {
            let mut builder = http::Request::get("/a").header("host", "web");
            for (name, value) in has {
                builder = builder.header(*name, *value);
            }
            let (mut head, ()) = builder.body(()).expect("a request").into_parts();
            prepare(&mut head, spoken, &Settings::default(), Upgrading::No);
            let got = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
            assert_eq!((got("te"), got("connection")), (te, connection), "{case}");
        }
    }

    #[test]
    fn versions() {
        use AppProtocol::{Grpc, Http2, Http11, Tcp, Unknown};
        for (upgrade, spoken, from_one, from_two) in [
            (Upgrade::AsPortSays, Unknown, false, true),
            (Upgrade::AsPortSays, Http11, false, false),
            (Upgrade::AsPortSays, Http2, true, true),
            (Upgrade::AsPortSays, Grpc, true, true),
            (Upgrade::AsPortSays, Tcp, false, false),
            (Upgrade::Always, Http11, true, true),
            (Upgrade::Always, Unknown, true, true),
            (Upgrade::AsItCame, Http11, false, true),
            (Upgrade::AsItCame, Http2, false, true),
            (Upgrade::AsItCame, Grpc, false, true),
            (Upgrade::AsItCame, Unknown, false, true),
        ] {
            let got = (by_two(upgrade, spoken, false), by_two(upgrade, spoken, true));
            assert_eq!(got, (from_one, from_two), "{upgrade:?} {spoken:?}");
        }
    }
}
