//! Policy at the waypoint, and nobody past it.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weft_tests::requests::asks;
use weft_tests::waiting::{access_lines, eventually};

use crate::scene::{PATIENCE, Scene};

pub(crate) fn readers(scene: &Scene) -> Result<()> {
    let url = "http://reviews.shop/";
    asks(&scene.teller, url).is_answered(403, |_| Ok(()))?;
    asks(&scene.client, url).method("DELETE").is_answered(403, |_| Ok(()))?;
    for path in ["admin", "admin/users", "x/../admin", "%61dmin", "/admin"] {
        asks(&scene.client, &format!("{url}{path}")).is_answered(403, |_| Ok(()))?;
    }
    asks(&scene.client, &format!("{url}books")).is_answered(200, |_| Ok(()))?;
    let around = format!("http://{}/", scene.v1.addr(8080));
    eventually("nobody comes past the waypoint", PATIENCE, || {
        let answer = scene.client.get(&around)?;
        ensure!(answer.error == "reset", "{answer:?}");
        Ok(())
    })
}

pub(crate) fn trial(scene: &Scene) -> Result<()> {
    let mut number = 0;
    eventually("the bank's requests would be denied", PATIENCE, || {
        number += 1;
        let path = format!("/trial/bank/{number}");
        let answer = scene.teller.get(&format!("http://reviews.shop{path}"))?;
        ensure!(answer.is_ok(), "{answer:?}");
        let dry_run = &line_of(scene, &path)?["dry_run"];
        ensure!(dry_run == "denied by policy shop/shop-only", "{dry_run}");
        Ok(())
    })?;
    let answer = scene.client.get("http://reviews.shop/trial/shop")?;
    ensure!(answer.is_ok(), "{answer:?}");
    let line = line_of(scene, "/trial/shop")?;
    ensure!(line["dry_run"].is_null(), "{line}");
    Ok(())
}

/// What the waypoint says of the request for a path.
fn line_of(scene: &Scene, path: &str) -> Result<Value> {
    eventually("its line", PATIENCE, || {
        let mut lines = access_lines(&scene.waypoint, path).into_iter();
        lines.find(|line| line["path"] == path).context("there is none")
    })
}
