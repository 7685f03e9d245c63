//! A limit of requests at a time that finds itself, for who asks for it: as many as a backend takes without a queue.
//!
//! While requests take about as long as they do without load, the limit grows by a little more than nothing; when they take
//! longer they wait in a queue somewhere, and the limit shrinks in proportion (the gradient: time without a queue by time
//! now). A backend may become slower without a queue, so from time to time, while times are long, the limit goes down for a few
//! requests, and they show how long it takes now.

use crate::share::Share;
use std::time::{Duration, Instant};

/// How the limit behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adaptive {
    /// What it begins with.
    pub start: u32,
    /// It is never less: something has to go through for it to learn from.
    pub least: u32,
    /// It is never more.
    pub most: u32,
    /// Requests may take this much longer than without a queue before the limit shrinks.
    pub tolerance: Share,
    /// How often it is set anew. Long enough for several requests.
    pub interval: Duration,
    /// How often a few requests are to show how long it takes without a queue, if it takes long. They cost what the others
    /// might have got through meanwhile.
    pub probe_interval: Duration,
}

impl Default for Adaptive {
    /// What does well with backends of one to a thousand milliseconds.
    fn default() -> Self {
        let tolerance = Share::fraction(1, 2).unwrap_or(Share::ALL);
        let (interval, probe_interval) = (Duration::from_millis(100), Duration::from_secs(30));
        Self { start: 20, least: 4, most: 10_000, tolerance, interval, probe_interval }
    }
}

/// So many answers show how long it takes.
const PROBES: u32 = 10;
/// How much of the way to what the gradient says is gone at once. A step of all of it swings.
const STEP: f64 = 0.3;

/// The limit, and what it has learnt. Everything takes O(1).
#[derive(Debug)]
pub struct Limiter {
    words: Adaptive,
    limit: f64,
    in_flight: u32,
    /// The time without a queue, in seconds; zero before anything is known.
    unqueued: f64,
    /// Of this interval.
    seen: Seen,
    until: Instant,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Until the next probe.
    Steady(Instant),
    /// A few requests show how long it takes.
    Probing {
        /// No more at a time.
        most: u32,
        /// Those before are over since then.
        since: Option<Instant>,
        answers: u32,
        seconds: f64,
    },
}

#[derive(Debug, Default)]
struct Seen {
    answers: u32,
    seconds: f64,
    /// The most at a time: a limit that nobody reaches need not grow.
    in_flight_max: u32,
    dropped: bool,
}

/// How a request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was answered after so long.
    After(Duration),
    /// It was not, or the backend said that it has too much to do (503, 429): there is a queue, whatever times say.
    Dropped,
    /// It says nothing: the client went away.
    Unknown,
}

impl Limiter {
    /// Nothing learnt yet: the first answers show how long it takes.
    pub fn new(words: Adaptive, now: Instant) -> Self {
        let start = words.start.clamp(words.least, words.most);
        Self {
            words,
            limit: f64::from(start),
            in_flight: 0,
            unqueued: 0.0,
            seen: Seen::default(),
            until: now + words.interval,
            phase: Phase::Probing { most: start, since: Some(now), answers: 0, seconds: 0.0 },
        }
    }

    /// Requests that may be in flight.
    pub fn limit(&self) -> u32 {
        match self.phase {
            Phase::Steady(_) => self.limit as u32,
            Phase::Probing { most, .. } => most.min(self.limit as u32),
        }
    }

    /// Whether one more request may go. If so it has to end by [`Limiter::end`].
    pub fn begin(&mut self) -> bool {
        let may = self.in_flight < self.limit();
        if may {
            self.in_flight += 1;
            self.seen.in_flight_max = self.seen.in_flight_max.max(self.in_flight);
        }
        may
    }

    /// A request is over.
    pub fn end(&mut self, answer: Answer, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match answer {
            Answer::After(time) => {
                self.seen.answers += 1;
                self.seen.seconds += time.as_secs_f64();
                self.probe(time, now);
            }
            Answer::Dropped => self.seen.dropped = true,
            Answer::Unknown => {}
        }
        if now >= self.until {
            self.until = now + self.words.interval;
            let seen = std::mem::take(&mut self.seen);
            self.seen.in_flight_max = self.in_flight;
            self.learn(&seen, now);
        }
    }

    /// Takes in an answer, if it is one that shows how long it takes: to a request that began when all but a few were over.
    fn probe(&mut self, time: Duration, now: Instant) {
        let in_flight = self.in_flight;
        let Phase::Probing { most, since, answers, seconds } = &mut self.phase else { return };
        match *since {
            None if in_flight < *most => *since = Some(now),
            Some(since) if now.checked_sub(time).is_some_and(|begun| begun >= since) => {
                *answers += 1;
                *seconds += time.as_secs_f64();
            }
            None | Some(_) => {}
        }
        if *answers >= PROBES {
            self.unqueued = *seconds / f64::from(*answers);
            self.phase = Phase::Steady(now + self.words.probe_interval);
            // What was seen meanwhile is of another limit.
            self.seen = Seen { in_flight_max: in_flight, ..Seen::default() };
        }
    }

    fn learn(&mut self, seen: &Seen, now: Instant) {
        if seen.dropped {
            return self.go_towards(self.limit / 2.0);
        }
        let Phase::Steady(until) = self.phase else { return };
        if seen.answers == 0 {
            return;
        }
        let took = seen.seconds / f64::from(seen.answers);
        self.unqueued = self.unqueued.min(took);
        let tolerated = self.unqueued * (1.0 + f64::from(u32::from(self.words.tolerance)) / 1e6);
        // A backend that is as fast as it was has nothing to show.
        if now >= until && took > tolerated {
            self.phase = Phase::Probing { most: self.words.least, since: None, answers: 0, seconds: 0.0 };
            return;
        }
        let gradient = (tolerated / took.max(f64::EPSILON)).clamp(0.5, 1.0);
        // What is added lets it grow: the root is a queue so small that it costs less than it finds out.
        let wanted = self.limit * gradient + self.limit.sqrt();
        // What is not used says nothing about whether more would do.
        let is_used = f64::from(seen.in_flight_max) * 2.0 >= self.limit;
        if wanted < self.limit || is_used {
            self.go_towards(wanted);
        }
    }

    fn go_towards(&mut self, wanted: f64) {
        let limit = self.limit + (wanted - self.limit) * STEP;
        self.limit = limit.clamp(f64::from(self.words.least), f64::from(self.words.most));
    }
}

#[cfg(test)]
mod tests;
