//! What is measured, how long and how often.

use std::time::Duration;

use anyhow::Result;

use crate::load::Load;
use crate::memory::{self, Memory};
use crate::results::{Case, Results};
use crate::rounds::measure_round;
use crate::site::{Acceleration, Cores, Path, Site};

/// A benchmark to be run.
pub(crate) struct Plan {
    rounds: usize,
    seconds: u64,
    cases: Vec<(Cores, Path, (Load, Acceleration))>,
    memory: bool,
}

const PATHS: [Path; 3] = [Path::CrossNode, Path::Hbone, Path::SameNode];

const LOADS: [Load; 6] = [
    Load::Streams(1),
    Load::Streams(8),
    Load::KeepAlive(1),
    Load::KeepAlive(32),
    Load::NewConnections(1),
    Load::NewConnections(16),
];

/// Where acceleration should show.
const ACCELERATED: [(Load, Acceleration); 4] = [
    (Load::KeepAlive(1), Acceleration::Proxy),
    (Load::KeepAlive(1), Acceleration::Full),
    (Load::KeepAlive(32), Acceleration::Proxy),
    (Load::KeepAlive(32), Acceleration::Full),
];

/// The name of what is not a load.
const MEMORY: &str = "memory";

impl Plan {
    /// What is published.
    pub(crate) fn full() -> Self {
        Self::of(5, 4)
    }

    /// A look, in a few minutes.
    pub(crate) fn quick() -> Self {
        Self::of(2, 1)
    }

    fn of(rounds: usize, seconds: u64) -> Self {
        let cases = [Cores::Two, Cores::One]
            .into_iter()
            .flat_map(|cores| PATHS.map(|path| (cores, path)))
            .flat_map(|(cores, path)| {
                let standard = LOADS.map(|load| (load, Acceleration::Standard));
                let accelerated = ACCELERATED.into_iter().filter(move |_| path != Path::Hbone);
                standard.into_iter().chain(accelerated).map(move |load| (cores, path, load))
            })
            .filter(|(cores, path, _)| (*cores, *path) != (Cores::One, Path::Hbone));
        Self { rounds, seconds, cases: cases.collect(), memory: true }
    }

    /// Another number of rounds, or of seconds; at least one.
    pub(crate) fn change(&mut self, rounds: Option<usize>, seconds: Option<u64>) {
        self.rounds = rounds.unwrap_or(self.rounds).max(1);
        self.seconds = seconds.unwrap_or(self.seconds).max(1);
    }

    /// Leaves out what does not have this in its name.
    pub(crate) fn keep(&mut self, part: &str) {
        self.cases.retain(|case| name(case).contains(part));
        self.memory = MEMORY.contains(part);
    }

    /// The names of all measurements.
    pub(crate) fn names(&self) -> Vec<String> {
        self.cases.iter().map(name).chain(self.memory.then(|| MEMORY.to_owned())).collect()
    }

    /// Runs it.
    pub(crate) fn measure(&self) -> Result<Results> {
        let mut results = Results::new(self.rounds, self.seconds);
        for cores in [Cores::Two, Cores::One] {
            let cases: Vec<_> = self.cases.iter().filter(|case| case.0 == cores).collect();
            let memory = self.memory && cores == Cores::Two;
            if cases.is_empty() && !memory {
                continue;
            }
            let site = Site::build(cores)?;
            if memory {
                // First, while the proxies are fresh.
                results.memory = Some(measure_memory(&site)?);
            }
            let mut measured: Vec<Case> =
                cases.iter().map(|(cores, path, load)| Case::new(*cores, *path, *load)).collect();
            for round in 0..self.rounds {
                for (number, case) in measured.iter_mut().enumerate() {
                    progress(round, self.rounds, number, cases.len(), &name(cases[number]));
                    let (direct, meshed) =
                        measure_round(&site, case, Duration::from_secs(self.seconds), round)?;
                    case.direct.push(direct);
                    case.meshed.push(meshed);
                }
            }
            results.cases.extend(measured);
            site.strike()?;
        }
        Ok(results)
    }
}

fn measure_memory(site: &Site) -> Result<Memory> {
    eprintln!("memory");
    memory::measure(site)
}

/// `two cores, cross-node, keep-alive 32`.
fn name((cores, path, (load, acceleration)): &(Cores, Path, (Load, Acceleration))) -> String {
    format!("{}, {}, {}{}", cores.words(), path.words(), load.words(), acceleration.words())
}

fn progress(round: usize, rounds: usize, number: usize, all: usize, name: &str) {
    eprintln!("round {} of {rounds}, {:>2} of {all}: {name}", round + 1, number + 1);
}
