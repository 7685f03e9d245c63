//! Policy at the waypoint, and nobody past it.

use anyhow::{Result, ensure};
use weft_tests::requests::asks;
use weft_tests::waiting::eventually;

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
