//! What is noted of a connection that is passed on as bytes. It is told when the passage is dropped, so no way out is
//! without a line.

use super::pair::Pair;
use super::{Flag, Telemetry};
use crate::client::Connection;
use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_core::workload::Workload;
use weft_l7::telemetry::effective::Effective;
use weft_tunnel::end::{Carried, End};

/// A connection of bytes, as far as it has gone.
pub(crate) struct Passage {
    telemetry: Rc<Telemetry>,
    connection: Connection,
    begun: Instant,
    /// Whose metrics it counts for, once it stands.
    pair: OnceCell<Rc<Pair>>,
    /// What of it the metrics have: bytes from the client, and to it.
    counted: Cell<(u64, u64)>,
    end: Cell<Option<End>>,
    /// Why it never stood, and the same in words, for people.
    refused: OnceCell<(Flag, String)>,
    /// What it carries, and whether it shall end.
    pub(crate) carried: Carried,
    /// The endpoint that was chosen.
    pub(crate) asked: Option<Arc<Workload>>,
    /// What dry-run policies would have done, in words.
    pub(crate) dry_run: Option<String>,
    told: Option<Arc<Effective>>,
}

impl Passage {
    /// Of a connection that has just come, and what Telemetries come to for it.
    pub(crate) fn new(
        telemetry: &Rc<Telemetry>,
        connection: Connection,
        told: Option<&Arc<Effective>>,
    ) -> Self {
        Self {
            telemetry: telemetry.clone(),
            connection,
            begun: Instant::now(),
            pair: OnceCell::new(),
            counted: Cell::default(),
            end: Cell::new(None),
            carried: Carried::default(),
            asked: None,
            refused: OnceCell::new(),
            dry_run: None,
            told: told.cloned(),
        }
    }

    pub(super) fn told(&self) -> Option<&Arc<Effective>> {
        self.told.as_ref()
    }

    /// Whose it is, and what it asked for.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// It stands: from now on its bytes are counted.
    pub(crate) fn opened(&self) {
        self.pair.get_or_init(|| {
            let pair = self.telemetry.pair(self);
            pair.opened.inc();
            pair
        });
    }

    /// It has ended so.
    pub(crate) fn set_end(&self, end: End) {
        self.end.set(Some(end));
    }

    /// It never stands, and why.
    pub(crate) fn refuse(&self, flag: Flag, why: String) {
        // The first reason is the true one.
        let _ = self.refused.set((flag, why));
    }

    /// Adds to the metrics what has been carried since the last time: some connections stay open for months.
    pub(crate) fn count_bytes(&self) {
        let Some(pair) = self.pair.get() else { return };
        let now = (self.carried.from_app(), self.carried.to_app());
        let before = self.counted.replace(now);
        if now != before {
            // Istio's names: "received" is what the server received.
            pair.received.inc_by(now.0 - before.0);
            pair.sent.inc_by(now.1 - before.1);
        }
    }

    pub(super) fn flag(&self) -> Flag {
        self.refused.get().map_or(Flag::None, |(flag, _)| *flag)
    }

    pub(super) fn why(&self) -> Option<&str> {
        self.refused.get().map(|(_, why)| &**why)
    }

    pub(super) fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How it ended, as the line has it.
    pub(super) fn end(&self) -> String {
        match (self.end.get(), self.pair.get()) {
            (Some(end), _) => end.to_string(),
            (None, None) => "refused".to_owned(),
            // Its task was dropped with the worker.
            (None, Some(_)) => "aborted".to_owned(),
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.count_bytes();
        match self.pair.get() {
            Some(pair) => pair.closed.inc(),
            None => self.telemetry.pair(self).failed.inc(),
        }
        self.telemetry.clone().tell_passage(self);
    }
}
