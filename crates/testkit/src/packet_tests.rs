//! Frames put together by hand, whole, tagged, with options, fragmented and cut short.

use super::*;

const TCP: [u8; 20] = [0x1f, 0x90, 0x00, 0x50, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 1, 0, 0, 0, 0, 0];

fn ethernet(tags: &[u8], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [&[0; 12], tags, &ethertype.to_be_bytes(), packet].concat()
}

fn ipv4(options: &[u8], fragment: u16, total: Option<u16>, body: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let total = total.unwrap_or(u16::try_from(header + body.len()).expect("short"));
    let mut packet = vec![0x40 | u8::try_from(header / 4).expect("short"), 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    [&packet, options, body].concat()
}

fn ipv6(next: u8, length: u16, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(Ipv6Addr::LOCALHOST.octets());
    packet.extend(Ipv6Addr::LOCALHOST.octets());
    [&packet[..], body].concat()
}

#[test]
fn tcp_is_found_behind_everything() {
    let tcp = [&TCP[..], b"hello"].concat();
    let hop = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp].concat();
    let fragment_then_tcp = [&[6, 0, 0, 1, 0, 0, 0, 1][..], &tcp].concat();
    let padded = [&ipv4(&[], 0, None, &tcp)[..], &[0; 6]].concat();
    for (case, frame) in [
        ("plain", ethernet(&[], 0x0800, &ipv4(&[], 0, None, &tcp))),
        ("options", ethernet(&[], 0x0800, &ipv4(&[1; 8], 0, None, &tcp))),
        ("vlan", ethernet(&[0x81, 0, 0, 5], 0x0800, &ipv4(&[], 0, None, &tcp))),
        ("two vlans", ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6], 0x0800, &ipv4(&[], 0, None, &tcp))),
        ("beyond 64 KiB", ethernet(&[], 0x0800, &ipv4(&[], 0, Some(0), &tcp))),
        ("padded", ethernet(&[], 0x0800, &padded)),
        ("first fragment", ethernet(&[], 0x0800, &ipv4(&[], 0x2000, None, &tcp))),
        ("ipv6", ethernet(&[], 0x86dd, &ipv6(6, 25, &tcp))),
        ("ipv6 hop by hop", ethernet(&[], 0x86dd, &ipv6(0, 33, &hop))),
        ("ipv6 jumbo", ethernet(&[], 0x86dd, &ipv6(0, 0, &hop))),
        ("ipv6 first fragment", ethernet(&[], 0x86dd, &ipv6(44, 33, &fragment_then_tcp))),
    ] {
        let packet = decode(&frame).unwrap_or_else(|| panic!("{case}: not decoded"));
        assert_eq!((packet.src.port(), packet.dst.port()), (8080, 80), "{case}");
        assert_eq!(packet.payload, b"hello", "{case}");
        let Transport::Tcp { flags, seq, ack } = packet.transport else { panic!("{case}: not TCP") };
        assert!(flags.ack() && !flags.syn() && !flags.fin() && !flags.rst(), "{case}");
        assert_eq!((seq, ack), (7, 9), "{case}");
    }
}

#[test]
fn later_fragments_keep_their_bytes_but_have_no_ports() {
    let packet =
        decode(&ethernet(&[], 0x0800, &ipv4(&[], 0x0010, None, b"0123456789abcdefghijklm"))).expect("IP");
    assert_eq!(packet.transport, Transport::Fragment(6));
    assert!(packet.transport.is_tcp());
    assert_eq!((packet.src.port(), packet.payload.len()), (0, 23));
}

#[test]
fn cut_frames_never_panic() {
    let tcp = [&TCP[..], b"hello"].concat();
    let hop = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp].concat();
    for frame in [
        ethernet(&[0x81, 0, 0, 5], 0x0800, &ipv4(&[1; 8], 0, None, &tcp)),
        ethernet(&[], 0x86dd, &ipv6(0, 33, &hop)),
    ] {
        for end in 0..frame.len() {
            let _may_be_anything = decode(&frame[..end]);
        }
        for at in 0..frame.len() {
            for byte in [0, 0x0f, 0x7f, 0xff] {
                let mut bad = frame.clone();
                bad[at] = byte;
                let _may_be_anything = decode(&bad);
            }
        }
    }
}
