//! A TLS session as a stream of plain bytes, for protocols that bring their own framing. What is written is sealed
//! and sent once per turn of the event loop: flushing is its owner's business, not the writer's.

use crate::batch::Batch;
use crate::scratch::{READ_BYTES, ReadBuffer};
use crate::socket::Socket;
use crate::tls::{Received, Session, TlsError};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
    outgoing: Batch,
    receiving: Receiving,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    Ended,
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
            outgoing: Batch::default(),
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
            if self.undigested && self.open_records(buf).map_err(invalid)? > 0 {
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
    fn open_records(&mut self, buf: &mut ReadBuf<'_>) -> Result<usize, TlsError> {
        let before = buf.filled().len();
        let mut used = 0;
        let bytes = self.incoming.filled_mut();
        while buf.remaining() > 0 {
            match self.session.open(&mut bytes[used..])? {
                Received::Data { bytes: record, payload } => {
                    let payload = &bytes[used + payload.start..used + payload.end];
                    let (now, rest) = payload.split_at(payload.len().min(buf.remaining()));
                    buf.put_slice(now);
                    self.opened.extend_from_slice(rest);
                    used += record;
                }
                Received::Control { bytes: record } => used += record,
                Received::Part => {
                    self.undigested = false;
                    break;
                }
                Received::Closed => {
                    self.undigested = false;
                    self.receiving = Receiving::Ended;
                    break;
                }
            }
        }
        self.incoming.consume(used);
        Ok(buf.filled().len() - before)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.outgoing.free() == 0 {
            let flushed = self.poll_flush(cx)?;
            // It may have taken a part only; that is enough as long as it made room.
            if flushed.is_pending() && self.outgoing.free() == 0 {
                return Poll::Pending; // The socket wakes the task.
            }
        }
        let mut taken = 0;
        for slice in slices {
            let now = slice.len().min(self.outgoing.free());
            self.outgoing.push(&slice[..now]);
            taken += now;
        }
        Poll::Ready(Ok(taken))
    }

    /// Seals and sends what was written. Ready once the kernel has it all.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.outgoing.unsent().is_empty() {
                let count = ready!(self.socket.poll_write(cx, self.outgoing.unsent()))?;
                self.outgoing.sent(count);
            }
            if self.outgoing.is_empty() && !self.session.wants_key_update() {
                return Poll::Ready(Ok(()));
            }
            self.outgoing.seal(&mut self.session).map_err(invalid)?;
        }
    }
}

fn invalid(error: TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The peer may be gone; the alert is a courtesy. It must not cut into a half-sent record.
        if self.outgoing.unsent().is_empty() {
            let farewell = self.session.close();
            let _ = self.socket.write_now(&[IoSlice::new(&farewell)]);
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

#[cfg(test)]
mod tests;
