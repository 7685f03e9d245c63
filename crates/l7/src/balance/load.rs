//! What one core knows of an endpoint's load, and what it costs to send one more request there.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// After so long without news an estimate counts a third (1/e): long enough to remember a slow endpoint over many
/// requests, short enough to ask it again within a minute.
const DECAY: Duration = Duration::from_secs(10);
/// What an endpoint costs that has been asked and has never answered: one second, as if it were slow. Without it every
/// request would go to whatever was added last.
const UNANSWERED: Duration = Duration::from_secs(1);
/// A failure counts as if it had taken so many times as long as answers do there, ...
const FAILURE_FACTOR: f64 = 10.0;
/// ...at least this and at most that. An endpoint that fails at once would be the fastest of all otherwise.
const FAILURE_SECONDS: (f64, f64) = (0.1, 10.0);

/// The load of an endpoint, as one core has brought it about. It outlives changes of the endpoint's weight and place.
#[derive(Debug)]
pub struct Load {
    in_flight: Cell<u32>,
    /// Seconds until an answer, and when that was so.
    latency: Cell<Option<(f64, Instant)>>,
    /// It is new since then.
    new_since: Cell<Option<Instant>>,
    ejected: Cell<bool>,
}

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// There was one.
    Fine,
    /// There was none, or one that says that the server failed.
    Failed,
}

impl Load {
    /// Nothing yet; for an endpoint that is new since `new_since`.
    pub fn new(new_since: Option<Instant>) -> Self {
        Self {
            in_flight: Cell::new(0),
            latency: Cell::new(None),
            new_since: Cell::new(new_since),
            ejected: Cell::new(false),
        }
    }

    /// Requests that this core has sent there and that are not over.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// For how long it has been new; `None` if it never was.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.new_since.get().map(|since| now.saturating_duration_since(since))
    }

    /// It is new from now on: it has been away.
    pub fn renew(&self, now: Instant) {
        self.new_since.set(Some(now));
        self.latency.set(None);
    }

    /// It is left alone for its failures.
    pub fn is_ejected(&self) -> bool {
        self.ejected.get()
    }

    pub(super) fn set_ejected(&self, ejected: bool) {
        self.ejected.set(ejected);
    }

    /// The estimate of its latency in seconds, `None` if nobody knows.
    pub fn latency(&self, now: Instant) -> Option<f64> {
        let (seconds, at) = self.latency.get()?;
        // An old estimate shrinks, or an endpoint that was slow once would never be asked again.
        Some(seconds * decayed(now.saturating_duration_since(at)))
    }

    /// Takes in how long an answer took. What is slower than the estimate counts at once and whole (the peak), what is
    /// faster counts the more the longer the last news is ago.
    pub fn observe(&self, took: Duration, answer: Answer, now: Instant) {
        let known = self.latency(now);
        let took = match answer {
            Answer::Fine => took.as_secs_f64(),
            Answer::Failed => {
                let (least, most) = FAILURE_SECONDS;
                let usual = known.unwrap_or_default() * FAILURE_FACTOR;
                took.as_secs_f64().max(usual.clamp(least, most))
            }
        };
        let estimate = match (self.latency.get(), known) {
            (Some((before, at)), Some(_)) if took < before => {
                let kept = decayed(now.saturating_duration_since(at));
                before * kept + took * (1.0 - kept)
            }
            _ => took,
        };
        self.latency.set(Some((estimate, now)));
    }

    /// What one more request costs by latency: the estimate, times what waits there already. `crowd` is what one
    /// request means to it: more than one for an endpoint that should get less than others.
    pub fn cost(&self, crowd: f64, now: Instant) -> f64 {
        let seconds = match self.latency(now) {
            Some(seconds) => seconds,
            None if self.in_flight() == 0 => 0.0,
            None => UNANSWERED.as_secs_f64(),
        };
        seconds * (1.0 + f64::from(self.in_flight()) * crowd)
    }
}

fn decayed(silence: Duration) -> f64 {
    (-silence.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

/// A request in flight: it counts until this is dropped.
#[must_use = "the request counts only while this lives"]
#[derive(Debug)]
pub struct InFlight {
    load: Rc<Load>,
    since: Instant,
}

impl InFlight {
    /// One more request.
    pub fn new(load: Rc<Load>, now: Instant) -> Self {
        load.in_flight.set(load.in_flight.get().saturating_add(1));
        Self { load, since: now }
    }

    /// The response's head is there, or there will be none. A request that its client gives up says nothing of the
    /// endpoint: for it this is not called.
    pub fn answered(&self, answer: Answer, now: Instant) {
        self.load.observe(now.saturating_duration_since(self.since), answer, now);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.in_flight.set(self.load.in_flight.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn peaks_count_at_once_and_what_is_faster_by_and_by() {
        let (load, start) = (Load::new(None), Instant::now());
        let near = |got: Option<f64>, want: f64, case: &str| {
            assert!(got.is_some_and(|got| (got - want).abs() < want * 0.01), "{case}: {got:?}, not {want}");
        };
        load.observe(MILLIS(10), Answer::Fine, start);
        near(load.latency(start), 0.010, "the first");
        load.observe(MILLIS(100), Answer::Fine, start);
        near(load.latency(start), 0.100, "a peak");
        load.observe(MILLIS(10), Answer::Fine, start);
        near(load.latency(start), 0.100, "no time has passed");
        let later = start + DECAY;
        load.observe(MILLIS(10), Answer::Fine, later);
        near(load.latency(later), 0.100 * 0.3679 + 0.010 * 0.6321, "a third of the old, the rest is new");
        near(load.latency(later + DECAY), 0.0431 * 0.3679, "silence");
    }

    #[test]
    fn failures_are_slow() {
        let (load, now) = (Load::new(None), Instant::now());
        let seen: Vec<u64> = (0..4)
            .map(|_| {
                load.observe(MILLIS(1), Answer::Failed, now);
                (load.latency(now).unwrap_or_default() * 1e3).round() as u64
            })
            .collect();
        assert_eq!(seen, [100, 1000, 10_000, 10_000]);
    }

    #[test]
    fn cost() {
        let now = Instant::now();
        let load = Rc::new(Load::new(None));
        assert_eq!(load.cost(1.0, now), 0.0, "nobody has asked it");
        let first = InFlight::new(load.clone(), now);
        assert_eq!(load.cost(1.0, now), 2.0, "it has not answered");
        first.answered(Answer::Fine, now + MILLIS(500));
        assert_eq!(load.cost(1.0, now + MILLIS(500)), 1.0, "half a second, and one in flight");
        assert_eq!(load.cost(3.0, now + MILLIS(500)), 2.0, "of which it should have a third");
        drop(first);
        assert_eq!(load.cost(1.0, now + MILLIS(500)), 0.5);
        assert_eq!(load.in_flight(), 0);
    }
}
