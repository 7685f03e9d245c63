//! Who is left alone for their failures, for all workers together. Each worker counts what it sees, and brings its own
//! balance up to date when something has changed; the lock is for moments of change alone.

use crate::knowledge::Edition;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use weft_core::names::WorkloadUid;
use weft_l7::destination::Outlier;
use weft_l7::outlier::{Change, Fare, Outcome, State, Watch};

/// Who is left alone of one target's endpoints.
#[derive(Debug)]
pub(crate) struct Outliers {
    words: Outlier,
    watch: Mutex<Watching>,
    /// How often somebody was left alone or came back: who has seen as many needs no lock.
    changes: AtomicU64,
}

#[derive(Debug)]
struct Watching {
    watch: Watch,
    /// What the list of endpoints is of.
    edition: Edition,
}

/// Who is left alone, as one look has found it.
#[derive(Debug, Default)]
pub(crate) struct Ejected {
    /// So many changes have led to it.
    pub(crate) changes: u64,
    /// They are.
    pub(crate) endpoints: HashSet<WorkloadUid>,
}

impl Outliers {
    /// Nobody yet.
    pub(crate) fn new(words: Outlier, now: Instant) -> Self {
        let watch = Watch::new(words.clone(), now);
        let watch = Mutex::new(Watching { watch, edition: Edition::default() });
        Self { words, watch, changes: AtomicU64::new(0) }
    }

    /// What it goes by.
    pub(crate) fn words(&self) -> &Outlier {
        &self.words
    }

    /// These are the endpoints, and whether discovery has them as healthy; unless another worker knows something newer. Gives
    /// how each of them fares.
    pub(crate) fn update(
        &self,
        edition: Edition,
        endpoints: impl IntoIterator<Item = (WorkloadUid, bool)>,
    ) -> HashMap<WorkloadUid, Arc<Fare>> {
        let mut watching = self.lock();
        let endpoints: Vec<_> = endpoints.into_iter().collect();
        let ids: Vec<WorkloadUid> = endpoints.iter().map(|(id, _)| id.clone()).collect();
        if watching.edition <= edition {
            watching.edition = edition;
            let before = watching.watch.ejected().count();
            watching.watch.update(endpoints);
            // Nobody is left alone by this, but somebody may be gone who was: another of its name begins anew.
            if watching.watch.ejected().count() != before {
                self.changes.fetch_add(1, Ordering::Release);
            }
        }
        let fare = |id: WorkloadUid| {
            let fare = watching.watch.fare(&id)?.clone();
            Some((id, fare))
        };
        ids.into_iter().filter_map(fare).collect()
    }

    /// Takes in how a request went.
    pub(crate) fn heard(&self, endpoint: &WorkloadUid, fare: &Fare, outcome: Outcome, now: Instant) {
        if let Some(cause) = fare.take_in(outcome, &self.words) {
            let change = self.lock().watch.eject(endpoint, cause, now);
            self.changed(change.as_slice());
        }
    }

    /// Who comes back, and who is left alone for its shares, once in an interval, whichever worker comes first. Gives when to
    /// come again.
    pub(crate) fn look(&self, now: Instant) -> Instant {
        let mut watching = self.lock();
        let changes = watching.watch.tick(now);
        let next = watching.watch.next_look();
        drop(watching);
        self.changed(&changes);
        next
    }

    /// How often something has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Who is left alone.
    pub(crate) fn ejected(&self) -> Ejected {
        // What changes meanwhile is found the next time.
        let changes = self.changes();
        Ejected { changes, endpoints: self.lock().watch.ejected().cloned().collect() }
    }

    fn changed(&self, changes: &[Change]) {
        for Change { endpoint, now } in changes {
            match now {
                State::Ejected(cause, time) => {
                    tracing::info!(%endpoint, ?cause, ?time, "an endpoint is left alone");
                }
                State::Back => tracing::info!(%endpoint, "an endpoint is asked again"),
            }
        }
        if !changes.is_empty() {
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watching> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knowledge::Moment;
    use std::time::Duration;
    use weft_l7::share::Share;

    fn words() -> Outlier {
        let second = Duration::from_secs(1);
        Outlier {
            consecutive_5xx: Some(2),
            consecutive_gateway: None,
            consecutive_local: None,
            success_rate: None,
            failure_share: None,
            interval: second,
            base: second,
            max: second,
            ejected_max: Share::ALL,
            healthy_min: Share::NONE,
        }
    }

    fn id(name: &str) -> WorkloadUid {
        WorkloadUid::new(name)
    }

    fn names(outliers: &Outliers) -> Vec<String> {
        let mut names: Vec<_> = outliers.ejected().endpoints.iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn workers_of_two_editions() {
        let now = Instant::now();
        let outliers = Outliers::new(words(), now);
        let update = |edition: u64, names: &[&str]| {
            let list: Vec<_> = names.iter().map(|name| (id(name), true)).collect();
            let mut moment = Moment::default();
            moment.set_names_edition(edition);
            outliers.update(moment.edition(), list)
        };
        let fails = |fare: &Arc<Fare>, name: &str| outliers.heard(&id(name), fare, Outcome::Status(500), now);
        let (first, second) = (update(1, &["a", "b"]), update(1, &["a", "b"]));
        fails(&first[&id("a")], "a");
        assert_eq!((outliers.changes(), names(&outliers)), (0, vec![]));
        fails(&second[&id("a")], "a");
        assert_eq!(
            (outliers.changes(), names(&outliers)),
            (1, vec!["a".to_owned()]),
            "one each of two workers"
        );
        // The first has heard of another list, the second has not.
        let newer = update(2, &["b", "c"]);
        assert_eq!((newer.len(), outliers.changes(), names(&outliers)), (2, 2, vec![]), "a is gone");
        let late = update(1, &["a", "b"]);
        assert_eq!(late.keys().collect::<Vec<_>>(), [&id("b")], "nobody goes by what is old");
        fails(&late[&id("b")], "b");
        fails(&newer[&id("b")], "b");
        assert_eq!(names(&outliers), ["b"]);
        assert_eq!(outliers.look(now + Duration::from_secs(1)), now + Duration::from_secs(2));
        assert_eq!((outliers.changes(), names(&outliers)), (4, vec![]), "it is back");
    }
}
