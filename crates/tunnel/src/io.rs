//! A tunnel's stream as a stream of bytes, for who reads and writes it in this process: an HTTP library instead of an
//! application's socket.

use crate::end::Broken;
use crate::stream::Stream;
use bytes::Bytes;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes of a tunnel's stream, both ways.
///
/// Reading takes what the peer sent, then its end or what broke the stream; as it reads, the peer may send more. Writing
/// stops when the peer or the tunnel takes no more; `poll_shutdown` is a half close. A client may write at once, and its
/// reading waits for the server's answer. Flushing does nothing: the tunnel's driver sends what a turn of the event loop
/// has gathered. An idle stream holds no buffer.
///
/// Dropped before this side has finished, it resets the peer. If it has, all that was written still arrives, and the
/// tunnel waits for the peer to finish too, as the kernel does for a socket that was closed: what it sends nonetheless is
/// answered with a reset. (A server of HBONE says at once that it hears no more, for which HTTP/2 has a word.)
///
/// # Errors
/// All of them hold a [`Broken`], which [`Broken::find`] gives back:
///
/// | kind | what happened |
/// |---|---|
/// | `ConnectionReset` | the peer reset the stream: reading says so behind what came before, writing at once |
/// | `ConnectionRefused` | the server refused it, and the error's source is why |
/// | `ConnectionAborted` | the tunnel broke; [`Broken::Unopened`] if another one may be tried |
/// | `BrokenPipe` | writing only: this side has finished, or the peer has said all and hears no more |
pub struct TunnelIo {
    stream: Stream,
    said: Said,
}

/// Whether something would be lost if the stream were opened again elsewhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    Something,
}

impl Stream {
    /// The stream's bytes. One that the peer has begun is accepted by this, if it was not before.
    pub fn into_io(mut self) -> TunnelIo {
        self.accept();
        TunnelIo { stream: self, said: Said::Nothing }
    }
}

impl TunnelIo {
    /// Takes bytes as they lie in this process, without a copy: of HBONE, those of one DATA frame. `None` if no more
    /// come.
    ///
    /// # Errors
    /// As reading.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let bytes = ready!(match &mut self.stream {
            Stream::Mux(stream) => stream.poll_bytes(cx),
            Stream::Hbone(stream) => stream.poll_bytes(cx),
        });
        Poll::Ready(match bytes {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some(Ok(bytes)),
            Err(broken) => Some(Err(self.error(broken))),
        })
    }

    /// Ready once the peer has reset the stream, or the tunnel has broken: at once, and not only behind what came before, so
    /// whoever does not read learns of it too. [`Broken::Closed`] is a peer that has said all and wants to hear no more.
    /// It wakes the task that reads.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match &mut self.stream {
            Stream::Mux(stream) => stream.poll_broken(cx),
            Stream::Hbone(stream) => stream.poll_gone(cx),
        }
    }

    fn error(&self, broken: Broken) -> io::Error {
        match broken {
            Broken::Unopened if self.said == Said::Something => Broken::Lost.into(),
            other => other.into(),
        }
    }
}

impl AsyncRead for TunnelIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let take = |bytes: &[u8]| {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            count
        };
        let taken = ready!(match &mut self.stream {
            Stream::Mux(stream) => stream.poll_take(cx, take),
            Stream::Hbone(stream) => stream.poll_take(cx, take),
        });
        Poll::Ready(taken.map(|_| ()).map_err(|broken| self.error(broken)))
    }
}

impl AsyncWrite for TunnelIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let put = ready!(match &mut self.stream {
            Stream::Mux(stream) => stream.poll_put(cx, slices),
            Stream::Hbone(stream) => stream.poll_put(cx, slices),
        });
        let count = put.map_err(|broken| self.error(broken))?;
        if count > 0 {
            self.said = Said::Something;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let finished = ready!(match &mut self.stream {
            Stream::Mux(stream) => Poll::Ready(stream.finish()),
            Stream::Hbone(stream) => stream.poll_finish(cx),
        });
        finished.map_err(|broken| self.error(broken))?;
        self.said = Said::Something;
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelIo {
    fn drop(&mut self) {
        match &mut self.stream {
            Stream::Mux(stream) => stream.leave(),
            Stream::Hbone(stream) => stream.leave(),
        }
    }
}
