//! The limiter against a queue: a backend that works on some requests at a time, and lets the others wait.

use super::*;
use std::collections::VecDeque;

/// A backend of so many workers, each of which takes so long.
struct Backend {
    workers: u32,
    millis: u64,
    /// It answers with 503 beyond so many.
    most: usize,
}

/// What came of a run.
#[derive(Debug)]
struct Run {
    limit: u32,
    /// Of the second half, in a second.
    answered: u64,
    /// The mean of the second half, in milliseconds.
    took: f64,
}

/// So many requests come in a millisecond, for a minute.
fn run(backend: &Backend, per_milli: f64, words: Adaptive) -> Run {
    let start = Instant::now();
    let at = |milli: u64| start + Duration::from_millis(milli);
    let mut limiter = Limiter::new(words, start);
    let mut waiting: VecDeque<u64> = VecDeque::new();
    let mut working: Vec<(u64, u64)> = Vec::new();
    let (mut due, mut answered, mut took) = (0.0, 0, 0);
    for milli in 0..60_000 {
        working.retain(|(begun, ends)| {
            if *ends == milli {
                limiter.end(Answer::After(Duration::from_millis(milli - begun)), at(milli));
                if milli >= 30_000 {
                    (answered, took) = (answered + 1, took + milli - begun);
                }
            }
            *ends > milli
        });
        due += per_milli;
        while due >= 1.0 {
            due -= 1.0;
            if limiter.begin() {
                if waiting.len() >= backend.most {
                    limiter.end(Answer::Dropped, at(milli));
                } else {
                    waiting.push_back(milli);
                }
            }
        }
        while working.len() < backend.workers as usize {
            let Some(begun) = waiting.pop_front() else { break };
            working.push((begun, milli + backend.millis));
        }
    }
    Run { limit: limiter.limit(), answered: answered / 30, took: took as f64 / answered.max(1) as f64 }
}

#[test]
fn as_many_as_the_backend_takes_without_a_queue() {
    for (workers, millis) in [(10, 20), (50, 10), (8, 100), (200, 50)] {
        let backend = Backend { workers, millis, most: usize::MAX };
        let capacity = f64::from(workers) / millis as f64;
        let run = run(&backend, capacity * 3.0, Adaptive::default());
        let case = format!("{workers} workers of {millis} ms: {run:?}");
        assert!(run.answered as f64 >= capacity * 1000.0 * 0.95, "it is used: {case}");
        assert!(run.took <= millis as f64 * 2.5, "and does not queue: {case}");
    }
}

#[test]
fn load_that_there_is_room_for_is_not_touched() {
    let backend = Backend { workers: 50, millis: 20, most: usize::MAX };
    let run = run(&backend, 1.0, Adaptive::default());
    assert!(run.answered >= 999 && run.took < 20.5, "{run:?}");
    assert!(run.limit < 200, "a limit that nobody reaches does not grow: {run:?}");
}

#[test]
fn a_backend_that_says_that_it_is_too_much_gets_less() {
    let backend = Backend { workers: 4, millis: 20, most: 4 };
    let run = run(&backend, 2.0, Adaptive { tolerance: Share::ALL, ..Adaptive::default() });
    assert!(run.limit <= 16 && run.answered >= 150, "{run:?}");
}

#[test]
fn it_follows_a_backend_that_becomes_slower_and_stays_within_its_bounds() {
    let start = Instant::now();
    let probe_interval = Duration::from_secs(60);
    let words = Adaptive { start: 10, least: 5, most: 40, probe_interval, ..Adaptive::default() };
    let mut limiter = Limiter::new(words, start);
    let mut now = start;
    // Always as many as it lets through, none of which wait for the others.
    let mut rounds = |limiter: &mut Limiter, millis: u64, count: usize, answer: Option<Answer>| {
        for _ in 0..count {
            let begun = (0..).take_while(|_| limiter.begin()).count();
            now += Duration::from_millis(millis);
            for _ in 0..begun {
                limiter.end(answer.unwrap_or(Answer::After(Duration::from_millis(millis))), now);
            }
        }
        limiter.limit()
    };
    assert_eq!(rounds(&mut limiter, 100, 100, None), 40, "it grows to its most");
    let slower = rounds(&mut limiter, 300, 10, None);
    assert!(slower < 20, "three times as slow looks like a queue: {slower}");
    assert_eq!(rounds(&mut limiter, 300, 400, None), 40, "but is none, as a probe shows");
    assert_eq!(rounds(&mut limiter, 300, 100, Some(Answer::Dropped)), 5, "its least");
    assert_eq!(rounds(&mut limiter, 300, 10, Some(Answer::Unknown)), 5, "nothing is learnt from nothing");
}
