//! Keeps the mesh's ports to the mesh. Who is root in a pod may be any user there, and the kernel lets a socket into a
//! `SO_REUSEPORT` group if it has the user of those that are in it: it would get its share of what is captured. So the
//! listeners of a group are opened as one user, and then each becomes another's: who would join had to be all of them.
//! (Tried on 6.18. The user that a bind is compared with by the kernel's short cut is that of the opening, which is
//! shown nowhere afterwards and by which no group is joined.)

use crate::tables::{CLOSE, LISTEN, Row};
use socket2::SockRef;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, fchown};

/// Users that no machine has: above those that are given to containers, below the sign bit that some tools mind.
const UIDS: std::ops::Range<u32> = 0x7000_0000..0x7fff_ffff;

/// The tables of the calling thread's namespace.
const TABLES: [&str; 4] = ["tcp", "tcp6", "udp", "udp6"];

/// A user of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Private(u32);

impl Private {
    /// One that cannot be guessed.
    pub(super) fn new() -> io::Result<Self> {
        let mut bytes = [0; 4];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(UIDS.start + u32::from_ne_bytes(bytes) % (UIDS.end - UIDS.start)))
    }

    /// Makes it the socket's user.
    pub(super) fn take(self, socket: impl AsFd) -> io::Result<()> {
        fchown(socket, Some(self.0), None)
    }
}

/// Closes a group whose members all listen.
pub(super) fn close(group: &[&OwnedFd]) -> io::Result<()> {
    if let [only] = group {
        // It shares with nobody.
        SockRef::from(*only).set_reuse_port(false)?;
    }
    let mut given = HashSet::new();
    for socket in group {
        let mut uid = Private::new()?;
        while !given.insert(uid) {
            uid = Private::new()?;
        }
        uid.take(socket)?;
    }
    Ok(())
}

/// Closes a group of datagram sockets. There the kernel asks for the user of one member only, so none may share any
/// more. The price is that the member that the programs have gets all of the pod's queries.
pub(super) fn close_datagrams(group: &[&OwnedFd]) -> io::Result<()> {
    group.iter().try_for_each(|socket| SockRef::from(*socket).set_reuse_port(false))
}

/// Whether anyone else is on one of these ports, in the calling thread's namespace: who came between the opening of
/// a group and its closing.
pub(super) fn is_shared(ours: &[&OwnedFd], ports: &HashSet<u16>) -> io::Result<bool> {
    let mut inodes = HashSet::new();
    for socket in ours {
        inodes.insert(std::fs::File::from(socket.try_clone()?).metadata()?.ino());
    }
    for table in TABLES {
        let text = match std::fs::read_to_string(format!("/proc/thread-self/net/{table}")) {
            // Without this family nobody listens by it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text?,
        };
        let mut foreign = text.lines().filter_map(unconnected).filter(|(_, inode)| !inodes.contains(inode));
        if foreign.any(|(port, _)| ports.contains(&port)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The port and inode of a socket that waits for anyone. CLOSE is what UDP has.
fn unconnected(line: &str) -> Option<(u16, u64)> {
    let row = Row::read(line)?;
    matches!(row.state, CLOSE | LISTEN).then_some((row.local.port(), row.inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tables() {
        let tail = "00000000:00000000 00:00000000 00000000     0        0 4711 1 0000 100 0 0 10 0";
        for (case, start, wanted) in [
            ("listening", "0: 00000000:3A9E 00000000:0000 0A", Some((15006, 4711))),
            ("UDP", "0: 00000000:3ACD 00000000:0000 07", Some((15053, 4711))),
            ("established", "0: 0100000A:3A9E 0200000A:C350 01", None),
        ] {
            assert_eq!(unconnected(&format!("{start} {tail}")), wanted, "{case}");
        }
        assert_eq!(unconnected("  sl  local_address rem_address   st tx_queue rx_queue tr"), None);
    }
}
