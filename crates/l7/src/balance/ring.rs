//! A ring of points: a key goes to the next point's member. When a member leaves, only its own keys move.

use super::hash::{hash_with, mix};

/// Points of one ring at most, but for one of each member. 16 MiB of them: what more would even out is a thousandth.
pub const POINTS_MAX: u32 = 1 << 20;

/// Points of members, by their place. Building it takes O(p log p) for p points, a look O(log p).
#[derive(Debug)]
pub struct Ring {
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// From names and weights: at least `points_min` points in all, and at least one for each. A member's points are its
    /// own whatever the others do, and how many a weight gets is a power of two: as the list grows and shrinks it
    /// seldom changes, and only what has to move does.
    pub fn new(members: &[(&str, u32)], points_min: u32) -> Self {
        let total: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let size = u64::from(points_min.min(POINTS_MAX / 2));
        let of_weight = |weight: u32| {
            let weight = u64::from(weight);
            match total {
                0 => 0,
                total if total <= size => weight * size.div_ceil(total).next_power_of_two(),
                total => weight.div_ceil((total / size.max(1) + 1).next_power_of_two() / 2),
            }
        };
        let mut points = Vec::new();
        for (place, (name, weight)) in (0..).zip(members) {
            let count = of_weight(*weight);
            points.extend((0..count).map(|number| (hash_with(name.as_bytes(), number), place)));
        }
        points.sort_unstable();
        Self { points }
    }

    /// Where a key goes: the first place along the ring that will do.
    pub fn find(&self, key: u64, mut will_do: impl FnMut(usize) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|(point, _)| *point < mix(key));
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|(_, place)| *place as usize).find(|place| will_do(*place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_enough_and_not_many_more() {
        for (weights, points_min) in [
            (&[1, 1, 1][..], 1024),
            (&[1000, 3000], 1024),
            (&[1_000_000, 1], 1024),
            (&[1; 20], 3),
            (&[5, 1], 0),
        ] {
            let members: Vec<_> = weights.iter().map(|weight| ("web", *weight)).collect();
            let points = Ring::new(&members, points_min).points;
            let range = points_min as usize..=(2 * points_min as usize).max(4) + weights.len();
            assert!(range.contains(&points.len()), "{weights:?} for {points_min}: {}", points.len());
            for place in (0..).take(weights.len()) {
                assert!(points.iter().any(|(_, one)| *one == place), "{weights:?}: none for {place}");
            }
        }
        assert_eq!(Ring::new(&[], 1024).find(7, |_| true), None);
    }
}
