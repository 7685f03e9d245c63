//! Where a client is told to ask instead (Gateway API, `HTTPRequestRedirectFilter`).

use super::rewrite;
use crate::rule::{Redirect, RedirectPort};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use std::borrow::Cow;

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host, with the port if the client names one.
    pub authority: &'a str,
    /// The port that the connection went to.
    pub port: u16,
    /// The path.
    pub path: &'a str,
    /// The query, if there is one.
    pub query: Option<&'a str>,
}

/// The response. `None` if what comes out is no header's value or no status: a rule that cannot be obeyed.
pub fn response(redirect: &Redirect, asked: Asked<'_>) -> Option<Response<Vec<u8>>> {
    let status = StatusCode::from_u16(redirect.status).ok()?;
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, HeaderValue::try_from(location(redirect, asked)).ok()?);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    let mut response = Response::new(Vec::new());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}

/// The value of `location` (RFC 9110 §10.2.2): always with scheme and host.
pub fn location(redirect: &Redirect, asked: Asked<'_>) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(asked.scheme);
    let (own_host, own_port) = split(asked.authority);
    let host = redirect.host.as_deref().unwrap_or(own_host);
    // What the scheme of the request said by itself is no port of another scheme.
    let named = || own_port.filter(|port| well_known(asked.scheme) != Some(*port));
    let port = match redirect.port {
        RedirectPort::Number(port) => Some(port),
        RedirectPort::OfScheme => None,
        RedirectPort::OfRequest => named(),
        RedirectPort::OfListener if asked.scheme == "https" => named(),
        RedirectPort::OfListener | RedirectPort::OfConnection => Some(asked.port),
    };
    let path = match &redirect.path {
        Some(change) => rewrite::path(change, asked.path),
        None => Cow::Borrowed(asked.path),
    };
    let mut location = format!("{scheme}://{host}");
    if let Some(port) = port.filter(|port| well_known(scheme) != Some(*port)) {
        location.push_str(&format!(":{port}"));
    }
    if !path.starts_with('/') {
        location.push('/');
    }
    location.push_str(&path);
    // A path that brings its own query has no place for another.
    if let Some(query) = asked.query.filter(|_| !path.contains('?')) {
        location.push('?');
        location.push_str(query);
    }
    location
}

fn well_known(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// A host and its port. The colons of an IPv6 address are in brackets (RFC 3986 §3.2.2).
fn split(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::PathChange;
    use RedirectPort::{Number, OfConnection, OfListener, OfRequest, OfScheme};

    const ASKED: Asked<'_> =
        Asked { scheme: "http", authority: "web:8080", port: 8080, path: "/a/b", query: Some("q=1") };

    fn to(change: impl FnOnce(&mut Redirect)) -> Redirect {
        let mut redirect = Redirect { status: 302, ..Redirect::default() };
        change(&mut redirect);
        redirect
    }

    #[test]
    fn locations() {
        let plain = Asked { authority: "web", port: 80, query: None, ..ASKED };
        let tls = Asked { scheme: "https", authority: "web", port: 443, query: None, ..ASKED };
        let v6 = Asked { authority: "[::1]:8080", query: None, ..ASKED };
        let segments = |by: &str| Some(PathChange::Segments { prefix: "/a".into(), by: by.into() });
        for (case, redirect, asked, want) in [
            ("nothing", to(|_| {}), ASKED, "http://web:8080/a/b?q=1"),
            ("nothing, at port 80", to(|_| {}), plain, "http://web/a/b"),
            ("nothing, at port 443", to(|_| {}), tls, "https://web/a/b"),
            (
                "the connection's port, whatever the host names",
                to(|to| to.port = OfConnection),
                Asked { authority: "web", ..ASKED },
                "http://web:8080/a/b?q=1",
            ),
            (
                "the connection's port is the scheme's",
                to(|to| to.port = OfConnection),
                Asked { port: 80, ..ASKED },
                "http://web/a/b?q=1",
            ),
            (
                "the connection's port, with a host",
                to(|to| (to.host, to.port) = (Some("x.org".into()), OfConnection)),
                plain,
                "http://x.org/a/b",
            ),
            ("scheme", to(|to| to.scheme = Some("https".into())), ASKED, "https://web:8080/a/b?q=1"),
            (
                "the port of the scheme it had",
                to(|to| to.scheme = Some("https".into())),
                Asked { authority: "web:80", ..plain },
                "https://web/a/b",
            ),
            ("the scheme it had", to(|to| to.scheme = Some("http".into())), ASKED, "http://web:8080/a/b?q=1"),
            (
                "a scheme without a port",
                to(|to| to.scheme = Some("ws".into())),
                ASKED,
                "ws://web:8080/a/b?q=1",
            ),
            ("host", to(|to| to.host = Some("shop.org".into())), ASKED, "http://shop.org:8080/a/b?q=1"),
            ("host at port 80", to(|to| to.host = Some("shop.org".into())), plain, "http://shop.org/a/b"),
            ("port", to(|to| to.port = Number(8083)), plain, "http://web:8083/a/b"),
            ("port 80", to(|to| to.port = Number(80)), ASKED, "http://web/a/b?q=1"),
            ("port 443 of http", to(|to| to.port = Number(443)), plain, "http://web:443/a/b"),
            (
                "scheme and port",
                to(|to| (to.scheme, to.port) = (Some("https".into()), Number(443))),
                plain,
                "https://web/a/b",
            ),
            (
                "scheme and the other's port",
                to(|to| (to.scheme, to.port) = (Some("https".into()), Number(80))),
                plain,
                "https://web:80/a/b",
            ),
            ("the scheme's port", to(|to| to.port = OfScheme), ASKED, "http://web/a/b?q=1"),
            (
                "the port asked for",
                to(|to| (to.scheme, to.port) = (Some("https".into()), OfRequest)),
                ASKED,
                "https://web:8080/a/b?q=1",
            ),
            ("no port asked for", to(|to| to.port = OfRequest), tls, "https://web/a/b"),
            (
                "the listener's port, whatever the host names",
                to(|to| to.port = OfListener),
                Asked { authority: "web", ..ASKED },
                "http://web:8080/a/b?q=1",
            ),
            ("the listener's port is the scheme's", to(|to| to.port = OfListener), plain, "http://web/a/b"),
            (
                "a gateway's listener in front",
                to(|to| (to.host, to.port) = (Some("x.org".into()), OfListener)),
                Asked { scheme: "https", authority: "shop.org", ..ASKED },
                "https://x.org/a/b?q=1",
            ),
            (
                "a gateway's listener in front, at a port of its own",
                to(|to| to.port = OfListener),
                Asked { scheme: "https", authority: "shop.org:8443", ..ASKED },
                "https://shop.org:8443/a/b?q=1",
            ),
            ("IPv6", to(|to| to.scheme = Some("https".into())), v6, "https://[::1]:8080/a/b"),
            ("path", to(|to| to.path = Some(PathChange::Whole("/new".into()))), plain, "http://web/new"),
            ("prefix", to(|to| to.path = segments("/x")), ASKED, "http://web:8080/x/b?q=1"),
            ("no slash", to(|to| to.path = Some(PathChange::Whole("new".into()))), plain, "http://web/new"),
            (
                "its own query",
                to(|to| to.path = Some(PathChange::Whole("/new?x".into()))),
                ASKED,
                "http://web:8080/new?x",
            ),
        ] {
            assert_eq!(location(&redirect, asked), want, "{case}");
        }
    }

    #[test]
    fn the_whole_response() {
        for status in [301, 302, 303, 307, 308] {
            let response = response(&to(|to| to.status = status), ASKED).expect("a response");
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[header::LOCATION], "http://web:8080/a/b?q=1");
        }
        assert!(response(&to(|to| to.host = Some("a\nb".into())), ASKED).is_none());
    }
}
