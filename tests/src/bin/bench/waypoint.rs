//! `weft-bench waypoint`: Weft's waypoint against Envoy, in one run, in turns, with the same routes. What counts is the
//! ratio of two turns that came after each other: a core of a shared machine may be twice as fast a minute later.

mod report;
mod results;
mod change;
mod memory;
mod site;
mod ends;
mod pace;
mod rival;
mod manifests;
mod row;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
pub(crate) use ends::run as run_end;
pub(crate) use pace::run as run_pace;
pub(crate) use report::{chart, json, table};
use results::{Case, Results, Sample};
use row::{Contender, ROWS, Row};
use site::Site;

/// What is measured, how long and how often.
pub(crate) struct Plan {
    rounds: usize,
    seconds: u64,
    rows: Vec<Row>,
    memory: bool,
    change: bool,
}

/// The names of what is not a row.
const MEMORY: &str = "memory";
const CHANGE: &str = "changed route";
/// Between two turns, so that what one left in queues and timers does not meet the other.
const REST: Duration = Duration::from_millis(100);

impl Plan {
    /// What is published.
    pub(crate) fn full() -> Self {
        Self { rounds: 9, seconds: 1, rows: ROWS.to_vec(), memory: true, change: true }
    }

    /// A look, in two minutes.
    pub(crate) fn quick() -> Self {
        Self { rounds: 3, ..Self::full() }
    }

    /// Another number of rounds, or of seconds; at least one.
    pub(crate) fn change(&mut self, rounds: Option<usize>, seconds: Option<u64>) {
        self.rounds = rounds.unwrap_or(self.rounds).max(1);
        self.seconds = seconds.unwrap_or(self.seconds).max(1);
    }

    /// Leaves out what does not have this in its name.
    pub(crate) fn keep(&mut self, part: &str) {
        self.rows.retain(|row| row.name().contains(part));
        self.memory = MEMORY.contains(part);
        self.change = CHANGE.contains(part);
    }

    /// The names of all measurements.
    pub(crate) fn names(&self) -> Vec<String> {
        let rows = self.rows.iter().map(|row| row.name());
        let others = [(self.memory, MEMORY), (self.change, CHANGE)];
        rows.chain(others.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name.to_owned()))
            .collect()
    }

    /// Runs it. `envoy` is the program.
    pub(crate) fn measure(&self, envoy: &Path) -> Result<Results> {
        let site = Site::build(envoy)?;
        let mut results = Results {
            rounds: self.rounds,
            seconds: self.seconds,
            cases: Vec::new(),
            memory: None,
            change: None,
        };
        if self.memory {
            // First, while they are fresh.
            eprintln!("{MEMORY}");
            results.memory = Some(memory::measure(&site)?);
        }
        if self.change {
            eprintln!("{CHANGE}");
            results.change = Some(change::measure(&site, self.rounds)?);
        }
        results.cases = self.rows.iter().map(|row| Case { row: *row, rounds: Vec::new() }).collect();
        for case in &mut results.cases {
            // Tunnels and connections are opened before it counts.
            self.round(&site, case.row, 0)?;
            for round in 0..self.rounds {
                eprintln!("round {} of {}: {}", round + 1, self.rounds, case.row.name());
                case.rounds.push(self.round(&site, case.row, round)?);
            }
        }
        site.strike()?;
        Ok(results)
    }

    /// One turn of each, every other round the other way round.
    fn round(&self, site: &Site, row: Row, number: usize) -> Result<Vec<(Contender, Sample)>> {
        let mut order = row.contenders().to_vec();
        if !number.is_multiple_of(2) {
            order.reverse();
        }
        let turn = |contender: Contender| -> Result<(Contender, Sample)> {
            std::thread::sleep(REST);
            let before = site.cpu(contender, row.entry.scene())?;
            let (measured, times) = site.run(contender, row, Duration::from_secs(self.seconds))?;
            let cpu = site.cpu(contender, row.entry.scene())? - before;
            Ok((contender, Sample { measured, cpu, times }))
        };
        order.into_iter().map(turn).collect()
    }
}
