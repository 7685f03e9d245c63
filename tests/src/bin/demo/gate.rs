//! A waypoint for `reviews`: its Gateway, its pod, its process, and the label that brings requests there.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use weft_testkit::Get;
use weft_testkit::report::GetReport;
use weft_tests::stage::{await_through, object, place_waypoint, start_waypoint};

use crate::policies::fields;
use crate::scene::{Scene, seconds};
use crate::telling::Telling;

/// What a change may take until it shows, on a busy machine.
pub(crate) const EFFECT: Duration = Duration::from_secs(20);
/// Asked for once to see that requests come through the waypoint.
const THROUGH: &str = "asked-through-the-waypoint";

/// Sets it up; from then on requests to the Service go through it.
pub(crate) fn stands(scene: &mut Scene, telling: &Telling) -> Result<()> {
    let gate = place_waypoint(&scene.world, 2, "shop", "gate")?;
    let waypoint = start_waypoint(&scene.world, &scene.mesh, &gate)?;
    let written = Instant::now();
    scene.reviews().label("weft.dev/waypoint", "gate").apply()?;
    let url = format!("{}{THROUGH}", scene.url());
    await_through(&waypoint, &scene.client, &url, EFFECT)?;
    telling.fact(&format!(
        "Gateway gate runs on node2, and reviews is labelled weft.dev/waypoint: gate: {} later its requests go through it",
        seconds(written.elapsed())
    ));
    let line = waypoint.log().lines().rev().find(|line| line.contains(THROUGH)).map(str::to_owned);
    let line = line.context("its access line was there a moment ago")?;
    telling.detail(&fields(&line, &["method", "path", "status", "src.workload", "dst.workload"]));
    (scene.waypoint, scene.waypoint_pod) = (Some(waypoint), Some(gate));
    Ok(())
}

impl Scene {
    /// Writes an object of `shop`.
    pub(crate) fn write(&self, api: &str, kind: &str, name: &str, spec: &Value) -> Result<()> {
        self.world.apply(&object(api, kind, ["shop", name], spec)).map(drop)
    }

    /// Takes one away.
    pub(crate) fn take_away(&self, api: &str, kind: &str, name: &str) -> Result<()> {
        self.world.remove(&object(api, kind, ["shop", name], &Value::Null))
    }

    /// Requests to the Service, one after the other.
    pub(crate) fn ask(&self, count: u64, header: Option<(&str, &str)>) -> Result<GetReport> {
        let get = Get::url(&self.url()).times(count);
        self.client.run_tool(&header.into_iter().fold(get, |get, (name, value)| get.header(name, value)))
    }
}

/// How many of the answers a version gave.
pub(crate) fn of(report: &GetReport, version: &str) -> u64 {
    report.versions.get(version).copied().unwrap_or_default()
}
