//! How long to wait before the next attempt.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// After the first failure. Short: a control plane that restarts is back within a second.
const FIRST: Duration = Duration::from_millis(200);
/// At most. Long enough that thousands of nodes do not hammer a control plane that comes up.
const LONGEST: Duration = Duration::from_secs(15);

/// The wait after `failures` in a row. `spread`, from 0 to 1, keeps nodes that failed together from coming
/// back together.
pub(crate) fn wait(failures: u32, spread: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST).mul_f64(0.5 + 0.5 * spread)
}

/// A number from 0 to 1. Good enough to spread attempts; no secret depends on it.
pub(crate) fn spread() -> f64 {
    let random = RandomState::new().hash_one(());
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_are_spread() {
        for (case, failures, spread, want_ms) in [
            ("first, soonest", 1, 0.0, 100),
            ("first, latest", 1, 1.0, 200),
            ("third", 3, 1.0, 800),
            ("many", 40, 1.0, 15_000),
            ("many, soonest", u32::MAX, 0.0, 7_500),
        ] {
            assert_eq!(wait(failures, spread), Duration::from_millis(want_ms), "{case}");
        }
    }
}
