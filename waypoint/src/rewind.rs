//! A stream whose first bytes have been looked at.

use bytes::{Buf as _, Bytes};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is looked at at a time: most heads of requests are shorter.
const LOOK_BYTES: usize = 2048;

/// Gives the bytes that were read already, and then the rest.
pub(crate) struct Rewind<T> {
    first: Bytes,
    rest: T,
}

impl<T> Rewind<T> {
    /// `first` was read from `rest`.
    pub(crate) fn new(first: Bytes, rest: T) -> Self {
        Self { first, rest }
    }
}

impl<T> Rewind<T> {
    /// What it reads from once it has given the first bytes.
    pub(crate) fn rest_mut(&mut self) -> &mut T {
        &mut self.rest
    }

    /// Gives these bytes again, before what is still to come.
    pub(crate) fn put_back(mut self, bytes: Bytes) -> Self {
        if !bytes.is_empty() {
            self.first = [bytes, self.first].concat().into();
        }
        self
    }
}

impl<T: AsyncRead + Unpin> Rewind<T> {
    /// Waits for the next bytes without holding memory for them, and keeps them for the next reader. False if there are
    /// no more.
    ///
    /// # Errors
    /// As reading.
    pub(crate) async fn await_more(&mut self) -> io::Result<bool> {
        poll_fn(|cx| {
            if !self.first.is_empty() {
                return Poll::Ready(Ok(true));
            }
            let mut space = [0; LOOK_BYTES];
            let mut space = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.rest).poll_read(cx, &mut space))?;
            self.first = Bytes::copy_from_slice(space.filled());
            Poll::Ready(Ok(!self.first.is_empty()))
        })
        .await
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewind<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.rest).poll_read(cx, into);
        }
        let count = self.first.len().min(into.remaining());
        into.put_slice(&self.first[..count]);
        self.first.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewind<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.rest).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.rest.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.rest).poll_shutdown(cx)
    }
}
