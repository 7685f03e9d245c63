//! Headers that are for the next hop only (RFC 9110 §7.6.1): they end here, and what this side says to its own next hop
//! is its own.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

/// Whether the connection becomes another protocol's, as for WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upgrading {
    /// It stays HTTP.
    No,
    /// It does, if the backend agrees: `connection: upgrade` and `upgrade` go on.
    Yes,
}

/// What a connection may become: `websocket` (RFC 6455 §4.1), `SPDY/3.1` (Kubernetes' exec and port-forward) and `tcp`
/// (Docker's attach and exec). Each carries the bytes of the one request that asked for it. Behind `h2c` (RFC 7540 §3.2),
/// or TLS (RFC 2817 §3), there would be further requests, which no policy and no route sees.
const PROTOCOLS: [&str; 3] = ["websocket", "spdy/3.1", "tcp"];

/// Whether a request asks for a connection of another protocol, and for one that it may become (RFC 9110 §7.8): one of
/// them, said once. Any other wish is left out of the request, which a server may do as well, and the request goes on
/// without it. HTTP/1.0 and HTTP/2 have no such thing.
pub fn upgrading(version: Version, headers: &HeaderMap) -> Upgrading {
    let mut wishes = headers.get_all(header::UPGRADE).iter();
    let (Some(wish), None) = (wishes.next(), wishes.next()) else { return Upgrading::No };
    let wish = wish.as_bytes().trim_ascii();
    let is_for_connection =
        || list(headers, header::CONNECTION).any(|one| one.eq_ignore_ascii_case(b"upgrade"));
    let may_be = PROTOCOLS.iter().any(|one| wish.eq_ignore_ascii_case(one.as_bytes()));
    if version == Version::HTTP_11 && may_be && is_for_connection() { Upgrading::Yes } else { Upgrading::No }
}

/// Fields of one hop, whether or not `connection` names them.
const OF_ONE_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
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

    fn read(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_a_connection_may_become() {
        const V11: Version = Version::HTTP_11;
        for (case, version, lines, want) in [
            ("WebSocket", V11, &["connection: upgrade", "upgrade: websocket"][..], Upgrading::Yes),
            ("in another case", V11, &["connection: x, Upgrade", "upgrade: WebSocket"], Upgrading::Yes),
            ("Kubernetes", V11, &["connection: Upgrade", "upgrade: SPDY/3.1"], Upgrading::Yes),
            ("Docker", V11, &["connection: Upgrade", "upgrade: tcp"], Upgrading::Yes),
            (
                "named in a second line",
                V11,
                &["connection: x", "connection: upgrade", "upgrade: tcp"],
                Upgrading::Yes,
            ),
            ("nothing", V11, &[], Upgrading::No),
            ("not for this hop", V11, &["upgrade: websocket"], Upgrading::No),
            ("no name", V11, &["connection: upgrade"], Upgrading::No),
            ("HTTP/1.0", Version::HTTP_10, &["connection: upgrade", "upgrade: websocket"], Upgrading::No),
            ("HTTP/2", Version::HTTP_2, &["connection: upgrade", "upgrade: websocket"], Upgrading::No),
            ("h2c", V11, &["connection: upgrade, http2-settings", "upgrade: h2c"], Upgrading::No),
            ("h2c in another case", V11, &["connection: upgrade", "upgrade: H2C"], Upgrading::No),
            ("h2c in a list", V11, &["connection: upgrade", "upgrade: websocket, h2c"], Upgrading::No),
            ("h2c first", V11, &["connection: upgrade", "upgrade: h2c,websocket"], Upgrading::No),
            (
                "h2c in a second line",
                V11,
                &["connection: upgrade", "upgrade: websocket", "upgrade: h2c"],
                Upgrading::No,
            ),
            ("HTTP", V11, &["connection: upgrade", "upgrade: HTTP/2.0"], Upgrading::No),
            ("TLS", V11, &["connection: upgrade", "upgrade: TLS/1.0"], Upgrading::No),
            ("nobody's", V11, &["connection: upgrade", "upgrade: x"], Upgrading::No),
            ("empty", V11, &["connection: upgrade", "upgrade: "], Upgrading::No),
        ] {
            assert_eq!(upgrading(version, &read(lines)), want, "{case}");
        }
    }

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
                    "http2-settings: AAMAAABk",
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
            let mut headers = read(has);
            strip(&mut headers, upgrading);
            assert_eq!(headers, read(want), "{case}");
        }
    }
}
