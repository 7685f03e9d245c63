//! A new endpoint gets less at first: its caches are cold, and its code is not compiled yet.

use crate::destination::WarmUp;
use std::time::Duration;

/// Which part of its share an endpoint gets that is so old: `floor` at least, and all of it once the window is over.
/// Between them `(age / window) ^ (1 / aggression)`, which is Envoy's curve (`SlowStartConfig`).
pub fn part(warm_up: &WarmUp, age: Duration) -> f64 {
    if age >= warm_up.window {
        return 1.0;
    }
    let floor = f64::from(u32::from(warm_up.floor)) / 1e6;
    // An aggression of zero means nothing; as little as there is comes closest.
    let aggression = f64::from(warm_up.aggression_thousandths.max(1)) / 1e3;
    let time = age.as_secs_f64() / warm_up.window.as_secs_f64();
    time.powf(aggression.recip()).max(floor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Share;

    #[test]
    fn the_curve() {
        for (aggression_thousandths, floor, seconds, want) in [
            (1000, 10, 0, 0.10),
            (1000, 10, 5, 0.10),
            (1000, 10, 30, 0.50),
            (1000, 10, 45, 0.75),
            (1000, 10, 60, 1.0),
            (1000, 10, 600, 1.0),
            (1000, 0, 0, 0.0),
            (2000, 10, 15, 0.50),
            (500, 10, 30, 0.25),
            (0, 10, 59, 0.10),
        ] {
            let floor = Share::fraction(floor, 100).expect("a part");
            let warm_up = WarmUp { window: Duration::from_secs(60), floor, aggression_thousandths };
            let got = part(&warm_up, Duration::from_secs(seconds));
            assert!((got - want).abs() < 1e-9, "{warm_up:?} after {seconds} s: {got}, not {want}");
        }
    }
}
