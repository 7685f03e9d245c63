//! Frames that skip the pod's tc programs, as NET_RAW allows: AF_PACKET with PACKET_QDISC_BYPASS.
#![expect(unsafe_code, reason = "no crate has a safe word for PACKET_QDISC_BYPASS and sockaddr_ll")]

use anyhow::{Context as _, Result, ensure};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};
use weft_testkit::Pod;

/// A TCP segment with a payload, in a frame of its own.
pub(crate) struct Frame<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) from: SocketAddr,
    /// Of the next hop.
    pub(crate) mac: [u8; 6],
    pub(crate) payload: &'a [u8],
}

/// Sends a frame past tc egress. Call it in a namespace.
pub(crate) fn send_past_tc(device: &str, frame: &Frame<'_>) -> Result<()> {
    let bytes = frame.bytes()?;
    let index = nix::net::if_::if_nametoindex(device).context("the device")?;
    // SAFETY: plain system calls; the descriptor is owned by what is made of it, and all pointers are to locals that
    // live through the call, with their own lengths.
    let sent = unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0);
        ensure!(socket >= 0, "a packet socket: {}", io::Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(socket);
        let on: libc::c_int = 1;
        let set = libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, 20, (&raw const on).cast(), 4);
        ensure!(set == 0, "PACKET_QDISC_BYPASS: {}", io::Error::last_os_error());
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = index as i32;
        address.sll_protocol = frame.ethertype().to_be();
        address.sll_halen = 6;
        address.sll_addr[..6].copy_from_slice(&frame.mac);
        let length = size_of::<libc::sockaddr_ll>() as u32;
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            (&raw const address).cast(),
            length,
        )
    };
    ensure!(usize::try_from(sent) == Ok(bytes.len()), "sending a frame: {}", io::Error::last_os_error());
    Ok(())
}

impl Frame<'_> {
    fn ethertype(&self) -> u16 {
        if self.to.is_ipv4() { 0x0800 } else { 0x86dd }
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let segment = segment(self.from.port(), self.to.port(), self.payload);
        let length = u16::try_from(segment.len()).context("a frame holds no more")?;
        let header = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ipv4_header(from, to, length),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let length = length.to_be_bytes();
                [&[0x60, 0, 0, 0, length[0], length[1], 6, 64][..], &from.octets(), &to.octets()].concat()
            }
            _ => anyhow::bail!("{} and {} are of two families", self.from, self.to),
        };
        // Nobody looks at the sender's hardware address.
        let ethertype = self.ethertype().to_be_bytes();
        Ok([&self.mac[..], &[2, 0, 0, 0, 0, 1], &ethertype, &header, &segment].concat())
    }
}

fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, payload: u16) -> Vec<u8> {
    let total = (20 + payload).to_be_bytes();
    let start = [0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, 6, 0, 0];
    let mut header = [&start[..], &from.octets(), &to.octets()].concat();
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// TCP, PSH and ACK set. The checksum is left out: captures do not look, and no receiver is to get it.
pub(crate) fn segment(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let rest = [0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0];
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &rest, payload].concat()
}

/// The hardware address of a neighbour, asked for by a datagram to it.
pub(crate) fn mac_of(pod: &Pod, neighbour: IpAddr) -> Result<[u8; 6]> {
    let until = Instant::now() + Duration::from_secs(5);
    let any = if neighbour.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    pod.enter(|| UdpSocket::bind(any)?.send_to(b"?", SocketAddr::new(neighbour, 9)))??;
    loop {
        let shown = pod.run(["ip", "neigh", "show", &neighbour.to_string()])?.stdout;
        let text = shown.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
        if let Some(text) = text {
            let parts =
                text.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<Vec<_>, _>>()?;
            return parts.try_into().ok().context("six bytes");
        }
        ensure!(Instant::now() < until, "{neighbour} does not say where it is: {shown}");
    }
}
