//! Reading a frame down to its ports. What cannot be read is [`Packet::Unreadable`], never something else: a verdict
//! may then drop it.

use weft_ebpf_common::{Address, Family};

/// VLAN tags that are followed. Two make QinQ; the kernel takes the outer one off before tc sees it.
const VLAN_TAGS_MAX: usize = 2;
/// IPv6 extension headers that are followed. Kernels send at most three of their own.
const EXTENSION_HEADERS_MAX: usize = 6;
/// Length of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;

const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const ETHERTYPE_QINQ_OLD: u16 = 0x9100;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

const FLAG_SYN: u8 = 0x02;
const FLAG_ACK: u8 = 0x10;

/// Bytes of a frame, from its start.
pub trait Frame {
    /// `N` bytes at `offset`, or nothing if the frame ends before.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

/// How a device's frames begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header (tun, WireGuard, IP tunnels).
    Bare,
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ARP, LLDP and whatever else is not IP.
    NotIp,
    /// Says that it is IP and cannot be read.
    Unreadable,
    /// A fragment of a TCP segment, the first one included.
    TcpFragment,
    /// IP, but neither TCP nor a whole UDP datagram.
    Other,
    /// ICMP that IP itself needs: errors (path MTU among them), neighbour discovery, multicast listeners.
    Signal,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A frame as far as a verdict needs it. Every field always has a value, though only some kinds give it a meaning: an
/// enum with fields would leave the others undefined, and verifiers of 6.1 refuse to see undefined stack copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// Both ends of TCP and UDP.
    pub ends: Ends,
    /// TCP: SYN without ACK.
    pub opens: bool,
    /// TCP: carries data.
    pub payload: bool,
    /// Where the header of TCP or UDP begins.
    pub header: usize,
}

/// Both ends of a packet. Ports are in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The IP version.
    pub family: Family,
    /// Source address.
    pub src: Address,
    /// Destination address.
    pub dst: Address,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

/// Reads a frame.
#[inline(always)]
pub fn read(frame: &impl Frame, link: Link) -> Packet {
    let nowhere = Address([0; 16]);
    let ends = Ends { family: Family::V4, src: nowhere, dst: nowhere, src_port: 0, dst_port: 0 };
    let mut packet = Packet { kind: Kind::Unreadable, ends, opens: false, payload: false, header: 0 };
    let kind = match link {
        Link::Ethernet => read_ethernet(frame, &mut packet),
        Link::Bare => read_bare(frame, &mut packet),
    };
    packet.kind = kind.unwrap_or(Kind::Unreadable);
    packet
}

#[inline(always)]
fn read_ethernet(frame: &impl Frame, packet: &mut Packet) -> Option<Kind> {
    let mut at = ETHERNET_LEN;
    let mut kind = u16::from_be_bytes(frame.bytes(ETHERNET_LEN - 2)?);
    for _ in 0..VLAN_TAGS_MAX {
        if !is_vlan(kind) {
            break;
        }
        kind = u16::from_be_bytes(frame.bytes(at + 2)?);
        at += 4;
    }
    match kind {
        ETHERTYPE_V4 => read_v4(frame, at, packet),
        ETHERTYPE_V6 => read_v6(frame, at, packet),
        kind if is_vlan(kind) => None,
        _ => Some(Kind::NotIp),
    }
}

#[inline(always)]
fn is_vlan(kind: u16) -> bool {
    matches!(kind, ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD)
}

#[inline(always)]
fn read_bare(frame: &impl Frame, packet: &mut Packet) -> Option<Kind> {
    let [first] = frame.bytes(0)?;
    match first >> 4 {
        4 => read_v4(frame, 0, packet),
        6 => read_v6(frame, 0, packet),
        _ => None,
    }
}

/// The length of what segmentation offload has yet to cut, above 64 KiB ("big TCP"): the header says zero.
const BIG: usize = usize::MAX;

#[inline(always)]
fn read_v4(frame: &impl Frame, at: usize, packet: &mut Packet) -> Option<Kind> {
    let [first, _, length_high, length_low, _, _, fragment_high, fragment_low, _, protocol] =
        frame.bytes::<10>(at)?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 {
        return None;
    }
    packet.ends.family = Family::V4;
    packet.ends.src = Address::v4(frame.bytes(at + 12)?);
    packet.ends.dst = Address::v4(frame.bytes(at + 16)?);
    packet.header = at + header;
    let length = match usize::from(u16::from_be_bytes([length_high, length_low])) {
        0 => BIG,
        total if total >= header => total - header,
        _ => return None,
    };
    // RFC 791: three bits of flags (the lowest says "more"), thirteen of offset.
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]) & 0x3fff != 0;
    read_body(frame, packet, protocol, length, fragment)
}

#[inline(always)]
fn read_v6(frame: &impl Frame, at: usize, packet: &mut Packet) -> Option<Kind> {
    let [first, _, _, _, length_high, length_low, mut next] = frame.bytes::<7>(at)?;
    if first >> 4 != 6 {
        return None;
    }
    packet.ends.family = Family::V6;
    packet.ends.src = Address::v6(frame.bytes(at + 8)?);
    packet.ends.dst = Address::v6(frame.bytes(at + 24)?);
    let mut used = 0;
    let mut fragment = false;
    for _ in 0..EXTENSION_HEADERS_MAX {
        let here = at + 40 + used;
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6 => {
                let [following, units] = frame.bytes(here)?;
                next = following;
                used += usize::from(units) * 8 + 8;
            }
            AUTHENTICATION => {
                let [following, units] = frame.bytes(here)?;
                next = following;
                used += usize::from(units) * 4 + 8;
            }
            FRAGMENT => {
                let [following, _, high, low] = frame.bytes(here)?;
                let field = u16::from_be_bytes([high, low]);
                next = following;
                used += 8;
                // RFC 8200 §4.5: thirteen bits of offset, two reserved, one "more".
                fragment |= field & 0xfff9 != 0;
                if field >> 3 != 0 {
                    // What follows is the middle of the packet, so a further extension header cannot be read here.
                    break;
                }
            }
            _ => break,
        }
    }
    if is_extension(next) {
        return None;
    }
    packet.header = at + 40 + used;
    let length = match usize::from(u16::from_be_bytes([length_high, length_low])) {
        0 => BIG,
        length if length >= used => length - used,
        _ => return None,
    };
    read_body(frame, packet, next, length, fragment)
}

#[inline(always)]
fn is_extension(next: u8) -> bool {
    matches!(
        next,
        HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6 | AUTHENTICATION | FRAGMENT
    )
}

#[inline(always)]
fn read_body(
    frame: &impl Frame,
    packet: &mut Packet,
    protocol: u8,
    length: usize,
    fragment: bool,
) -> Option<Kind> {
    match (protocol, fragment) {
        (TCP, true) => Some(Kind::TcpFragment),
        (TCP, false) => read_tcp(frame, packet, length),
        (UDP, false) => {
            read_ports(frame, packet)?;
            Some(Kind::Udp)
        }
        (ICMP, false) if packet.ends.family == Family::V4 => read_signal(frame, packet, is_signal_v4),
        (ICMPV6, false) if packet.ends.family == Family::V6 => read_signal(frame, packet, is_signal_v6),
        _ => Some(Kind::Other),
    }
}

#[inline(always)]
fn read_signal(frame: &impl Frame, packet: &Packet, is_signal: impl Fn(u8) -> bool) -> Option<Kind> {
    let [kind] = frame.bytes(packet.header)?;
    Some(if is_signal(kind) { Kind::Signal } else { Kind::Other })
}

/// Unreachable, time exceeded, parameter problem (RFC 792).
#[inline(always)]
fn is_signal_v4(kind: u8) -> bool {
    matches!(kind, 3 | 11 | 12)
}

/// Errors (RFC 4443), multicast listeners (RFC 2710, 3810), neighbour discovery (RFC 4861).
#[inline(always)]
fn is_signal_v6(kind: u8) -> bool {
    matches!(kind, 1..=4 | 130..=137 | 143)
}

#[inline(always)]
fn read_tcp(frame: &impl Frame, packet: &mut Packet, length: usize) -> Option<Kind> {
    read_ports(frame, packet)?;
    let [offset, flags] = frame.bytes(packet.header + 12)?;
    let header = usize::from(offset >> 4) * 4;
    if header < 20 || length < header {
        return None;
    }
    packet.opens = flags & (FLAG_SYN | FLAG_ACK) == FLAG_SYN;
    packet.payload = length > header;
    Some(Kind::Tcp)
}

#[inline(always)]
fn read_ports(frame: &impl Frame, packet: &mut Packet) -> Option<()> {
    let [src_high, src_low, dst_high, dst_low] = frame.bytes(packet.header)?;
    packet.ends.src_port = u16::from_be_bytes([src_high, src_low]);
    packet.ends.dst_port = u16::from_be_bytes([dst_high, dst_low]);
    Some(())
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
