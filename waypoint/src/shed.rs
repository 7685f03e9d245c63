//! A request under a limit that finds itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;
use weft_l7::adaptive::{Answer, Limiter};

/// There are as many requests as the service takes without a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many requests are under way as the service takes without a queue")]
pub(crate) struct Shed;

/// A request that waits for its answer counts until this is dropped, and what it said then is learnt from.
pub(crate) struct Shedding {
    limiter: Rc<RefCell<Limiter>>,
    begun: Instant,
    answer: Answer,
}

impl Shedding {
    /// One more.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(crate) fn begin(limiter: &Rc<RefCell<Limiter>>) -> Result<Self, Shed> {
        let may = limiter.borrow_mut().begin();
        may.then(|| Self { limiter: limiter.clone(), begun: Instant::now(), answer: Answer::Unknown })
            .ok_or(Shed)
    }

    /// The head of a response is there, or there will be none.
    pub(crate) fn answered(&mut self, status: Option<u16>, now: Instant) {
        self.answer = match status {
            None | Some(429 | 503) => Answer::Dropped,
            Some(_) => Answer::After(now.saturating_duration_since(self.begun)),
        };
    }
}

impl Drop for Shedding {
    fn drop(&mut self) {
        self.limiter.borrow_mut().end(self.answer, Instant::now());
    }
}
