//! Joins two sockets in this process: what one application sends goes to the other, with half-close, reset and
//! the kernel's own backpressure.

use crate::end::{Carried, End};
use crate::scratch::with_scratch;
use crate::socket::Socket;
use crate::watch::Watch;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

/// One way of a joined pair.
#[derive(Default)]
struct Way {
    /// Read and not yet written; empty unless the receiver is slower than the sender.
    waiting: Vec<u8>,
    written: usize,
    finished: Finished,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Finished {
    #[default]
    No,
    /// The sender is done; what waits has still to go.
    Sender,
    /// FIN has been passed on.
    Both,
}

/// Which of the two failed.
enum Failed {
    Sender,
    Receiver,
}

/// Carries bytes between `app` and `peer` until both are done, one fails, or the owner stops it. On anything but
/// an orderly end, both are set to reset on close.
pub async fn join(app: &Socket, peer: &Socket, carried: &Carried) -> End {
    let (mut out, mut back) = (Way::default(), Way::default());
    let (mut app_watch, mut peer_watch) = (Watch::over(app), Watch::over(peer));
    let end = poll_fn(|cx| {
        if let Some(stop) = carried.poll_stop(cx.waker()) {
            return Poll::Ready(End::Stopped(stop));
        }
        let forth = out.poll(cx, app, peer, |bytes| carried.add_from_app(bytes));
        if let Poll::Ready(Err(failed)) = forth {
            return Poll::Ready(match failed {
                Failed::Sender => End::AppReset,
                Failed::Receiver => End::PeerReset,
            });
        }
        let home = back.poll(cx, peer, app, |bytes| carried.add_to_app(bytes));
        if let Poll::Ready(Err(failed)) = home {
            return Poll::Ready(match failed {
                Failed::Sender => End::PeerReset,
                Failed::Receiver => End::AppReset,
            });
        }
        if forth.is_ready() && home.is_ready() {
            return Poll::Ready(End::Closed);
        }
        if !out.listens() && app_watch.poll(cx).is_ready() {
            return Poll::Ready(End::AppReset);
        }
        if !back.listens() && peer_watch.poll(cx).is_ready() {
            return Poll::Ready(End::PeerReset);
        }
        Poll::Pending
    })
    .await;
    if end != End::Closed {
        app.reset_on_close();
        peer.reset_on_close();
    }
    end
}

impl Way {
    /// Whether the sender's next bytes are waited for, so that its reset is heard.
    fn listens(&self) -> bool {
        self.finished == Finished::No && self.waiting.is_empty()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &Socket,
        to: &Socket,
        count: impl Fn(usize),
    ) -> Poll<Result<(), Failed>> {
        loop {
            if self.finished == Finished::Both {
                return Poll::Ready(Ok(()));
            }
            if !self.waiting.is_empty() {
                match to.poll_write(cx, &self.waiting[self.written..]) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Failed::Receiver)),
                    Poll::Ready(Ok(bytes)) => self.written += bytes,
                }
                if self.written < self.waiting.len() {
                    continue;
                }
                // An idle connection keeps no buffer.
                (self.waiting, self.written) = (Vec::new(), 0);
            }
            if self.finished == Finished::Sender {
                to.finish();
                self.finished = Finished::Both;
                continue;
            }
            match self.poll_once(cx, from, to) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                Poll::Ready(Ok(0)) => self.finished = Finished::Sender,
                Poll::Ready(Ok(bytes)) => count(bytes),
            }
        }
    }

    /// Reads once and writes at once; only what the receiver does not take is kept.
    fn poll_once(&mut self, cx: &mut Context<'_>, from: &Socket, to: &Socket) -> Poll<Result<usize, Failed>> {
        with_scratch(|scratch| {
            let bytes = match from.poll_read(cx, scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failed::Sender)),
                Poll::Ready(Ok(bytes)) => bytes,
            };
            let written: io::Result<usize> =
                if bytes == 0 { Ok(0) } else { to.write_now(&[IoSlice::new(&scratch[..bytes])]) };
            let Ok(written) = written else {
                return Poll::Ready(Err(Failed::Receiver));
            };
            self.waiting.extend_from_slice(&scratch[written..bytes]);
            Poll::Ready(Ok(bytes))
        })
    }
}
