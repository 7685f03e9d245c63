//! A node proxy is killed and started again while new connections keep coming.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weft_testkit::Connects;

use crate::scene::{Scene, seconds};
use crate::telling::Telling;
use crate::traffic::target;

/// New connections a second.
const RATE: u64 = 200;
/// How often the proxy is killed.
const KILLS: u32 = 3;
/// Between two kills, and before the first and after the last one.
const REST: Duration = Duration::from_millis(1500);

/// Kills the proxy of the client's node, again and again.
pub(crate) fn kill_under_load(scene: &Scene, telling: &Telling) -> Result<()> {
    let load = Connects::to(&target(scene))
        .rate(RATE)
        .during(REST * (KILLS + 1) + Duration::from_secs(1))
        .send("GET / HTTP/1.0\r\n\r\n");
    let running = scene.client.start_tool(&load)?;
    let proxy = scene.mesh.proxy(1);
    let mut longest = Duration::ZERO;
    for _ in 0..KILLS {
        std::thread::sleep(REST);
        let start = Instant::now();
        proxy.kill_and_restart()?;
        longest = longest.max(start.elapsed());
    }
    let report = running.finish()?;
    let unexpected = report.refused + report.timeout + report.no_port + report.other.values().sum::<u64>();
    ensure!(unexpected == 0, "new connections failed while the proxy was away: {report:?}");
    let cut = report.reset + report.closed;
    ensure!(report.ok + cut == report.tried, "connections unaccounted for: {report:?}");
    telling.fact(&format!(
        "node1's proxy killed with SIGKILL {KILLS} times under {RATE} new connections a second, each time ready again \
         within {}",
        seconds(longest)
    ));
    telling.fact(&format!(
        "{} connections: 0 refused, 0 timed out; {cut} were open in the proxy that died, and broke with it",
        report.tried
    ));
    let waited = Duration::from_micros(report.latency.max);
    telling.fact(&format!("the one that waited longest for its answer waited {}", seconds(waited)));
    Ok(())
}
