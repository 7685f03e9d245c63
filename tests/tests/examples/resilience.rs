//! What becomes of requests when backends fail, are late, or are too few.

use anyhow::{Context as _, Result, ensure};
use std::time::Instant;
use weft_testkit::report::GetReport;
use weft_testkit::{Get, Speaks};
use weft_tests::requests::{asks, calls};
use weft_tests::waiting::{access_lines, eventually};

use crate::backends::{in_turns, of};
use crate::scene::{LATE, PATIENCE, Scene};

const URL: &str = "http://reviews/";

fn ask(scene: &Scene, count: u64) -> Result<GetReport> {
    scene.client.run_tool(&Get::url(URL).times(count))
}

pub(crate) fn timeouts(scene: &Scene) -> Result<()> {
    asks(&scene.client, URL).with(&[LATE]).is_answered(504, |_| Ok(()))?;
    asks(&scene.client, URL).is_answered(200, |_| Ok(()))
}

pub(crate) fn tries(scene: &Scene) -> Result<()> {
    for host in ["reviews", "reviews-v1"] {
        let mut round = 0;
        eventually(&format!("three tries at {host}, and none is waited for"), PATIENCE, || {
            round += 1;
            let path = format!("/tries/{host}/{round}");
            let late = Get::url(&format!("http://{host}{path}")).header(LATE.0, LATE.1);
            let report = scene.client.run_tool(&late)?;
            ensure!(report.failures.get("504") == Some(&1), "{:?}", report.failures);
            let retries = retries_of(scene, &path, 1)?;
            ensure!(retries == 2, "{retries} retries");
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn retries(scene: &Scene) -> Result<()> {
    are_saved(scene, |round| format!("/retried/{round}"), |path| Get::url(&format!("http://reviews{path}")))
}

pub(crate) fn unavailable(scene: &Scene) -> Result<()> {
    let host = "http://reviews:7070";
    calls(&scene.client, &format!("{host}/shop.Reviews/Read")).is_answered(200, |answer| {
        let got = answer.hello().context("not by a server")?;
        ensure!(got.headers.contains_key("grpc-timeout"), "{:?}", got.headers);
        Ok(())
    })?;
    let call = |path: &str| Get::url(&format!("{host}{path}")).speaks(Speaks::Grpc);
    are_saved(scene, |round| format!("/shop.Reviews/Read{round}"), call)
}

/// Servers fail now and then, and no client sees it.
fn are_saved(scene: &Scene, path: impl Fn(u64) -> String, get: impl Fn(&str) -> Get) -> Result<()> {
    const REQUESTS: u64 = 100;
    scene.fails("v1", 3)?;
    scene.fails("v2", 3)?;
    let mut round = 0;
    eventually("retries save all", PATIENCE, || {
        round += 1;
        let path = path(round);
        let report = scene.client.run_tool(&get(&path).times(REQUESTS))?;
        ensure!(report.ok == REQUESTS, "{:?}", report.failures);
        let retries = retries_of(scene, &path, REQUESTS)?;
        ensure!(retries > 0, "nothing had to be tried again");
        Ok(())
    })
}

pub(crate) fn budget(scene: &Scene) -> Result<()> {
    const REQUESTS: u64 = 200;
    scene.fails("v1", 1)?;
    scene.fails("v2", 1)?;
    let mut round = 0;
    eventually("the budget holds retries back", PATIENCE, || {
        round += 1;
        let path = format!("/budget/{round}");
        let begun = Instant::now();
        let get = Get::url(&format!("http://reviews{path}")).times(REQUESTS).connections(20);
        let report = scene.client.run_tool(&get)?;
        ensure!(report.failures.get("503") == Some(&REQUESTS), "{:?}", report.failures);
        // One for five requests, and ten for each second that has begun or is still remembered.
        let allowed = REQUESTS / 5 + 10 * (begun.elapsed().as_secs() + 2);
        let retries = retries_of(scene, &path, REQUESTS)?;
        ensure!((1..=allowed).contains(&retries), "{retries} retries, {allowed} allowed");
        Ok(())
    })
}

/// How often requests for a path were tried again, as the waypoint's access log has it.
fn retries_of(scene: &Scene, path: &str, requests: u64) -> Result<u64> {
    let tries = eventually("all lines are written", PATIENCE, || {
        let lines = access_lines(&scene.waypoint, path);
        let lines: Vec<_> = lines.iter().filter(|line| line["path"] == path).collect();
        ensure!(lines.len() as u64 == requests, "{} lines", lines.len());
        Ok(lines.iter().filter_map(|line| line["tries"].as_u64()).sum::<u64>())
    })?;
    tries.checked_sub(requests).context("a request without a try")
}

pub(crate) fn circuit(scene: &Scene) -> Result<()> {
    in_turns(scene)?;
    scene.fails("v2", 1)?;
    eventually("the circuit opens", PATIENCE, || {
        let report = ask(scene, 20)?;
        ensure!(report.ok == 20 && of(&report, "v1") == 20, "{:?} {:?}", report.versions, report.failures);
        Ok(())
    })?;
    scene.mends("v2")?;
    eventually("the circuit closes", PATIENCE, || {
        let report = ask(scene, 20)?;
        ensure!(report.ok == 20 && of(&report, "v2") > 0, "{:?}", report.versions);
        Ok(())
    })
}

pub(crate) fn too_few(scene: &Scene) -> Result<()> {
    const REQUESTS: u64 = 200;
    in_turns(scene)?;
    scene.fails("v2", 1)?;
    eventually("the one that fails is asked all the same", PATIENCE, || {
        let report = ask(scene, REQUESTS)?;
        let failed = report.failures.get("503").copied().unwrap_or_default();
        // It would be left alone after five of them.
        ensure!(
            failed > REQUESTS / 3 && of(&report, "v1") > REQUESTS / 3,
            "{:?} {:?}",
            report.versions,
            report.failures
        );
        Ok(())
    })
}

pub(crate) fn comparison(scene: &Scene) -> Result<()> {
    scene.fails("v2", 2)?;
    eventually("who fails more often than it may is left alone", PATIENCE, || {
        let report = ask(scene, 40)?;
        ensure!(report.ok == 40 && of(&report, "v1") == 40, "{:?} {:?}", report.versions, report.failures);
        Ok(())
    })?;
    scene.mends("v2")?;
    eventually("it is asked again", PATIENCE, || {
        let report = ask(scene, 20)?;
        ensure!(report.ok == 20 && of(&report, "v2") > 0, "{:?}", report.versions);
        Ok(())
    })
}

pub(crate) fn fallback(scene: &Scene) -> Result<()> {
    eventually("all pods answer for the version that has none", PATIENCE, || {
        let report = ask(scene, 40)?;
        ensure!(report.ok == 40 && report.versions.len() == 2, "{:?} {:?}", report.versions, report.failures);
        Ok(())
    })
}

pub(crate) fn limits(scene: &Scene) -> Result<()> {
    const REQUESTS: u64 = 8;
    eventually("what is too much is refused at once", PATIENCE, || {
        let get = Get::url("http://reviews-v1/").times(REQUESTS).connections(REQUESTS);
        let report = scene.client.run_tool(&get.header("answer-after-ms", "500"))?;
        let refused = report.failures.get("503").copied().unwrap_or_default();
        // One goes at once and one waits; who comes when those are through may go too.
        ensure!(report.ok >= 2 && refused > 0, "{} answered, {:?}", report.ok, report.failures);
        ensure!(report.ok + refused == REQUESTS, "{:?}", report.failures);
        Ok(())
    })?;
    asks(&scene.client, "http://reviews-v1/").reaches(&scene.v1)
}

pub(crate) fn faults(scene: &Scene) -> Result<()> {
    let user = |name: &'static str| asks(&scene.client, URL).with(&[("end-user", name)]);
    user("ripley").is_answered(500, |answer| {
        ensure!(answer.hello().is_none(), "a server answered");
        Ok(())
    })?;
    user("newt").is_answered(200, |answer| {
        ensure!(answer.micros >= 400_000, "after {} µs", answer.micros);
        Ok(())
    })?;
    user("bishop").is_answered(200, |_| Ok(()))
}
