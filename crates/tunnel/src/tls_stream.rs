//! A TLS session as a stream of plain bytes, for protocols that bring their own framing. What is written is sealed
//! and sent once per turn of the event loop: flushing is its owner's business, not the writer's.

use crate::scratch::{READ_BYTES, ReadBuffer};
use crate::socket::Socket;
use crate::tls::{PeerState, Session, TlsError};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most payload bytes in a TLS record (RFC 8446 §5.1). Plain bytes wait until they fill one.
const RECORD_BYTES: usize = 16_384;
/// Sealed bytes that wait before a writer has to. One write takes them to the kernel; more would only leave the
/// processor's cache.
const BATCH_BYTES: usize = 131_072;

/// The stream. Its `poll_flush` does nothing: [`Flush::poll`] has to be called after each turn.
pub(crate) struct TlsStream(Rc<RefCell<Inner>>);

/// Sends what a [`TlsStream`] has gathered.
pub(crate) struct Flush(Rc<RefCell<Inner>>);

struct Inner {
    socket: Socket,
    session: Session,
    /// Records as they came.
    incoming: ReadBuffer,
    /// `incoming` may hold whole records.
    undigested: bool,
    /// The rest of a record that the last reader had no space for.
    opened: Vec<u8>,
    opened_start: usize,
    /// Written, and not sealed: less than a record.
    plain: Vec<u8>,
    /// Sealed, of which `sent` bytes are with the kernel.
    cipher: Vec<u8>,
    sent: usize,
    receiving: Receiving,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    Ended,
}

/// Why no more records are opened for now.
enum Halt {
    Full,
    Tls(TlsError),
}

impl From<TlsError> for Halt {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl TlsStream {
    /// Takes over a session whose handshake is done; `leftover` came right behind it.
    pub(crate) fn new(socket: Socket, session: Session, leftover: ReadBuffer) -> (Self, Flush) {
        let inner = Rc::new(RefCell::new(Inner {
            socket,
            session,
            undigested: true,
            incoming: leftover,
            opened: Vec::new(),
            opened_start: 0,
            plain: Vec::new(),
            cipher: Vec::new(),
            sent: 0,
            receiving: Receiving::Open,
        }));
        (Self(inner.clone()), Flush(inner))
    }
}

impl Flush {
    /// Seals and sends all that was written.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_flush(cx)
    }
}

impl Inner {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.opened_start < self.opened.len() {
                let waiting = &self.opened[self.opened_start..];
                let count = waiting.len().min(buf.remaining());
                buf.put_slice(&waiting[..count]);
                self.opened_start += count;
                if self.opened_start == self.opened.len() {
                    (self.opened, self.opened_start) = (Vec::new(), 0);
                }
                return Poll::Ready(Ok(()));
            }
            if self.undigested && self.open_records(buf)? > 0 {
                return Poll::Ready(Ok(()));
            }
            if self.receiving == Receiving::Ended {
                return Poll::Ready(Ok(()));
            }
            self.incoming.borrow_memory();
            match self.socket.poll_read(cx, self.incoming.space(READ_BYTES / 4)) {
                Poll::Pending => {
                    self.incoming.return_memory();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(0)) => self.receiving = Receiving::Ended,
                Poll::Ready(Ok(count)) => {
                    self.incoming.advance(count);
                    self.undigested = true;
                }
            }
        }
    }

    /// Opens records straight into the reader's buffer until that is full, and returns how many bytes it got.
    fn open_records(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        let before = buf.filled().len();
        let Self { session, incoming, opened, cipher, .. } = self;
        let halted = session.open::<Halt>(incoming, cipher, |plain| {
            let (now, rest) = plain.split_at(plain.len().min(buf.remaining()));
            buf.put_slice(now);
            opened.extend_from_slice(rest);
            if buf.remaining() == 0 { Err(Halt::Full) } else { Ok(()) }
        });
        match halted {
            Err(Halt::Full) => {}
            Err(Halt::Tls(error)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            Ok(peer) => {
                self.undigested = false;
                if peer == PeerState::Closed {
                    self.receiving = Receiving::Ended;
                }
            }
        }
        Ok(buf.filled().len() - before)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.cipher.len() - self.sent >= BATCH_BYTES {
            // It may take a part only; that is enough as long as it makes room.
            let sent = self.poll_send(cx)?;
            if sent.is_pending() && self.cipher.len() - self.sent >= BATCH_BYTES {
                return Poll::Pending; // The socket wakes the task.
            }
        }
        let mut taken = 0;
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() && self.cipher.len() - self.sent < BATCH_BYTES {
                let count =
                    self.take(rest).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                taken += count;
                rest = &rest[count..];
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// Takes some bytes: whole records are sealed where they lie, others wait for company.
    fn take(&mut self, from: &[u8]) -> Result<usize, TlsError> {
        if self.plain.is_empty() && from.len() >= RECORD_BYTES {
            let count = (from.len() / RECORD_BYTES * RECORD_BYTES).min(BATCH_BYTES);
            self.borrow_cipher();
            self.session.seal(&from[..count], &mut self.cipher)?;
            return Ok(count);
        }
        let count = from.len().min(RECORD_BYTES - self.plain.len());
        self.plain.extend_from_slice(&from[..count]);
        if self.plain.len() == RECORD_BYTES {
            self.seal_plain()?;
        }
        Ok(count)
    }

    fn seal_plain(&mut self) -> Result<(), TlsError> {
        if self.plain.is_empty() {
            return Ok(());
        }
        self.borrow_cipher();
        self.session.seal(&self.plain, &mut self.cipher)?;
        self.plain.clear();
        Ok(())
    }

    fn borrow_cipher(&mut self) {
        if self.cipher.is_empty() {
            self.cipher = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        } else if self.sent >= BATCH_BYTES {
            self.cipher.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Sends what is sealed. Ready once the kernel has it all; the memory is the thread's again.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.cipher.len() {
            self.sent += ready!(self.socket.poll_write(cx, &self.cipher[self.sent..]))?;
        }
        if self.sent > 0 {
            self.sent = 0;
            let mut memory = std::mem::take(&mut self.cipher);
            memory.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_MAX {
                    spare.push(memory);
                }
            });
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.seal_plain().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        ready!(self.poll_send(cx))?;
        // An idle connection keeps no buffer.
        self.plain = Vec::new();
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Batches that a thread keeps: one is in use at a time, unless a peer is slow.
const SPARE_MAX: usize = 4;

impl Drop for Inner {
    fn drop(&mut self) {
        // The peer may be gone; the alert is a courtesy. It must not cut into a half-sent record.
        if self.sent == self.cipher.len() {
            let mut farewell = Vec::new();
            self.session.close(&mut farewell);
            let _ = self.socket.write_now(&farewell);
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The close alert goes out when the last holder drops the session.
        self.0.borrow_mut().poll_flush(cx)
    }
}
