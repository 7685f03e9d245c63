//! The payload of an OPEN frame.

use weft_tunnel::mux::OpenRequest;
use weft_tunnel::mux::frame::OPEN_BYTES_MAX;
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::words::Authority;

pub(super) const WORDS: &[&str] =
    &["\x01\0\x01a", "\x02\0\x00", "\x03\0\x0bfor=unknown", "\x04\0\x03web", "\x04", "\x06", "\x03\x0f\x02"];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let request = |source: &str, authority: &str, baggage: Option<&str>, forwarded: Option<&str>| {
        let authority = authority.parse::<Authority>().expect("an authority");
        let connect = ConnectRequest {
            authority,
            baggage: baggage.map(str::to_owned),
            forwarded: forwarded.map(|text| text.parse().expect("a forwarded header")),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
        };
        let request = OpenRequest { source: source.parse().expect("an address"), connect };
        request.to_payload().expect("fits into a frame")
    };
    let mut mapped = request("[fd00::1]:4000", "10.0.0.2:80", None, None);
    mapped[1..17].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]);
    vec![
        request("10.0.0.1:4000", "10.0.0.2:80", None, None),
        request("[fd00::1]:4000", "[fd00::2]:80", Some("k8s.namespace.name=shop"), None),
        request("10.0.0.1:4000", "10.0.0.2:80", Some(&"a".repeat(4_000)), None),
        request("10.0.0.1:4000", "web.shop:80", None, Some("for=\"[fd00::9]:4000\";host=web")),
        mapped,
    ]
}

/// What is read can be written into a frame and comes back as it went. Its addresses are those that policy and
/// discovery compare: never an IPv4 address that is written as an IPv6 one.
pub(super) fn run(bytes: &[u8]) {
    let Ok(request) = OpenRequest::read(bytes) else {
        return;
    };
    let destination = match &request.connect.authority {
        Authority::Addr(addr) => Some(addr),
        Authority::Name { .. } => None,
    };
    for addr in [Some(&request.source), destination].into_iter().flatten() {
        assert_eq!(addr.ip().to_canonical(), addr.ip(), "mapped");
    }
    let written = request.to_payload().expect("what was read can be written");
    assert!(written.len() <= OPEN_BYTES_MAX, "{} bytes", written.len());
    let again = OpenRequest::read(&written).expect("what was written is read");
    // A description that is too long to be passed on is left out, and nothing else.
    let mut kept = request.clone();
    kept.connect.baggage = kept.connect.baggage.filter(|text| text.len() <= 4_000);
    assert_eq!(again, kept);
    let later = [bytes, &[99, 0, 1, 7]].concat();
    assert_eq!(OpenRequest::read(&later), Ok(request), "an unknown field is skipped");
}
