//! One after the other, by weight: whoever is due first is next, and is due again after a time that is the shorter the
//! more it weighs (earliest deadline first). So 3 to 1 is a a b a, never a a a b and a pause.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use weft_core::balance::Chance;

/// Whose turn it is. A turn takes O(log n).
#[derive(Debug)]
pub(super) struct Turns {
    /// When each is due, and its place.
    due: BinaryHeap<Reverse<(u128, usize)>>,
    /// The time between two turns of each.
    periods: Vec<u128>,
}

/// Time between two turns of one that weighs one. Greater than any weight, so that every weight tells.
const PERIOD: u128 = 1 << 64;

impl Turns {
    /// From weights, of which none is zero. Each begins at a moment by chance, or the first of the list would get more
    /// with every change of the list, from every core of every waypoint.
    pub(super) fn new(weights: &[u32], chance: &mut impl Chance) -> Self {
        let periods: Vec<u128> = weights.iter().map(|weight| PERIOD / u128::from((*weight).max(1))).collect();
        let begin = periods.iter().enumerate().map(|(place, period)| {
            let part = u128::from(chance.below(1 << 16));
            Reverse(((period * part) >> 16, place))
        });
        Self { due: begin.collect(), periods }
    }

    /// How many take turns.
    pub(super) fn len(&self) -> usize {
        self.periods.len()
    }

    /// Whose turn it is now.
    pub(super) fn next(&mut self) -> Option<usize> {
        let mut first = self.due.peek_mut()?;
        let Reverse((due, place)) = *first;
        *first = Reverse((due + self.periods[place], place));
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_and_exact() {
        for (weights, want) in
            [(&[1, 1, 1][..], "012012012012"), (&[3, 1], "001000100010"), (&[2], "000000000000")]
        {
            let mut turns = Turns::new(weights, &mut |bound| bound / 2);
            let got: String = (0..12).filter_map(|_| turns.next()).map(|place| place.to_string()).collect();
            for (place, weight) in weights.iter().enumerate() {
                let times = got.matches(&place.to_string()).count();
                assert_eq!(times, 12 * *weight as usize / weights.iter().sum::<u32>() as usize, "{got}");
            }
            assert!(got == want || got.contains("0100"), "{got}, not {want}");
        }
        assert_eq!(Turns::new(&[], &mut |_| 0).next(), None);
    }
}
