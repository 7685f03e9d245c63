//! What was measured, and what follows from it.

use crate::load::{Load, Measured};
use crate::memory::Memory;
use crate::site::{Acceleration, Cores, Cpu, Path};

/// One run of one tool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) measured: Measured,
    pub(crate) cpu: Cpu,
}

/// All rounds of one load on one path.
pub(crate) struct Case {
    pub(crate) cores: Cores,
    pub(crate) path: Path,
    pub(crate) load: Load,
    pub(crate) acceleration: Acceleration,
    pub(crate) direct: Vec<Sample>,
    pub(crate) meshed: Vec<Sample>,
}

/// Everything.
pub(crate) struct Results {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) cases: Vec<Case>,
    pub(crate) memory: Option<Memory>,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(rounds: usize, seconds: u64) -> Self {
        Self { rounds, seconds, cases: Vec::new(), memory: None }
    }
}

impl Case {
    /// No rounds yet.
    pub(crate) fn new(cores: Cores, path: Path, (load, acceleration): (Load, Acceleration)) -> Self {
        Self { cores, path, load, acceleration, direct: Vec::new(), meshed: Vec::new() }
    }

    /// `keep-alive 32, full`.
    pub(crate) fn words(&self) -> String {
        self.load.words() + &self.acceleration.words()
    }

    /// The median rates, direct and meshed.
    pub(crate) fn rates(&self) -> (f64, f64) {
        let rate = |sample: &Sample| sample.measured.rate;
        (median(&self.direct, rate), median(&self.meshed, rate))
    }

    /// The meshed rate in parts of the direct one.
    pub(crate) fn ratio(&self) -> f64 {
        let (direct, meshed) = self.rates();
        meshed / direct
    }

    /// CPU time of the proxies for each unit of [`Load::cpu_amount`], in seconds.
    pub(crate) fn proxy_cpu(&self) -> f64 {
        median(&self.meshed, |sample| self.per_unit(sample, sample.cpu.proxies))
    }

    /// The same of the agents.
    pub(crate) fn agent_cpu(&self) -> f64 {
        median(&self.meshed, |sample| self.per_unit(sample, sample.cpu.agents))
    }

    /// CPU time of all processes, in multiples of direct.
    pub(crate) fn cpu_multiple(&self) -> f64 {
        let all = |sample: &Sample| self.per_unit(sample, sample.cpu.all());
        // The mesh's own idle work is no part of the direct path's cost.
        let applications = |sample: &Sample| self.per_unit(sample, sample.cpu.applications);
        median(&self.meshed, all) / median(&self.direct, applications)
    }

    /// What the mesh adds to the median of a request's time, in microseconds.
    pub(crate) fn added_micros(&self) -> Option<f64> {
        let of = |samples: &[Sample]| -> Option<f64> {
            samples.iter().all(|sample| sample.measured.median_micros.is_some()).then_some(())?;
            Some(median(samples, |sample| sample.measured.median_micros.unwrap_or(f64::NAN)))
        };
        Some(of(&self.meshed)? - of(&self.direct)?)
    }

    /// Requests that failed, in all rounds, direct and meshed.
    pub(crate) fn errors(&self) -> (u64, u64) {
        let sum = |samples: &[Sample]| samples.iter().map(|sample| sample.measured.errors).sum();
        (sum(&self.direct), sum(&self.meshed))
    }

    fn per_unit(&self, sample: &Sample, cpu: f64) -> f64 {
        cpu / sample.measured.amount * self.load.cpu_amount()
    }
}

/// The middle one, or the mean of the two in the middle; not a number if there is none.
pub(crate) fn median(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}
