//! Watches the connections of pods that are older than their enrolment, until the last one has ended.

use super::words::Done;
use super::{Actor, jobs::guarded};
use crate::enrol::chain;
use crate::existing::Connection;
use crate::reconcile::ExistingRule;
use std::time::Duration;
use weft_core::names::WorkloadUid;

/// How often they are looked at: the numbers of one that has closed are not taken again so soon.
const EVERY: Duration = Duration::from_secs(2);

/// One pod's.
#[derive(Debug)]
pub(super) struct Watch {
    rule: ExistingRule,
    /// What went on when they were last looked at.
    pub(super) seen: Vec<Connection>,
    looking: Looking,
    /// The last look failed.
    failed: bool,
}

/// Whether a thread looks at them.
#[derive(Debug, PartialEq, Eq)]
enum Looking {
    No,
    Yes,
    /// And once more after that: the rule has changed meanwhile.
    Again,
}

impl Watch {
    pub(super) fn new(rule: ExistingRule) -> Self {
        Self { rule, seen: Vec::new(), looking: Looking::No, failed: false }
    }

    fn goes_on(&self) -> bool {
        !self.seen.is_empty() || self.failed
    }
}

impl Actor {
    /// Another rule holds from now on.
    pub(super) fn judge_by(&mut self, uid: &WorkloadUid, rule: ExistingRule) {
        if let Some(kept) = self.kept.get_mut(uid) {
            kept.existing.rule = rule;
            self.judge_existing(uid);
        }
    }

    /// Looks at every pod that has some, if it is time.
    pub(super) fn judge_all_existing(&mut self) {
        if self.existing_due.is_none_or(|due| due > self.now) {
            return;
        }
        let some = self.kept.iter().filter(|(_, kept)| kept.existing.goes_on());
        let some: Vec<_> = some.map(|(uid, _)| uid.clone()).collect();
        self.existing_due = if some.is_empty() { None } else { Some(self.now + EVERY) };
        for uid in some {
            self.judge_existing(&uid);
        }
    }

    pub(super) fn judge_existing(&mut self, uid: &WorkloadUid) {
        let Some(kept) = self.kept.get_mut(uid) else { return };
        if kept.existing.looking != Looking::No {
            kept.existing.looking = Looking::Again;
            return;
        }
        kept.existing.looking = Looking::Yes;
        let (enroller, uid) = (self.parts.enroller.clone(), uid.clone());
        let (key, netns) = (kept.key.clone(), kept.netns.clone());
        let (seen, rule) = (kept.existing.seen.clone(), kept.existing.rule.clone());
        self.jobs.spawn_blocking(move || {
            let judge = || enroller.judge_existing(&key, &netns, &seen, &rule).map_err(|error| chain(&error));
            let judged = guarded(judge);
            Done::Existing(uid, netns.cookie, judged)
        });
    }

    pub(super) fn existing_judged(
        &mut self,
        uid: &WorkloadUid,
        cookie: u64,
        result: Result<Vec<Connection>, String>,
    ) {
        // The pod may have left, and another of its name may have come.
        let Some(kept) = self.kept.get_mut(uid).filter(|kept| kept.netns.cookie == cookie) else { return };
        let again = std::mem::replace(&mut kept.existing.looking, Looking::No) == Looking::Again;
        kept.existing.failed = result.is_err();
        match result {
            Ok(seen) => kept.existing.seen = seen,
            Err(reason) => tracing::warn!(pod = %uid, reason, "older connections are not watched"),
        }
        if kept.existing.goes_on() && self.existing_due.is_none() {
            self.existing_due = Some(self.now + EVERY);
        }
        if again {
            self.judge_existing(uid);
        }
    }
}
