//! Network namespaces: entering one on the current thread, and telling them apart.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// `SO_NETNS_COOKIE`, which libc does not name on every target.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// Puts the current thread into another network namespace until dropped.
#[must_use = "the thread leaves the namespace as soon as this is dropped"]
#[derive(Debug)]
pub struct Entered {
    home: OwnedFd,
    /// Another thread would come home to a place it never left.
    _not_send: PhantomData<*const ()>,
}

/// Why a thread could not enter a namespace.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The way back could not be opened, so the thread stayed.
    #[error("opening {OWN}")]
    Home(#[source] io::Error),
    /// The kernel refused.
    #[error("entering the network namespace")]
    Enter(#[source] io::Error),
}

/// The namespace of the calling thread, as a file.
pub fn current() -> io::Result<OwnedFd> {
    Ok(File::open(OWN)?.into())
}

/// Enters a namespace.
pub fn enter(netns: BorrowedFd<'_>) -> Result<Entered, EnterError> {
    let home = current().map_err(EnterError::Home)?;
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(|errno| EnterError::Enter(errno.into()))?;
    Ok(Entered { home, _not_send: PhantomData })
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Err(error) = setns(&self.home, CloneFlags::CLONE_NEWNET) {
            // Running on in a pod's namespace would hand its traffic to the wrong pod.
            tracing::error!(%error, "cannot leave the pod's namespace");
            std::process::abort();
        }
    }
}

/// A new network namespace. It lives as long as the file.
pub(crate) fn scratch() -> io::Result<OwnedFd> {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        current()
    });
    made.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes a namespace panicked")))
}

/// Why a namespace's cookie could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CookieError {
    /// Entering it.
    #[error("entering the namespace")]
    Enter(#[source] EnterError),
    /// Making a socket there.
    #[error("making a socket in the namespace")]
    Socket(#[source] io::Error),
    /// Asking the socket.
    #[error("reading SO_NETNS_COOKIE")]
    Read(#[source] io::Error),
}

/// The cookie of a namespace: never used twice while the kernel runs, unlike its inode.
pub fn netns_cookie(netns: BorrowedFd<'_>) -> Result<u64, CookieError> {
    let _entered = enter(netns).map_err(CookieError::Enter)?;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(|errno| CookieError::Socket(errno.into()))?;
    socket_netns_cookie(socket.as_fd()).map_err(CookieError::Read)
}

/// The cookie of the namespace that a socket lives in.
pub fn socket_netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    let mut cookie: u64 = 0;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `cookie`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
