//! A client's end of a connection of bytes, with what it carries counted as it goes by.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weft_tunnel::end::Carried;

/// Counts the bytes of `io`, and remembers whether it was that side that failed.
pub(crate) struct Counted<'a, T> {
    io: T,
    carried: &'a Carried,
    failed: bool,
}

impl<'a, T> Counted<'a, T> {
    /// Nothing counted yet.
    pub(crate) fn new(io: T, carried: &'a Carried) -> Self {
        Self { io, carried, failed: false }
    }

    /// Whether reading or writing here has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    fn note<R>(&mut self, done: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        self.failed |= matches!(done, Poll::Ready(Err(_)));
        done
    }

    fn note_written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.carried.add_to_app(bytes);
        }
        self.note(written)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, into);
        self.carried.add_from_app(into.filled().len() - before);
        self.note(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, from);
        self.note_written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, from);
        self.note_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.io).poll_flush(cx);
        self.note(done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.io).poll_shutdown(cx);
        self.note(done)
    }
}
