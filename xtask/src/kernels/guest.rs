//! One virtual machine: booted, listened to, and gone after its time at the latest.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::image::Image;
use crate::steps::{self, minutes};
use crate::summary::{self, Counts};

/// How long a kernel may take with everything. With a core to itself it is two minutes; a busy machine takes its share.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
/// What `timeout` ends with when that time is over.
const TIMED_OUT: i32 = 124;
/// How much of the console is shown when something went wrong.
const TAIL_LINES: usize = 60;

/// What the console has told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) took: Duration,
    pub(super) counts: Counts,
    /// The tests that failed.
    pub(super) failures: Vec<String>,
    /// The suites that have ended, with their status and how many of their tests passed.
    ended: Vec<Ended>,
    /// Whether all that was to be run has been.
    done: bool,
    /// How the virtual machine ended.
    status: Option<i32>,
}

struct Ended {
    suite: String,
    status: i32,
    passed: u64,
}

impl Told {
    /// One line of the console; returns what there is to say about a suite that it ends.
    fn hear(&mut self, line: &str) -> Option<String> {
        match summary::read(line) {
            Some(summary::Line::Result(passed, failed)) => {
                self.counts.passed += passed;
                self.counts.failed += failed;
            }
            Some(summary::Line::Failed(test)) => self.failures.push(test.to_owned()),
            None => {}
        }
        match line.strip_prefix("weft: ")?.split(' ').collect::<Vec<_>>()[..] {
            ["done"] => self.done = true,
            ["end", suite, status] => return Some(self.end(suite, status)),
            _ => {}
        }
        None
    }

    fn end(&mut self, suite: &str, status: &str) -> String {
        // The number in front only orders them.
        let suite =
            suite.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '-').to_owned();
        let before: u64 = self.ended.iter().map(|ended| ended.passed).sum();
        let passed = self.counts.passed - before;
        let status = status.parse().unwrap_or(-1);
        let said = format!("{suite}: {passed} passed{}", if status == 0 { "" } else { ", and not all" });
        self.ended.push(Ended { suite, status, passed });
        said
    }

    /// What went wrong besides single tests.
    pub(super) fn broken(&self, suites: &[&str]) -> Vec<String> {
        if self.status == Some(TIMED_OUT) {
            return vec![format!("not done after {}", minutes(DEADLINE))];
        }
        if !self.done {
            return vec!["the kernel died, or never came up".to_owned()];
        }
        let mut broken = Vec::new();
        for suite in suites {
            match self.ended.iter().find(|ended| ended.suite == *suite) {
                None => broken.push(format!("the suite {suite} has not run")),
                Some(Ended { passed: 0, status: 0, .. }) => {
                    broken.push(format!("the suite {suite} ran no test"));
                }
                Some(Ended { status, .. }) if *status != 0 && self.counts.failed == 0 => {
                    broken.push(format!("the suite {suite} ended with status {status}"));
                }
                Some(_) => {}
            }
        }
        broken
    }
}

/// Boots, and returns when the virtual machine has ended. The console goes into the file `log`.
pub(super) fn boot(image: &Image, initramfs: &Path, log: &Path) -> Result<Told> {
    let mut kept = BufWriter::new(File::create(log).with_context(|| format!("writing {}", log.display()))?);
    let mut told = Told::default();
    let mut written = Ok(());
    let start = Instant::now();
    let status = steps::listen(&mut qemu(image, initramfs), |line| {
        let line = line.trim_end();
        written = std::mem::replace(&mut written, Ok(())).and_then(|()| writeln!(kept, "{line}"));
        if let Some(said) = told.hear(line) {
            eprintln!("    {} {said}", minutes(start.elapsed()));
        }
    })?;
    written.and_then(|()| kept.flush()).with_context(|| format!("writing {}", log.display()))?;
    told.took = start.elapsed();
    told.status = status.code();
    Ok(told)
}

fn qemu(image: &Image, initramfs: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &DEADLINE.as_secs().to_string(), "nice", "qemu-system-x86_64"]);
    // The plainest machine there is: no KVM, one processor, no devices but the console.
    command.args(["-accel", "tcg", "-cpu", "qemu64", "-smp", "1", "-M", "q35", "-m", "1024"]);
    command.args(["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"]);
    command.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(initramfs);
    // Its clock counts instructions and skips what would be waiting: a busy machine does not make the suites' patience
    // run out.
    command.args(["-icount", "shift=0,sleep=off"]);
    // What is wrong with the kernel ends it, and with it the virtual machine.
    command.args(["-append", "console=ttyS0 quiet oops=panic panic=-1"]);
    command
}

/// Shows how the console ended.
pub(super) fn show_tail(log: &Path) {
    let console = std::fs::read(log).unwrap_or_default();
    let console = String::from_utf8_lossy(&console);
    let lines: Vec<&str> = console.lines().collect();
    eprintln!("The end of the console, which is in {}:", log.display());
    for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
        eprintln!("    | {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = "test result: ok. 6 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
    const FAILURE: &str = "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out";

    #[test]
    fn a_console_is_understood() {
        let ends_well = ["weft: begin 0-edges", RESULT, "weft: end 0-edges 0", "weft: done"];
        let fails = ["test a ... FAILED", FAILURE, "weft: end 0-edges 101", "weft: done"];
        for (case, console, status, want) in [
            ("all is well", &ends_well[..], 0, &[][..]),
            ("a test fails", &fails, 0, &[]),
            ("time is over", &ends_well[..2], TIMED_OUT, &["not done after 30:00"]),
            ("a panic", &ends_well[..3], 0, &["the kernel died, or never came up"]),
            ("nothing was run", &["weft: done"], 0, &["the suite edges has not run"]),
            ("no test", &["weft: end 0-edges 0", "weft: done"], 0, &["the suite edges ran no test"]),
            (
                "a crash",
                &["weft: end 0-edges 139", "weft: done"],
                0,
                &["the suite edges ended with status 139"],
            ),
        ] {
            let mut told = Told { status: Some(status), ..Told::default() };
            for line in console {
                told.hear(line);
            }
            assert_eq!(told.broken(&["edges"]), want, "{case}");
        }
    }
}
