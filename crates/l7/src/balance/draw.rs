//! Draws members of a list by weight.

use weft_core::balance::Chance;

/// Weights, ready to be drawn from. Building it takes O(n), a draw O(log n), and O(1) where all weigh the same.
#[derive(Debug)]
pub(super) struct Draw {
    weights: Weights,
    count: usize,
    /// The mean of all weights.
    mean: f64,
}

#[derive(Debug)]
enum Weights {
    Even,
    /// The sum of all weights up to each.
    Sums(Vec<u64>),
}

impl Draw {
    /// From weights, of which none is zero.
    pub(super) fn new(weights: &[u32]) -> Self {
        let mut total = 0;
        let sums: Vec<u64> = weights
            .iter()
            .map(|weight| {
                total += u64::from(*weight);
                total
            })
            .collect();
        let even = weights.windows(2).all(|pair| pair[0] == pair[1]);
        let count = weights.len();
        let mean = total as f64 / count.max(1) as f64;
        Self { weights: if even { Weights::Even } else { Weights::Sums(sums) }, count, mean }
    }

    /// Whether all weigh the same.
    pub(super) fn is_even(&self) -> bool {
        matches!(self.weights, Weights::Even)
    }

    /// How many times as much as the mean one of this weight should get, turned around.
    pub(super) fn crowd(&self, weight: u32) -> f64 {
        self.mean / f64::from(weight.max(1))
    }

    /// One of them. `None` if there is none.
    pub(super) fn one(&self, chance: &mut impl Chance) -> Option<usize> {
        match &self.weights {
            Weights::Even => match self.count {
                0 => None,
                1 => Some(0),
                count => usize::try_from(chance.below(count as u64)).ok(),
            },
            Weights::Sums(sums) => {
                let roll = chance.below(*sums.last()?);
                Some(sums.partition_point(|sum| *sum <= roll))
            }
        }
    }

    /// One of the others, where all weigh the same and there are others.
    pub(super) fn another(&self, than: usize, chance: &mut impl Chance) -> Option<usize> {
        let others = self.count.checked_sub(1).filter(|others| *others > 0)?;
        let roll = usize::try_from(chance.below(others as u64)).ok()?;
        Some(if roll < than { roll } else { roll + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_its_place() {
        for (weights, want) in [(&[2, 1, 3][..], vec![2, 1, 3]), (&[5, 5], vec![1, 1]), (&[7], vec![1])] {
            let draw = Draw::new(weights);
            let rolls: u64 = want.iter().sum();
            let mut counts = vec![0; weights.len()];
            for roll in 0..rolls {
                counts[draw.one(&mut |_| roll).expect("one of them")] += 1;
            }
            assert_eq!(counts, want, "{weights:?}");
        }
        assert_eq!(Draw::new(&[]).one(&mut |_| 0), None);
    }

    #[test]
    fn another_is_never_the_same() {
        let draw = Draw::new(&[1, 1, 1]);
        for than in 0..3 {
            let others: Vec<_> = (0..2).filter_map(|roll| draw.another(than, &mut |_| roll)).collect();
            assert_eq!(others, (0..3).filter(|one| *one != than).collect::<Vec<_>>());
        }
        assert_eq!(Draw::new(&[1]).another(0, &mut |_| 0), None);
    }
}
