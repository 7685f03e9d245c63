//! What was measured, and what follows from it.

use super::memory::Memory;
use super::row::{Contender, Row, Work};
use crate::load::Measured;

/// One run of one tool.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) measured: Measured,
    /// CPU time of whoever was measured, in seconds.
    pub(crate) cpu: f64,
    /// Of single requests, in microseconds.
    pub(crate) times: Vec<f64>,
}

/// All rounds of one row. In each round all contenders had their turn.
pub(crate) struct Case {
    pub(crate) row: Row,
    pub(crate) rounds: Vec<Vec<(Contender, Sample)>>,
}

/// Everything.
pub(crate) struct Results {
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) cases: Vec<Case>,
    /// Weft's and Envoy's.
    pub(crate) memory: Option<[Memory; 2]>,
    /// Milliseconds of each change, Weft's and Envoy's.
    pub(crate) change: Option<[Vec<f64>; 2]>,
}

impl Case {
    /// Seconds of CPU for 10 000 requests.
    pub(crate) fn cpu(&self, contender: Contender) -> f64 {
        median(self.of(contender).map(per_requests))
    }

    /// The same in parts of another's: the median of what each round says, for cores do not run alike for long.
    pub(crate) fn ratio(&self, other: Contender) -> f64 {
        let find = |round: &[(Contender, Sample)], who| {
            round.iter().find(|(contender, _)| *contender == who).map(|(_, sample)| per_requests(sample))
        };
        let ratio =
            |round: &Vec<(Contender, Sample)>| Some(find(round, Contender::Weft)? / find(round, other)?);
        median(self.rounds.iter().filter_map(ratio))
    }

    /// Requests a second.
    pub(crate) fn rate(&self, contender: Contender) -> f64 {
        median(self.of(contender).map(|sample| sample.measured.rate))
    }

    /// Requests that failed.
    pub(crate) fn errors(&self, contender: Contender) -> u64 {
        self.of(contender).map(|sample| sample.measured.errors).sum()
    }

    /// A quantile of single requests' times in milliseconds, where they are looked at: the median of the rounds'.
    pub(crate) fn quantile_ms(&self, contender: Contender, share: f64) -> Option<f64> {
        (self.row.work == Work::Paced)
            .then(|| median(self.of(contender).map(|sample| quantile(&sample.times, share) / 1e3)))
    }

    fn of(&self, contender: Contender) -> impl Iterator<Item = &Sample> {
        let all = self.rounds.iter().flatten();
        all.filter(move |(who, _)| *who == contender).map(|(_, sample)| sample)
    }
}

fn per_requests(sample: &Sample) -> f64 {
    sample.cpu / sample.measured.amount * 10_000.0
}

/// The middle one; not a number if there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(&values.into_iter().collect::<Vec<f64>>(), 0.5)
}

/// The smallest that so many are not above.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share).ceil() as usize;
    values.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waypoint::row::Entry;

    #[test]
    fn ratios_are_those_of_rounds() {
        let sample = |cpu: f64, amount: f64| Sample {
            measured: Measured { rate: amount, amount, median_micros: None, errors: 1 },
            cpu,
            times: (1..=100).map(f64::from).collect(),
        };
        // The machine is half as fast in the second round.
        let round = |slow: f64| {
            vec![
                (Contender::Weft, sample(0.5, 10_000.0 / slow)),
                (Contender::Envoy, sample(1.0, 10_000.0 / slow)),
            ]
        };
        let row = Row { entry: Entry::Plain, work: Work::Paced };
        let case = Case { row, rounds: vec![round(1.0), round(2.0), round(1.0)] };
        assert!((case.ratio(Contender::Envoy) - 0.5).abs() < 1e-9);
        assert!((case.cpu(Contender::Weft) - 0.5).abs() < 1e-9);
        assert_eq!((case.errors(Contender::Weft), case.errors(Contender::Untunnelled)), (3, 0));
        assert!(case.ratio(Contender::Untunnelled).is_nan());
        let quantiles = [0.5, 0.99].map(|share| case.quantile_ms(Contender::Weft, share));
        assert_eq!(quantiles, [Some(0.05), Some(0.099)]);
    }
}
