//! The OPEN frame's payload: who connects to whom (docs/tunnel.md).

use crate::request::ConnectRequest;
use crate::words::authority::{HOST_BYTES_MAX, parse_host};
use crate::words::forwarded::FORWARDED_BYTES_MAX;
use crate::words::{Authority, BadForwarded, is_traceparent};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a client asks for, and on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// The client application's address. Never an IPv4-mapped IPv6 address once it was read.
    pub source: SocketAddr,
    /// What it asks for.
    pub connect: ConnectRequest,
}

/// The payload is not an OPEN. The sender's fault: its stream is refused as malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadOpen {
    /// Ends too early.
    #[error("OPEN ends too early")]
    Short,
    /// An address family that is not known, or that names no source.
    #[error("OPEN names address family {0}")]
    Family(u8),
    /// A destination without a port.
    #[error("OPEN names no port")]
    Port,
    /// A destination by name whose name is missing, or is none; or a name beside an address, or a second name.
    #[error("OPEN's host is missing, stands twice or is no host name")]
    Host,
    /// A `forwarded` field that cannot be read.
    #[error("OPEN's forwarded field cannot be read")]
    Forwarded(#[source] BadForwarded),
    /// A `forwarded` field that stands twice or holds no text.
    #[error("OPEN's forwarded field stands twice or holds no text")]
    ForwardedValue,
}

/// Bytes of an address: family, sixteen bytes, port.
const ADDR_BYTES: usize = 19;
/// The family of a destination that is named by [`TAG_HOST`]. Who does not know of names takes it for no address.
const FAMILY_NAME: u8 = 0;
const TAG_BAGGAGE: u8 = 1;
const TAG_TRACEPARENT: u8 = 2;
const TAG_FORWARDED: u8 = 3;
const TAG_HOST: u8 = 4;
/// Longest baggage that is sent. All fields at their longest fit into a frame.
const BAGGAGE_SENT_BYTES_MAX: usize = 4_000;

impl OpenRequest {
    /// The payload. `None` if it has a host that is longer than any can be: left out, it would change what is asked
    /// for. A description that is too long, or is none, is left out.
    pub fn to_payload(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(256);
        let ConnectRequest { authority, baggage, forwarded, traceparent } = &self.connect;
        write_addr(self.source, &mut out);
        match authority {
            Authority::Addr(addr) => write_addr(*addr, &mut out),
            Authority::Name { host, port } => {
                out.push(FAMILY_NAME);
                out.extend_from_slice(&[0; 16]);
                out.extend_from_slice(&port.to_be_bytes());
                write_text(TAG_HOST, host, HOST_BYTES_MAX, &mut out)?;
            }
        }
        if let Some(forwarded) = forwarded {
            write_text(TAG_FORWARDED, &forwarded.to_string(), FORWARDED_BYTES_MAX, &mut out)?;
        }
        if let Some(baggage) = baggage {
            // Too long, it is left out: it only describes.
            let _ = write_text(TAG_BAGGAGE, baggage, BAGGAGE_SENT_BYTES_MAX, &mut out);
        }
        if let Some(trace) = traceparent.as_deref().filter(|text| is_traceparent(text)) {
            write_text(TAG_TRACEPARENT, trace, trace.len(), &mut out)?;
        }
        Some(out)
    }

    /// Reads a payload. Baggage and trace context only describe: what is no text or no trace context is left out.
    ///
    /// # Errors
    /// [`BadOpen`] says what is wrong; unknown fields are not.
    pub fn read(bytes: &[u8]) -> Result<Self, BadOpen> {
        let (source, rest) = read_addr(bytes)?;
        let Destination::Addr(source) = source else {
            return Err(BadOpen::Family(FAMILY_NAME));
        };
        let (destination, rest) = read_addr(rest)?;
        let fields = Fields::read(rest)?;
        let authority = match (destination, fields.host) {
            (Destination::Addr(addr), None) => Authority::Addr(addr),
            (Destination::Named { port }, Some(host)) => Authority::Name { host, port },
            (Destination::Addr(_), Some(_)) | (Destination::Named { .. }, None) => return Err(BadOpen::Host),
        };
        if authority.port() == 0 {
            return Err(BadOpen::Port);
        }
        let Fields { baggage, forwarded, traceparent, .. } = fields;
        Ok(Self { source, connect: ConnectRequest { authority, baggage, forwarded, traceparent } })
    }
}

/// What stands in the place of an address.
enum Destination {
    Addr(SocketAddr),
    /// The name stands in a field.
    Named {
        port: u16,
    },
}

/// The fields behind the addresses.
#[derive(Default)]
struct Fields {
    host: Option<String>,
    baggage: Option<String>,
    forwarded: Option<crate::words::Forwarded>,
    traceparent: Option<String>,
}

impl Fields {
    fn read(mut rest: &[u8]) -> Result<Self, BadOpen> {
        let mut fields = Self::default();
        while let [tag, high, low, tail @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (value, next) = tail.split_at_checked(length).ok_or(BadOpen::Short)?;
            fields.take(*tag, std::str::from_utf8(value).ok())?;
            rest = next;
        }
        if rest.is_empty() { Ok(fields) } else { Err(BadOpen::Short) }
    }

    fn take(&mut self, tag: u8, text: Option<&str>) -> Result<(), BadOpen> {
        match tag {
            TAG_BAGGAGE => self.baggage = text.map(str::to_owned),
            TAG_TRACEPARENT => {
                self.traceparent = text.filter(|text| is_traceparent(text)).map(str::to_owned);
            }
            TAG_FORWARDED => {
                let text = text.filter(|_| self.forwarded.is_none()).ok_or(BadOpen::ForwardedValue)?;
                self.forwarded = Some(text.parse().map_err(BadOpen::Forwarded)?);
            }
            TAG_HOST => {
                let text = text.filter(|_| self.host.is_none()).ok_or(BadOpen::Host)?;
                self.host = Some(parse_host(text).ok_or(BadOpen::Host)?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Appends a field. `None`, and nothing is appended, if the text is longer than `max`, which fits into 16 bits.
fn write_text(tag: u8, text: &str, max: usize, out: &mut Vec<u8>) -> Option<()> {
    let length = u16::try_from(text.len()).ok().filter(|length| usize::from(*length) <= max)?;
    out.push(tag);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    Some(())
}

fn write_addr(addr: SocketAddr, out: &mut Vec<u8>) {
    let (family, mut octets) = (if addr.is_ipv4() { 4 } else { 6 }, [0; 16]);
    match addr.ip() {
        IpAddr::V4(ip) => octets[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => octets = ip.octets(),
    }
    out.push(family);
    out.extend_from_slice(&octets);
    out.extend_from_slice(&addr.port().to_be_bytes());
}

fn read_addr(bytes: &[u8]) -> Result<(Destination, &[u8]), BadOpen> {
    let (addr, rest) = bytes.split_first_chunk::<ADDR_BYTES>().ok_or(BadOpen::Short)?;
    let [family, octets @ .., high, low] = addr;
    let port = u16::from_be_bytes([*high, *low]);
    let ip = match *family {
        FAMILY_NAME => return Ok((Destination::Named { port }, rest)),
        4 => IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
        // Policy and discovery know a mapped address by the IPv4 address that it means.
        6 => IpAddr::V6(Ipv6Addr::from(*octets)).to_canonical(),
        other => return Err(BadOpen::Family(other)),
    };
    Ok((Destination::Addr(SocketAddr::new(ip, port)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mux::frame::OPEN_BYTES_MAX;
    use crate::words::Forwarded;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn request(authority: &str) -> OpenRequest {
        let connect = ConnectRequest::from(authority.parse::<Authority>().unwrap());
        OpenRequest { source: "10.0.0.1:4000".parse().unwrap(), connect }
    }

    fn field(tag: u8, value: &[u8]) -> Vec<u8> {
        [&[tag, 0, value.len() as u8], value].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let forwarded: Forwarded = r#"for="[fd00::9]:4000";host="web.shop:80""#.parse().unwrap();
        for (authority, baggage, forwarded, trace) in [
            ("10.0.0.2:80", None, None, None),
            ("[fd00::2]:80", Some("k8s.namespace.name=shop"), None, Some(TRACE)),
            ("10.0.0.2:80", None, Some(forwarded.clone()), None),
            ("web.shop.svc:8080", Some("a=b"), Some(forwarded), Some(TRACE)),
        ] {
            let mut request = request(authority);
            request.connect.baggage = baggage.map(str::to_owned);
            request.connect.forwarded = forwarded;
            request.connect.traceparent = trace.map(str::to_owned);
            let mut bytes = request.to_payload().unwrap();
            assert_eq!(OpenRequest::read(&bytes), Ok(request.clone()), "{authority}");
            bytes.extend_from_slice(&field(99, &[7]));
            assert_eq!(OpenRequest::read(&bytes), Ok(request), "{authority}: an unknown field is skipped");
            for cut in 0..38 {
                assert_eq!(
                    OpenRequest::read(&bytes[..cut]),
                    Err(BadOpen::Short),
                    "{authority}: cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        let with = |authority: &str, fields: &[Vec<u8>]| {
            let mut bytes = request(authority).to_payload().unwrap();
            bytes.truncate(2 * ADDR_BYTES);
            bytes.extend(fields.concat());
            OpenRequest::read(&bytes).map(|_| ())
        };
        let (addr, name, host) = ("10.0.0.2:80", "web:80", field(TAG_HOST, b"web"));
        let forwarded = field(TAG_FORWARDED, b"for=unknown");
        for (case, got, want) in [
            ("a name and no host", with(name, &[]), Err(BadOpen::Host)),
            ("a host and an address", with(addr, std::slice::from_ref(&host)), Err(BadOpen::Host)),
            ("two hosts", with(name, &[host.clone(), host.clone()]), Err(BadOpen::Host)),
            ("an address for a host", with(name, &[field(TAG_HOST, b"127.1")]), Err(BadOpen::Host)),
            ("a host that is no text", with(name, &[field(TAG_HOST, b"\xff")]), Err(BadOpen::Host)),
            ("a host", with(name, std::slice::from_ref(&host)), Ok(())),
            ("forwarded", with(addr, std::slice::from_ref(&forwarded)), Ok(())),
            ("forwarded twice", with(addr, &[forwarded.clone(), forwarded]), Err(BadOpen::ForwardedValue)),
            ("no text", with(addr, &[field(TAG_FORWARDED, b"\xff")]), Err(BadOpen::ForwardedValue)),
            (
                "no forwarded",
                with(addr, &[field(TAG_FORWARDED, b"for")]),
                Err(BadOpen::Forwarded(BadForwarded::Shape)),
            ),
            ("baggage that is no text", with(addr, &[field(TAG_BAGGAGE, b"\xff")]), Ok(())),
            ("half a field", with(addr, &[vec![TAG_BAGGAGE, 0]]), Err(BadOpen::Short)),
        ] {
            assert_eq!(got, want, "{case}");
        }
        let mut bytes = request(addr).to_payload().unwrap();
        bytes[ADDR_BYTES - 2..][..2].fill(0);
        assert!(OpenRequest::read(&bytes).is_ok(), "a source may hide its port");
        bytes[2 * ADDR_BYTES - 2..].fill(0);
        assert_eq!(OpenRequest::read(&bytes), Err(BadOpen::Port));
        (bytes[0], bytes[ADDR_BYTES]) = (0, 9);
        assert_eq!(OpenRequest::read(&bytes), Err(BadOpen::Family(0)), "a source has no name");
        bytes[0] = 4;
        assert_eq!(OpenRequest::read(&bytes), Err(BadOpen::Family(9)));
    }

    #[test]
    fn everything_at_its_longest_fits_into_a_frame() {
        let host = format!("{}a", "a.".repeat(126));
        let mut whole = request(&format!("{host}:65535"));
        whole.connect.baggage = Some("a".repeat(BAGGAGE_SENT_BYTES_MAX));
        whole.connect.traceparent = Some(format!("cc{}-{}", &TRACE[2..], "a".repeat(200)));
        let client = Some("[fd00:1111:2222:3333:4444:5555:6666:7777]:65535".parse().unwrap());
        whole.connect.forwarded = Some(Forwarded { client, host: Some(format!("{host}:65535")) });
        let bytes = whole.to_payload().unwrap();
        assert!(bytes.len() <= OPEN_BYTES_MAX - FORWARDED_BYTES_MAX, "{} bytes", bytes.len());
        assert_eq!(OpenRequest::read(&bytes), Ok(whole.clone()));
        whole.connect.forwarded = Some(Forwarded { client, host: Some("a".repeat(FORWARDED_BYTES_MAX)) });
        assert_eq!(whole.to_payload(), None, "a host that is none");
    }
}
