//! Heads of requests that hyper takes and a proxy must not: what they ask for is said twice, or in a form that is not for
//! whoever serves it.

use http::uri::Authority;
use http::{HeaderMap, Method, Uri, Version, header, request};

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHead {
    /// RFC 9112 §3.2: exactly one, and in HTTP/1.0 at most one.
    #[error("a request has one Host")]
    Host,
    /// A host, perhaps with a port, and nothing else.
    #[error("the host of the request is none")]
    Authority,
    /// The two of them differ.
    #[error("the host of the request's target and its Host differ")]
    TwoHosts,
    /// Neither `http` nor `https`.
    #[error("the scheme of the request is not http")]
    Scheme,
    /// CONNECT, also HTTP/2's extended one (RFC 8441): nothing behind a service is a proxy.
    #[error("CONNECT is not served here")]
    Connect,
    /// A body that no backend would read alike.
    #[error("TRACE has no body")]
    Trace,
}

impl BadHead {
    /// The status of HTTP for it.
    pub fn status(self) -> u16 {
        match self {
            Self::Host | Self::Authority | Self::TwoHosts | Self::Scheme | Self::Trace => 400,
            Self::Connect => 501,
        }
    }
}

/// Looks at a head.
///
/// # Errors
/// As [`BadHead`] says.
pub fn vet(head: &request::Parts) -> Result<(), BadHead> {
    if head.method == Method::CONNECT {
        return Err(BadHead::Connect);
    }
    if head.method == Method::TRACE && has_body(&head.headers) {
        return Err(BadHead::Trace);
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host.to_str().map_err(|_| BadHead::Authority)).transpose()?;
    if hosts.next().is_some() {
        return Err(BadHead::Host);
    }
    let target = target_authority(&head.uri)?;
    match (host, target) {
        // A client of HTTP/1 has to say whom it means, and HTTP/2 says it in the target.
        (None, None) if head.version != Version::HTTP_10 => Err(BadHead::Host),
        (None, Some(_)) if head.version == Version::HTTP_11 => Err(BadHead::Host),
        (None, _) => Ok(()),
        (Some(host), None) => is_authority(host).then_some(()).ok_or(BadHead::Authority),
        // A proxy may take the target for the host (RFC 9112 §3.2.2), but a backend may not know that.
        (Some(host), Some(target)) if host.eq_ignore_ascii_case(target) => Ok(()),
        (Some(_), Some(_)) => Err(BadHead::TwoHosts),
    }
}

fn target_authority(uri: &Uri) -> Result<Option<&str>, BadHead> {
    let Some(authority) = uri.authority() else { return Ok(None) };
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(BadHead::Scheme);
    }
    is_authority(authority.as_str()).then_some(Some(authority.as_str())).ok_or(BadHead::Authority)
}

/// Without a user, which has no place in a request (RFC 9110 §4.2.4).
fn is_authority(text: &str) -> bool {
    // What most hosts are made of, so that most need no parser.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    let simple = !text.is_empty() && text.bytes().all(plain);
    simple || (!text.contains('@') && text.parse::<Authority>().is_ok_and(|one| !one.host().is_empty()))
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(version: Version, method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<(), BadHead> {
        let mut builder = http::Request::builder().version(version).method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        vet(&builder.body(()).expect("a request").into_parts().0)
    }

    #[test]
    fn heads() {
        const V10: Version = Version::HTTP_10;
        const V11: Version = Version::HTTP_11;
        const V2: Version = Version::HTTP_2;
        let web = ("host", "web");
        for (case, version, method, uri, headers, want) in [
            ("usual", V11, "GET", "/a", &[web][..], Ok(())),
            ("a port", V11, "GET", "/a", &[("host", "web:80")], Ok(())),
            ("IPv6", V11, "GET", "/a", &[("host", "[::1]:80")], Ok(())),
            ("an underscore", V11, "GET", "/a", &[("host", "my_web")], Ok(())),
            ("no host", V11, "GET", "/a", &[], Err(BadHead::Host)),
            ("no host in HTTP/1.0", V10, "GET", "/a", &[], Ok(())),
            ("two hosts", V11, "GET", "/a", &[web, web], Err(BadHead::Host)),
            ("two hosts in HTTP/1.0", V10, "GET", "/a", &[web, ("host", "x")], Err(BadHead::Host)),
            ("an empty host", V11, "GET", "/a", &[("host", "")], Err(BadHead::Authority)),
            ("a user", V11, "GET", "/a", &[("host", "a@web")], Err(BadHead::Authority)),
            ("a path", V11, "GET", "/a", &[("host", "web/b")], Err(BadHead::Authority)),
            ("a list", V11, "GET", "/a", &[("host", "web, x")], Err(BadHead::Authority)),
            ("absolute", V11, "GET", "http://web/a", &[web], Ok(())),
            ("absolute, another case", V11, "GET", "http://WEB/a", &[web], Ok(())),
            ("absolute, another host", V11, "GET", "http://x/a", &[web], Err(BadHead::TwoHosts)),
            ("absolute, no host", V11, "GET", "http://web/a", &[], Err(BadHead::Host)),
            ("absolute with a user", V11, "GET", "http://a@web/a", &[web], Err(BadHead::Authority)),
            ("another scheme", V11, "GET", "ftp://web/a", &[web], Err(BadHead::Scheme)),
            ("CONNECT", V11, "CONNECT", "web:80", &[web], Err(BadHead::Connect)),
            ("TRACE", V11, "TRACE", "/", &[web], Ok(())),
            ("TRACE with a body", V11, "TRACE", "/", &[web, ("content-length", "1")], Err(BadHead::Trace)),
            ("HTTP/2", V2, "GET", "http://web/a", &[], Ok(())),
            ("HTTP/2 with both", V2, "GET", "http://web/a", &[web], Ok(())),
            (
                "HTTP/2 with both, not the same",
                V2,
                "GET",
                "http://web/a",
                &[("host", "x")],
                Err(BadHead::TwoHosts),
            ),
            ("HTTP/2 with neither", V2, "GET", "/a", &[], Err(BadHead::Host)),
        ] {
            assert_eq!(judged(version, method, uri, headers), want, "{case}");
        }
    }
}
