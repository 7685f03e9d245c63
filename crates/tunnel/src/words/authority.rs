//! The `:authority` of a CONNECT: where the bytes shall go.

use super::parse_port;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Where a CONNECT shall lead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Authority {
    /// An address of a pod, or a Service's virtual one towards a waypoint. Never an IPv4-mapped IPv6 address.
    Addr(SocketAddr),
    /// A host name, through a gateway.
    Name {
        /// In lower case, without a dot at its end.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Longest host name (RFC 1035 §2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// Longest label of a host name (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;
/// A host name, a colon, a port.
const AUTHORITY_BYTES_MAX: usize = HOST_BYTES_MAX + 1 + 5;

/// Why a text is no authority of a CONNECT. The sender's fault; another try changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAuthority {
    /// Longer than any can be.
    #[error("the authority is longer than {AUTHORITY_BYTES_MAX} bytes")]
    TooLong,
    /// No port, or none that can be dialled.
    #[error("the authority has no port from 1 to 65535")]
    Port,
    /// In brackets, and no IPv6 address.
    #[error("the authority's brackets hold no IPv6 address")]
    Bracketed,
    /// Neither an address nor a host name.
    #[error("the authority's host is neither an address nor a host name")]
    Host,
}

impl Authority {
    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Addr(addr) => addr.port(),
            Self::Name { port, .. } => *port,
        }
    }
}

impl From<SocketAddr> for Authority {
    fn from(addr: SocketAddr) -> Self {
        Self::Addr(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }
}

impl FromStr for Authority {
    type Err = BadAuthority;

    fn from_str(text: &str) -> Result<Self, BadAuthority> {
        if text.len() > AUTHORITY_BYTES_MAX {
            return Err(BadAuthority::TooLong);
        }
        let (host, port) = text.rsplit_once(':').ok_or(BadAuthority::Port)?;
        let port = parse_port(port).ok_or(BadAuthority::Port)?;
        if let Some(inner) = host.strip_prefix('[') {
            let ip = inner.strip_suffix(']').and_then(|ip| ip.parse::<Ipv6Addr>().ok());
            let ip = ip.ok_or(BadAuthority::Bracketed)?;
            return Ok(Self::from(SocketAddr::new(IpAddr::V6(ip), port)));
        }
        if let Ok(ip) = host.parse() {
            return Ok(Self::Addr(SocketAddr::new(IpAddr::V4(ip), port)));
        }
        let host = parse_host(host).ok_or(BadAuthority::Host)?;
        Ok(Self::Name { host, port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// A host name in lower case. One whose last label reads as a number is none: old resolvers take `127.1` and
/// `0x7f000001` for addresses, and a policy would be asked about another host than is dialled.
pub(crate) fn parse_host(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() || text.len() > HOST_BYTES_MAX || !text.split('.').all(is_label) {
        return None;
    }
    let last = text.rsplit('.').next()?;
    let hexadecimal = last.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("0x"));
    if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.to_ascii_lowercase())
}

fn is_label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_authorities_or_a_reason() {
        let long_label = format!("{}.a:80", "a".repeat(64));
        let long = format!("{}a:80", "a.".repeat(200));
        for (case, text, want) in [
            ("IPv4", "10.0.0.1:8080", Ok("10.0.0.1:8080")),
            ("IPv6", "[fd00::1]:80", Ok("[fd00::1]:80")),
            ("mapped IPv4", "[::ffff:10.0.0.1]:80", Ok("10.0.0.1:80")),
            ("host name", "web.shop.svc.cluster.local:80", Ok("web.shop.svc.cluster.local:80")),
            ("upper case and a last dot", "Web.Shop.:80", Ok("web.shop:80")),
            ("underscore", "_grpc.web:65535", Ok("_grpc.web:65535")),
            ("nothing", "", Err(BadAuthority::Port)),
            ("no port", "10.0.0.1", Err(BadAuthority::Port)),
            ("empty port", "10.0.0.1:", Err(BadAuthority::Port)),
            ("port zero", "10.0.0.1:0", Err(BadAuthority::Port)),
            ("port with a zero in front", "10.0.0.1:080", Err(BadAuthority::Port)),
            ("port with a sign", "10.0.0.1:+80", Err(BadAuthority::Port)),
            ("port too large", "10.0.0.1:65536", Err(BadAuthority::Port)),
            ("IPv6 without brackets", "fd00::1:80", Err(BadAuthority::Host)),
            ("IPv4 in brackets", "[10.0.0.1]:80", Err(BadAuthority::Bracketed)),
            ("a zone", "[fe80::1%eth0]:80", Err(BadAuthority::Bracketed)),
            ("half a bracket", "[fd00::1:80", Err(BadAuthority::Bracketed)),
            ("no host", ":80", Err(BadAuthority::Host)),
            ("user", "root@web:80", Err(BadAuthority::Host)),
            ("path", "web/a:80", Err(BadAuthority::Host)),
            ("space", "we b:80", Err(BadAuthority::Host)),
            ("short IPv4", "127.1:80", Err(BadAuthority::Host)),
            ("hexadecimal IPv4", "0x7f000001:80", Err(BadAuthority::Host)),
            ("IPv4 and a dot", "10.0.0.1.:80", Err(BadAuthority::Host)),
            ("empty label", "a..b:80", Err(BadAuthority::Host)),
            ("dash in front", "-a:80", Err(BadAuthority::Host)),
            ("not ASCII", "wéb:80", Err(BadAuthority::Host)),
            ("not ASCII, short", "é:80", Err(BadAuthority::Host)),
            ("label of 64", &long_label, Err(BadAuthority::Host)),
            ("too long", &long, Err(BadAuthority::TooLong)),
        ] {
            let got = text.parse::<Authority>();
            let printed = got.as_ref().map(ToString::to_string).map_err(|bad| *bad);
            assert_eq!(printed, want.map(str::to_owned), "{case}");
            if let Ok(authority) = got {
                assert_eq!(authority.to_string().parse(), Ok(authority), "{case}: printed and read again");
            }
        }
    }
}
