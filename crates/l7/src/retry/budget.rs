//! How many tries beyond the first a backend gets: what keeps a failing backend from getting twice the load. One budget is
//! for all cores.

use super::Stop;
use crate::limit::{Permit, Room};
use crate::resilience::RetryBudget;
use crate::share::Share;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Parts of an interval that are counted by themselves: what is older than the interval is forgotten to a tenth.
const PARTS: usize = 10;
/// No part is shorter: for two cores the same moment is not the same to the microsecond.
const PART_MIN: Duration = Duration::from_millis(1);

/// A budget, and what has been spent of it. Everything takes O(1).
#[derive(Debug)]
pub struct Budget {
    words: RetryBudget,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Rate(Box<Rate>),
    AtATime { share: Share, always: u32, requests: Option<Window> },
}

/// So many within a time.
#[derive(Debug)]
struct Rate {
    share: Share,
    always: u32,
    requests: Window,
    tries: Mutex<Tries>,
}

/// Tries that there was room for.
#[derive(Debug)]
struct Tries {
    all: Window,
    /// The same, as they count against what is always allowed.
    always: Window,
}

impl Budget {
    /// Nothing spent.
    pub fn new(words: RetryBudget, now: Instant) -> Self {
        let kind = match words {
            RetryBudget::Rate { share, interval, always, always_interval } => {
                let tries =
                    Tries { all: Window::new(interval, now), always: Window::new(always_interval, now) };
                let requests = Window::new(interval, now);
                Kind::Rate(Box::new(Rate { share, always, requests, tries: Mutex::new(tries) }))
            }
            RetryBudget::AtATime { share, always, interval } => {
                let requests = interval.map(|interval| Window::new(interval, now));
                Kind::AtATime { share, always, requests }
            }
        };
        Self { words, kind }
    }

    /// What it goes by.
    pub fn words(&self) -> &RetryBudget {
        &self.words
    }

    /// A request comes, for the first time. Locks nothing.
    pub fn request(&self, now: Instant) {
        match &self.kind {
            Kind::Rate(rate) => rate.requests.add(now),
            Kind::AtATime { requests: Some(requests), .. } => requests.add(now),
            Kind::AtATime { requests: None, .. } => {}
        }
    }

    fn take(&self, room: &Room, now: Instant) -> Result<Permit, Stop> {
        match &self.kind {
            Kind::Rate(rate) => {
                let permit = room.retry().map_err(|_| Stop::TooMany)?;
                rate.take(now).map(|()| permit)
            }
            Kind::AtATime { share, always, requests } => {
                let there_are = u64::from(room.requests());
                let lately = requests.as_ref().map_or(0, |requests| requests.count(now));
                let share = u32::try_from(share.of(there_are.max(lately))).unwrap_or(u32::MAX);
                room.retry_of(share.max(*always)).map_err(|_| Stop::Budget)
            }
        }
    }
}

/// Takes room for a try, as the budget says, or where there is none as the limits do.
///
/// # Errors
/// [`Stop::Budget`] or [`Stop::TooMany`] if there is none.
pub fn take(budget: Option<&Budget>, room: &Room, now: Instant) -> Result<Permit, Stop> {
    match budget {
        Some(budget) => budget.take(room, now),
        None => room.retry().map_err(|_| Stop::TooMany),
    }
}

impl Rate {
    /// As long as the tries, with this one, are no more than their share of all requests, tries included, within the
    /// interval; or fewer than are always allowed within theirs.
    fn take(&self, now: Instant) -> Result<(), Stop> {
        // Two cores must not both take what is left.
        let tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tries.all.count(now) + 1;
        let all = self.requests.count(now) + count;
        let within_share = count <= self.share.of(all);
        if !within_share && tries.always.count(now) >= u64::from(self.always) {
            return Err(Stop::Budget);
        }
        tries.all.add(now);
        tries.always.add(now);
        Ok(())
    }
}

/// How often something happened within the last interval, on all cores.
#[derive(Debug)]
struct Window {
    start: Instant,
    /// Of one part.
    width: Duration,
    /// Of each part its number since the start and how often, in one word each, so that nobody sees half of a change.
    parts: [AtomicU64; PARTS],
}

impl Window {
    fn new(interval: Duration, now: Instant) -> Self {
        let width = (interval / PARTS as u32).max(PART_MIN);
        Self { start: now, width, parts: Default::default() }
    }

    fn add(&self, now: Instant) {
        let part = self.part(now);
        let place = &self.parts[part as usize % PARTS];
        let more = |word: u64| {
            let (of, count) = unpack(word);
            // A core that is late adds to what it finds.
            let count = if of == part || is_later(of, part) { count.saturating_add(1) } else { 1 };
            Some(pack(if is_later(of, part) { of } else { part }, count))
        };
        // It is never `None`, so it does not fail.
        let _ = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn count(&self, now: Instant) -> u64 {
        let part = self.part(now);
        let counts = |(of, count): (u32, u32)| {
            let within = part.wrapping_sub(of) < PARTS as u32 || is_later(of, part);
            if within { u64::from(count) } else { 0 }
        };
        self.parts.iter().map(|word| counts(unpack(word.load(Ordering::Relaxed)))).sum()
    }

    /// The number of the part that is now. After 49 days or more they begin anew.
    fn part(&self, now: Instant) -> u32 {
        (now.saturating_duration_since(self.start).as_nanos() / self.width.as_nanos()) as u32
    }
}

fn pack(part: u32, count: u32) -> u64 {
    u64::from(part) << 32 | u64::from(count)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Whether a part is later than another, of those that are near each other.
fn is_later(part: u32, than: u32) -> bool {
    part != than && part.wrapping_sub(than) <= u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::Limits;
    use std::sync::Arc;

    fn share(percent: u32) -> Share {
        Share::fraction(percent, 100).expect("a part")
    }

    fn rate(percent: u32, always: u32, now: Instant) -> Budget {
        let (interval, always_interval) = (Duration::from_secs(10), Duration::from_secs(1));
        Budget::new(RetryBudget::Rate { share: share(percent), interval, always, always_interval }, now)
    }

    fn room(retries: Option<u32>) -> Room {
        Room::new(&Limits { retries, ..Limits::default() }, Arc::default())
    }

    /// How many tries there is room for, of a hundred that go on one beside the other.
    fn tries(budget: &Budget, room: &Room, now: Instant) -> usize {
        let all: Vec<_> = (0..100).map(|_| take(Some(budget), room, now)).collect();
        all.iter().filter(|one| one.is_ok()).count()
    }

    #[test]
    fn how_many_tries_within_a_time() {
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
            let budget = rate(percent, always, now);
            (0..requests).for_each(|_| budget.request(now));
            let got = tries(&budget, &room(None), now);
            assert_eq!(got, want, "{percent} %, {always} always, {requests} requests");
        }
    }

    #[test]
    fn what_is_past_is_forgotten() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let one = rate(20, 0, now);
        (0..40).for_each(|_| one.request(now));
        let tries = |budget: &Budget, millis| tries(budget, &room(None), after(millis));
        assert_eq!(tries(&one, 9_000), 10, "still within the interval");
        assert_eq!(tries(&one, 9_500), 0, "they are spent");
        assert_eq!(tries(&one, 10_000), 0, "the requests are forgotten first");
        let always = rate(0, 5, now);
        assert_eq!([tries(&always, 0), tries(&always, 900)], [5, 0]);
        assert_eq!(tries(&always, 1_000), 5, "another second");
        assert_eq!(tries(&always, 60_000), 5, "much later");
    }

    #[test]
    fn how_many_tries_at_a_time() {
        for (case, percent, always, requests, limit, want) in [
            ("nothing goes on: what is always allowed", 20, 3, 0, None, 3),
            ("as few: the same", 20, 3, 10, None, 3),
            ("a fifth of what goes on", 20, 3, 100, None, 20),
            ("rounded down", 25, 0, 7, None, 1),
            ("none at all", 0, 0, 100, None, 0),
            ("all of it", 100, 0, 50, None, 50),
            ("the limit of the pool does not count beside it", 20, 3, 100, Some(1), 20),
        ] {
            let now = Instant::now();
            let budget =
                Budget::new(RetryBudget::AtATime { share: share(percent), always, interval: None }, now);
            let room = room(limit);
            let requests: Vec<_> = (0..requests).map(|_| room.request()).collect();
            assert_eq!(tries(&budget, &room, now), want, "{case}");
            assert_eq!(tries(&budget, &room, now), want, "{case}, once more: those before are over");
            drop(requests);
            assert_eq!(tries(&budget, &room, now), always as usize, "{case}, and nothing goes on any more");
        }
    }

    #[test]
    fn the_share_may_be_of_what_came_lately() {
        let now = Instant::now();
        let interval = Some(Duration::from_secs(10));
        let budget = Budget::new(RetryBudget::AtATime { share: share(20), always: 1, interval }, now);
        let room = room(None);
        (0..50).for_each(|_| budget.request(now));
        for (seconds, want) in [(0, 10), (9, 10), (10, 1), (3_600, 1)] {
            assert_eq!(tries(&budget, &room, now + Duration::from_secs(seconds)), want, "{seconds} s");
        }
        let _going_on: Vec<_> = (0..100).map(|_| room.request()).collect();
        assert_eq!(tries(&budget, &room, now), 20, "there are more now than came");
    }

    #[test]
    fn cores_share_it() {
        let now = Instant::now();
        let budget = rate(20, 0, now);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| budget.request(now)));
            }
        });
        let taken = Arc::default();
        let room = || Room::new(&Limits::default(), Arc::clone(&taken));
        let got = std::thread::scope(|scope| {
            let cores: Vec<_> = (0..4).map(|_| scope.spawn(|| tries(&budget, &room(), now))).collect();
            cores.into_iter().map(|core| core.join().expect("it counts")).sum::<usize>()
        });
        assert_eq!(got, 100, "a fifth of five hundred, tries included");
    }

    #[test]
    fn without_a_budget_the_limit_counts() {
        let room = room(Some(2));
        let all: Vec<_> = (0..3).map(|_| take(None, &room, Instant::now())).collect();
        assert!(all[0].is_ok() && all[1].is_ok());
        assert_eq!(all[2].as_ref().err(), Some(&Stop::TooMany));
    }
}
