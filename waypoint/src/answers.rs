//! What is known of a name of DNS, and when it is looked up again: an answer counts for as long as it says, within bounds,
//! and after a failure what was known stays.

use crate::lookup::{Found, LookupError};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// An answer counts so long at least, whatever it says: a server is not asked all the time.
const TTL_MIN: Duration = Duration::from_secs(5);
/// And so long at most: a server that is away a day after it has said so is not to be noticed then.
const TTL_MAX: Duration = Duration::from_secs(300);
/// That a name stands for nothing counts so long at most: it may be made any moment, and who asks for it waits (RFC 2308 §5).
const NOTHING_TTL_MAX: Duration = Duration::from_secs(30);
/// After a failure the name is looked up again, later each time.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// Addresses of a name. More are no endpoints that somebody counts on.
const ADDRESSES_MAX: usize = 64;

/// What is known of a name.
#[derive(Debug)]
pub(crate) struct Known {
    addresses: Vec<IpAddr>,
    due: Option<Instant>,
    failures: u32,
}

/// Whether an answer says something else than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It does.
    Anew,
    /// It does not.
    AsBefore,
}

impl Known {
    /// Nothing, and it is due at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self { addresses: Vec::new(), due: Some(now), failures: 0 }
    }

    /// Its addresses, as the last answer has them, in their order.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// When it is looked up again; `None` while it is.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// It is looked up now.
    pub(crate) fn begin(&mut self) {
        self.due = None;
    }

    /// Takes in what came of it.
    ///
    /// # Errors
    /// The same as there; what was known stays.
    pub(crate) fn heard(
        &mut self,
        result: Result<Found, LookupError>,
        now: Instant,
    ) -> Result<Answered, LookupError> {
        let Found { mut addresses, ttl } = match result {
            Ok(found) => found,
            Err(error) => {
                let wait = AGAIN_MIN.saturating_mul(1 << self.failures.min(16)).min(AGAIN_MAX);
                self.due = Some(now + wait);
                self.failures = self.failures.saturating_add(1);
                return Err(error);
            }
        };
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        let most = if addresses.is_empty() { NOTHING_TTL_MAX } else { TTL_MAX };
        (self.due, self.failures) = (Some(now + ttl.clamp(TTL_MIN, most)), 0);
        if addresses == self.addresses {
            return Ok(Answered::AsBefore);
        }
        self.addresses = addresses;
        Ok(Answered::Anew)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(last: &[u8], seconds: u64) -> Result<Found, LookupError> {
        let addresses = last.iter().map(|last| IpAddr::from([192, 0, 2, *last])).collect();
        Ok(Found { addresses, ttl: Duration::from_secs(seconds) })
    }

    fn due_in(known: &Known, now: Instant) -> u64 {
        known.due().expect("it is not being looked up").duration_since(now).as_secs()
    }

    #[test]
    fn an_answer_counts_for_as_long_as_it_says_within_bounds() {
        let now = Instant::now();
        for (case, answer, want) in [
            ("a while", found(&[1], 60), 60),
            ("no time at all", found(&[1], 0), 5),
            ("a day", found(&[1], 86_400), 300),
            ("nothing", found(&[], u64::from(u32::MAX)), 30),
            ("nothing, for a moment", found(&[], 1), 5),
        ] {
            let mut known = Known::new(now);
            assert_eq!(due_in(&known, now), 0, "{case}");
            known.begin();
            assert_eq!(known.due(), None, "{case}");
            known.heard(answer, now).expect(case);
            assert_eq!(due_in(&known, now), want, "{case}");
        }
    }

    #[test]
    fn after_a_failure_what_was_known_stays_and_is_asked_for_later_each_time() {
        let now = Instant::now();
        let mut known = Known::new(now);
        assert_eq!(known.heard(found(&[2, 1, 2], 60), now).expect("an answer"), Answered::Anew);
        assert_eq!(known.heard(found(&[1, 2], 60), now).expect("an answer"), Answered::AsBefore);
        let waits: Vec<u64> = (0..7)
            .map(|_| {
                known.heard(Err(LookupError::NoServer), now).expect_err("no answer");
                due_in(&known, now)
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(known.addresses().len(), 2, "what was known stays");
        assert_eq!(known.heard(found(&[], 60), now).expect("an answer"), Answered::Anew);
        known.heard(Err(LookupError::NoServer), now).expect_err("no answer");
        assert_eq!((due_in(&known, now), known.addresses().len()), (1, 0), "it begins anew");
    }
}
