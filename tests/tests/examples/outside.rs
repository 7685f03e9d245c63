//! Services that are not the cluster's, behind the waypoint as an egress gateway.

use anyhow::{Result, ensure};
use weft_tests::waiting::eventually;

use crate::scene::{OUTSIDE, PATIENCE, Scene};

pub(crate) fn payments_and_ratings(scene: &Scene) -> Result<()> {
    for (host, path, addresses) in
        [("api.payments.example", "/pay", &OUTSIDE[..]), ("ratings.example", "/rate", &OUTSIDE[..1])]
    {
        let mut missing: Vec<&str> = addresses.to_vec();
        eventually(&format!("{host} is reached through the waypoint"), PATIENCE, || {
            let answer = scene.client.get(&format!("http://{host}{path}"))?;
            let Some(hello) = answer.hello() else { anyhow::bail!("{answer:?}") };
            ensure!(hello.version == "machine" && hello.host == host, "{hello:?}");
            ensure!(scene.waypoint.log().contains(path), "the waypoint has not seen it");
            missing.retain(|address| hello.local.ip().to_string() != *address);
            ensure!(missing.is_empty(), "{missing:?} were not asked yet");
            Ok(())
        })?;
    }
    ensure!(
        scene.machine.log().contains("asked: GET /pay of api.payments.example"),
        "the machine was not asked"
    );
    Ok(())
}
