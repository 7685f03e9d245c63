//! The `:authority` of a CONNECT.

use weft_tunnel::words::Authority;

pub(super) const WORDS: &[&str] =
    &[":", "[", "]", ".", "::ffff:", "0x", "127.1", ":80", ":0", "%eth0", "@", "-", "_"];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        "10.0.0.1:8080",
        "[fd00::1]:80",
        "[::ffff:10.0.0.1]:80",
        "web.shop.svc.cluster.local:80",
        "_grpc.Web.:65535",
    ])
}

/// What is accepted names one place only, and says the same when it is written and read again.
pub(super) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(authority) = text.parse::<Authority>() else {
        return;
    };
    assert_ne!(authority.port(), 0);
    let printed = authority.to_string();
    match &authority {
        Authority::Addr(addr) => assert_eq!(addr.ip().to_canonical(), addr.ip(), "mapped"),
        Authority::Name { host, .. } => {
            assert!(!host.ends_with('.') && *host == host.to_ascii_lowercase(), "{host:?}");
            assert!(host.parse::<std::net::IpAddr>().is_err(), "{host:?} is an address");
        }
    }
    assert!(printed.parse::<http::uri::Authority>().is_ok(), "{printed:?} is none to HTTP");
    assert_eq!(printed.parse::<Authority>(), Ok(authority), "{printed:?}");
}
