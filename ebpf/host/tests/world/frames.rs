//! Frames as bytes: what a pod with NET_RAW may send, and who hears of it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use socket2::Socket;

use super::Ns;

pub(crate) const V4: u16 = 0x0800;
pub(crate) const V6: u16 = 0x86dd;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
/// In every payload, so that it is found wherever it gets to.
pub(crate) const MARKER: &[u8; 12] = b"in the clear";
/// A fragment with more to come (RFC 791: the lowest of three flags, and an offset in units of eight bytes).
pub(crate) const MORE: u16 = 0x2000;

/// Both Ethernet addresses of a wire.
#[derive(Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
}

/// By which way a frame leaves its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As most do.
    ThroughTc,
    /// Past tc egress, as NET_RAW allows (PACKET_QDISC_BYPASS).
    PastTc,
}

impl Wire {
    /// From the device of one namespace to that of another.
    pub(crate) fn between(from: (&Ns, &str), to: (&Ns, &str)) -> Self {
        let address = |(ns, device): (&Ns, &str)| {
            let text = ns.ip(&["-o", "link", "show", device]);
            mac(text.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap())
        };
        Self { to: address(to), from: address(from) }
    }

    /// A frame, with VLAN tags of these types in it.
    pub(crate) fn frame(&self, tags: &[u16], kind: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = [self.to, self.from].concat();
        for tag in tags {
            frame.extend([tag.to_be_bytes(), 7u16.to_be_bytes()].concat());
        }
        frame.extend(kind.to_be_bytes());
        frame.extend(packet);
        frame
    }

    /// A frame with nothing odd about it.
    pub(crate) fn plain(&self, ends: [IpAddr; 2], protocol: u8, body: &[u8]) -> Vec<u8> {
        match ends[0] {
            IpAddr::V4(_) => self.frame(&[], V4, &v4(ends, protocol, &[], 0, body)),
            IpAddr::V6(_) => self.frame(&[], V6, &v6(ends, protocol, &[], body)),
        }
    }

    /// Sends a frame from `eth0` of the current namespace.
    pub(crate) fn send(&self, frame: &[u8], way: Way) {
        self.send_from("eth0", &[frame.to_vec()], way);
    }

    /// Sends frames from a device of the current namespace, one right after the other.
    pub(crate) fn send_from(&self, device: &str, frames: &[Vec<u8>], way: Way) {
        // SAFETY: plain system calls on a socket of this test; address and option live through the calls.
        unsafe {
            let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
            assert!(socket >= 0);
            let socket = OwnedFd::from_raw_fd(socket);
            let on = libc::c_int::from(way == Way::PastTc);
            let result =
                libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, 20, (&raw const on).cast(), 4);
            assert_eq!(result, 0, "PACKET_QDISC_BYPASS");
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_ifindex = nix::net::if_::if_nametoindex(device).unwrap() as i32;
            address.sll_halen = 6;
            address.sll_addr[..6].copy_from_slice(&self.to);
            let length = size_of::<libc::sockaddr_ll>() as u32;
            for frame in frames {
                address.sll_protocol = u16::from_be_bytes([frame[13], frame[12]]);
                let (bytes, to) = (frame.as_ptr().cast(), (&raw const address).cast());
                let sent = libc::sendto(socket.as_raw_fd(), bytes, frame.len(), 0, to, length);
                // A frame that tc drops is one for which there is no buffer.
                let error = std::io::Error::last_os_error();
                let gone = sent == -1 && error.raw_os_error() == Some(libc::ENOBUFS);
                assert!(gone || sent == frame.len() as isize, "{error}");
            }
        }
    }
}

fn mac(text: &str) -> [u8; 6] {
    let parts: Vec<u8> = text.split(':').map(|part| u8::from_str_radix(part, 16).unwrap()).collect();
    parts.try_into().unwrap()
}

/// Counts the frames with the [`MARKER`] that come to any device of a namespace.
pub(crate) fn heard(ns: &Ns, send: impl FnOnce()) -> usize {
    let socket = ns.within(|| {
        // SAFETY: plain system calls; the descriptor is owned by the socket made of it, and the option lives through it.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(0x0003u16.to_be()));
            assert!(fd >= 0);
            // PACKET_IGNORE_OUTGOING: an ICMP error quotes what it is about.
            let on: libc::c_int = 1;
            assert_eq!(libc::setsockopt(fd, libc::SOL_PACKET, 23, (&raw const on).cast(), 4), 0);
            Socket::from_raw_fd(fd)
        }
    });
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    send();
    let (mut count, mut buffer) = (0, vec![0; 2048]);
    while let Ok(length) = std::io::Read::read(&mut &socket, &mut buffer) {
        count += usize::from(buffer[..length].windows(MARKER.len()).any(|window| window == MARKER));
    }
    count
}

/// A SYN with a payload, from one end to the other.
pub(crate) fn syn(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    segment(from, to, 0x02)
}

/// A segment of a connection that nobody has opened: PSH and ACK.
pub(crate) fn data(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    segment(from, to, 0x18)
}

fn segment(from: SocketAddr, to: SocketAddr, flags: u8) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&from.port().to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[7] = 1;
    (segment[12], segment[13]) = (0x50, flags);
    segment[14..16].copy_from_slice(&[0xff, 0xff]);
    segment.extend(MARKER);
    let sum = checksum(&[pseudo_header(from.ip(), to.ip(), TCP, segment.len()), segment.clone()].concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// A datagram. Its checksum is left out, which IPv4 allows and a listener on the wire does not mind.
pub(crate) fn datagram(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let length = (8 + MARKER.len()) as u16;
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    [&ports[..], &length.to_be_bytes(), &[0, 0], MARKER].concat()
}

/// An IPv4 packet, with these bytes of options.
pub(crate) fn v4(ends: [IpAddr; 2], protocol: u8, options: &[u8], fragment: u16, body: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0; 20];
    packet[0] = 0x40 | (header / 4) as u8;
    packet[2..4].copy_from_slice(&((header + body.len()) as u16).to_be_bytes());
    packet[4..6].copy_from_slice(&[0x77, 0x65]);
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    (packet[8], packet[9]) = (64, protocol);
    packet[12..16].copy_from_slice(&octets(ends[0]));
    packet[16..20].copy_from_slice(&octets(ends[1]));
    packet.extend(options);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(body);
    packet
}

/// An IPv6 extension header: its number and its bytes, the first of which will say what follows.
pub(crate) type Extension = (u8, [u8; 8]);

pub(crate) const HOP_BY_HOP: Extension = (0, [0, 0, 1, 4, 0, 0, 0, 0]);
pub(crate) const DESTINATION: Extension = (60, [0, 0, 1, 4, 0, 0, 0, 0]);

/// A fragment's header, with its field of offset (in bytes) and "more".
pub(crate) const fn fragment(field: u16) -> Extension {
    let [high, low] = field.to_be_bytes();
    (44, [0, 0, high, low, 0, 0, 0x77, 0x65])
}

/// An IPv6 packet with these extension headers.
pub(crate) fn v6(ends: [IpAddr; 2], protocol: u8, extensions: &[Extension], body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(((extensions.len() * 8 + body.len()) as u16).to_be_bytes());
    let nexts = extensions.iter().map(|(number, _)| *number).chain([protocol]);
    let mut nexts = nexts.collect::<Vec<_>>().into_iter();
    packet.extend([nexts.next().unwrap(), 64]);
    packet.extend([octets(ends[0]), octets(ends[1])].concat());
    for (_, bytes) in extensions {
        packet.push(nexts.next().unwrap());
        packet.extend(&bytes[1..]);
    }
    packet.extend(body);
    packet
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn pseudo_header(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    // The zeros of IPv6 and the width of the length change nothing in the sum.
    let tail = [0, protocol, (length >> 8) as u8, length as u8];
    [octets(from), octets(to), tail.to_vec()].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
