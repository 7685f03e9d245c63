//! Services that are not the cluster's, behind the waypoint as an egress gateway.

use anyhow::{Result, ensure};
use weft_tests::waiting::eventually;

use crate::scene::{OUTSIDE, PATIENCE, Scene};

pub(crate) fn payments_and_ratings(scene: &Scene) -> Result<()> {
    is_reached(scene, "api.payments.example", "/pay", &OUTSIDE)?;
    is_reached(scene, "ratings.example", "/rate", &OUTSIDE[..1])?;
    ensure!(
        scene.machine.log().contains("asked: GET /pay of api.payments.example"),
        "the machine was not asked"
    );
    Ok(())
}

pub(crate) fn range(scene: &Scene) -> Result<()> {
    is_reached(scene, "198.51.100.7", "/first", &OUTSIDE[..1])?;
    is_reached(scene, "198.51.100.250", "/last", &OUTSIDE[..1])
}

pub(crate) fn names(scene: &Scene) -> Result<()> {
    is_reached(scene, "rates.example", "/rates", &OUTSIDE[1..])
}

/// Requests come through the waypoint to all of these addresses, and to no other.
fn is_reached(scene: &Scene, host: &str, path: &str, addresses: &[&str]) -> Result<()> {
    let mut missing: Vec<&str> = addresses.to_vec();
    eventually(&format!("{host} is reached through the waypoint"), PATIENCE, || {
        let answer = scene.client.get(&format!("http://{host}{path}"))?;
        let Some(hello) = answer.hello() else { anyhow::bail!("{answer:?}") };
        let met = hello.local.ip().to_string();
        ensure!(hello.version == "machine" && hello.host == host, "{hello:?}");
        ensure!(addresses.contains(&&*met), "it came to {met}");
        // Of all that stand on the way only a waypoint reads requests.
        ensure!(hello.headers.contains_key("x-forwarded-proto"), "it came past the waypoint: {hello:?}");
        missing.retain(|address| *address != met);
        ensure!(missing.is_empty(), "{missing:?} were not asked yet");
        Ok(())
    })
}
