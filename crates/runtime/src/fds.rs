//! File descriptors between processes: messages that carry descriptors, and sealed memory files.
//!
//! A message is one packet of a `SOCK_SEQPACKET` unix socket (unix(7)), so it arrives whole or not at all.
//! What the messages mean is not known here.

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::fs::{File, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::io::unix::AsyncFd;

/// Descriptors in one message: the kernel's `SCM_MAX_FD`, unix(7).
pub const FDS_MAX: usize = 253;

/// Bytes in one message, well under the default send buffer of a unix socket (208 KiB), so that a message
/// never fails for its size with a peer that reads.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Bytes in a sealed memory file that is read back: keys and certificates of a node full of pods, no more.
pub const SEALED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// One end of a connection that carries messages with descriptors.
#[derive(Debug)]
pub struct SeqPacket(AsyncFd<OwnedFd>);

/// A message as it came.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes, at most [`BODY_BYTES_MAX`] and never none.
    pub body: Vec<u8>,
    /// Its descriptors in the order they were sent, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Who holds the other end, as the kernel says (`SO_PEERCRED`: at the time it connected).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// A message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It is empty, or longer than [`BODY_BYTES_MAX`]; nothing was sent.
    #[error("a message of {bytes} bytes; one to {BODY_BYTES_MAX} can be sent")]
    Size {
        /// How long it is.
        bytes: usize,
    },
    /// It carries more than [`FDS_MAX`]; nothing was sent.
    #[error("a message with {fds} descriptors; {FDS_MAX} can be sent")]
    Fds {
        /// How many it carries.
        fds: usize,
    },
    /// The kernel refused it. `BrokenPipe` says that the peer is gone.
    #[error("sending a message")]
    Send(#[source] io::Error),
}

/// A message could not be received. The connection is of no use after that.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// It was longer than [`BODY_BYTES_MAX`]; the rest is lost.
    #[error("a message longer than {BODY_BYTES_MAX} bytes")]
    Size,
    /// Some of its descriptors were lost, most likely at this process's limit of open files.
    #[error("descriptors of a message were lost; is the limit of open files reached?")]
    FdsLost,
    /// The kernel refused.
    #[error("receiving a message")]
    Receive(#[source] io::Error),
}

impl SeqPacket {
    /// Two connected ends.
    ///
    /// # Errors
    /// The kernel refuses, for instance at the limit of open files.
    pub fn pair() -> io::Result<(Self, Self)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::new(one)?, Self::new(other)?))
    }

    /// Connects to whoever listens at `path`.
    ///
    /// # Errors
    /// Nobody listens there, or the path may not be entered.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = unix_socket()?;
        // A unix socket connects at once or fails; it is never "in progress".
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::new(socket)
    }

    fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(watched(socket)?))
    }

    /// Who holds the other end.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn peer(&self) -> io::Result<Peer> {
        let credentials = rustix::net::sockopt::socket_peercred(self.0.get_ref())?;
        let pid = credentials.pid.as_raw_pid().unsigned_abs();
        Ok(Peer { pid, uid: credentials.uid.as_raw() })
    }

    /// Sends one message whole. Cancel-safe: it is sent or it is not.
    ///
    /// # Errors
    /// As [`SendError`] says; [`SendError::Size`] and [`SendError::Fds`] leave the connection as it is.
    pub async fn send(&self, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SendError> {
        if body.is_empty() || body.len() > BODY_BYTES_MAX {
            return Err(SendError::Size { bytes: body.len() });
        }
        if fds.len() > FDS_MAX {
            return Err(SendError::Fds { fds: fds.len() });
        }
        loop {
            let mut ready = self.0.writable().await.map_err(SendError::Send)?;
            if let Ok(sent) = ready.try_io(|socket| send_now(socket.as_fd(), body, fds)) {
                return sent.map_err(SendError::Send);
            }
        }
    }

    /// Receives one message; nothing when the peer has closed. Cancel-safe: no message is lost.
    ///
    /// # Errors
    /// As [`RecvError`] says; the connection is of no use then.
    pub async fn recv(&self) -> Result<Option<Packet>, RecvError> {
        loop {
            let mut ready = self.0.readable().await.map_err(RecvError::Receive)?;
            if let Ok(received) = ready.try_io(|socket| recv_now(socket.as_fd())) {
                let (packet, flags) = received.map_err(RecvError::Receive)?;
                if flags.contains(ReturnFlags::TRUNC) {
                    return Err(RecvError::Size);
                }
                if flags.contains(ReturnFlags::CTRUNC) {
                    return Err(RecvError::FdsLost);
                }
                // Nobody sends an empty message, so no bytes means no peer.
                return Ok(Some(packet).filter(|packet| !packet.body.is_empty()));
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio asks for a promise that every OwnedFd keeps")]
fn watched(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and names the same file until it is dropped; the `AsyncFd` owns it, and
    // nothing in this file takes it out or closes it.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

fn unix_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn send_now(socket: BorrowedFd<'_>, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(body)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn recv_now(socket: BorrowedFd<'_>) -> io::Result<(Packet, ReturnFlags)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut body = vec![0; BODY_BYTES_MAX];
    let mut slices = [IoSliceMut::new(&mut body)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = match rustix::net::recvmsg(socket, &mut slices, &mut ancillary, flags) {
        // The peer closed without having read everything. The kernel says so once, ahead of what the peer
        // had sent before, which must not be lost: it may be a crashed proxy's last word.
        Err(Errno::CONNRESET) => rustix::net::recvmsg(socket, &mut slices, &mut ancillary, flags),
        received => received,
    }?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    body.truncate(received.bytes);
    Ok((Packet { body, fds }, received.flags))
}

/// Accepts connections at a path, which is removed when this is dropped.
#[derive(Debug)]
pub struct SeqListener {
    socket: AsyncFd<OwnedFd>,
    path: PathBuf,
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process answers at the path.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The folder could not be made.
    #[error("making the folder of {}", path.display())]
    Folder {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("listening on {}", path.display())]
    Listen {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SeqListener {
    /// Listens at `path` with the permissions `mode`. A socket that a dead process left there is replaced.
    ///
    /// # Errors
    /// As [`ListenError`] says.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, ListenError> {
        clear_path(path, || SeqPacket::connect(path).is_ok())?;
        let listening = || {
            let socket = unix_socket()?;
            rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
            // Between bind and this the socket does not listen yet, so nobody gets in too early.
            std::fs::set_permissions(path, Permissions::from_mode(mode))?;
            rustix::net::listen(&socket, BACKLOG)?;
            watched(socket)
        };
        let socket = listening().map_err(|source| ListenError::Listen { path: path.to_owned(), source })?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// The next connection. Cancel-safe.
    ///
    /// # Errors
    /// The kernel refuses, for instance at the limit of open files; the listener goes on.
    pub async fn accept(&self) -> io::Result<SeqPacket> {
        loop {
            let mut ready = self.socket.readable().await?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            if let Ok(accepted) =
                ready.try_io(|socket| Ok(rustix::net::accept_with(socket.get_ref(), flags)?))
            {
                return SeqPacket::new(accepted?);
            }
        }
    }
}

impl Drop for SeqListener {
    fn drop(&mut self) {
        // Whoever comes next replaces it anyway.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Makes `path` free for a unix socket: creates its folder, and removes a socket that nobody answers at.
pub(crate) fn clear_path(path: &Path, answers: impl FnOnce() -> bool) -> Result<(), ListenError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|source| ListenError::Folder { path: path.to_owned(), source })?;
    }
    if answers() {
        return Err(ListenError::InUse { path: path.to_owned() });
    }
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(ListenError::Listen { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// What a sealed memory file must have: nobody can change it any more.
const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// A memory file could not be sealed or read.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It cannot be made or filled.
    #[error("filling a sealed memory file")]
    Write(#[source] io::Error),
    /// It is not a memory file, or someone could still change it.
    #[error("not a sealed memory file")]
    NotSealed,
    /// It is longer than [`SEALED_BYTES_MAX`].
    #[error("a sealed memory file of {bytes} bytes; {SEALED_BYTES_MAX} are read")]
    Size {
        /// How long it is.
        bytes: u64,
    },
    /// It cannot be read.
    #[error("reading a sealed memory file")]
    Read(#[source] io::Error),
}

/// A socket of the kernel's own messages, such as netlink, of which only the fact that there are some counts.
#[derive(Debug)]
pub struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    /// Watches a nonblocking socket.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self(watched(socket)?))
    }

    /// Ends when there were messages, all of which are read and forgotten. Cancel-safe.
    ///
    /// # Errors
    /// The socket is of no use any more. `ENOBUFS`, messages lost, counts as messages.
    pub async fn happened(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut scratch = [0_u8; 4096];
        loop {
            match rustix::net::recv(self.0.get_ref(), &mut scratch[..], RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    ready.clear_ready();
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Puts `contents` into memory that has a descriptor and that nobody can change; never on disk.
///
/// # Errors
/// As [`SealError`] says.
pub fn seal(contents: &[u8]) -> Result<OwnedFd, SealError> {
    let filled = || {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(rustix::fs::memfd_create("weft-sealed", flags)?);
        file.write_all(contents)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        Ok(file.into())
    };
    filled().map_err(SealError::Write)
}

/// True if nobody can change the memory behind `fd` any more and its size is within [`SEALED_BYTES_MAX`].
///
/// # Errors
/// As [`SealError`] says.
pub fn check_sealed(fd: BorrowedFd<'_>) -> Result<u64, SealError> {
    let seals = rustix::fs::fcntl_get_seals(fd).map_err(|_| SealError::NotSealed)?;
    if !seals.contains(SEALS) {
        return Err(SealError::NotSealed);
    }
    let stat = rustix::fs::fstat(fd).map_err(|error| SealError::Read(error.into()))?;
    let bytes = u64::try_from(stat.st_size).map_err(|_| SealError::NotSealed)?;
    if bytes > SEALED_BYTES_MAX { Err(SealError::Size { bytes }) } else { Ok(bytes) }
}

/// Reads a sealed memory file from its beginning, wherever others with the same file have read to.
///
/// # Errors
/// As [`SealError`] says.
pub fn unseal(fd: BorrowedFd<'_>) -> Result<Vec<u8>, SealError> {
    let bytes = check_sealed(fd)?;
    let file = File::from(fd.try_clone_to_owned().map_err(SealError::Read)?);
    let length = usize::try_from(bytes).map_err(|_| SealError::Size { bytes })?;
    let mut contents = vec![0; length];
    file.read_exact_at(&mut contents, 0).map_err(SealError::Read)?;
    Ok(contents)
}

/// Raises this process's limit of open files as far as it may, and returns it. Processes that hold sockets
/// for a whole node outgrow the usual 1024.
///
/// # Errors
/// The kernel refuses.
pub fn raise_open_files_limit() -> io::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
