//! Chance for one worker: balancing and jitter want speed, not secrecy.

use std::cell::Cell;

/// A source of numbers (xorshift64).
#[derive(Debug)]
pub(crate) struct Dice(Cell<u64>);

impl Dice {
    /// From a seed, of which the workers of a process and the waypoints of a mesh have different ones.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed | 1))
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        // The high half of the product is below the bound.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Any number.
    pub(crate) fn next(&self) -> u64 {
        let mut seed = self.0.get();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        self.0.set(seed);
        seed
    }
}
