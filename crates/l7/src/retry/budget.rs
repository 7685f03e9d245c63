//! Which part of a backend's requests may be tries: what keeps a failing backend from getting twice the load.

use super::Stop;
use crate::resilience::RetryBudget;
use std::time::{Duration, Instant};

/// Parts of an interval that are counted by themselves: what is older than the interval is forgotten to a tenth.
const PARTS: usize = 10;

/// A budget, and what has been spent of it. Everything takes O(1).
#[derive(Debug)]
pub struct Budget {
    words: RetryBudget,
    requests: Window,
    tries: Window,
    /// Those that count against what is always allowed.
    tries_always: Window,
}

impl Budget {
    /// Nothing spent.
    pub fn new(words: RetryBudget, now: Instant) -> Self {
        Self {
            words,
            requests: Window::new(words.interval, now),
            tries: Window::new(words.interval, now),
            tries_always: Window::new(words.always_interval, now),
        }
    }

    /// A request comes, for the first time.
    pub fn request(&mut self, now: Instant) {
        self.requests.add(now);
    }

    /// Takes room for a try: as long as the tries, with this one, are no more than their share of all requests, tries
    /// included, within the interval; or fewer than are always allowed within theirs.
    ///
    /// # Errors
    /// [`Stop::Budget`] if there is none.
    pub fn take(&mut self, now: Instant) -> Result<(), Stop> {
        let tries = self.tries.count(now) + 1;
        let all = self.requests.count(now) + tries;
        let within_share = tries * 1_000_000 <= all * u64::from(u32::from(self.words.share));
        if !within_share && self.tries_always.count(now) >= u64::from(self.words.always) {
            return Err(Stop::Budget);
        }
        self.tries.add(now);
        self.tries_always.add(now);
        Ok(())
    }
}

/// How often something happened within the last interval.
#[derive(Debug)]
struct Window {
    start: Instant,
    /// Of one part; never zero.
    width: Duration,
    counts: [u64; PARTS],
    /// The part that is now, since the start.
    part: u128,
}

impl Window {
    fn new(interval: Duration, now: Instant) -> Self {
        let width = (interval / PARTS as u32).max(Duration::from_nanos(1));
        Self { start: now, width, counts: [0; PARTS], part: 0 }
    }

    fn add(&mut self, now: Instant) {
        self.forget(now);
        self.counts[(self.part % PARTS as u128) as usize] += 1;
    }

    fn count(&mut self, now: Instant) -> u64 {
        self.forget(now);
        self.counts.iter().sum()
    }

    /// Empties the parts between the last look and now.
    fn forget(&mut self, now: Instant) {
        let part = now.saturating_duration_since(self.start).as_nanos() / self.width.as_nanos();
        let passed = part.saturating_sub(self.part).min(PARTS as u128);
        for one in 1..=passed {
            self.counts[((self.part + one) % PARTS as u128) as usize] = 0;
        }
        if passed == PARTS as u128 {
            self.counts = [0; PARTS];
        }
        self.part = self.part.max(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Share;

    fn budget(percent: u32, always: u32, now: Instant) -> Budget {
        let share = Share::fraction(percent, 100).expect("a part");
        let (interval, always_interval) = (Duration::from_secs(10), Duration::from_secs(1));
        Budget::new(RetryBudget { share, interval, always, always_interval }, now)
    }

    /// How many tries there is room for, of a hundred.
    fn room(budget: &mut Budget, now: Instant) -> usize {
        (0..100).filter(|_| budget.take(now).is_ok()).count()
    }

    #[test]
    fn how_many_tries() {
        for (percent, always, requests, want) in [
            (20, 0, 0, 0),
            (20, 10, 0, 10),
            (20, 0, 40, 10),
            (20, 10, 40, 10),
            (20, 10, 100, 25),
            (0, 3, 1000, 3),
            (50, 0, 30, 30),
            (100, 0, 0, 100),
        ] {
            let now = Instant::now();
            let mut budget = budget(percent, always, now);
            (0..requests).for_each(|_| budget.request(now));
            assert_eq!(room(&mut budget, now), want, "{percent} %, {always} always, {requests} requests");
        }
    }

    #[test]
    fn what_is_past_is_forgotten() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let mut one = budget(20, 0, now);
        (0..40).for_each(|_| one.request(now));
        assert_eq!(room(&mut one, after(9_000)), 10, "still within the interval");
        assert_eq!(room(&mut one, after(9_500)), 0, "they are spent");
        assert_eq!(room(&mut one, after(10_000)), 0, "the requests are forgotten first");
        let mut always = budget(0, 5, now);
        assert_eq!([room(&mut always, after(0)), room(&mut always, after(900))], [5, 0]);
        assert_eq!(room(&mut always, after(1_000)), 5, "another second");
        assert_eq!(room(&mut always, after(60_000)), 5, "much later");
    }
}
