//! A server's end of a connection of bytes: the first that is heard of it says whether it has taken the connection. A tunnel
//! carries bytes before that is known.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weft_tunnel::end::Broken;

/// Whether a server has taken a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// It has, whatever became of it then.
    Yes,
    /// There was no way to it, or it was refused.
    No,
}

/// Tells once what is first heard of `io`.
pub(super) struct Heard<T, F> {
    io: T,
    tell: Option<F>,
}

impl<T, F: FnOnce(Took)> Heard<T, F> {
    /// Nothing heard yet.
    pub(super) fn new(io: T, tell: F) -> Self {
        Self { io, tell: Some(tell) }
    }

    /// It is known.
    pub(super) fn tell(&mut self, took: Took) {
        if let Some(tell) = self.tell.take() {
            tell(took);
        }
    }

    fn note<R>(&mut self, done: Poll<io::Result<R>>, ok: Option<Took>) -> Poll<io::Result<R>> {
        if self.tell.is_none() {
            return done;
        }
        let took = match &done {
            Poll::Pending => None,
            Poll::Ready(Ok(_)) => ok,
            Poll::Ready(Err(error)) => match Broken::find(error) {
                Some(Broken::Refused(_) | Broken::Unopened) => Some(Took::No),
                // The way broke; nobody knows of the server.
                Some(Broken::Lost) => None,
                Some(Broken::Reset | Broken::Closed) | None => Some(Took::Yes),
            },
        };
        if let Some(took) = took {
            self.tell(took);
        }
        done
    }
}

impl<T: AsyncRead + Unpin, F: FnOnce(Took) + Unpin> AsyncRead for Heard<T, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, into);
        self.note(read, Some(Took::Yes))
    }
}

/// That bytes are on their way says nothing.
impl<T: AsyncWrite + Unpin, F: FnOnce(Took) + Unpin> AsyncWrite for Heard<T, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, from);
        self.note(written, None)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, from);
        self.note(written, None)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.io).poll_flush(cx);
        self.note(done, None)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.io).poll_shutdown(cx);
        self.note(done, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use weft_tunnel::end::Refused;

    #[test]
    fn what_is_first_heard_is_told_once() {
        let broken = |how: Broken| Poll::Ready(Err(io::Error::from(how)));
        let refused = || broken(Broken::Refused(Refused::AppUnreachable));
        let done = || Poll::Ready(Ok(1));
        let reset = || Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        let (reads, writes) = (Some(Took::Yes), None);
        for (case, heard, want) in [
            ("nothing", vec![(Poll::Pending, reads), (Poll::Pending, writes)], &[][..]),
            ("bytes that go out", vec![(done(), writes), (done(), writes)], &[]),
            ("bytes that come", vec![(done(), writes), (done(), reads), (done(), reads)], &[Took::Yes]),
            ("a refusal", vec![(done(), writes), (refused(), reads)], &[Took::No]),
            ("a refusal met in writing", vec![(refused(), writes), (refused(), reads)], &[Took::No]),
            ("no tunnel", vec![(broken(Broken::Unopened), reads)], &[Took::No]),
            ("a tunnel that breaks", vec![(done(), writes), (broken(Broken::Lost), reads)], &[]),
            ("a reset through a tunnel", vec![(broken(Broken::Reset), reads)], &[Took::Yes]),
            ("a reset", vec![(reset(), writes)], &[Took::Yes]),
            ("a reset behind bytes", vec![(done(), reads), (refused(), reads)], &[Took::Yes]),
        ] {
            let told = RefCell::new(Vec::new());
            let mut one = Heard::new((), |took| told.borrow_mut().push(took));
            for (done, ok) in heard {
                // What is heard goes on as it is.
                let _: Poll<io::Result<usize>> = one.note(done, ok);
            }
            assert_eq!(*told.borrow(), want, "{case}");
        }
    }
}
