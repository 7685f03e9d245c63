//! A client's connection of HTTP/1 while an answer is awaited: nobody reads from it then, and a client that has gone
//! unnoticed would keep its request, the backend's part of it and all the room that they take for as long as the backend
//! likes.

use crate::rewind::Rewind;
use bytes::{Buf as _, BytesMut};
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weft_tunnel::io::TunnelIo;

/// What a client may send ahead while its answer is awaited, as one that pipelines does. Behind that only a reset is seen,
/// and an end is not.
const AHEAD_BYTES_MAX: usize = 4096;
/// What is looked at at a time.
const LOOK_BYTES: usize = 1024;

/// Whom a connection is with.
pub(crate) trait Peer {
    /// Ready once the other side has broken off, whatever it had sent before that.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;
}

impl Peer for TunnelIo {
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        Self::poll_broken(self, cx).map(io::Error::from)
    }
}

impl<T: Peer> Peer for Rewind<T> {
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.rest_mut().poll_broken(cx)
    }
}

/// Fails once the client has gone while some of its requests are being answered: it has reset the connection, or said that
/// nothing more comes. Of who says that, most have closed their socket, having waited long enough, and nothing tells
/// them from the few that still read; Envoy and nginx take all of them for gone as well.
pub(crate) struct Attended<T> {
    io: T,
    /// Requests that are being answered.
    busy: Rc<Cell<usize>>,
    /// What has come, and nobody has asked for yet.
    ahead: BytesMut,
    /// Whether somebody waits for more.
    reader_waits: bool,
}

impl<T> Attended<T> {
    /// `busy` counts the requests that are being answered.
    pub(crate) fn new(io: T, busy: Rc<Cell<usize>>) -> Self {
        Self { io, busy, ahead: BytesMut::new(), reader_waits: false }
    }
}

impl<T> Attended<Rewind<T>> {
    /// The connection, with all that nobody has asked for.
    pub(crate) fn into_inner(self) -> Rewind<T> {
        self.io.put_back(self.ahead.freeze())
    }
}

impl<T: AsyncRead + Peer + Unpin> Attended<T> {
    /// Looks whether the client is still there.
    fn look(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Poll::Ready(error) = self.io.poll_broken(cx) {
            return Err(error);
        }
        while self.ahead.len() < AHEAD_BYTES_MAX {
            let room = LOOK_BYTES.min(AHEAD_BYTES_MAX - self.ahead.len());
            let mut space = [const { MaybeUninit::uninit() }; LOOK_BYTES];
            let mut space = ReadBuf::uninit(&mut space[..room]);
            match Pin::new(&mut self.io).poll_read(cx, &mut space) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) if space.filled().is_empty() => {
                    let what = "the client has gone before it had its answer";
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, what));
                }
                Poll::Ready(Ok(())) => self.ahead.extend_from_slice(space.filled()),
            }
            if std::mem::take(&mut self.reader_waits) {
                // Who waits would not hear of these bytes.
                cx.waker().wake_by_ref();
            }
        }
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Attended<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let read = Pin::new(&mut self.io).poll_read(cx, into);
            self.reader_waits = read.is_pending();
            return read;
        }
        let count = self.ahead.len().min(into.remaining());
        into.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            // An idle connection holds no buffer.
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Peer + Unpin> AsyncWrite for Attended<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper does not read while it has a whole request, but it flushes each time that it is polled: then is the time to look.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.busy.get() > 0 {
            self.look(cx)?;
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    impl Peer for DuplexStream {
        fn poll_broken(&mut self, _cx: &mut Context<'_>) -> Poll<io::Error> {
            Poll::Pending
        }
    }

    /// Flushes once, as hyper does when it is polled.
    async fn flush(io: &mut Attended<DuplexStream>) -> Result<(), io::ErrorKind> {
        io.flush().await.map_err(|error| error.kind())
    }

    #[tokio::test]
    async fn whoever_goes_is_noticed_while_an_answer_is_awaited() {
        for (case, busy, sent, ends, want) in [
            ("it waits", 1, "", false, Ok(())),
            ("it goes", 1, "", true, Err(io::ErrorKind::ConnectionAborted)),
            ("it pipelines", 1, "GET /2", false, Ok(())),
            ("it pipelines and goes", 1, "GET /2", true, Err(io::ErrorKind::ConnectionAborted)),
            ("nothing is awaited", 0, "", true, Ok(())),
        ] {
            let (mut client, server) = duplex(64);
            let mut server = Attended::new(server, Rc::new(Cell::new(busy)));
            client.write_all(sent.as_bytes()).await.expect("room");
            let _kept = (!ends).then_some(client);
            assert_eq!(flush(&mut server).await, want, "{case}");
        }
    }

    #[tokio::test]
    async fn what_comes_ahead_is_had_in_order() {
        let (mut client, server) = duplex(2 * AHEAD_BYTES_MAX);
        let busy = Rc::new(Cell::new(1));
        let mut server = Attended::new(server, busy.clone());
        let sent: Vec<u8> = (0..AHEAD_BYTES_MAX + 100).map(|number| (number % 251) as u8).collect();
        client.write_all(&sent).await.expect("room");
        drop(client);
        assert_eq!(flush(&mut server).await, Ok(()), "what is behind so much is not seen");
        assert_eq!(server.ahead.len(), AHEAD_BYTES_MAX);
        busy.set(0);
        let mut had = Vec::new();
        server.read_to_end(&mut had).await.expect("all of it");
        assert_eq!(had, sent);
    }

    #[tokio::test]
    async fn who_waits_hears_of_what_came_ahead() {
        let (mut client, server) = duplex(64);
        let mut server = Attended::new(server, Rc::new(Cell::new(1)));
        let mut space = [0; 8];
        let woken = std::future::poll_fn(|cx| {
            let mut into = ReadBuf::new(&mut space);
            assert!(Pin::new(&mut server).poll_read(cx, &mut into).is_pending());
            assert!(Pin::new(&mut client).poll_write(cx, b"more").is_ready());
            let flag = std::sync::Arc::new(Woken::default());
            let waker = std::task::Waker::from(flag.clone());
            assert!(Pin::new(&mut server).poll_flush(&mut Context::from_waker(&waker)).is_ready());
            Poll::Ready(flag.0.load(std::sync::atomic::Ordering::Relaxed))
        })
        .await;
        assert!(woken);
    }

    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}
