//! Headers that are for the next hop only (RFC 9110 §7.6.1): they end here, and what this side says to its own next hop
//! is its own.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Whether the connection becomes another protocol's, as for WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrading {
    /// It stays HTTP.
    No,
    /// It does, if the backend agrees: `connection: upgrade` and `upgrade` go on.
    Yes,
}

/// Fields of one hop, whether or not `connection` names them.
const OF_ONE_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Fields that `connection` may not take away: without them the message would be another one.
const OF_THE_MESSAGE: [HeaderName; 2] = [header::HOST, header::CONTENT_LENGTH];

/// Takes away what was for this hop. To be done before anything is added, or a client could take that away.
pub fn strip(headers: &mut HeaderMap, upgrading: Upgrading) {
    let upgrade = headers.get(header::UPGRADE).cloned().filter(|_| upgrading == Upgrading::Yes);
    let trailers = takes_trailers(headers);
    for name in named_by_connection(headers).into_iter().chain(OF_ONE_HOP) {
        headers.remove(name);
    }
    headers.remove(header::TE);
    if trailers {
        // gRPC asks for it on every hop (its HTTP/2 protocol, "Call-Definition"), and every hop here forwards them.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let entries = list(headers, header::CONNECTION);
    let names = entries.filter_map(|name| HeaderName::from_bytes(name).ok());
    names.filter(|name| !OF_THE_MESSAGE.contains(name)).collect()
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    list(headers, header::TE).any(|one| one.eq_ignore_ascii_case(b"trailers"))
}

/// The entries of a list, whatever its other entries are: one that is no text hides none.
fn list(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on() {
        for (case, has, upgrading, want) in [
            (
                "nothing of one hop",
                &["host: web", "accept: */*"][..],
                Upgrading::No,
                &["host: web", "accept: */*"][..],
            ),
            (
                "all of one hop",
                &[
                    "connection: close",
                    "keep-alive: timeout=5",
                    "proxy-connection: x",
                    "transfer-encoding: chunked",
                    "upgrade: h2c",
                    "te: gzip",
                    "x: 1",
                ],
                Upgrading::No,
                &["x: 1"],
            ),
            (
                "named",
                &["connection: X-Own, close", "connection: x-other", "x-own: 1", "x-other: 2"],
                Upgrading::No,
                &[],
            ),
            (
                "of the message",
                &["connection: host, content-length", "host: web"],
                Upgrading::No,
                &["host: web"],
            ),
            ("trailers", &["te: gzip;q=0.5, Trailers", "connection: te"], Upgrading::No, &["te: trailers"]),
            (
                "an upgrade",
                &["connection: keep-alive, Upgrade", "upgrade: websocket"],
                Upgrading::Yes,
                &["connection: upgrade", "upgrade: websocket"],
            ),
            ("an upgrade to nothing", &["connection: upgrade"], Upgrading::Yes, &[]),
        ] {
            let pair = |line: &&'static str| {
                let (name, value) = line.split_once(": ").expect("a header");
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let mut headers = HeaderMap::new();
            for (name, value) in has.iter().map(pair) {
                headers.append(name, value);
            }
            strip(&mut headers, upgrading);
            assert_eq!(headers, want.iter().map(pair).collect::<HeaderMap>(), "{case}");
        }
    }
}
