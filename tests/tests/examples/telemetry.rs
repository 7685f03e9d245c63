//! What a waypoint tells of requests.

use anyhow::{Result, ensure};
use std::time::Duration;
use weft_tests::waiting::eventually;

use crate::scene::{PATIENCE, Scene};

/// What a line may take.
const A_LINE: Duration = Duration::from_secs(2);

pub(crate) fn failures_only(scene: &Scene) -> Result<()> {
    let asks = |path: &str| scene.client.get(&format!("http://reviews{path}"));
    let mut number = 0;
    eventually("requests that fail have lines, and no others", PATIENCE, || {
        number += 1;
        let (well, ill) = (format!("/well/{number}"), format!("/ill/{number}"));
        let answer = asks(&well)?;
        ensure!(answer.is_ok(), "{answer:?}");
        ["v1", "v2"].iter().try_for_each(|version| scene.fails(version, 1))?;
        let answer = asks(&ill);
        ["v1", "v2"].iter().try_for_each(|version| scene.mends(version))?;
        ensure!(answer.as_ref().is_ok_and(|answer| answer.status == 503), "{answer:?}");
        eventually("the line of a failure", A_LINE, || {
            ensure!(scene.waypoint.log().contains(&ill), "there is none");
            Ok(())
        })?;
        ensure!(!scene.waypoint.log().contains(&well), "a request that went well has a line");
        Ok(())
    })
}
