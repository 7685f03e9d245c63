//! Requests of HTTP/2 that are open: each is ended when its client is waited for too long. On HTTP/1 the connection waits for
//! one client's bytes, and its gate looks after that; here the others on the connection go on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamPatience {
    /// Between two pieces of a request's body, while nothing has been answered.
    pub(crate) sending: Duration,
    /// Until it takes more of a response's body.
    pub(crate) taking: Duration,
}

/// The open streams of one worker.
#[derive(Default)]
pub(crate) struct Streams {
    next: Cell<u64>,
    all: RefCell<HashMap<u64, Rc<Stream>>>,
}

/// One of them.
#[derive(Default)]
pub(crate) struct Stream {
    waits: Cell<Option<(For, Instant)>>,
    answered: Cell<bool>,
    over: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    More,
    Room,
}

impl Streams {
    /// Ends those whose client is waited for too long.
    pub(crate) fn tick(&self, now: Instant, patience: StreamPatience) {
        for stream in self.all.borrow().values() {
            if let Some(why) = stream.is_late(now, patience) {
                tracing::info!(why, "reset a stream of HTTP/2");
                stream.end();
            }
        }
    }
}

impl Stream {
    /// More of the request's body is waited for, or has come.
    pub(crate) fn sends(&self, came: bool) {
        match (self.answered.get(), came, self.waits.get()) {
            (false, false, None) => self.waits.set(Some((For::More, Instant::now()))),
            (false, true, Some((For::More, _))) => self.waits.set(None),
            _ => {}
        }
    }

    /// The response has begun: from now on both sides send when they like.
    pub(crate) fn is_answered(&self) {
        self.answered.set(true);
        self.waits.set(None);
    }

    /// A piece of the response's body is there for the client, or more is asked for.
    pub(crate) fn offers(&self, piece: bool) {
        self.waits.set(piece.then(|| (For::Room, Instant::now())));
    }

    fn is_late(&self, now: Instant, patience: StreamPatience) -> Option<&'static str> {
        let (what, since) = self.waits.get()?;
        let (limit, why) = match what {
            For::More => (patience.sending, "no more of the request's body came"),
            For::Room => (patience.taking, "the client takes no more of the response"),
        };
        (now.saturating_duration_since(since) >= limit).then_some(why)
    }

    fn end(&self) {
        self.over.set(true);
        self.waits.set(None);
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

/// A stream's task, which goes when its stream is ended: hyper resets what is dropped in the middle.
pub(crate) struct Guarded<F> {
    streams: Rc<Streams>,
    key: u64,
    stream: Rc<Stream>,
    task: Pin<Box<F>>,
}

impl<F> Guarded<F> {
    /// Of this stream.
    pub(crate) fn new(streams: &Rc<Streams>, stream: Rc<Stream>, task: F) -> Self {
        let key = streams.next.get();
        streams.next.set(key + 1);
        streams.all.borrow_mut().insert(key, stream.clone());
        Self { streams: streams.clone(), key, stream, task: Box::pin(task) }
    }
}

impl<F: Future> Future for Guarded<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.over.get() {
            return Poll::Ready(());
        }
        let mut task = self.stream.task.borrow_mut();
        if !task.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        drop(task);
        self.task.as_mut().poll(cx).map(|_| ())
    }
}

impl<F> Drop for Guarded<F> {
    fn drop(&mut self) {
        // In a statement of its own: nothing is dropped under the borrow.
        let removed = self.streams.all.borrow_mut().remove(&self.key);
        drop(removed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: StreamPatience =
        StreamPatience { sending: Duration::from_secs(3), taking: Duration::from_secs(5) };

    #[test]
    fn who_is_waited_for_too_long() {
        type Doing = fn(&Stream);
        for (case, doing, ends) in [
            ("nothing", (|_| {}) as Doing, None),
            ("a body that does not go on", |stream| stream.sends(false), Some(3)),
            (
                "a body that came",
                |stream| [false, true].map(|came| stream.sends(came)).into_iter().collect(),
                None,
            ),
            (
                "a body after the answer",
                |stream| {
                    stream.is_answered();
                    stream.sends(false);
                },
                None,
            ),
            (
                "an answer in the middle of the body",
                |stream| {
                    stream.sends(false);
                    stream.is_answered();
                },
                None,
            ),
            ("a piece that is not taken", |stream| stream.offers(true), Some(5)),
            (
                "a piece that is taken",
                |stream| [true, false].map(|piece| stream.offers(piece)).into_iter().collect(),
                None,
            ),
        ] {
            let stream = Stream::default();
            doing(&stream);
            // It began a moment before that, so the first full second is the limit.
            let begun = Instant::now();
            let late = (0..10)
                .find(|second| stream.is_late(begun + Duration::from_secs(*second), PATIENCE).is_some());
            assert_eq!(late, ends, "{case}");
        }
    }
}
