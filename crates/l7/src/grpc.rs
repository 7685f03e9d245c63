//! Statuses of gRPC, and what they are in HTTP (gRPC's "statuscodes.md" and "http-grpc-status-mapping.md").

use http::{HeaderMap, HeaderName, header};

/// OK.
pub const OK: u32 = 0;
/// CANCELLED.
pub const CANCELLED: u32 = 1;
/// UNKNOWN.
pub const UNKNOWN: u32 = 2;
/// DEADLINE_EXCEEDED.
pub const DEADLINE_EXCEEDED: u32 = 4;
/// PERMISSION_DENIED.
pub const PERMISSION_DENIED: u32 = 7;
/// RESOURCE_EXHAUSTED.
pub const RESOURCE_EXHAUSTED: u32 = 8;
/// UNIMPLEMENTED.
pub const UNIMPLEMENTED: u32 = 12;
/// INTERNAL.
pub const INTERNAL: u32 = 13;
/// UNAVAILABLE.
pub const UNAVAILABLE: u32 = 14;
/// UNAUTHENTICATED.
pub const UNAUTHENTICATED: u32 = 16;

/// The header or trailer of the status.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The header or trailer of what went wrong, percent-encoded.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The content type of what a gRPC client gets.
pub const CONTENT_TYPE: &str = "application/grpc";

/// All statuses by their numbers, with the status of HTTP that says the same (`google/rpc/code.proto`).
const NAMES: [(&str, u16); 17] = [
    ("OK", 200),
    ("CANCELLED", 499),
    ("UNKNOWN", 500),
    ("INVALID_ARGUMENT", 400),
    ("DEADLINE_EXCEEDED", 504),
    ("NOT_FOUND", 404),
    ("ALREADY_EXISTS", 409),
    ("PERMISSION_DENIED", 403),
    ("RESOURCE_EXHAUSTED", 429),
    ("FAILED_PRECONDITION", 400),
    ("ABORTED", 409),
    ("OUT_OF_RANGE", 400),
    ("UNIMPLEMENTED", 501),
    ("INTERNAL", 500),
    ("UNAVAILABLE", 503),
    ("DATA_LOSS", 500),
    ("UNAUTHENTICATED", 401),
];

/// The number of a status by its name, whatever its case: `UNAVAILABLE`, `unavailable`, `deadline-exceeded`.
pub fn number(name: &str) -> Option<u32> {
    let name = name.replace('-', "_");
    (0..).zip(NAMES).find(|(_, (one, _))| one.eq_ignore_ascii_case(&name)).map(|(number, _)| number)
}

/// The name of a status. `None` for a number that means nothing.
pub fn name(number: u32) -> Option<&'static str> {
    NAMES.get(usize::try_from(number).ok()?).map(|(name, _)| *name)
}

/// What a gRPC client has to take a response of HTTP for that says nothing of gRPC.
pub fn from_http(status: u16) -> u32 {
    match status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502 | 503 | 504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// The status of HTTP that says what a status of gRPC does. 500 for a number that means nothing.
pub fn to_http(number: u32) -> u16 {
    let known = usize::try_from(number).ok().and_then(|number| NAMES.get(number));
    known.map_or(500, |(_, status)| *status)
}

/// Whether a request or a response is one of gRPC: `application/grpc`, perhaps with `+proto` or the like.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let Some((head, rest)) = kind.split_at_checked(CONTENT_TYPE.len()) else { return false };
    // `application/grpc-web` is another protocol.
    head.eq_ignore_ascii_case(CONTENT_TYPE.as_bytes())
        && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The status in headers or trailers.
pub fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get(&STATUS)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("ok", Some(OK)),
            ("cancelled", Some(CANCELLED)),
            ("deadline-exceeded", Some(DEADLINE_EXCEEDED)),
            ("RESOURCE_EXHAUSTED", Some(RESOURCE_EXHAUSTED)),
            ("Unavailable", Some(UNAVAILABLE)),
            ("UNAUTHENTICATED", Some(UNAUTHENTICATED)),
            ("14", None),
            ("", None),
        ] {
            assert_eq!(number(text), want, "{text:?}");
        }
        assert!((0..17).all(|one| name(one).and_then(number) == Some(one)));
        assert_eq!(name(17), None);
    }

    #[test]
    fn there_and_back() {
        for (http, grpc) in [
            (200, 2),
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 14),
        ] {
            assert_eq!(from_http(http), grpc, "{http}");
        }
        for (grpc, http) in
            [(0, 200), (4, 504), (5, 404), (7, 403), (8, 429), (12, 501), (14, 503), (16, 401), (99, 500)]
        {
            assert_eq!(to_http(grpc), http, "{grpc}");
        }
    }

    #[test]
    fn what_is_grpc() {
        for (kind, want) in [
            ("application/grpc", true),
            ("Application/gRPC", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect();
            assert_eq!(is_grpc(&headers), want, "{kind:?}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
