//! The kernel's tables of a namespace's sockets (proc(5): `/proc/net/tcp` and its like), line by line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A line: a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) state: u8,
    pub(crate) inode: u64,
}

/// States (include/net/tcp_states.h). TIME_WAIT and CLOSE are over for both ends, or were never open.
pub(crate) const TIME_WAIT: u8 = 6;
pub(crate) const CLOSE: u8 = 7;
pub(crate) const LISTEN: u8 = 10;

impl Row {
    /// Nothing for a heading: `sl local remote st queues timer retransmits uid timeout inode`.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self {
            local: address(local)?,
            remote: address(remote)?,
            state: u8::from_str_radix(state, 16).ok()?,
            inode: fields.nth(5)?.parse().ok()?,
        })
    }
}

/// `<address>:<port>`: the address as words in the machine's order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut octets = Vec::new();
    for word in words.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let ip = match octets.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}
