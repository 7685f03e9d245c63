//! The payload of an OPEN frame.

use weft_tunnel::mux::OpenRequest;
use weft_tunnel::mux::frame::OPEN_BYTES_MAX;

pub(super) const WORDS: &[&str] = &["\x01\0\x01a", "\x02\0\x00", "\x04", "\x06", "\x03\x0f\x02"];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let request = |source: &str, destination: &str, baggage: Option<&str>, traceparent: Option<&str>| {
        let request = OpenRequest {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            baggage: baggage.map(str::to_owned),
            traceparent: traceparent.map(str::to_owned),
        };
        let mut bytes = Vec::new();
        request.write(&mut bytes);
        bytes
    };
    let mut mapped = request("[fd00::1]:4000", "10.0.0.2:80", None, None);
    mapped[1..17].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]);
    vec![
        request("10.0.0.1:4000", "10.0.0.2:80", None, None),
        request("[fd00::1]:4000", "[fd00::2]:80", Some("k8s.namespace.name=shop"), Some("00-4bf9-00f0-01")),
        request("10.0.0.1:4000", "10.0.0.2:80", Some(&"a".repeat(4_000)), None),
        mapped,
    ]
}

/// What is read can be written into a frame and comes back as it went. Its addresses are those that policy and
/// discovery compare: never an IPv4 address that is written as an IPv6 one.
pub(super) fn run(bytes: &[u8]) {
    let Ok(request) = OpenRequest::read(bytes) else {
        return;
    };
    for addr in [request.source, request.destination] {
        assert_eq!(addr.ip().to_canonical(), addr.ip(), "mapped");
    }
    let mut written = Vec::new();
    request.write(&mut written);
    assert!(written.len() <= OPEN_BYTES_MAX, "{} bytes", written.len());
    let again = OpenRequest::read(&written).expect("what was written is read");
    assert_eq!((again.source, again.destination), (request.source, request.destination));
    // A description that is too long to be passed on is left out, and nothing else.
    for (before, after) in [(&request.baggage, &again.baggage), (&request.traceparent, &again.traceparent)] {
        assert!(
            before == after || (after.is_none() && before.as_ref().is_some_and(|text| text.len() > 4_000))
        );
    }
    let later = [bytes, &[99, 0, 1, 7]].concat();
    assert_eq!(OpenRequest::read(&later), Ok(request), "an unknown field is skipped");
}
