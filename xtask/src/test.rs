//! `cargo xtask test`: everything there is to test, and a summary whose last line says how many passed and failed.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::setup::{self, Purpose};
use crate::steps::{self, minutes};
use crate::{machine, programs};

/// What `test` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leaves out tests whose name has `long_` in it.
    #[arg(long)]
    quick: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    steps::on_interrupt(|| {
        setup::undo()?;
        programs::sweep()
    })?;
    let mut summary = Summary::default();
    let outcome = every_step(args, &mut summary);
    if let Err(error) = &outcome {
        summary.broken.push(format!("{error:#}"));
    }
    summary.print();
    match summary.failed() {
        0 => Ok(()),
        // The last line is the runner's; an error would be printed below it.
        _ => std::process::exit(1),
    }
}

fn every_step(args: &Args, summary: &mut Summary) -> Result<()> {
    summary.time("the machine", || {
        machine::require()?;
        setup::run(Purpose::World)
    })?;
    summary.time("building the kernel's programs", programs::build_ebpf_object)?;
    summary.suite("tests that need nothing", cargo_test(args, &["--workspace"], &[]));
    summary.time("building Weft", programs::build)?;
    let mut privileged =
        cargo_test(args, &["--workspace", "--lib", "--bins", "--tests"], &["--ignored", "--test-threads=1"]);
    privileged.env("WEFT_BIN_DIR", programs::folder());
    let target = programs::target();
    summary.time("Envoy", || {
        privileged.env("WEFT_TEST_ENVOY", setup::envoy(&target)?);
        Ok(())
    })?;
    summary.suite("tests that need root", privileged);
    // A test that was killed may have left its world.
    summary.time("cleaning up", programs::sweep)
}

fn cargo_test(args: &Args, which: &[&str], how: &[&str]) -> Command {
    let mut command = steps::cargo(&["test", "--no-fail-fast"]);
    command.args(which).arg("--").args(how);
    if args.quick {
        command.args(["--skip", "long_"]);
    }
    command.args(&args.filter);
    command
}

/// What has happened so far.
#[derive(Default)]
struct Summary {
    steps: Vec<(String, Duration, Option<Counts>)>,
    /// Tests that failed, by suite and name.
    failures: Vec<String>,
    /// Steps that broke before they could say anything of single tests.
    broken: Vec<String>,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Summary {
    fn time(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        let done = step().with_context(|| name.to_owned());
        self.steps.push((name.to_owned(), start.elapsed(), None));
        done
    }

    /// Runs `cargo test` to its end. What fails is counted, and the next suite runs all the same.
    fn suite(&mut self, name: &str, mut command: Command) {
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
enum Line<'a> {
    Result(u64, u64),
    Failed(&'a str),
}

fn read(line: &str) -> Option<Line<'_>> {
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
