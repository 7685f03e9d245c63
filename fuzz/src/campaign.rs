//! Runs a target on many inputs, and tells of the first that breaks it.

use crate::mutate::{self, Stock};
use crate::random::Random;
use crate::targets::Target;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Longest that one input may take. Every input takes milliseconds at most; on a busy machine without
/// optimisation still less than this, so what takes longer is a way to keep a process from its work.
const INPUT_TIME_MAX: Duration = Duration::from_secs(20);
/// Attempts at making a failing input shorter.
const SHORTER_TRIES_MAX: usize = 4_000;
/// Longest that these attempts may take together.
const SHORTER_TIME_MAX: Duration = Duration::from_secs(20);

/// One target, one seed, and how long.
pub struct Campaign<'a> {
    /// What is tested.
    pub target: &'a Target,
    /// Determines every input.
    pub seed: u64,
    /// When to stop. The target's own seeds are run in any case.
    pub time: Duration,
}

/// What a campaign found.
#[derive(Debug)]
pub struct Report {
    /// Inputs that were run.
    pub executions: u64,
    /// How long they took.
    pub elapsed: Duration,
    /// The first input that broke the target.
    pub failure: Option<Failure>,
}

impl Report {
    /// Inputs in a second.
    pub fn executions_per_second(&self) -> f64 {
        self.executions as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }
}

/// An input that breaks a target.
#[derive(Debug)]
pub struct Failure {
    /// The case's number within the campaign.
    pub case: u64,
    /// The input, as short as it could be made.
    pub input: Vec<u8>,
    /// What the target said.
    pub message: String,
}

impl Campaign<'_> {
    /// Runs until the time is over or an input fails.
    pub fn run(&self) -> Report {
        let seeds = (self.target.seeds)();
        let stock = Stock { seeds: &seeds, words: self.target.words };
        let start = Instant::now();
        let mut case = 0;
        loop {
            let input = match usize::try_from(case).ok().and_then(|index| seeds.get(index)) {
                Some(seed) => seed.clone(),
                None if start.elapsed() >= self.time => {
                    return Report { executions: case, elapsed: start.elapsed(), failure: None };
                }
                None => mutate::make(&stock, &mut Random::of_case(self.seed, case)),
            };
            if let Err(message) = attempt(self.target, &input) {
                let elapsed = start.elapsed();
                let input = shorter(self.target, input);
                let failure = Some(Failure { case, input, message });
                return Report { executions: case + 1, elapsed, failure };
            }
            case += 1;
        }
    }
}

/// Runs one input.
///
/// # Errors
/// What the panic said, or that it took too long.
pub fn attempt(target: &Target, input: &[u8]) -> Result<(), String> {
    quiet_panics();
    let start = Instant::now();
    CAUGHT.set(Some(String::new()));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let said = CAUGHT.take().unwrap_or_default();
    match (outcome, start.elapsed()) {
        (Err(_), _) => Err(said),
        (Ok(()), took) if took > INPUT_TIME_MAX => Err(format!("took {took:?}")),
        (Ok(()), _) => Ok(()),
    }
}

thread_local! {
    /// Set while this thread runs a target; its panics are then kept here and not printed.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = CAUGHT.with_borrow_mut(|caught| match caught {
                Some(said) => {
                    *said = info.to_string();
                    true
                }
                None => false,
            });
            if !kept {
                loud(info);
            }
        }));
    });
}

/// Leaves out what the failure does not need: halves first, then ever smaller parts.
fn shorter(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let start = Instant::now();
    let mut tries = 0;
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < input.len() {
            if tries == SHORTER_TRIES_MAX || start.elapsed() > SHORTER_TIME_MAX {
                return input;
            }
            tries += 1;
            let end = (at + size).min(input.len());
            let less = [&input[..at], &input[end..]].concat();
            if attempt(target, &less).is_err() {
                input = less;
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dislikes_bangs(bytes: &[u8]) {
        assert!(!bytes.contains(&b'!'), "a bang");
    }

    #[test]
    fn a_failure_is_found_shortened_and_found_again() {
        let target =
            Target { name: "bangs", run: dislikes_bangs, seeds: || vec![b"abc".to_vec()], words: &["x!y"] };
        let campaign = Campaign { target: &target, seed: 3, time: Duration::from_secs(60) };
        let failure = campaign.run().failure.expect("one word in two has a bang");
        assert_eq!(failure.input, b"!");
        assert!(failure.message.contains("a bang"), "{}", failure.message);
        assert_eq!(campaign.run().failure.expect("again").case, failure.case);
    }
}
