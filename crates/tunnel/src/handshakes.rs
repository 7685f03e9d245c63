//! Peers that have not proven who they are. Anybody may be one and take his time, so whoever comes last is let in, and the one
//! goes that has been at it for longest: a peer that means it is done within milliseconds.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::sync::Notify;

/// Those at a time on one worker, wherever anybody may come: what a silent one costs is a descriptor and some kilobytes.
pub const HANDSHAKES_MAX: usize = 512;

/// All that are under way on one worker.
pub struct Handshakes {
    under_way: Rc<UnderWay>,
    next: Cell<u64>,
    most: usize,
}

/// By the order in which they began.
type UnderWay = RefCell<BTreeMap<u64, Rc<Notify>>>;

/// One of them, until this is dropped.
#[must_use = "it is under way only while this lives"]
pub struct Handshake {
    number: u64,
    given_up: Rc<Notify>,
    under_way: Rc<UnderWay>,
}

impl Handshakes {
    /// At most so many at a time.
    pub fn new(most: usize) -> Self {
        Self { under_way: Rc::default(), next: Cell::new(0), most }
    }

    /// One more begins.
    pub fn begin(&self) -> Handshake {
        let mut under_way = self.under_way.borrow_mut();
        if under_way.len() >= self.most
            && let Some((_, oldest)) = under_way.pop_first()
        {
            oldest.notify_one();
        }
        let (number, given_up) = (self.next.get(), Rc::new(Notify::new()));
        self.next.set(number + 1);
        under_way.insert(number, given_up.clone());
        Handshake { number, given_up, under_way: self.under_way.clone() }
    }

    /// Whether nobody is at it.
    pub fn are_over(&self) -> bool {
        self.under_way.borrow().is_empty()
    }
}

impl Handshake {
    /// Waits until it is to be given up, for there are too many. Cancel-safe.
    pub async fn given_up(&self) {
        self.given_up.notified().await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.under_way.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn who_comes_last_is_let_in_and_the_oldest_goes() {
        let handshakes = Handshakes::new(2);
        let is_given_up =
            |one: &Handshake| pin!(one.given_up()).poll(&mut Context::from_waker(Waker::noop())).is_ready();
        let (first, second) = (handshakes.begin(), handshakes.begin());
        assert!(!is_given_up(&first) && !is_given_up(&second));
        let third = handshakes.begin();
        assert!(is_given_up(&first) && !is_given_up(&second) && !is_given_up(&third));
        // Whoever is done makes room.
        drop(second);
        let fourth = handshakes.begin();
        assert!(!is_given_up(&third) && !is_given_up(&fourth));
        drop((first, third, fourth));
        assert!(handshakes.under_way.borrow().is_empty());
    }
}
