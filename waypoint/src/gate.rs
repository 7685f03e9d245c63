//! The way of a client's bytes into hyper, and out of it: only strict HTTP/1 gets through, HTTP/2 only as far as it is no
//! flood, and neither as slowly as the client likes.

use crate::framing::{Framing, Phase};
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For a whole head, once it has begun.
    pub(crate) head: Duration,
    /// Between two pieces of a body.
    pub(crate) body: Duration,
    /// Between two requests.
    pub(crate) between: Duration,
    /// Until it takes more of what this side has for it.
    pub(crate) taking: Duration,
}

/// A connection that nobody has used for so long gives its buffers back: most are used again at once, or not for long.
const REST_AFTER: Duration = Duration::from_secs(1);

/// Tells whether a connection has idled for a moment, with nothing on its way in or out: what was kept for the next
/// request may go. Clones are of the same connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resting(Rc<Cell<bool>>);

impl Resting {
    /// Whether it does.
    pub(crate) fn get(&self) -> bool {
        self.0.get()
    }
}

/// A request is being answered until this is dropped.
#[must_use = "the request counts only while this lives"]
pub(crate) struct Busy(Rc<Cell<usize>>);

impl Busy {
    /// One more of those that `count` counts.
    pub(crate) fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection of a client.
pub(crate) struct Gate<T, F> {
    io: T,
    framing: F,
    patience: Patience,
    /// Requests that are being answered: while there are some, the client need not send another.
    busy: Rc<Cell<usize>>,
    /// Since when nothing has come that ends the phase.
    waiting: Option<(Phase, Instant)>,
    resting: Resting,
    alarm: Alarm,
    /// Since when the client has taken nothing of what there is for it.
    stalled: Option<Instant>,
    stall_alarm: Alarm,
}

/// Armed for some moment not behind the deadline; moved only when it goes off too early.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once the deadline is over.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let alarm = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < alarm.deadline() {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl<T, F: Framing> Gate<T, F> {
    /// Before `io`.
    pub(crate) fn new(
        io: T,
        framing: F,
        patience: Patience,
        busy: Rc<Cell<usize>>,
        resting: Resting,
    ) -> Self {
        let (alarm, stall_alarm) = (Alarm::default(), Alarm::default());
        Self { io, framing, patience, busy, waiting: None, resting, alarm, stalled: None, stall_alarm }
    }

    /// The connection, which is none of HTTP/1 any more.
    pub(crate) fn into_inner(self) -> T {
        self.io
    }

    /// The client is waited for. Fails once that has taken too long.
    fn check(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.framing.phase();
        if phase == Phase::Between && self.busy.get() > 0 {
            self.waiting = None;
            return Poll::Pending;
        }
        let since = match self.waiting {
            Some((same, since)) if same == phase => since,
            _ => {
                let now = Instant::now();
                self.waiting = Some((phase, now));
                now
            }
        };
        let (limit, what) = match phase {
            Phase::Between => (self.patience.between, "no other request came"),
            Phase::Head => (self.patience.head, "a request's head took too long"),
            Phase::Body => (self.patience.body, "no more of a request's body came"),
        };
        let Some(deadline) = since.checked_add(limit) else { return Poll::Pending };
        let may_rest = phase == Phase::Between && self.stalled.is_none() && !self.resting.get();
        if let Some(rest) = may_rest.then_some(since + REST_AFTER).filter(|rest| *rest < deadline) {
            std::task::ready!(self.alarm.poll(cx, rest));
            self.resting.0.set(true);
        }
        self.alarm.poll(cx, deadline).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, what)))
    }

    /// Bytes were for the client, and it took them or not. Fails once it has taken none for too long.
    fn check_taking(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.stalled = None;
                self.framing.written(bytes);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let since = *self.stalled.get_or_insert_with(Instant::now);
                let deadline = since.checked_add(self.patience.taking);
                if deadline.is_some_and(|deadline| self.stall_alarm.poll(cx, deadline).is_ready()) {
                    let what = "the client takes no more of its responses";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)));
                }
            }
        }
        written
    }
}

impl<T: AsyncRead + Unpin, F: Framing + Unpin> AsyncRead for Gate<T, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, into) {
            Poll::Ready(Ok(())) => {
                let phase = self.framing.phase();
                let passed = self.framing.pass(&mut into.filled_mut()[before..]);
                passed.map_err(|abuse| io::Error::new(io::ErrorKind::InvalidData, abuse))?;
                // A head has to be whole in time, however it drips; a body only has to go on.
                if phase != Phase::Head || self.framing.phase() != Phase::Head {
                    self.waiting = None;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.check(cx),
        }
    }
}

impl<T: AsyncWrite + Unpin, F: Framing + Unpin> AsyncWrite for Gate<T, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, from);
        self.check_taking(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, from);
        self.check_taking(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::Strict;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(3),
        body: Duration::from_secs(5),
        between: Duration::from_secs(60),
        taking: Duration::from_secs(7),
    };

    /// Sends the pieces a second apart and says after how many seconds reading failed; `None` if it did not within two
    /// minutes.
    async fn fails_after(pieces: &[&str], busy: usize) -> Option<u64> {
        let (mut client, server) = duplex(1024);
        let mut gate =
            Gate::new(server, Strict::default(), PATIENCE, Rc::new(Cell::new(busy)), Resting::default());
        let begun = Instant::now();
        let pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        let sending = async {
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.expect("room");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        };
        let reading = async {
            let mut bytes = [0; 1024];
            loop {
                if let Err(error) = gate.read(&mut bytes).await {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return begun.elapsed().as_secs();
                }
            }
        };
        tokio::select! {
            () = sending => None,
            after = reading => Some(after),
            () = tokio::time::sleep(Duration::from_secs(120)) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn slow_clients() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let body = "POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n";
        for (case, pieces, busy, want) in [
            ("says nothing", &[][..], 0, Some(60)),
            ("drips its head", &["G", "E", "T", " ", "/", " ", "H"], 0, Some(3)),
            ("drips its body", &[body, "a", "a", "a", "a", "a", "a"], 1, Some(11)),
            ("waits for its response", &[head], 1, None),
            ("sends no other request", &[head], 0, Some(60)),
        ] {
            assert_eq!(fails_after(pieces, busy).await, want, "{case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing() {
        let (mut client, server) = duplex(10);
        let mut gate = Gate::new(server, Strict::default(), PATIENCE, Rc::default(), Resting::default());
        let begun = Instant::now();
        let writing = async { gate.write_all(&[0; 100]).await.map_err(|error| error.kind()) };
        let reading = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            // Something, in time: it is waited for anew.
            client.read_exact(&mut [0; 10]).await.expect("bytes");
            std::future::pending::<()>().await;
        };
        let written = tokio::select! {
            written = writing => written,
            () = reading => Ok(()),
        };
        assert_eq!((written, begun.elapsed().as_secs()), (Err(io::ErrorKind::TimedOut), 13));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_used_rests() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for (case, sent, busy, want) in [
            ("nothing comes", "", 0, true),
            ("a request was answered", head, 0, true),
            ("a request is being answered", head, 1, false),
            ("half a head", "GET /", 0, false),
            ("half a body", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", 0, false),
        ] {
            let (mut client, server) = duplex(1024);
            let resting = Resting::default();
            let mut gate =
                Gate::new(server, Strict::default(), PATIENCE, Rc::new(Cell::new(busy)), resting.clone());
            client.write_all(sent.as_bytes()).await.expect("room");
            let mut bytes = [0; 1024];
            let reading = async { while gate.read(&mut bytes).await.is_ok() {} };
            assert!(tokio::time::timeout(REST_AFTER / 2, reading).await.is_err(), "{case}");
            assert!(!resting.get(), "{case}: at once");
            let reading = async { while gate.read(&mut bytes).await.is_ok() {} };
            assert!(tokio::time::timeout(REST_AFTER, reading).await.is_err(), "{case}");
            assert_eq!(resting.get(), want, "{case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_sent_keeps_it_awake() {
        let (_client, server) = duplex(4);
        let resting = Resting::default();
        let mut gate = Gate::new(server, Strict::default(), PATIENCE, Rc::default(), resting.clone());
        let writing = gate.write_all(b"more than there is room for");
        assert!(tokio::time::timeout(Duration::from_millis(1), writing).await.is_err());
        let mut bytes = [0; 16];
        assert!(tokio::time::timeout(2 * REST_AFTER, gate.read(&mut bytes)).await.is_err());
        assert!(!resting.get());
    }
}
