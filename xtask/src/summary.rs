//! What a run of tests has come to, read from the words of their runners, and its last line: how many passed and failed.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::steps::{self, minutes};

/// What has happened so far.
#[derive(Default)]
pub(crate) struct Summary {
    steps: Vec<(String, Duration, Option<Counts>)>,
    /// Tests that failed, by suite and name.
    failures: Vec<String>,
    /// Steps that broke before they could say anything of single tests.
    broken: Vec<String>,
}

/// How many tests passed and failed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Summary {
    /// Does one step and notes how long it takes.
    pub(crate) fn time(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        let done = step().with_context(|| name.to_owned());
        self.steps.push((name.to_owned(), start.elapsed(), None));
        done
    }

    /// Runs `cargo test` to its end. What fails is counted, and the next suite runs all the same.
    pub(crate) fn suite(&mut self, name: &str, mut command: Command) {
        steps::announce(name);
        let start = Instant::now();
        let mut counts = Counts::default();
        let failures = &mut self.failures;
        let watched = steps::watch(&mut command, |line| match read(line) {
            Some(Line::Result(passed, failed)) => {
                counts.passed += passed;
                counts.failed += failed;
            }
            Some(Line::Failed(test)) => failures.push(format!("{name}: {test}")),
            None => {}
        });
        self.steps.push((name.to_owned(), start.elapsed(), Some(counts)));
        match watched {
            Ok(status) if !status.success() && counts.failed == 0 => {
                self.broken.push(format!("{name}: cargo test ended with {status}; its own words are above"));
            }
            Ok(_) => {}
            Err(error) => self.broken.push(format!("{name}: {error:#}")),
        }
    }

    /// Notes tests that have run in another way.
    pub(crate) fn add(&mut self, name: &str, time: Duration, counts: Counts, failures: &[String]) {
        self.steps.push((name.to_owned(), time, Some(counts)));
        self.failures.extend(failures.iter().map(|test| format!("{name}: {test}")));
    }

    /// Notes something that broke before it could say anything of single tests.
    pub(crate) fn add_broken(&mut self, what: String) {
        self.broken.push(what);
    }

    /// Prints everything; failure ends the program.
    pub(crate) fn finish(mut self, outcome: Result<()>) -> Result<()> {
        if let Err(error) = outcome {
            self.add_broken(format!("{error:#}"));
        }
        self.print();
        match self.failed() {
            0 => Ok(()),
            // The last line is the runner's; an error would be printed below it.
            _ => std::process::exit(1),
        }
    }

    fn total(&self) -> Counts {
        let add = |sum: Counts, one: &Counts| Counts {
            passed: sum.passed + one.passed,
            failed: sum.failed + one.failed,
        };
        self.steps.iter().filter_map(|(.., counts)| counts.as_ref()).fold(Counts::default(), add)
    }

    fn failed(&self) -> u64 {
        self.total().failed + self.broken.len() as u64
    }

    fn print(&self) {
        println!();
        for (name, time, counts) in &self.steps {
            let counts = counts.map(|counts| format!("{} passed, {} failed", counts.passed, counts.failed));
            println!("{:<32} {:>6}  {}", name, minutes(*time), counts.unwrap_or_default());
        }
        for failure in self.failures.iter().chain(&self.broken) {
            println!("FAILED {failure}");
        }
        println!("{} passed, {} failed", self.total().passed, self.failed());
    }
}

/// What a line of a test runner says.
pub(crate) enum Line<'a> {
    /// How many passed and failed.
    Result(u64, u64),
    /// The name of a test that failed.
    Failed(&'a str),
}

/// Reads a line of a test runner, unless it says something else.
pub(crate) fn read(line: &str) -> Option<Line<'_>> {
    if let Some(rest) = line.strip_prefix("test result: ") {
        let number = |what: &str| {
            let before = rest.split(what).next()?;
            before.rsplit([' ', '.']).find(|word| !word.is_empty())?.parse().ok()
        };
        return Some(Line::Result(number(" passed")?, number(" failed")?));
    }
    let test = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(Line::Failed(test))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_runner_are_understood() {
        for (line, want) in [
            (
                "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.01s",
                "12/0",
            ),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", "1/2"),
            ("test tap::reads ... FAILED", "tap::reads"),
            ("test tap::reads ... ok", ""),
            ("running 3 tests", ""),
        ] {
            let got = match read(line) {
                Some(Line::Result(passed, failed)) => format!("{passed}/{failed}"),
                Some(Line::Failed(test)) => test.to_owned(),
                None => String::new(),
            };
            assert_eq!(got, want, "{line}");
        }
    }
}
