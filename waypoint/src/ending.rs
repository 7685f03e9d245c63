//! The end of a worker: everybody hears that it has begun, and it waits for those that still run.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Whether a worker ends, and who is still at work. Clones are of the same worker.
#[derive(Clone, Default)]
pub(crate) struct Ending(Rc<Inner>);

#[derive(Default)]
struct Inner {
    begun: Cell<bool>,
    on_begun: Notify,
    alive: Cell<usize>,
    on_idle: Notify,
}

/// Somebody is at work until this is dropped.
#[must_use = "it counts only while this lives"]
pub(crate) struct Alive(Ending);

impl Ending {
    /// The end begins.
    pub(crate) fn begin(&self) {
        self.0.begun.set(true);
        self.0.on_begun.notify_waiters();
    }

    /// Waits until it has begun. Cancel-safe.
    pub(crate) async fn begun(&self) {
        let notified = self.0.on_begun.notified();
        // Nothing else runs between the look and the wait: this is one thread.
        if !self.0.begun.get() {
            notified.await;
        }
    }

    /// One more at work.
    pub(crate) fn alive(&self) -> Alive {
        self.0.alive.set(self.0.alive.get() + 1);
        Alive(self.clone())
    }

    /// Waits until nobody is at work, at most so long. Gives how many still are.
    pub(crate) async fn finish(&self, within: Duration) -> usize {
        let all = async {
            while self.0.alive.get() > 0 {
                self.0.on_idle.notified().await;
            }
        };
        // What is left after that is told, and ends with the process.
        let _ = tokio::time::timeout(within, all).await;
        self.0.alive.get()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.alive.set(inner.alive.get() - 1);
        if inner.alive.get() == 0 {
            inner.on_idle.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_those_at_work_but_not_for_ever() {
        let ending = Ending::default();
        let (one, other) = (ending.alive(), ending.alive());
        ending.begin();
        ending.begun().await;
        drop(one);
        assert_eq!(ending.finish(Duration::from_secs(1)).await, 1);
        drop(other);
        assert_eq!(ending.finish(Duration::from_secs(1)).await, 0);
    }
}
