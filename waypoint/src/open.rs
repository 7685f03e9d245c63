//! The connections of bytes that a worker has open: to judge them again when policy changes, to end them when they idle,
//! and to count what they carry.

use crate::client::Connection;
use crate::knowledge::Moment;
use crate::telemetry::Passage;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;
use std::time::{Duration, Instant};
use weft_core::policy::{Judgement, Verdict};
use weft_l7::policy::{ConnectionAsk, decide_connection};
use weft_tunnel::end::Stop;

/// A worker's open connections of bytes.
#[derive(Default)]
pub(crate) struct Open {
    next: Cell<u64>,
    all: RefCell<HashMap<u64, Rc<Watched>>>,
    /// The policies that they were judged by last.
    generation: Cell<u64>,
}

/// One that is watched over.
struct Watched {
    passage: Passage,
    idle: Option<Duration>,
    /// How much it had carried when it was last looked at, and since when.
    quiet: Cell<(u64, Instant)>,
}

/// A connection's place; dropped, it is out.
pub(crate) struct Entry {
    open: Rc<Open>,
    key: u64,
    watched: Rc<Watched>,
}

impl Open {
    /// Puts in a connection that policy has allowed at this same moment; it is ended if it is idle for so long.
    pub(crate) fn enter(self: &Rc<Self>, passage: Passage, idle: Option<Duration>) -> Entry {
        let key = self.next.get();
        self.next.set(key + 1);
        let watched = Rc::new(Watched { passage, idle, quiet: Cell::new((0, Instant::now())) });
        self.all.borrow_mut().insert(key, watched.clone());
        Entry { open: self.clone(), key, watched }
    }

    /// Judges all of them if policy has changed, and stops those that are denied now.
    pub(crate) fn judge_again(&self, moment: &Moment) {
        if self.generation.replace(moment.policy_generation()) == moment.policy_generation() {
            return;
        }
        for watched in self.all.borrow().values() {
            if let Verdict::Denied(_) = judge(moment, watched.passage.connection()).verdict {
                watched.passage.carried.stop(Stop::Policy);
            }
        }
    }

    /// Ends what idles, and counts what has been carried. A timer for each connection would have to be set anew with each
    /// of its packets.
    pub(crate) fn tick(&self, now: Instant) {
        for watched in self.all.borrow().values() {
            watched.passage.count_bytes();
            let bytes = watched.passage.bytes();
            let (before, since) = watched.quiet.get();
            if bytes != before {
                watched.quiet.set((bytes, now));
            } else if watched.idle.is_some_and(|idle| now.saturating_duration_since(since) >= idle) {
                watched.passage.carried.stop(Stop::Idle);
            }
        }
    }
}

/// What policy says of a connection of which no request is read.
pub(crate) fn judge(moment: &Moment, connection: &Connection) -> Judgement {
    let policies = moment.applying(connection.service().map(|service| &service.name));
    let Connection { client, addr, .. } = connection;
    let ask = ConnectionAsk { peer: Some(&client.peer), source_ip: client.addr.ip(), port: addr.port() };
    decide_connection(policies, &ask)
}

impl Deref for Entry {
    type Target = Passage;

    fn deref(&self) -> &Passage {
        &self.watched.passage
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // In a statement of its own: the passage's line is written when the last reference goes, and not under a borrow.
        let removed = self.open.all.borrow_mut().remove(&self.key);
        drop(removed);
    }
}
