//! A UDP socket that tells for which address a datagram was meant, and answers from that address: captured
//! DNS queries keep their server's address on the way to the proxy.

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;
use weft_core::names::canonical;

/// The socket.
pub(super) struct Datagrams(AsyncFd<OwnedFd>);

/// One datagram.
pub(super) struct Datagram {
    /// Who sent it.
    pub(super) from: SocketAddr,
    /// For which address it was meant.
    pub(super) to: IpAddr,
    /// What it says.
    pub(super) bytes: Vec<u8>,
}

/// Largest datagram that is taken: what EDNS allows at most in practice (RFC 9715 §3.1 advises 1400).
const DATAGRAM_BYTES_MAX: usize = 4_096;

impl Datagrams {
    /// Takes a bound socket over. It must tell packet information (`IPV6_RECVPKTINFO`, `IP_PKTINFO`).
    ///
    /// # Errors
    /// If the reactor is full.
    #[expect(
        deprecated,
        reason = "an OwnedFd owns its descriptor and reports no other; the successor is unsafe"
    )]
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        socket2::SockRef::from(&socket).set_nonblocking(true)?;
        AsyncFd::new(socket).map(Self)
    }

    /// The next datagram.
    ///
    /// # Errors
    /// If the socket fails for good.
    pub(super) async fn receive(&self) -> io::Result<Datagram> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|socket| receive_now(socket.get_ref())) {
                Ok(Ok(Some(datagram))) => return Ok(datagram),
                // Something that cannot be answered, or an error that an earlier answer met (ICMP).
                Ok(Ok(None)) => {}
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EBADF) => return Err(error),
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    /// Sends an answer from `from`. What the kernel does not take is lost, as datagrams may be.
    pub(super) fn answer(&self, from: IpAddr, to: SocketAddr, bytes: &[u8]) {
        if let Err(error) = answer_now(self.0.get_ref(), from, to, bytes) {
            tracing::debug!(%to, %error, "cannot send a DNS answer");
        }
    }
}

fn receive_now(socket: &OwnedFd) -> io::Result<Option<Datagram>> {
    let mut bytes = vec![0; DATAGRAM_BYTES_MAX];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let from = message.address.as_ref().and_then(socket_addr);
    let to = message.cmsgs().ok().and_then(|mut all| all.find_map(|one| destination(&one)));
    let (length, whole) = (message.bytes, !message.flags.contains(MsgFlags::MSG_TRUNC));
    let (Some(from), Some(to), true) = (from, to, whole) else {
        return Ok(None);
    };
    bytes.truncate(length);
    Ok(Some(Datagram { from, to, bytes }))
}

fn destination(message: &ControlMessageOwned) -> Option<IpAddr> {
    match message {
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical())
        }
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes())),
        _ => None,
    }
}

fn socket_addr(addr: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = addr.as_sockaddr_in().map(|addr| SocketAddr::from((addr.ip(), addr.port())));
    let v6 = || addr.as_sockaddr_in6().map(|addr| SocketAddr::from((addr.ip(), addr.port())));
    v4.or_else(v6).map(canonical)
}

fn answer_now(socket: &OwnedFd, from: IpAddr, to: SocketAddr, bytes: &[u8]) -> nix::Result<()> {
    let parts = [IoSlice::new(bytes)];
    let fd = socket.as_raw_fd();
    let flags = MsgFlags::MSG_DONTWAIT;
    let is_v6_socket = nix::sys::socket::getsockname::<SockaddrStorage>(fd)?.as_sockaddr_in6().is_some();
    match (from, is_v6_socket) {
        (IpAddr::V4(from), false) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let to = SockaddrStorage::from(to);
            sendmsg(fd, &parts, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&to))?;
        }
        _ => {
            let s6_addr = mapped(from).octets();
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr }, ipi6_ifindex: 0 };
            let to = SocketAddrV6::new(mapped(to.ip()), to.port(), 0, 0);
            let to = SockaddrStorage::from(to);
            sendmsg(fd, &parts, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&to))?;
        }
    }
    Ok(())
}

/// A dual-stack socket knows IPv4 addresses as mapped ones.
fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
