//! The one writer of what is served, and how streams read it.

use crate::batch::{Batch, Op};
use crate::state::{Kind, State};
use std::sync::Arc;
use tokio::sync::watch;

/// What is served. Not `Clone`: there is one writer.
#[derive(Debug)]
pub struct Table {
    state: State,
    published: watch::Sender<Arc<State>>,
}

/// Reads what is served.
#[derive(Debug, Clone)]
pub struct TableView(watch::Receiver<Arc<State>>);

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// A table that serves nothing yet. Streams wait until [`Table::apply`] has been called once, so that
    /// nobody takes an empty table for an empty cluster.
    pub fn new() -> Self {
        let state = State::default();
        Self { published: watch::Sender::new(Arc::new(state.clone())), state }
    }

    /// Reads what is served.
    pub fn view(&self) -> TableView {
        TableView(self.published.subscribe())
    }

    /// Makes the changes, and shows them all at once.
    pub fn apply(&mut self, batch: Batch) {
        let first = self.state.generation() == 0;
        self.state.begin();
        let mut changed = first;
        for op in batch.0 {
            changed |= match op {
                Op::Put(key, entry) => self.state.put(key, entry),
                Op::Remove(key) => self.state.remove(key),
            };
        }
        if changed {
            self.published.send_replace(Arc::new(self.state.clone()));
        }
    }
}

impl TableView {
    /// How many resources of a kind are served.
    pub fn count(&self, kind: Kind) -> usize {
        self.0.borrow().count(kind)
    }

    /// Grows with each change.
    pub fn generation(&self) -> u64 {
        self.0.borrow().generation()
    }

    /// The newest state, once there is one; `None` when the table is gone. Cancel-safe.
    pub(crate) async fn first(&mut self) -> Option<Arc<State>> {
        self.0.wait_for(|state| state.generation() > 0).await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    pub(crate) fn now(&self) -> Arc<State> {
        self.0.borrow().clone()
    }

    /// The next state; `None` when the table is gone. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Option<Arc<State>> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}
