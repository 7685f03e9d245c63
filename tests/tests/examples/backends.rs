//! Which endpoint of a backend a request meets: the same one again.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use weft_testkit::Get;
use weft_tests::requests::has;
use weft_tests::waiting::eventually;

use crate::scene::{PATIENCE, Scene};

/// So many requests would all meet the same of two pods by chance once in a million times.
const REQUESTS: u64 = 20;

/// The one version that answers so many requests with a header, each on a connection of its own.
fn only_version(scene: &Scene, (name, value): (&str, &str)) -> Result<String> {
    let get = Get::url("http://reviews/").times(REQUESTS).close().header(name, value);
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
        let answer = scene.client.get("http://reviews/")?;
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
    let answer = scene.client.get("http://reviews/")?;
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
