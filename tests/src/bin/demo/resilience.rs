//! A backend that fails, and what saves its clients: retries, and leaving it alone until it is well. And failures that are
//! made on purpose, for one user.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use weft_tests::asking::ask;
use weft_tests::waiting::eventually;

use crate::gate::{EFFECT, of};
use crate::routes::{NETWORKING, to};
use crate::scene::{Scene, seconds};
use crate::telling::Telling;

/// `v2` answers every third request with 503.
const EVERY: u64 = 3;
const REQUESTS: u64 = 300;
/// So many failures one after the other open the circuit.
const IN_A_ROW: u64 = 5;

/// Retries hide the failures of a backend that fails now and then.
pub(crate) fn retries(scene: &Scene, telling: &Telling) -> Result<()> {
    fails(scene, EVERY)?;
    let with = |retries: Value| {
        let route = json!([{"route": [{"destination": to("v2")}], "retries": retries}]);
        scene.write(NETWORKING, "VirtualService", "reviews", &json!({"hosts": ["reviews"], "http": route}))
    };
    with(json!({"attempts": 0}))?;
    let failed = eventually("v2 fails now and then", EFFECT, || {
        let report = scene.ask(REQUESTS, None)?;
        // One request of the others may stand at the beginning.
        let failed = report.failures.get("503").copied().unwrap_or_default();
        ensure!(report.ok + failed == REQUESTS && failed.abs_diff(REQUESTS / EVERY) <= 1, "{report:?}");
        Ok(failed)
    })?;
    telling.fact(&format!(
        "v2 answers every third request with 503, and nobody tries again: {failed} of {REQUESTS} requests fail"
    ));
    with(json!({"attempts": 3, "retryOn": "5xx"}))?;
    eventually("retries save them", EFFECT, || {
        let report = scene.ask(REQUESTS, None)?;
        ensure!(report.ok == REQUESTS && of(&report, "v2") == REQUESTS, "{report:?}");
        Ok(())
    })?;
    telling
        .fact(&format!("VirtualService with retries written: 0 of {REQUESTS} fail, and all are still v2's"));
    mended(scene)
}

/// A backend that fails again and again is left alone, and asked again when it is well.
pub(crate) fn circuit(scene: &Scene, telling: &Telling) -> Result<()> {
    let mut policy = json!({"outlierDetection": {
        "consecutive5xxErrors": IN_A_ROW, "interval": "1s", "baseEjectionTime": "3s", "maxEjectionPercent": 100,
    }});
    // In turns, so that both are asked alike whatever each has answered before.
    policy["loadBalancer"] = json!({"simple": "ROUND_ROBIN"});
    let rule = json!({"host": "reviews", "trafficPolicy": policy});
    scene.write(NETWORKING, "DestinationRule", "reviews", &rule)?;
    let all = json!([{"route": [{"destination": {"host": "reviews"}}], "retries": {"attempts": 0}}]);
    scene.write(NETWORKING, "VirtualService", "reviews", &json!({"hosts": ["reviews"], "http": all}))?;
    eventually("both versions answer", EFFECT, || {
        let report = scene.ask(50, None)?;
        ensure!(report.ok == 50 && of(&report, "v1") > 0 && of(&report, "v2") > 0, "{report:?}");
        Ok(())
    })?;
    fails(scene, 1)?;
    let mut failed = 0;
    eventually("the circuit opens", EFFECT, || {
        let report = scene.ask(50, None)?;
        failed += report.failed;
        ensure!(report.ok == 50 && of(&report, "v1") == 50, "{report:?}");
        ensure!(is_open(scene)?, "v2 fails, and the waypoint has not noticed");
        Ok(())
    })?;
    ensure!(failed >= IN_A_ROW, "it was left alone after {failed} failures");
    telling.fact(&format!(
        "v2 fails altogether: after {failed} failed requests the circuit is open, and 50 of 50 are answered by v1"
    ));
    mended(scene)?;
    let since = Instant::now();
    eventually("v2 is asked again", EFFECT, || {
        let report = scene.ask(50, None)?;
        ensure!(report.ok == 50 && of(&report, "v2") > 0, "{report:?}");
        Ok(())
    })?;
    telling.fact(&format!(
        "v2 is well again: {} later the circuit is closed, and it answers",
        seconds(since.elapsed())
    ));
    Ok(())
}

/// Whether the waypoint leaves v2 alone, as it says itself.
fn is_open(scene: &Scene) -> Result<bool> {
    let waypoint = scene.waypoint.as_ref().context("the waypoint stands")?;
    let endpoints = ask(&waypoint.folder().join("waypoint-admin.sock"), "/endpoints")?;
    let is_v2 = |row: &&Value| row["workload"] == "shop/reviews-v2" && row["ejected"] == true;
    Ok(endpoints.as_array().into_iter().flatten().any(|row| is_v2(&row)))
}

/// A fault is made for one user, and nobody else notices.
pub(crate) fn fault_for_one(scene: &Scene, telling: &Telling) -> Result<()> {
    let user = json!([{"headers": {"end-user": {"exact": "ripley"}}}]);
    let fault = json!({"abort": {"httpStatus": 500, "percentage": {"value": 100}}});
    let all = json!([{"destination": {"host": "reviews"}}]);
    let http = json!([{"match": user, "fault": fault, "route": all}, {"route": all}]);
    scene.write(NETWORKING, "VirtualService", "reviews", &json!({"hosts": ["reviews"], "http": http}))?;
    eventually("ripley meets the fault", EFFECT, || {
        let report = scene.ask(100, Some(("end-user", "ripley")))?;
        ensure!(report.failures.get("500") == Some(&100), "{report:?}");
        Ok(())
    })?;
    let others = scene.ask(100, Some(("end-user", "bishop")))?;
    ensure!(others.ok == 100, "{others:?}");
    telling
        .fact("a fault for user ripley alone: 100 of 100 of her requests get 500, and 0 of 100 of bishop's");
    Ok(())
}

fn fails(scene: &Scene, every: u64) -> Result<()> {
    fs::write(scene.fail_file(), every.to_string()).context("letting v2 fail")
}

fn mended(scene: &Scene) -> Result<()> {
    fs::remove_file(scene.fail_file()).context("letting v2 be well again")
}
