//! Which part of the requests each level of endpoints gets, by how many of them are healthy (Envoy's "priority levels"
//! and "panic threshold").

use crate::share::Share;
use weft_core::balance::Chance;

/// Endpoints beyond what is needed, in thousandths: a level of which 1/1.4, about 71 %, is healthy still takes everything.
const OVERPROVISIONING: u64 = 1400;
/// All requests, as [`LevelShare::part`] counts them.
const ALL: u64 = 1_000_000;

/// The endpoints of a level, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelHealth {
    /// Those that may be asked.
    pub healthy: u32,
    /// All of them.
    pub total: u32,
}

/// What a level gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelShare {
    /// In millionths of all requests.
    pub part: u64,
    /// Who may be asked there.
    pub asked: Asked,
}

/// Who may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Whoever is healthy.
    Healthy,
    /// Everybody: so few are healthy that they would break under what the others leave to them (panic).
    Everybody,
}

/// How healthy a level counts, in millionths: 1.4 times the healthy part, all at most.
pub fn availability(level: LevelHealth) -> u64 {
    let available = u64::from(level.healthy) * OVERPROVISIONING * (ALL / 1000);
    available.checked_div(u64::from(level.total)).unwrap_or(0).min(ALL)
}

/// What each level gets: the first as much as it is available, the next of the rest. If all of them together are not
/// available enough, each gets in proportion, and a level of which less than `healthy_min` is healthy asks everybody; if
/// all levels do, their shares are those of their endpoints. All parts are zero if nobody may be asked.
pub fn shares(levels: &[LevelHealth], healthy_min: Share) -> Vec<LevelShare> {
    let available: u64 = levels.iter().map(|level| availability(*level)).sum();
    let enough = available.min(ALL);
    let panics = |level: &LevelHealth| {
        let healthy_min = u64::from(u32::from(healthy_min));
        enough < ALL && u64::from(level.healthy) * ALL < healthy_min * u64::from(level.total)
    };
    if !levels.is_empty() && levels.iter().all(panics) {
        let total: u64 = levels.iter().map(|level| u64::from(level.total)).sum();
        let part = |level: &LevelHealth| u64::from(level.total) * ALL / total.max(1);
        return levels
            .iter()
            .map(|level| LevelShare { part: part(level), asked: Asked::Everybody })
            .collect();
    }
    let mut left = ALL;
    let share = |level: &LevelHealth| {
        let part = (availability(*level) * ALL).checked_div(enough).unwrap_or(0).min(left);
        left -= part;
        LevelShare { part, asked: if panics(level) { Asked::Everybody } else { Asked::Healthy } }
    };
    levels.iter().map(share).collect()
}

/// The level of a request. `None` if nobody may be asked.
pub fn choose(shares: &[LevelShare], chance: &mut impl Chance) -> Option<usize> {
    let total: u64 = shares.iter().map(|share| share.part).sum();
    // The common case, all to the nearest, needs no die.
    if total > 0 && shares.first().is_some_and(|first| first.part == total) {
        return Some(0);
    }
    let mut left = if total == 0 { return None } else { chance.below(total) };
    shares.iter().position(|share| match left.checked_sub(share.part) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Asked::{Everybody, Healthy};

    fn percent(healthy_of_100: &[u32], healthy_min: u32) -> Vec<(u64, Asked)> {
        let levels: Vec<_> =
            healthy_of_100.iter().map(|healthy| LevelHealth { healthy: *healthy, total: 100 }).collect();
        let healthy_min = Share::fraction(healthy_min, 100).expect("a part");
        shares(&levels, healthy_min).iter().map(|share| ((share.part + 5000) / 10_000, share.asked)).collect()
    }

    #[test]
    fn what_spills_to_the_next_level() {
        for (healthy, want) in [
            (&[100, 100][..], &[100, 0][..]),
            (&[72, 100], &[100, 0]),
            (&[71, 100], &[99, 1]),
            (&[50, 100], &[70, 30]),
            (&[25, 100], &[35, 65]),
            (&[0, 100], &[0, 100]),
            (&[50, 25, 100], &[70, 30, 0]),
            (&[25, 25, 100], &[35, 35, 30]),
            (&[25, 25], &[50, 50]),
            (&[5, 0], &[100, 0]),
            (&[0, 0], &[0, 0]),
            (&[40], &[100]),
            (&[0], &[0]),
            (&[], &[]),
        ] {
            let want: Vec<_> = want.iter().map(|part| (*part, Healthy)).collect();
            assert_eq!(percent(healthy, 0), want, "{healthy:?}, never in panic");
        }
    }

    #[test]
    fn when_everybody_is_asked() {
        for (healthy, want) in [
            (&[72, 72][..], &[(100, Healthy), (0, Healthy)][..]),
            (&[50, 60], &[(70, Healthy), (30, Healthy)]),
            (&[25, 100], &[(35, Healthy), (65, Healthy)]),
            (&[25, 25], &[(50, Everybody), (50, Everybody)]),
            (&[5, 65], &[(7, Everybody), (93, Healthy)]),
            (&[0, 0], &[(50, Everybody), (50, Everybody)]),
            (&[0], &[(100, Everybody)]),
            (&[49], &[(100, Everybody)]),
            (&[50], &[(100, Healthy)]),
        ] {
            assert_eq!(percent(healthy, 50), want, "{healthy:?}");
        }
    }

    #[test]
    fn all_in_panic_share_by_their_endpoints() {
        let levels = [LevelHealth { healthy: 0, total: 30 }, LevelHealth { healthy: 1, total: 10 }];
        let parts: Vec<_> = shares(&levels, Share::ALL).iter().map(|share| share.part).collect();
        assert_eq!(parts, [750_000, 250_000]);
    }

    #[test]
    fn chosen_by_part() {
        let levels = [50, 25, 100].map(|healthy| LevelHealth { healthy, total: 100 });
        let shares = shares(&levels, Share::ALL);
        let mut counts = [0; 3];
        for roll in 0..1000 {
            counts[choose(&shares, &mut |bound| bound * roll / 1000).expect("a level")] += 1;
        }
        assert_eq!(counts, [700, 300, 0]);
        assert_eq!(choose(&[], &mut |_| 0), None);
    }
}
