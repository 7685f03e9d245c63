//! As much of gRPC as one message each way needs, with messages in JSON.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{self, HeaderName};

/// Messages are JSON.
pub(crate) const CONTENT_TYPE: &str = "application/grpc+json";
/// In the trailers, or in the head of a response that has no message.
pub(crate) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What stands before a message: whether it is compressed, and how long it is.
const PREFIX_BYTES: usize = 5;

/// A message as it goes over the wire, not compressed.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

/// The first message of a body.
pub(crate) fn message(body: &[u8]) -> &[u8] {
    body.get(PREFIX_BYTES..).unwrap_or_default()
}

/// The status, if it is another one than OK; `none` where nobody says one.
pub(crate) fn status(trailers: &HeaderMap) -> Option<String> {
    let status = trailers.get(STATUS).map(|status| String::from_utf8_lossy(status.as_bytes()).into_owned());
    Some(status.unwrap_or_else(|| "none".to_owned())).filter(|status| status != "0")
}

/// Whether a request is a call.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}
