//! Numbers that look like chance. Good enough to spread load, and no more is asked of them.

/// A sequence of numbers: from one seed always the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence(u64);

impl Sequence {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        // Zero would follow itself for ever.
        Self(seed | 1)
    }

    /// A number below `bound` (xorshift64*).
    pub fn below(&mut self, bound: u64) -> u64 {
        let mut state = self.0;
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0 = state;
        // The high half is the better one; multiply-shift maps it to the range.
        ((state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) * bound) >> 32
    }
}
