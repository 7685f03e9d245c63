//! Which endpoint of a backend a request meets: the same one again, the nearest, each in its turn; and by what connection.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use weft_testkit::report::{Answer, GetReport};
use weft_testkit::{Get, Speaks};
use weft_tests::requests::{asks, await_share, has};
use weft_tests::waiting::eventually;

use crate::routing::REQUESTS as OF_SHARES;
use crate::scene::{PATIENCE, Scene};
use crate::streams::{client_hello, versions};

const URL: &str = "http://reviews/";

/// So many requests would all meet the same of two pods by chance once in a million times.
const REQUESTS: u64 = 20;

/// The one version that answers so many requests with a header, each on a connection of its own.
fn only_version(scene: &Scene, (name, value): (&str, &str)) -> Result<String> {
    let get = Get::url(URL).times(REQUESTS).close().header(name, value);
    let report = scene.client.run_tool(&get)?;
    ensure!(
        report.ok == REQUESTS && report.versions.len() == 1,
        "{:?} {:?}",
        report.versions,
        report.failures
    );
    report.versions.into_keys().next().context("just counted")
}

pub(crate) fn sessions(scene: &Scene) -> Result<()> {
    let mut met = BTreeSet::new();
    eventually("sessions with both versions", PATIENCE, || {
        let answer = scene.client.get(URL)?;
        ensure!(!met.contains(&answer.version()), "so far with {met:?}");
        let cookie = answer.headers.get("set-cookie").context("no cookie")?;
        let cookie = cookie.split(';').next().unwrap_or_default();
        ensure!(cookie.starts_with("cart="), "{cookie}");
        let version = only_version(scene, ("cookie", cookie))?;
        ensure!(version == answer.version(), "the cookie of {} led to {version}", answer.version());
        met.insert(version);
        ensure!(met.len() == 2, "so far with {met:?}");
        Ok(())
    })?;
    // Who brings it has it already.
    let answer = scene.client.get(URL)?;
    ensure!(has(&answer, "set-cookie", None).is_err(), "a session is begun: {answer:?}");
    Ok(())
}

pub(crate) fn hash(scene: &Scene) -> Result<()> {
    eventually("users meet both versions, and each of them one", PATIENCE, || {
        let users = (0..12).map(|user| only_version(scene, ("end-user", &format!("user-{user}"))));
        let met = users.collect::<Result<BTreeSet<_>>>()?;
        ensure!(met.len() == 2, "all of them meet {met:?}");
        Ok(())
    })
}

pub(crate) fn ports(scene: &Scene) -> Result<()> {
    in_turns(scene)?;
    eventually("calls go to both versions", PATIENCE, || {
        let get = Get::url("http://reviews:7070/shop.Reviews/Read").speaks(Speaks::Grpc);
        let report = scene.client.run_tool(&get.times(40).connections(8))?;
        ensure!(report.ok == 40 && report.versions.len() == 2, "{:?} {:?}", report.versions, report.failures);
        Ok(())
    })?;
    eventually("connections of bytes meet both versions", PATIENCE, || {
        let met = versions(&scene.client, scene.vip(7001), &[], REQUESTS)?;
        ensure!(met.len() == 2, "all of them meet {met:?}");
        Ok(())
    })?;
    let hello = client_hello("reviews")?;
    eventually("a client's TLS meets one version", PATIENCE, || {
        let met = versions(&scene.client, scene.vip(7443), &hello, REQUESTS)?;
        ensure!(met.len() == 1, "it meets {met:?}");
        Ok(())
    })
}

/// Each version answers every other request.
pub(crate) fn in_turns(scene: &Scene) -> Result<()> {
    eventually("both versions answer in turns", PATIENCE, || {
        let report = scene.client.run_tool(&Get::url(URL).times(16))?;
        let met: Vec<String> = report.answers.iter().map(Answer::version).collect();
        let both = met.len() == 16 && met.iter().all(|version| report.versions.contains_key(version));
        ensure!(both && met.windows(2).all(|pair| pair[0] != pair[1]), "{met:?} {:?}", report.failures);
        Ok(())
    })
}

pub(crate) fn near(scene: &Scene) -> Result<()> {
    only(scene, "v1")?;
    scene.fails("v1", 1)?;
    only(scene, "v2")?;
    scene.mends("v1")?;
    only(scene, "v1")
}

/// A version answers everything.
fn only(scene: &Scene, version: &str) -> Result<()> {
    eventually(&format!("{version} answers alone"), PATIENCE, || {
        let report = scene.client.run_tool(&Get::url(URL).times(40))?;
        ensure!(of(&report, version) == 40, "{:?} {:?}", report.versions, report.failures);
        Ok(())
    })
}

pub(crate) fn shares(scene: &Scene) -> Result<()> {
    await_share(&scene.client, &Get::url(URL).times(OF_SHARES), "v2", 0.2).map(drop)
}

pub(crate) fn slowly(scene: &Scene) -> Result<()> {
    in_turns(scene)?;
    scene.v2.set_ready(false)?;
    let held = only(scene, "v1").and_then(|()| {
        scene.v2.set_ready(true)?;
        // A tenth of its half, and a little more each second.
        eventually("version 2 begins slowly", PATIENCE, || {
            let report = scene.client.run_tool(&Get::url(URL).times(400))?;
            let share = of(&report, "v2");
            ensure!(
                report.ok == 400 && (1..=80).contains(&share),
                "{:?} {:?}",
                report.versions,
                report.failures
            );
            Ok(())
        })
    });
    scene.v2.set_ready(true)?;
    held
}

pub(crate) fn connections(scene: &Scene) -> Result<()> {
    asks(&scene.client, URL).is_answered(200, |answer| {
        let got = answer.hello().context("not by a server")?;
        ensure!(
            got.protocol == "HTTP/2.0" && got.on_connection == 1,
            "{} {}",
            got.protocol,
            got.on_connection
        );
        Ok(())
    })
}

/// How often a version has answered.
pub(crate) fn of(report: &GetReport, version: &str) -> u64 {
    report.versions.get(version).copied().unwrap_or_default()
}
