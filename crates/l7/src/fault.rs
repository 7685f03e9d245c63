//! What is done to a request on purpose (Istio's `fault`).

use crate::resilience::{AbortWith, Fault};
use std::time::Duration;
use weft_core::balance::Chance;

/// What happens to a request before it goes on. Both may: then it waits first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Injected {
    /// It waits so long.
    pub delay: Option<Duration>,
    /// It is answered with this, and goes nowhere.
    pub abort: Option<AbortWith>,
}

/// Decides. Delay and abort are decided apart, as in Envoy: half of the requests delayed and half of them aborted is a
/// quarter for each of the four outcomes.
pub fn decide(fault: &Fault, chance: &mut impl Chance) -> Injected {
    Injected {
        delay: fault.delay.filter(|delay| delay.share.takes(chance)).map(|delay| delay.wait),
        abort: fault.abort.filter(|abort| abort.share.takes(chance)).map(|abort| abort.with),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::{Abort, Delay};
    use crate::share::Share;

    #[test]
    fn shares_of_requests() {
        // In ten-thousandths: a hundredth of a percent is the finest that Istio says.
        for (delayed, aborted) in [(0, 0), (10_000, 10_000), (5_000, 0), (0, 2_500), (5_000, 5_000), (1, 1)] {
            let share = |part| Share::fraction(part, 10_000).expect("a part");
            let fault = Fault {
                delay: Some(Delay { share: share(delayed), wait: Duration::from_secs(5) }),
                abort: Some(Abort { share: share(aborted), with: AbortWith::Status(503) }),
            };
            let mut seed = 1_u64;
            let mut chance = |bound: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) % bound
            };
            let all: Vec<_> = (0..100_000).map(|_| decide(&fault, &mut chance)).collect();
            let part =
                |which: &dyn Fn(&Injected) -> bool| all.iter().filter(|one| which(one)).count() as i64 / 10;
            let near = |got: i64, want: u32| (got - i64::from(want)).abs() <= 60;
            let (delays, aborts) = (part(&|one| one.delay.is_some()), part(&|one| one.abort.is_some()));
            assert!(near(delays, delayed) && near(aborts, aborted), "{delayed} {aborted}: {delays} {aborts}");
            let both = part(&|one| one.delay.is_some() && one.abort.is_some());
            assert!(near(both, delayed * aborted / 10_000), "{delayed} and {aborted}: {both} get both");
        }
        assert_eq!(decide(&Fault::default(), &mut |_| 0), Injected::default());
    }

    #[test]
    fn what_is_injected() {
        let fault = Fault {
            delay: Some(Delay { share: Share::ALL, wait: Duration::from_secs(5) }),
            abort: Some(Abort { share: Share::ALL, with: AbortWith::Grpc(14) }),
        };
        let want = Injected { delay: Some(Duration::from_secs(5)), abort: Some(AbortWith::Grpc(14)) };
        assert_eq!(decide(&fault, &mut |_| panic!("all is no question of chance")), want);
    }
}
