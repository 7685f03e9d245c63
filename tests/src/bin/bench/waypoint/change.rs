//! How long a changed route takes until requests go by it, with a thousand hosts: from the moment that a file is there.
//! For Weft it is the manifest, and the control plane is on the way; for Envoy the file of its routes, all of which it
//! says at once, ready-made.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::row::{Contender, Entry};
use super::site::Site;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// No change takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The times of so many changes, in milliseconds: Weft's, and Envoy's.
pub(crate) fn measure(site: &Site, rounds: usize) -> Result<[Vec<f64>; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for generation in 1..=rounds as u64 {
        for (contender, times) in [Contender::Weft, Contender::Envoy].into_iter().zip(&mut times) {
            times.push(one(site, contender, generation)?.as_secs_f64() * 1e3);
        }
    }
    Ok(times)
}

fn one(site: &Site, contender: Contender, generation: u64) -> Result<Duration> {
    let mut open = site.open(contender, Entry::Crowd)?;
    site.generation(&mut open, Entry::Crowd)?;
    let begun = Instant::now();
    site.say_routes(contender, Entry::Crowd, generation)?;
    while site.generation(&mut open, Entry::Crowd)? != generation {
        ensure!(begun.elapsed() < PATIENCE, "{contender:?} goes by its old routes after {PATIENCE:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(begun.elapsed())
}
