//! How requests to one endpoint go, on all cores together. Who counts locks nothing, and a success writes nothing unless
//! there is a row of failures to end, or shares are looked at.

use super::{Cause, Outcome};
use crate::destination::Outlier;
use std::sync::atomic::{AtomicU32, Ordering};

/// How an endpoint fares.
#[derive(Debug, Default)]
pub struct Fare {
    errors_5xx: AtomicU32,
    errors_gateway: AtomicU32,
    errors_local: AtomicU32,
    /// Since the last look, and only where somebody looks at shares.
    successes: AtomicU32,
    failures: AtomicU32,
}

impl Fare {
    /// Counts a result, on whichever core; the cause, if a row of failures is long enough by now. Of several cores that
    /// find it so at once only one will eject ([`super::Watch::eject`]).
    pub fn take_in(&self, outcome: Outcome, words: &Outlier) -> Option<Cause> {
        if words.success_rate.is_some() || words.failure_share.is_some() {
            let failed = match outcome {
                Outcome::Local => true,
                Outcome::Status(status) => status >= 500,
            };
            let count = if failed { &self.failures } else { &self.successes };
            count.fetch_add(1, Ordering::Relaxed);
        }
        // Where failures of connections have a count of their own, they are nothing that the server said.
        let apart = words.consecutive_local.is_some();
        let [server, gateway, local] = match outcome {
            Outcome::Status(502..=504) => [Row::Longer, Row::Longer, Row::Ends],
            Outcome::Status(status) if status >= 500 => [Row::Longer, Row::Ends, Row::Ends],
            Outcome::Status(_) => [Row::Ends, Row::Ends, Row::Ends],
            Outcome::Local if apart => [Row::Stays, Row::Stays, Row::Longer],
            Outcome::Local => [Row::Longer, Row::Longer, Row::Stays],
        };
        let server = server.apply(&self.errors_5xx);
        let gateway = gateway.apply(&self.errors_gateway);
        let local = local.apply(&self.errors_local);
        let is_long = |row: Option<u32>, limit: Option<u32>| {
            row.zip(limit).is_some_and(|(row, limit)| limit > 0 && row >= limit)
        };
        [
            (is_long(gateway, words.consecutive_gateway), Cause::ConsecutiveGateway),
            (is_long(server, words.consecutive_5xx), Cause::Consecutive5xx),
            (is_long(local, words.consecutive_local), Cause::ConsecutiveLocal),
        ]
        .into_iter()
        .find_map(|(is, cause)| is.then_some(cause))
    }

    pub(super) fn forget_rows(&self) {
        for row in [&self.errors_5xx, &self.errors_gateway, &self.errors_local] {
            row.store(0, Ordering::Relaxed);
        }
    }

    /// Successes and failures since the last look; from here on they are counted anew.
    pub(super) fn take_counts(&self) -> (u32, u32) {
        (self.successes.swap(0, Ordering::Relaxed), self.failures.swap(0, Ordering::Relaxed))
    }
}

/// What a result does to a row of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Longer,
    Ends,
    Stays,
}

impl Row {
    /// How long the row is, if this has made it longer.
    fn apply(self, count: &AtomicU32) -> Option<u32> {
        match self {
            Self::Longer => Some(count.fetch_add(1, Ordering::Relaxed).saturating_add(1)),
            Self::Ends => {
                // What is written is taken from every other core, so only what changes is.
                if count.load(Ordering::Relaxed) != 0 {
                    count.store(0, Ordering::Relaxed);
                }
                None
            }
            Self::Stays => None,
        }
    }
}
