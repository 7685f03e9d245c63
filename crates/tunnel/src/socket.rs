//! A nonblocking TCP socket, readable and writable through a shared reference: the task that reads a tunnel
//! writes to the applications' sockets itself, while each of those is read by a task of its own.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A connected (or connecting) TCP socket, registered with the current worker's reactor.
#[derive(Debug)]
pub struct Socket {
    stream: AsyncFd<std::net::TcpStream>,
    /// The last read since the socket became ready has filled all that it was given.
    filled: AtomicBool,
    /// Bytes were looked at and left. The reactor has been told to wait for more, so it does not tell of these.
    peeked: AtomicBool,
}

impl Socket {
    /// Registers a socket that is nonblocking already.
    ///
    /// # Errors
    /// If the reactor takes no more descriptors.
    #[expect(
        deprecated,
        reason = "a std TcpStream owns its descriptor and reports no other; the successor is unsafe"
    )]
    pub fn from_nonblocking(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        let stream = AsyncFd::new(std::net::TcpStream::from(socket.into()))?;
        Ok(Self { stream, filled: AtomicBool::new(false), peeked: AtomicBool::new(false) })
    }

    /// Connects a fresh nonblocking socket.
    ///
    /// # Errors
    /// As `connect(2)`; `ETIMEDOUT` after `limit`.
    pub async fn connect(fresh: OwnedFd, to: SocketAddr, limit: Duration) -> io::Result<Self> {
        let begun = socket2::SockRef::from(&fresh).connect(&to.into());
        match begun {
            Ok(()) => return Self::from_nonblocking(fresh),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let socket = Self::from_nonblocking(fresh)?;
        let connected = async {
            let ready = socket.stream.writable().await?;
            drop(ready);
            socket.stream.get_ref().take_error()?.map_or(Ok(()), Err)
        };
        match tokio::time::timeout(limit, connected).await {
            Ok(done) => done.map(|()| socket),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
    }

    /// Reads once. A short read means that the kernel's queue is empty, so it also ends readiness and spares
    /// the call that would only say so.
    ///
    /// An application on this machine may reach the proxy past TCP: then there are two queues, and a read stops at the
    /// end of the first. But it is only left for TCP when more waits in it than one read takes
    /// (`weft_ebpf_common::QUEUE_BYTES_MAX`), so that behind a read which did not follow a full one nothing waits.
    pub fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let space = into.len();
        self.poll_read_with(cx, space, |mut socket| socket.read(into))
    }

    /// As [`Socket::poll_read`], into several slices that hold `space` bytes in all.
    pub fn poll_read_vectored(
        &self,
        cx: &mut Context<'_>,
        into: &mut [IoSliceMut<'_>],
        space: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll_read_with(cx, space, |mut socket| socket.read_vectored(into))
    }

    fn poll_read_with(
        &self,
        cx: &mut Context<'_>,
        space: usize,
        mut read: impl FnMut(&std::net::TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.peeked.load(Ordering::Relaxed) {
            match read(self.stream.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.peeked.store(false, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
        loop {
            let mut ready = ready!(self.stream.poll_read_ready(cx))?;
            match read(self.stream.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.filled.store(false, Ordering::Relaxed);
                    ready.clear_ready();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => {
                    let followed = self.filled.swap(count == space, Ordering::Relaxed);
                    if count > 0 && count < space && !followed {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes once, or waits until it can.
    pub fn poll_write(&self, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.get_ref().write(from) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Writes what the kernel takes now, without waiting and without a say in who waits.
    ///
    /// # Errors
    /// As `send(2)`, but "would block" is `Ok(0)`.
    pub fn write_now(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match self.stream.get_ref().write_vectored(from) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Reads some bytes.
    ///
    /// # Errors
    /// As `recv(2)`.
    pub async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read(cx, into)).await
    }

    /// Looks at what has come without taking it, until `into` is full or the sender is done. Cancel-safe: it can be read
    /// all the same.
    ///
    /// # Errors
    /// As `recv(2)`.
    pub async fn peek_full(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.stream.readable().await?;
            let count = match self.stream.get_ref().peek(into) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if count == into.len() || ready.ready().is_read_closed() {
                return Ok(count);
            }
            self.peeked.store(true, Ordering::Relaxed);
            ready.clear_ready();
        }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// As `send(2)`.
    pub async fn write_all(&self, mut from: &[u8]) -> io::Result<()> {
        while !from.is_empty() {
            let count = std::future::poll_fn(|cx| self.poll_write(cx, from)).await?;
            from = &from[count..];
        }
        Ok(())
    }

    /// Waits until the socket has failed: the other end has reset it, or the kernel has given it up. It is heard of whether
    /// anybody reads or writes, and whether the other end has finished or not. Cancel-safe.
    pub async fn failed(&self) {
        loop {
            match self.stream.ready(Interest::ERROR).await {
                Ok(ready) if ready.ready().is_error() => return,
                Ok(_) => {}
                // Without the reactor nothing is heard of any more.
                Err(_) => return std::future::pending().await,
            }
        }
    }

    /// Sends FIN. A socket that is gone already needs none.
    pub fn finish(&self) {
        // The only failure is "not connected": the peer has reset, and reading tells.
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }

    /// Makes the close that follows a reset instead of an orderly end.
    pub fn reset_on_close(&self) {
        // The socket is ours and open, so this cannot fail; if it did, the peer would see FIN.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// The address of this end.
    ///
    /// # Errors
    /// As `getsockname(2)`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().local_addr()
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// As `getpeername(2)`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.get_ref().peer_addr()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = ready!(Socket::poll_read(&self, cx, buf.initialize_unfilled()))?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Socket::poll_write(&self, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn what_was_looked_at_in_vain_is_read_all_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        receiver.set_nonblocking(true).unwrap();
        let receiver = Socket::from_nonblocking(receiver).unwrap();
        sender.write_all(b"no query").unwrap();
        let mut query = [0; 100];
        let looked = tokio::time::timeout(Duration::from_millis(50), receiver.peek_full(&mut query)).await;
        assert!(looked.is_err(), "it waits for the rest");
        assert_eq!(&query[..8], b"no query");
        // By and by, and then what comes later.
        for want in [&b"no "[..], b"que", b"ry"] {
            let mut bytes = [0; 3];
            let read = tokio::time::timeout(Duration::from_secs(20), receiver.read(&mut bytes)).await;
            assert_eq!(&bytes[..read.expect("it is there").unwrap()], want);
        }
        let mut bytes = [0; 3];
        let later = receiver.read(&mut bytes);
        tokio::pin!(later);
        let nothing = tokio::time::timeout(Duration::from_millis(50), &mut later).await;
        assert!(nothing.is_err(), "there is no more");
        sender.write_all(b"yes").unwrap();
        assert_eq!(later.await.unwrap(), 3);
    }
}
