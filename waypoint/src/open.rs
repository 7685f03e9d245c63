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
use weft_tunnel::end::{Carried, Stop};

/// A worker's open connections of bytes.
#[derive(Default)]
pub(crate) struct Open {
    next: Cell<u64>,
    all: RefCell<HashMap<u64, Rc<dyn Watch>>>,
    /// The policies that they were judged by last.
    generation: Cell<u64>,
}

/// A connection of bytes that was allowed once.
pub(crate) trait Watch {
    /// What policy says of it.
    fn judge(&self, moment: &Moment) -> Verdict;
    /// What it carries, and whether it shall end.
    fn carried(&self) -> &Carried;
    /// Counts what it has carried since the last time.
    fn count(&self);
    /// Since when it has carried nothing, and how long it may.
    fn quiet(&self) -> (&Cell<(u64, Instant)>, Option<Duration>);
}

/// One that is watched over.
pub(crate) struct Watched<T> {
    what: T,
    idle: Option<Duration>,
    /// How much it had carried when it was last looked at, and since when.
    quiet: Cell<(u64, Instant)>,
}

/// A connection that a request has made another protocol's: the request is what policy judges.
pub(crate) struct Upgraded {
    /// What policy says of that request.
    pub(crate) judge: Box<dyn Fn(&Moment) -> Verdict>,
    /// What it carries, and whether it shall end.
    pub(crate) carried: Carried,
}

/// A connection's place; dropped, it is out.
pub(crate) struct Entry<T> {
    open: Rc<Open>,
    key: u64,
    watched: Rc<Watched<T>>,
}

impl Watch for Watched<Passage> {
    fn judge(&self, moment: &Moment) -> Verdict {
        judge(moment, self.what.connection()).verdict
    }

    fn carried(&self) -> &Carried {
        &self.what.carried
    }

    fn count(&self) {
        self.what.count_bytes();
    }

    fn quiet(&self) -> (&Cell<(u64, Instant)>, Option<Duration>) {
        (&self.quiet, self.idle)
    }
}

impl Watch for Watched<Upgraded> {
    fn judge(&self, moment: &Moment) -> Verdict {
        (self.what.judge)(moment)
    }

    fn carried(&self) -> &Carried {
        &self.what.carried
    }

    fn count(&self) {}

    fn quiet(&self) -> (&Cell<(u64, Instant)>, Option<Duration>) {
        (&self.quiet, self.idle)
    }
}

impl Open {
    /// Puts in a connection that policy has allowed at this same moment; it is ended if it is idle for so long.
    pub(crate) fn enter<T>(self: &Rc<Self>, what: T, idle: Option<Duration>) -> Entry<T>
    where
        Watched<T>: Watch + 'static,
    {
        let key = self.next.get();
        self.next.set(key + 1);
        let watched = Rc::new(Watched { what, idle, quiet: Cell::new((0, Instant::now())) });
        self.all.borrow_mut().insert(key, watched.clone());
        Entry { open: self.clone(), key, watched }
    }

    /// Judges all of them if policy has changed, and stops those that are denied now.
    pub(crate) fn judge_again(&self, moment: &Moment) {
        if self.generation.replace(moment.policy_generation()) == moment.policy_generation() {
            return;
        }
        for watched in self.all.borrow().values() {
            stop_if_denied(&**watched, moment);
        }
    }

    /// Ends what idles, and counts what has been carried. A timer for each connection would have to be set anew with each
    /// of its packets.
    pub(crate) fn tick(&self, now: Instant) {
        for watched in self.all.borrow().values() {
            watched.count();
            let carried = watched.carried();
            let bytes = carried.from_app() + carried.to_app();
            let (quiet, idle) = watched.quiet();
            let (before, since) = quiet.get();
            if bytes != before {
                quiet.set((bytes, now));
            } else if idle.is_some_and(|idle| now.saturating_duration_since(since) >= idle) {
                carried.stop(Stop::Idle);
            }
        }
    }
}

fn stop_if_denied(watched: &dyn Watch, moment: &Moment) {
    if let Verdict::Denied(_) = watched.judge(moment) {
        watched.carried().stop(Stop::Policy);
    }
}

impl Entry<Upgraded> {
    /// Judges it by this moment: policy may have changed since the request was.
    pub(crate) fn judge_now(&self, moment: &Moment) {
        stop_if_denied(&*self.watched, moment);
    }
}

/// What policy says of a connection of which no request is read.
pub(crate) fn judge(moment: &Moment, connection: &Connection) -> Judgement {
    let policies = moment.applying(connection.service().map(|service| &service.name));
    let Connection { client, addr, .. } = connection;
    let ask = ConnectionAsk { peer: Some(&client.peer), source_ip: client.addr.ip(), port: addr.port() };
    decide_connection(policies, &ask)
}

impl<T> Deref for Entry<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.watched.what
    }
}

impl<T> Drop for Entry<T> {
    fn drop(&mut self) {
        // In a statement of its own: the passage's line is written when the last reference goes, and not under a borrow.
        let removed = self.open.all.borrow_mut().remove(&self.key);
        drop(removed);
    }
}
