//! The OPEN frame's payload: who connects to whom (docs/tunnel.md).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// The client application's address. Never an IPv4-mapped IPv6 address once it was read.
    pub source: SocketAddr,
    /// The server pod's address and the application's port. Never an IPv4-mapped one either.
    pub destination: SocketAddr,
    /// W3C baggage about the sender.
    pub baggage: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// The payload is not an OPEN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadOpen {
    /// Ends too early.
    #[error("OPEN ends too early")]
    Short,
    /// An address family that is neither 4 nor 6.
    #[error("OPEN names address family {0}")]
    Family(u8),
    /// A text that is not UTF-8.
    #[error("OPEN field {0} is not UTF-8")]
    Text(u8),
}

/// Bytes of an address: family, sixteen bytes, port.
const ADDR_BYTES: usize = 19;
const TAG_BAGGAGE: u8 = 1;
const TAG_TRACEPARENT: u8 = 2;
/// Longest text field; longer ones are left out, for they only describe.
const TEXT_BYTES_MAX: usize = 4_000;

impl OpenRequest {
    /// Appends the payload.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_addr(self.source, out);
        write_addr(self.destination, out);
        for (tag, text) in [(TAG_BAGGAGE, &self.baggage), (TAG_TRACEPARENT, &self.traceparent)] {
            let Some(text) = text.as_deref().filter(|text| text.len() <= TEXT_BYTES_MAX) else {
                continue;
            };
            out.push(tag);
            // At most TEXT_BYTES_MAX, which fits.
            out.extend_from_slice(&(text.len() as u16).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`BadOpen`] says what is wrong; unknown fields are not.
    pub fn read(bytes: &[u8]) -> Result<Self, BadOpen> {
        let (source, rest) = read_addr(bytes)?;
        let (destination, mut rest) = read_addr(rest)?;
        let mut request = Self { source, destination, baggage: None, traceparent: None };
        while let [tag, high, low, tail @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (value, next) = tail.split_at_checked(length).ok_or(BadOpen::Short)?;
            let text = || std::str::from_utf8(value).map(str::to_owned).map_err(|_| BadOpen::Text(*tag));
            match *tag {
                TAG_BAGGAGE => request.baggage = Some(text()?),
                TAG_TRACEPARENT => request.traceparent = Some(text()?),
                _ => {}
            }
            rest = next;
        }
        if rest.is_empty() { Ok(request) } else { Err(BadOpen::Short) }
    }
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

fn read_addr(bytes: &[u8]) -> Result<(SocketAddr, &[u8]), BadOpen> {
    let (addr, rest) = bytes.split_first_chunk::<ADDR_BYTES>().ok_or(BadOpen::Short)?;
    let [family, octets @ .., high, low] = addr;
    let ip = match family {
        4 => IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
        // Policy and discovery know a mapped address by the IPv4 address that it means.
        6 => IpAddr::V6(Ipv6Addr::from(*octets)).to_canonical(),
        other => return Err(BadOpen::Family(*other)),
    };
    Ok((SocketAddr::new(ip, u16::from_be_bytes([*high, *low])), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for (source, destination, baggage) in [
            ("10.0.0.1:4000", "10.0.0.2:80", None),
            ("[fd00::1]:4000", "10.0.0.2:80", Some("k8s.namespace.name=shop")),
        ] {
            let request = OpenRequest {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                baggage: baggage.map(str::to_owned),
                traceparent: None,
            };
            let mut bytes = Vec::new();
            request.write(&mut bytes);
            assert_eq!(OpenRequest::read(&bytes), Ok(request.clone()));
            bytes.extend_from_slice(&[99, 0, 1, 7]);
            assert_eq!(OpenRequest::read(&bytes), Ok(request), "an unknown field is skipped");
            for cut in 1..40 {
                assert!(OpenRequest::read(&bytes[..cut.min(37)]).is_err(), "cut at {cut}");
            }
        }
    }
}
