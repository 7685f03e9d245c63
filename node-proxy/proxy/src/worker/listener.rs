//! Accepts connections from a listener that the agent has made.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use weft_core::names::canonical;
use weft_tunnel::socket::Socket;

/// How long to wait when the process has no descriptor left; connections stay in the listen queue.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// How often all listeners of the process together say so: each pod has several.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// A listening socket.
pub(super) struct Listener(AsyncFd<OwnedFd>);

impl Listener {
    /// Takes a listener over. It is made nonblocking, and what it accepts sends without delay.
    ///
    /// # Errors
    /// If the descriptor is no socket, or the reactor is full.
    #[expect(
        deprecated,
        reason = "an OwnedFd owns its descriptor and reports no other; the successor is unsafe"
    )]
    pub(super) fn new(listener: OwnedFd) -> io::Result<Self> {
        let socket = socket2::SockRef::from(&listener);
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        AsyncFd::new(listener).map(Self)
    }

    /// The next connection and its client's address. Failures of one connection are skipped; being out of
    /// descriptors is waited out.
    ///
    /// # Errors
    /// If the listener itself fails.
    pub(super) async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        use rustix::net::{SocketFlags, acceptfrom_with};
        loop {
            let mut ready = self.0.readable().await?;
            match acceptfrom_with(self.0.get_ref(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((socket, Some(peer))) => {
                    let Ok(peer) = SocketAddr::try_from(peer) else {
                        continue;
                    };
                    match Socket::from_nonblocking(socket) {
                        Ok(socket) => return Ok((socket, canonical(peer))),
                        Err(error) => tracing::warn!(%error, "cannot watch an accepted connection"),
                    }
                }
                Ok((_, None)) => {}
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(
                    rustix::io::Errno::MFILE
                    | rustix::io::Errno::NFILE
                    | rustix::io::Errno::NOBUFS
                    | rustix::io::Errno::NOMEM,
                ) => {
                    tell_out_of_descriptors();
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
                Err(rustix::io::Errno::BADF | rustix::io::Errno::INVAL | rustix::io::Errno::NOTSOCK) => {
                    return Err(io::Error::from(io::ErrorKind::InvalidInput));
                }
                // The connection was reset in the queue, or a pending network error is reported (accept(2)).
                Err(_) => {}
            }
        }
    }
}

fn tell_out_of_descriptors() {
    static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
        *told = Some(Instant::now());
        tracing::warn!("out of file descriptors or memory; connections wait in the listen queue");
    }
}
