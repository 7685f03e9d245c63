//! As much of netlink as this crate needs: one request, its answers, and attributes. Synchronous, because a socket
//! belongs to the namespace that its thread was in.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, socket,
};

/// The longest answer. The kernel sends dumps in pieces of at most 32 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

const HEADER_LEN: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const DUMP: u16 = 0x300;
/// Fail if it is there; make it if it is not.
pub(crate) const CREATE: u16 = 0x400 | 0x200;

/// A message under construction.
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Begins with the fixed part that the kind of message has.
    pub(crate) fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self { bytes }
    }

    /// Adds an attribute.
    pub(crate) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    fn finish(mut self, flags: u16) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes
    }
}

/// A connection to the kernel, in the namespace of the thread that made it.
pub(crate) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        Self::listen(0)
    }

    /// Also hears what is sent to these groups.
    pub(crate) fn listen(groups: u32) -> io::Result<Self> {
        Self::connect(SockProtocol::NetlinkRoute, groups)
    }

    /// To another part of the kernel than rtnetlink.
    pub(crate) fn connect(protocol: SockProtocol, groups: u32) -> io::Result<Self> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { socket })
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.socket
    }

    /// Asks for one thing to be done.
    pub(crate) fn act(&self, message: Message) -> io::Result<()> {
        self.send(&message.finish(ACK))?;
        self.receive(|_, _| {})
    }

    /// Asks for one answer.
    pub(crate) fn ask(&self, message: Message, mut hear: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.send(&message.finish(ACK))?;
        self.receive(|kind, body| hear(kind, body))
    }

    /// Asks for everything of a kind.
    pub(crate) fn dump(&self, message: Message, mut hear: impl FnMut(u16, &[u8])) -> io::Result<()> {
        self.send(&message.finish(DUMP))?;
        self.receive(|kind, body| hear(kind, body))
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        sendto(self.socket.as_raw_fd(), bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }

    /// Hears answers until the kernel says that it is done, or that it failed.
    fn receive(&self, mut hear: impl FnMut(u16, &[u8])) -> io::Result<()> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            for (kind, body) in messages(&buffer[..length]) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return outcome(body),
                    kind => hear(kind, body),
                }
            }
        }
    }
}

fn outcome(body: &[u8]) -> io::Result<()> {
    match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The messages in a buffer: kind and what follows the header.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
        let body = bytes.get(HEADER_LEN..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The attributes in a body: kind and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        // The two highest bits are flags (nested, byte order).
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes =
            Message::new(16, 0, &[1, 2, 3, 4]).with(3, b"lo\0").with(5, &7u32.to_ne_bytes()).finish(ACK);
        let (kind, body) = messages(&bytes).next().unwrap();
        assert_eq!((kind, &body[..4]), (16, &[1, 2, 3, 4][..]));
        let found: Vec<_> = attributes(&body[4..]).collect();
        assert_eq!(found, [(3, &b"lo\0"[..]), (5, &7u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn a_length_that_lies_ends_the_reading() {
        for (case, bytes) in [
            ("empty", &[][..]),
            ("length zero", &[0; 16][..]),
            ("longer than the buffer", &[200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..]),
        ] {
            assert_eq!(messages(bytes).count(), 0, "{case}");
            assert_eq!(attributes(bytes).count(), 0, "{case}");
        }
    }
}
