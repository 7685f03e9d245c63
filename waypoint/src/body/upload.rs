//! A request's body: passed on as it comes, kept for another try as far as a limit allows, and copied for mirrors.

use super::{BodyError, Cut};
use crate::streams::Stream;
use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Of one request, for another try. Most requests that are safe to repeat are small; a larger body is sent once.
pub(crate) const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Of all requests of one worker: clients may begin as many as they like. What is beyond is sent once.
const KEPT_BY_ALL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a piece takes at least, however short it is: clients may send a byte at a time.
const PIECE_BYTES_MIN: usize = 64;
/// What waits for a mirror that takes the copy more slowly than the backend takes the original: nobody waits for a mirror.
const COPY_BYTES_MAX: usize = 1024 * 1024;

/// The body of a request, for all of its tries.
pub(crate) struct Source {
    shared: Rc<RefCell<Shared>>,
    bytes: Rc<Cell<u64>>,
}

/// Whether another try may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It may: what has been sent is kept, up to [`KEPT_BYTES_MAX`].
    Sent,
    /// It may not.
    Nothing,
}

struct Shared {
    incoming: Incoming,
    hint: SizeHint,
    keep: Keep,
    kept: Kept,
    trailers: Option<HeaderMap>,
    /// Some of what has been sent is not kept.
    gone: bool,
    ended: bool,
    /// The client did not bring it to its end.
    cut: Option<Cut>,
    stream: Option<Rc<Stream>>,
    /// Which try sends it; those before get no more.
    sender: u32,
    waker: Option<Waker>,
    copies: Vec<Rc<RefCell<Queue>>>,
    bytes: Rc<Cell<u64>>,
}

/// What of a body has been sent, for another try.
#[derive(Default)]
struct Kept {
    pieces: Vec<Bytes>,
    /// What they take.
    bytes: usize,
}

thread_local! {
    /// Bytes that all of them keep.
    static KEPT_BY_ALL: Cell<usize> = const { Cell::new(0) };
}

/// The body of one try.
pub(crate) struct Upload {
    shared: Rc<RefCell<Shared>>,
    sender: u32,
    next: usize,
    told_trailers: bool,
    /// What is kept for as long as it is being sent.
    _place: Option<Rc<dyn Any>>,
}

/// A copy of a body.
pub(crate) struct Copied {
    queue: Rc<RefCell<Queue>>,
    hint: SizeHint,
    /// What is kept for as long as it is being sent.
    _place: Option<Rc<dyn Any>>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    state: QueueState,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum QueueState {
    #[default]
    Open,
    Ended,
    /// The original broke off, or nobody took the copy.
    Broken,
}

impl Source {
    /// Of what the client sends.
    /// `sender` is the stream that it comes on, if that is looked after.
    pub(crate) fn new(incoming: Incoming, keep: Keep, sender: Option<Rc<Stream>>) -> Self {
        let bytes = Rc::new(Cell::new(0));
        let shared = Shared {
            hint: incoming.size_hint(),
            incoming,
            keep,
            kept: Kept::default(),
            trailers: None,
            gone: false,
            ended: false,
            cut: None,
            stream: sender,
            sender: 0,
            waker: None,
            copies: Vec::new(),
            bytes: bytes.clone(),
        };
        Self { shared: Rc::new(RefCell::new(shared)), bytes }
    }

    /// What has come of it so far, in bytes.
    pub(crate) fn bytes(&self) -> Rc<Cell<u64>> {
        self.bytes.clone()
    }

    /// Whether a try can still send all of it.
    pub(crate) fn is_whole(&self) -> bool {
        !self.shared.borrow().gone
    }

    /// How the client broke it off, if it has.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.shared.borrow().cut
    }

    /// For the next try. The one before gets no more.
    pub(crate) fn upload(&self) -> Upload {
        let mut shared = self.shared.borrow_mut();
        shared.sender += 1;
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
        let sender = shared.sender;
        Upload { shared: self.shared.clone(), sender, next: 0, told_trailers: false, _place: None }
    }

    /// A copy of all of it. Nothing must have been sent yet.
    pub(crate) fn copy(&self) -> Copied {
        let mut shared = self.shared.borrow_mut();
        let queue: Rc<RefCell<Queue>> = Rc::default();
        shared.copies.push(queue.clone());
        Copied { queue, hint: shared.hint, _place: None }
    }
}

impl Upload {
    pub(super) fn keep(&mut self, place: Rc<dyn Any>) {
        self._place = Some(place);
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut shared = self.shared.borrow_mut();
        if shared.sender != self.sender {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(bytes) = shared.kept.pieces.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        if shared.ended {
            let trailers =
                shared.trailers.clone().filter(|_| !std::mem::replace(&mut self.told_trailers, true));
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let polled = Pin::new(&mut shared.incoming).poll_frame(cx);
        if let Some(stream) = &shared.stream {
            stream.sends(polled.is_ready());
        }
        let frame = match polled {
            Poll::Pending => {
                shared.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        match &frame {
            Some(Ok(frame)) => {
                shared.take_in(frame);
                if frame.is_trailers() {
                    self.told_trailers = true;
                }
            }
            Some(Err(error)) => {
                // What there is must not pass for the whole.
                shared.gone = true;
                shared.cut = Some(Cut::of(error));
                shared.end(QueueState::Broken);
            }
            None => shared.end(QueueState::Ended),
        }
        self.next = shared.kept.pieces.len();
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Sender)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        let over = shared.ended || shared.incoming.is_end_stream();
        let told = self.told_trailers || shared.trailers.is_none();
        over && told && self.next >= shared.kept.pieces.len()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.shared.borrow().hint
    }
}

impl Shared {
    fn take_in(&mut self, frame: &Frame<Bytes>) {
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
            return self.end(QueueState::Ended);
        }
        let Some(bytes) = frame.data_ref() else { return };
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
        self.copies.iter().for_each(|copy| copy.borrow_mut().push(bytes));
        if self.gone || self.keep == Keep::Nothing || !self.kept.has_room(bytes.len()) {
            self.gone = true;
            self.kept = Kept::default();
        } else {
            self.kept.push(bytes.clone());
        }
        // Who sends it knows then that this was all, and asks for no more; those who send copies do not.
        if self.incoming.is_end_stream() {
            self.end(QueueState::Ended);
        }
    }

    fn end(&mut self, state: QueueState) {
        self.ended = true;
        for copy in std::mem::take(&mut self.copies) {
            let mut queue = copy.borrow_mut();
            queue.trailers = self.trailers.clone();
            queue.state = if queue.state == QueueState::Open { state } else { queue.state };
            queue.wake();
        }
    }
}

impl Kept {
    fn has_room(&self, bytes: usize) -> bool {
        let bytes = bytes.max(PIECE_BYTES_MIN);
        self.bytes + bytes <= KEPT_BYTES_MAX && KEPT_BY_ALL.get() + bytes <= KEPT_BY_ALL_BYTES_MAX
    }

    fn push(&mut self, piece: Bytes) {
        let bytes = piece.len().max(PIECE_BYTES_MIN);
        self.bytes += bytes;
        KEPT_BY_ALL.set(KEPT_BY_ALL.get() + bytes);
        self.pieces.push(piece);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT_BY_ALL.set(KEPT_BY_ALL.get() - self.bytes);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end(QueueState::Broken);
    }
}

impl Queue {
    fn push(&mut self, bytes: &Bytes) {
        if self.state != QueueState::Open {
            return;
        }
        self.bytes += bytes.len();
        if self.bytes > COPY_BYTES_MAX {
            self.state = QueueState::Broken;
            self.frames = VecDeque::new();
        } else {
            self.frames.push_back(bytes.clone());
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Copied {
    pub(super) fn keep(&mut self, place: Rc<dyn Any>) {
        self._place = Some(place);
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut queue = self.queue.borrow_mut();
        if let Some(bytes) = queue.frames.pop_front() {
            queue.bytes -= bytes.len();
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match queue.state {
            QueueState::Open => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            QueueState::Ended => Poll::Ready(queue.trailers.take().map(|all| Ok(Frame::trailers(all)))),
            QueueState::Broken => Poll::Ready(Some(Err(BodyError::Slow))),
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_a_limit_for_one_and_for_all() {
        let piece = Bytes::from(vec![0; KEPT_BYTES_MAX / 2]);
        let fill = |kept: &mut Kept| {
            while kept.has_room(piece.len()) {
                kept.push(piece.clone());
            }
            kept.pieces.len()
        };
        let mut all: Vec<Kept> = Vec::new();
        loop {
            let mut one = Kept::default();
            match fill(&mut one) {
                2 => all.push(one),
                pieces => break assert_eq!(pieces, 0, "there is no room for anybody"),
            }
        }
        assert_eq!(all.len(), KEPT_BY_ALL_BYTES_MAX / KEPT_BYTES_MAX);
        all.pop();
        assert_eq!(fill(&mut Kept::default()), 2, "who is done makes room");
        drop(all);
        assert_eq!(KEPT_BY_ALL.get(), 0);
        let (mut kept, piece) = (Kept::default(), Bytes::from_static(b"a"));
        while kept.has_room(piece.len()) {
            kept.push(piece.clone());
        }
        assert!(
            kept.pieces.len() * size_of::<Bytes>() <= KEPT_BYTES_MAX,
            "{} single bytes",
            kept.pieces.len()
        );
    }
}
