//! Reads captured frames: Ethernet with VLAN tags, IPv4 and IPv6 with their options and extension headers, TCP and
//! UDP. Checksums are not looked at: the kernel leaves them to hardware that a veth does not have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Tags stacked on one frame. Two is what the standards have; the rest is malice or a test.
const VLAN_TAGS_MAX: usize = 4;
/// Extension headers of one IPv6 packet.
const EXTENSIONS_MAX: usize = 8;

/// One IP packet as it was seen on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Who sent it; the port is 0 if the transport has none or it is a later fragment.
    pub src: SocketAddr,
    /// Who is to get it.
    pub dst: SocketAddr,
    /// What it carries.
    pub transport: Transport,
    /// The bytes behind the transport's header.
    pub payload: Vec<u8>,
    /// How many payload bytes the wire carried: more than `payload` holds if the capture keeps less.
    pub payload_len: usize,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Control bits.
        flags: TcpFlags,
        /// Sequence number of the first payload byte (of the SYN itself, if it is one).
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
    },
    /// UDP.
    Udp,
    /// A fragment behind the first one: its ports are unknown. The number is the IP protocol.
    Fragment(u8),
    /// Anything else; the number is the IP protocol.
    Other(u8),
}

impl Transport {
    /// Whether this is TCP, or a fragment of it.
    pub fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp { .. } | Self::Fragment(6))
    }
}

/// TCP control bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// The sender has no more data.
    pub fn fin(self) -> bool {
        self.0 & 0x01 != 0
    }
    /// A connection opens.
    pub fn syn(self) -> bool {
        self.0 & 0x02 != 0
    }
    /// The connection is torn down.
    pub fn rst(self) -> bool {
        self.0 & 0x04 != 0
    }
    /// The acknowledgement number counts.
    pub fn ack(self) -> bool {
        self.0 & 0x10 != 0
    }
}

/// The packet in an Ethernet frame, or nothing if it is not IP or is cut short.
pub(crate) fn decode(frame: &[u8]) -> Option<Packet> {
    let mut ethertype = be16(frame, 12)?;
    let mut at = 14;
    for _ in 0..VLAN_TAGS_MAX {
        if !matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
            break;
        }
        ethertype = be16(frame, at + 2)?;
        at += 4;
    }
    let packet = frame.get(at..)?;
    match ethertype {
        0x0800 => decode_ipv4(packet),
        0x86dd => decode_ipv6(packet),
        _ => None,
    }
}

fn decode_ipv4(packet: &[u8]) -> Option<Packet> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    let total = usize::from(be16(packet, 2)?);
    // A length of zero is how the kernel marks an offloaded packet beyond 64 KiB; shorter frames are padded.
    let end = if total == 0 { packet.len() } else { total.min(packet.len()) };
    let src: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let dst: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let later_fragment = be16(packet, 6)? & 0x1fff != 0;
    let body = packet.get(header..end)?;
    let ends = (Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into());
    Some(transport(ends, packet[9], later_fragment, body))
}

fn decode_ipv6(packet: &[u8]) -> Option<Packet> {
    if packet.first()? >> 4 != 6 {
        return None;
    }
    let length = usize::from(be16(packet, 4)?);
    let end = if length == 0 { packet.len() } else { (40 + length).min(packet.len()) };
    let src: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
    let dst: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
    let ends = (Ipv6Addr::from(src).into(), Ipv6Addr::from(dst).into());
    let (mut next, mut at, mut later_fragment) = (packet[6], 40, false);
    for _ in 0..EXTENSIONS_MAX {
        let step = match next {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*packet.get(at + 1)?) + 1) * 8,
            // The authentication header counts in words of four bytes.
            51 => (usize::from(*packet.get(at + 1)?) + 2) * 4,
            44 => {
                later_fragment |= be16(packet, at + 2)? & 0xfff8 != 0;
                8
            }
            _ => break,
        };
        next = *packet.get(at)?;
        at += step;
    }
    let body = packet.get(at..end)?;
    Some(transport(ends, next, later_fragment, body))
}

fn transport((src, dst): (IpAddr, IpAddr), protocol: u8, later_fragment: bool, body: &[u8]) -> Packet {
    let known = if later_fragment { None } else { ports(protocol, body) };
    let fallback = if later_fragment { Transport::Fragment(protocol) } else { Transport::Other(protocol) };
    let (src_port, dst_port, transport, payload) = known.unwrap_or((0, 0, fallback, body));
    Packet {
        src: SocketAddr::new(src, src_port),
        dst: SocketAddr::new(dst, dst_port),
        transport,
        payload: payload.to_vec(),
        payload_len: payload.len(),
    }
}

fn ports(protocol: u8, body: &[u8]) -> Option<(u16, u16, Transport, &[u8])> {
    let (src, dst) = (be16(body, 0)?, be16(body, 2)?);
    match protocol {
        6 => {
            let header = usize::from(*body.get(12)? >> 4) * 4;
            let payload = body.get(header.max(20)..)?;
            let tcp =
                Transport::Tcp { flags: TcpFlags(*body.get(13)?), seq: be32(body, 4)?, ack: be32(body, 8)? };
            Some((src, dst, tcp, payload))
        }
        17 => Some((src, dst, Transport::Udp, body.get(8..)?)),
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
