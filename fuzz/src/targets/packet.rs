//! Frames as the eBPF programs read them. The input's first byte says whether they begin with an Ethernet header.

use weft_ebpf_common::{Address, Family, Phase};
use weft_ebpf_programs::packet::{ETHERNET_LEN, Frame, Kind, Link, Packet, read};
use weft_ebpf_programs::sender::Sender;
use weft_ebpf_programs::verdict::{Known, Verdict, egress, second_lock};

pub(super) const WORDS: &[&str] =
    &["\x08\0", "\u{81}\0", "\x45\0", "\x06", "\x11", "\x2c", "\x3c\x01", "\x33", "\0"];

struct Bytes<'a>(&'a [u8]);

impl Frame for Bytes<'_> {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..)?.first_chunk().copied()
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let tcp = |flags: u8, payload: &[u8]| {
        [&[0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0], payload].concat()
    };
    let udp = [&[0x30, 0x39, 0, 53, 0, 12, 0, 0][..], b"ping"].concat();
    let v4 = |protocol: u8, fragment: [u8; 2], body: &[u8]| {
        let total = 20 + body.len() as u8;
        let head =
            [0x45, 0, 0, total, 0, 0, fragment[0], fragment[1], 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&head, body].concat()
    };
    let v6 = |next: u8, body: &[u8]| {
        let mut head = [0; 40];
        (head[0], head[5], head[6]) = (0x60, body.len() as u8, next);
        (head[8], head[23], head[24], head[39]) = (0xfd, 1, 0xfd, 2);
        [&head, body].concat()
    };
    let ethernet = |kind: [u8; 2], rest: &[u8]| [&[0; 12], &kind[..], rest].concat();
    let vlan = [&[0, 7, 8, 0][..], &v4(6, [0, 0], &tcp(2, b""))].concat();
    let extended = [&[43, 0, 1, 4, 0, 0, 0, 0, 6, 1][..], &[0; 14], &tcp(0x10, b"data")].concat();
    let fragment = [&[6, 0, 0, 1, 0, 0, 0, 9][..], &tcp(0x10, b"data")].concat();
    [
        (0, ethernet([8, 0], &v4(6, [0, 0], &tcp(2, b"")))),
        (0, ethernet([8, 0], &v4(6, [0x20, 0], &tcp(0x10, b"data")))),
        (0, ethernet([0x86, 0xdd], &v6(6, &tcp(0x12, b"data")))),
        (0, ethernet([0x81, 0], &vlan)),
        (0, ethernet([0x86, 0xdd], &v6(17, &udp))),
        (0, ethernet([8, 6], &[0; 28])),
        (1, v4(17, [0, 0], &udp)),
        (1, v6(60, &extended)),
        (1, v6(44, &fragment)),
    ]
    .into_iter()
    .map(|(link, bytes)| [vec![link], bytes].concat())
    .collect()
}

/// A frame is read as what it is or not at all, and no verdict lets an application's bytes past the mesh.
pub(super) fn run(bytes: &[u8]) {
    let [how, frame @ ..] = bytes else {
        return;
    };
    let link = if how & 1 == 0 { Link::Ethernet } else { Link::Bare };
    let packet = read(&Bytes(frame), link);
    check_where(frame, &packet);
    check_verdicts(&packet);
    // What is cut off may hide what a frame is, and never makes another of it.
    for kept in [frame.len() / 2, frame.len().saturating_sub(1)] {
        let cut = read(&Bytes(&frame[..kept]), link);
        assert!(cut.kind == Kind::Unreadable || cut == packet, "{cut:?} is the front of {packet:?}");
    }
    if link == Link::Bare && packet.kind != Kind::Unreadable {
        let kind = if packet.ends.family == Family::V4 { [8, 0] } else { [0x86, 0xdd] };
        let whole = [&[0; 12], &kind[..], frame].concat();
        let moved = Packet { header: packet.header + ETHERNET_LEN, ..packet };
        assert_eq!(read(&Bytes(&whole), Link::Ethernet), moved, "behind an Ethernet header");
    }
}

/// Ports and addresses are those of the frame, at the place that the packet names.
fn check_where(frame: &[u8], packet: &Packet) {
    if !matches!(packet.kind, Kind::Tcp | Kind::Udp) {
        return;
    }
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    assert_eq!((packet.ends.src_port, packet.ends.dst_port), (port(packet.header), port(packet.header + 2)));
    let holds = |address: Address| match packet.ends.family {
        Family::V4 => frame.windows(4).any(|window| window == &address.0[12..]),
        Family::V6 => frame.windows(16).any(|window| window == address.0),
    };
    assert!(holds(packet.ends.src) && holds(packet.ends.dst), "addresses that the frame does not hold");
}

fn check_verdicts(packet: &Packet) {
    let nothing = |_: &_| Known::No;
    for sender in [Sender::Application, Sender::Kernel] {
        let out = egress(packet, sender, || Phase::Settled, nothing, |_| false);
        let joining = egress(packet, sender, || Phase::Joining, nothing, |_| false);
        let past = second_lock(packet, sender, nothing);
        let bytes = packet.payload || packet.opens;
        match packet.kind {
            Kind::Unreadable | Kind::TcpFragment => {
                assert!(matches!((out, past), (Verdict::Drop(_), Verdict::Drop(_))), "{out:?}, {past:?}");
            }
            Kind::Tcp if bytes || sender == Sender::Application => {
                assert!(matches!((out, past), (Verdict::Capture(_), Verdict::Drop(_))), "{out:?}, {past:?}");
                let goes_on = joining == Verdict::Exempt && !packet.opens;
                assert!(goes_on || joining == out, "{joining:?} while joining, {out:?} later");
            }
            Kind::Tcp | Kind::Udp | Kind::NotIp | Kind::Other | Kind::Signal => {}
        }
    }
    let mesh = egress(packet, Sender::Mesh, || Phase::Settled, nothing, |_| false);
    assert!(matches!(mesh, Verdict::Pass(_)), "{mesh:?}");
}
