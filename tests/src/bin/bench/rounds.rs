//! One round of one case: direct and meshed, right after each other.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::load::Load;
use crate::results::{Case, Sample};
use crate::site::{Path, Side, Site};

/// Between two runs, so that what one left in queues and timers does not meet the other.
const REST: Duration = Duration::from_millis(200);

/// The sample without the mesh and the one with it. Every other round begins with the mesh.
pub(crate) fn measure_round(
    site: &Site,
    case: &Case,
    time: Duration,
    round: usize,
) -> Result<(Sample, Sample)> {
    let (path, load, meshed) = (case.path, case.load, Side::Meshed(case.acceleration));
    if round.is_multiple_of(2) {
        let direct = measure(site, Side::Direct, path, load, time)?;
        Ok((direct, measure(site, meshed, path, load, time)?))
    } else {
        let meshed = measure(site, meshed, path, load, time)?;
        Ok((measure(site, Side::Direct, path, load, time)?, meshed))
    }
}

fn measure(site: &Site, side: Side, path: Path, load: Load, time: Duration) -> Result<Sample> {
    std::thread::sleep(REST);
    let before = site.cpu(side, path)?;
    let measured = site.run(side, path, load, time)?;
    let cpu = site.cpu(side, path)?.since(before);
    // A pod that was not captured would be measured as a mesh of no cost. What is carried costs several times as much; less
    // is what the run before has left to do.
    let idle = cpu.proxies < 0.05 * time.as_secs_f64();
    ensure!(
        idle == (side == Side::Direct),
        "{side:?} {}, and the proxies used {} s",
        load.words(),
        cpu.proxies
    );
    Ok(Sample { measured, cpu })
}
