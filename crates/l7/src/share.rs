//! Shares of requests.

use serde::{Deserialize, Serialize};
use weft_core::balance::Chance;

/// A share of requests, in millionths: the finest that any of the formats can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Share(u32);

/// More than all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} millionths are more than all")]
pub struct MoreThanAll(pub u32);

impl Share {
    /// No request.
    pub const NONE: Self = Self(0);
    /// Every request.
    pub const ALL: Self = Self(MILLION);

    /// So many millionths.
    ///
    /// # Errors
    /// If they are more than a million.
    pub const fn millionths(count: u32) -> Result<Self, MoreThanAll> {
        if count <= MILLION { Ok(Self(count)) } else { Err(MoreThanAll(count)) }
    }

    /// `numerator` of `denominator`, to the millionth below; `None` if it is more than all, or of nothing.
    pub fn fraction(numerator: u32, denominator: u32) -> Option<Self> {
        let count = (u64::from(numerator) * u64::from(MILLION)).checked_div(u64::from(denominator))?;
        u32::try_from(count).ok().filter(|count| *count <= MILLION).map(Self)
    }

    /// How many of so many they are, rounded down.
    pub fn of(self, count: u64) -> u64 {
        let part = u128::from(count) * u128::from(self.0) / u128::from(MILLION);
        // A part is no more than the whole.
        u64::try_from(part).unwrap_or(count)
    }

    /// Whether this request is one of them.
    pub fn takes(self, chance: &mut impl Chance) -> bool {
        // Neither everybody nor nobody needs a die.
        self.0 == MILLION || (self.0 > 0 && chance.below(u64::from(MILLION)) < u64::from(self.0))
    }
}

const MILLION: u32 = 1_000_000;

impl TryFrom<u32> for Share {
    type Error = MoreThanAll;

    fn try_from(count: u32) -> Result<Self, MoreThanAll> {
        Self::millionths(count)
    }
}

impl From<Share> for u32 {
    fn from(share: Share) -> Self {
        share.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions() {
        for (numerator, denominator, want) in [
            (0, 100, Some(0)),
            (1, 3, Some(333_333)),
            (100, 100, Some(1_000_000)),
            (1, 10_000, Some(100)),
            (2, 1, None),
            (1, 0, None),
            (u32::MAX, u32::MAX, Some(1_000_000)),
        ] {
            let got = Share::fraction(numerator, denominator).map(u32::from);
            assert_eq!(got, want, "{numerator}/{denominator}");
        }
    }

    #[test]
    fn parts_are_rounded_down() {
        for (share, count, want) in [
            (Share::NONE, 10, 0),
            (Share::ALL, 10, 10),
            (Share(250_000), 7, 1),
            (Share::ALL, u64::MAX, u64::MAX),
        ] {
            assert_eq!(share.of(count), want, "{share:?} of {count}");
        }
    }

    #[test]
    fn a_share_takes_as_many_as_it_says() {
        let every = |share: Share| {
            let mut next = 0;
            let mut in_turn = |bound: u64| {
                next = (next + 1) % bound;
                next
            };
            (0..1_000_000).filter(|_| share.takes(&mut in_turn)).count()
        };
        assert_eq!(every(Share::fraction(1, 4).expect("a quarter")), 250_000);
        assert_eq!(every(Share::ALL), 1_000_000);
        assert_eq!(every(Share(0)), 0);
    }
}
