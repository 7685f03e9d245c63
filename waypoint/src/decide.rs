//! What is decided of a request before anything is done with it: whether it may be, and which rule takes it. Requests are
//! answered by this, and so is the question what would become of one. Pure.

use crate::client::{Connection, Destination};
use crate::knowledge::Moment;
use crate::way::Seen;
use http::{Method, request};
use std::net::SocketAddr;
use weft_core::policy::{Judgement, Verdict};
use weft_l7::apply::cookies;
use weft_l7::apply::rewrite::set_path;
use weft_l7::matches::Subject as _;
use weft_l7::path::{BadPath, WHOLE_SERVER, normalise};
use weft_l7::policy::{self, Peer};
use weft_l7::service::Found;

/// Gives a request its one form: its path, and its cookies in one line.
///
/// # Errors
/// If its path has none.
pub(crate) fn bring_into_form(head: &mut request::Parts) -> Result<(), BadPath> {
    cookies::join(&mut head.headers);
    if is_of_server(head) {
        return Ok(());
    }
    let form = normalise(head.uri.path())?;
    if *form != *head.uri.path() {
        let form = form.into_owned();
        set_path(head, &form)?;
    }
    Ok(())
}

/// Whether it asks about the server as a whole, and for nothing there (RFC 9112 §3.2.4, "asterisk-form").
fn is_of_server(head: &request::Parts) -> bool {
    head.method == Method::OPTIONS && head.uri.path() == WHOLE_SERVER && head.uri.query().is_none()
}

/// Whose request it is, and what its connection asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// Who it is, if proven.
    pub(crate) peer: Option<&'a Peer>,
    /// Where it comes from.
    pub(crate) ip: std::net::IpAddr,
    /// What its connection asked for.
    pub(crate) destination: &'a Destination,
    /// By this address and port.
    pub(crate) addr: SocketAddr,
}

impl<'a> Asker<'a> {
    /// Whose request it is that comes on a connection.
    pub(crate) fn of(connection: &'a Connection) -> Self {
        let Connection { client, addr, destination, .. } = connection;
        Self { peer: Some(&client.peer), ip: client.addr.ip(), destination, addr: *addr }
    }
}

/// Asks policy.
pub(crate) fn authorise(moment: &Moment, asker: Asker<'_>, seen: &Seen<'_>) -> Judgement {
    let policies = moment.applying(asker.destination.of_service().map(|service| &service.name));
    let request = policy::Request {
        peer: asker.peer,
        source_ip: asker.ip,
        remote_ip: asker.ip,
        port: asker.addr.port(),
        authority: seen.authority(),
        method: seen.method(),
        path: seen.path(),
    };
    policy::decide(policies, &request)
}

/// A verdict in words.
pub(crate) fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allowed(Some(policy)) => format!("allowed by policy {policy}"),
        Verdict::Allowed(None) => "allowed".to_owned(),
        Verdict::Denied(denial) => denial.to_string(),
    }
}

/// The routes that requests of clients of a namespace meet. `None` if nothing is said: all go to the destination itself.
pub(crate) fn routes<'a>(
    moment: &'a Moment,
    destination: &Destination,
    namespace: &str,
) -> Option<Found<'a>> {
    match destination {
        Destination::Workload { .. } => None,
        Destination::Service { service, own } => moment.traffic(&service.name)?.routes(own.port, namespace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Version;
    use weft_l7::matches::RequestMatch;

    fn holds(when: &str, version: Version, headers: &[(&str, &str)]) -> bool {
        let uri = if version == Version::HTTP_2 { "http://web.shop/a" } else { "/a" };
        let mut builder = http::Request::get(uri).version(version);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let (mut head, ()) = builder.body(()).expect("a request").into_parts();
        bring_into_form(&mut head).expect("a path");
        let when: RequestMatch = serde_json::from_str(when).expect("a match");
        when.holds(&Seen::of(&head, "", None))
    }

    #[test]
    fn who_asks_about_the_whole_server() {
        for (method, uri, want) in [
            ("OPTIONS", "*", Ok(())),
            ("OPTIONS", "*?x", Err(BadPath::Relative)),
            ("GET", "*", Err(BadPath::Relative)),
            ("OPTIONS", "/*", Ok(())),
        ] {
            // What the parser does not take is no request for it either.
            let Ok(request) = http::Request::builder().method(method).uri(uri).body(()) else {
                assert!(want.is_err(), "{method} {uri}");
                continue;
            };
            assert_eq!(bring_into_form(&mut request.into_parts().0), want, "{method} {uri}");
        }
    }

    /// A rule means the same request by either version of HTTP: the one splits cookies, and says the host elsewhere.
    #[test]
    fn rules_see_the_same_by_either_version() {
        let cookie = r#"{"headers": [{"name": "cookie", "value": {"exact": "theme=dark; canary=always"}}]}"#;
        let canary =
            r#"{"headers": [{"name": "cookie", "value": {"pattern": "(.*; )?canary=always(;.*)?"}}]}"#;
        let host = r#"{"headers": [{"name": "host", "value": {"exact": "web.shop"}}]}"#;
        let other = r#"{"headers": [{"name": "host", "value": {"exact": "web.shop"}, "not": true}]}"#;
        let whole = [("host", "web.shop"), ("cookie", "theme=dark; canary=always")];
        let split = [("cookie", "theme=dark"), ("cookie", "canary=always")];
        let with_host = [("host", "web.shop"), ("cookie", "theme=dark"), ("cookie", "canary=always")];
        for (when, want) in [(cookie, true), (canary, true), (host, true), (other, false)] {
            for (version, headers) in [
                (Version::HTTP_11, &whole[..]),
                (Version::HTTP_11, &with_host),
                (Version::HTTP_2, &split),
                (Version::HTTP_2, &with_host),
            ] {
                assert_eq!(holds(when, version, headers), want, "{when} by {version:?} with {headers:?}");
            }
        }
    }
}
