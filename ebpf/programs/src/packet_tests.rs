//! Frames as bytes, and what is read from them.

use super::*;

struct Bytes(Vec<u8>);

impl Frame for Bytes {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..)?.first_chunk().copied()
    }
}

const V4_SRC: [u8; 4] = [10, 0, 0, 1];
const V4_DST: [u8; 4] = [10, 0, 0, 2];
const V6_SRC: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const V6_DST: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const ACK: u8 = 0x10;

fn ethernet(kind: u16, rest: &[u8]) -> Vec<u8> {
    [&[0; 12], &kind.to_be_bytes()[..], rest].concat()
}

fn v4(protocol: u8, fragment: u16, options: usize, body: &[u8]) -> Vec<u8> {
    let header = 20 + options;
    let mut bytes = vec![0; header];
    bytes[0] = 0x40 | (header / 4) as u8;
    bytes[2..4].copy_from_slice(&((header + body.len()) as u16).to_be_bytes());
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&V4_SRC);
    bytes[16..20].copy_from_slice(&V4_DST);
    [bytes, body.to_vec()].concat()
}

fn v6(next: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    bytes[0] = 0x60;
    bytes[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
    bytes[6] = next;
    bytes[8..24].copy_from_slice(&V6_SRC);
    bytes[24..40].copy_from_slice(&V6_DST);
    [bytes, body.to_vec()].concat()
}

fn tcp(flags: u8, options: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20 + options];
    bytes[..4].copy_from_slice(&[0x30, 0x39, 0x00, 0x50]);
    bytes[12] = (((20 + options) / 4) as u8) << 4;
    bytes[13] = flags;
    [bytes, payload.to_vec()].concat()
}

fn udp(payload: &[u8]) -> Vec<u8> {
    [&[0x30, 0x39, 0x00, 53, 0, 8, 0, 0][..], payload].concat()
}

fn ends_v4(dst_port: u16) -> Ends {
    let (src, dst) = (Address::v4(V4_SRC), Address::v4(V4_DST));
    Ends { family: Family::V4, src, dst, src_port: 12345, dst_port }
}

fn ends_v6(dst_port: u16) -> Ends {
    let (src, dst) = (Address::v6(V6_SRC), Address::v6(V6_DST));
    Ends { family: Family::V6, src, dst, src_port: 12345, dst_port }
}

/// What a packet says, without the fields that its kind gives no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Kind(Kind),
    Tcp { ends: Ends, opens: bool, payload: bool },
    Udp { ends: Ends, header: usize },
}

fn says(frame: Vec<u8>, link: Link) -> Says {
    let Packet { kind, ends, opens, payload, header } = read(&Bytes(frame), link);
    match kind {
        Kind::Tcp => Says::Tcp { ends, opens, payload },
        Kind::Udp => Says::Udp { ends, header },
        kind => Says::Kind(kind),
    }
}

fn segment(ends: Ends, opens: bool, payload: bool) -> Says {
    Says::Tcp { ends, opens, payload }
}

fn vlan(kind: u16, rest: &[u8]) -> Vec<u8> {
    [&[0, 7], &kind.to_be_bytes()[..], rest].concat()
}

/// An extension header of `8 + 8 * units` bytes.
fn extension(next: u8, units: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + 8 * usize::from(units)];
    (bytes[0], bytes[1]) = (next, units);
    [bytes, rest.to_vec()].concat()
}

fn fragment(next: u8, field: u16, rest: &[u8]) -> Vec<u8> {
    let [high, low] = field.to_be_bytes();
    [&[next, 0, high, low, 0, 0, 0, 1][..], rest].concat()
}

#[test]
fn ethernet_frames() {
    let syn = tcp(SYN, 0, b"");
    let v4_syn = v4(TCP, 0, 0, &syn);
    for (case, frame, want) in [
        ("a SYN", ethernet(0x800, &v4_syn), segment(ends_v4(80), true, false)),
        (
            "a SYN-ACK",
            ethernet(0x800, &v4(TCP, 0, 0, &tcp(SYN_ACK, 0, b""))),
            segment(ends_v4(80), false, false),
        ),
        ("data", ethernet(0x800, &v4(TCP, 0, 0, &tcp(ACK, 12, b"x"))), segment(ends_v4(80), false, true)),
        (
            "TCP options are no data",
            ethernet(0x800, &v4(TCP, 0, 0, &tcp(ACK, 12, b""))),
            segment(ends_v4(80), false, false),
        ),
        (
            "a SYN with data",
            ethernet(0x800, &v4(TCP, 0, 0, &tcp(SYN, 0, b"x"))),
            segment(ends_v4(80), true, true),
        ),
        ("IP options", ethernet(0x800, &v4(TCP, 0, 8, &syn)), segment(ends_v4(80), true, false)),
        (
            "don't fragment is no fragment",
            ethernet(0x800, &v4(TCP, 0x4000, 0, &syn)),
            segment(ends_v4(80), true, false),
        ),
        ("the first fragment", ethernet(0x800, &v4(TCP, 0x2000, 0, &syn)), Says::Kind(Kind::TcpFragment)),
        ("a later fragment", ethernet(0x800, &v4(TCP, 0x0005, 0, &syn)), Says::Kind(Kind::TcpFragment)),
        (
            "padding is no data",
            [ethernet(0x800, &v4_syn), vec![0; 6]].concat(),
            segment(ends_v4(80), true, false),
        ),
        ("one tag", ethernet(0x8100, &vlan(0x800, &v4_syn)), segment(ends_v4(80), true, false)),
        (
            "two tags",
            ethernet(0x88a8, &vlan(0x8100, &vlan(0x800, &v4_syn))),
            segment(ends_v4(80), true, false),
        ),
        (
            "three tags",
            ethernet(0x88a8, &vlan(0x8100, &vlan(0x8100, &vlan(0x800, &v4_syn)))),
            Says::Kind(Kind::Unreadable),
        ),
        ("ARP", ethernet(0x806, &[0; 28]), Says::Kind(Kind::NotIp)),
        ("ping", ethernet(0x800, &v4(1, 0, 0, &[8, 0, 0, 0])), Says::Kind(Kind::Other)),
        ("path MTU", ethernet(0x800, &v4(1, 0, 0, &[3, 4, 0, 0])), Says::Kind(Kind::Signal)),
        ("ICMP without a type", ethernet(0x800, &v4(1, 0, 0, &[])), Says::Kind(Kind::Unreadable)),
        (
            "the other version's ICMP",
            ethernet(0x800, &v4(58, 0, 0, &[135, 0, 0, 0])),
            Says::Kind(Kind::Other),
        ),
        ("no header", vec![0; 13], Says::Kind(Kind::Unreadable)),
        ("cut in IP", ethernet(0x800, &v4_syn[..15]), Says::Kind(Kind::Unreadable)),
        ("cut in TCP", ethernet(0x800, &v4_syn[..33]), Says::Kind(Kind::Unreadable)),
        ("another version", ethernet(0x800, &v6(TCP, &syn)), Says::Kind(Kind::Unreadable)),
        (
            "a short header",
            ethernet(0x800, &[&[0x44][..], &v4_syn[1..]].concat()),
            Says::Kind(Kind::Unreadable),
        ),
        (
            "a length that lies",
            ethernet(0x800, &[&v4_syn[..2], &[0, 30], &v4_syn[4..]].concat()),
            Says::Kind(Kind::Unreadable),
        ),
        (
            "too long for its field",
            ethernet(0x800, &[&v4_syn[..2], &[0, 0], &v4_syn[4..]].concat()),
            segment(ends_v4(80), true, true),
        ),
    ] {
        assert_eq!(says(frame, Link::Ethernet), want, "{case}");
    }
}

#[test]
fn ipv6_frames() {
    let syn = tcp(SYN, 0, b"");
    let data = tcp(ACK, 0, b"data");
    let atomic = fragment(TCP, 0, &syn);
    for (case, packet, want) in [
        ("a SYN", v6(TCP, &syn), segment(ends_v6(80), true, false)),
        ("data", v6(TCP, &data), segment(ends_v6(80), false, true)),
        ("hop by hop", v6(HOP_BY_HOP, &extension(TCP, 0, &syn)), segment(ends_v6(80), true, false)),
        ("a long one", v6(DESTINATION, &extension(TCP, 3, &data)), segment(ends_v6(80), false, true)),
        (
            "three in a row",
            v6(HOP_BY_HOP, &extension(ROUTING, 0, &extension(DESTINATION, 1, &extension(TCP, 0, &syn)))),
            segment(ends_v6(80), true, false),
        ),
        (
            "authentication",
            v6(AUTHENTICATION, &[&[TCP, 4][..], &[0; 22], &syn].concat()),
            segment(ends_v6(80), true, false),
        ),
        ("an atomic fragment", v6(FRAGMENT, &atomic), segment(ends_v6(80), true, false)),
        ("the first fragment", v6(FRAGMENT, &fragment(TCP, 1, &syn)), Says::Kind(Kind::TcpFragment)),
        ("a later fragment", v6(FRAGMENT, &fragment(TCP, 64, &syn)), Says::Kind(Kind::TcpFragment)),
        (
            "a later fragment of an unknown inside",
            v6(FRAGMENT, &fragment(DESTINATION, 64, &syn)),
            Says::Kind(Kind::Unreadable),
        ),
        ("a fragment of UDP", v6(FRAGMENT, &fragment(UDP, 64, &syn)), Says::Kind(Kind::Other)),
        (
            "an endless chain",
            v6(DESTINATION, &(0..9).fold(syn.clone(), |rest, _| extension(DESTINATION, 0, &rest))),
            Says::Kind(Kind::Unreadable),
        ),
        (
            "a chain past the end",
            v6(DESTINATION, &[DESTINATION, 200, 0, 0, 0, 0, 0, 0]),
            Says::Kind(Kind::Unreadable),
        ),
        ("no next header", v6(59, b""), Says::Kind(Kind::Other)),
        ("neighbour discovery", v6(58, &[135, 0, 0, 0]), Says::Kind(Kind::Signal)),
        ("packet too big", v6(58, &[2, 0, 0, 0]), Says::Kind(Kind::Signal)),
        ("ping of IPv6", v6(58, &[128, 0, 0, 0]), Says::Kind(Kind::Other)),
    ] {
        assert_eq!(says(ethernet(0x86dd, &packet), Link::Ethernet), want, "{case}");
        assert_eq!(says(packet, Link::Bare), want, "{case}, without Ethernet");
    }
}

#[test]
fn datagrams_know_their_place() {
    for (case, frame, link, ends, header) in [
        ("IPv4", ethernet(0x800, &v4(UDP, 0, 0, &udp(b"?"))), Link::Ethernet, ends_v4(53), 34),
        ("IPv4 options", ethernet(0x800, &v4(UDP, 0, 4, &udp(b"?"))), Link::Ethernet, ends_v4(53), 38),
        ("IPv6", ethernet(0x86dd, &v6(UDP, &udp(b"?"))), Link::Ethernet, ends_v6(53), 54),
        ("without Ethernet", v4(UDP, 0, 0, &udp(b"?")), Link::Bare, ends_v4(53), 20),
    ] {
        assert_eq!(says(frame, link), Says::Udp { ends, header }, "{case}");
    }
    let fragment = ethernet(0x800, &v4(UDP, 0x2000, 0, &udp(b"?")));
    assert_eq!(says(fragment, Link::Ethernet), Says::Kind(Kind::Other), "a fragment");
}

/// Whatever the bytes are, reading ends and does not panic; and what is read as TCP lies within the frame.
#[test]
fn any_bytes_can_be_read() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let starts = [
        ethernet(0x800, &v4(TCP, 0, 0, &tcp(SYN, 0, b""))),
        ethernet(0x86dd, &v6(HOP_BY_HOP, &extension(TCP, 0, &tcp(SYN, 0, b"")))),
        ethernet(0x8100, &vlan(0x800, &v4(UDP, 0, 0, &udp(b"?")))),
    ];
    for round in 0..200_000 {
        let mut frame = starts[round % starts.len()].clone();
        for _ in 0..1 + next() % 4 {
            let place = next() as usize % frame.len();
            frame[place] = next() as u8;
        }
        frame.truncate(1 + next() as usize % (frame.len() * 2));
        for link in [Link::Ethernet, Link::Bare] {
            let _ = read(&Bytes(frame.clone()), link);
        }
    }
}
