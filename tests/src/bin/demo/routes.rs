//! Routes that users come with: a canary, one for some browsers, and a split of the Gateway API.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use weft_testkit::report::GetReport;
use weft_testkit::{Get, find_binary};
use weft_tests::requests::await_share;
use weft_tests::waiting::eventually;

use crate::gate::{EFFECT, of};
use crate::scene::{PORT, Scene};
use crate::telling::Telling;

pub(crate) const NETWORKING: &str = "networking.istio.io/v1";
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
/// Chrome, as it calls itself.
const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
/// Of so many requests shares are told.
const REQUESTS: u64 = 1000;

/// Waits until `v2` has its part of the requests, and counts then: the first of them may have gone the old way.
fn share_of_v2(scene: &Scene, part: f64) -> Result<GetReport> {
    let requests = Get::url(&scene.url()).times(REQUESTS);
    await_share(&scene.client, &requests, "v2", part)?;
    await_share(&scene.client, &requests, "v2", part)
}

/// `host` and `subset` of a DestinationRule.
pub(crate) fn to(subset: &str) -> Value {
    json!({"host": "reviews", "subset": subset})
}

/// Nine in ten to v1, one in ten to v2.
pub(crate) fn canary(scene: &Scene, telling: &Telling) -> Result<()> {
    let versions = ["v1", "v2"].map(|version| json!({"name": version, "labels": {"version": version}}));
    let rule = json!({"host": "reviews", "subsets": versions});
    scene.write(NETWORKING, "DestinationRule", "reviews", &rule)?;
    let routes = json!([{"destination": to("v1"), "weight": 90}, {"destination": to("v2"), "weight": 10}]);
    let canary = json!({"hosts": ["reviews"], "http": [{"route": routes}]});
    scene.write(NETWORKING, "VirtualService", "reviews", &canary)?;
    let report = share_of_v2(scene, 0.1)?;
    telling.fact(&format!(
        "VirtualService, 90 to v1 and 10 to v2: of {REQUESTS} requests, {} answered by v1 and {} by v2",
        of(&report, "v1"),
        of(&report, "v2")
    ));
    Ok(())
}

/// Users of one browser meet v2, all others v1; and the waypoint says why.
pub(crate) fn browsers(scene: &Scene, telling: &Telling) -> Result<()> {
    let chrome = json!([{"headers": {"user-agent": {"regex": ".*Chrome.*"}}}]);
    let browsers = json!({"hosts": ["reviews"], "http": [
        {"match": chrome, "route": [{"destination": to("v2")}]},
        {"route": [{"destination": to("v1")}]},
    ]});
    scene.write(NETWORKING, "VirtualService", "reviews", &browsers)?;
    eventually("Chrome's users meet v2", EFFECT, || {
        let report = scene.ask(200, Some(("user-agent", CHROME)))?;
        ensure!(report.ok == 200 && of(&report, "v2") == 200, "{:?} {:?}", report.versions, report.failures);
        Ok(())
    })?;
    let others = scene.ask(200, Some(("user-agent", "curl/8")))?;
    ensure!(others.ok == 200 && of(&others, "v1") == 200, "{:?} {:?}", others.versions, others.failures);
    telling
        .fact("VirtualService, Chrome's users to v2: 200 of 200 of them meet v2, and 200 of 200 others v1");
    let agent = format!("user-agent: {CHROME}");
    let said = weft(scene, &["routes", "explain", "shop/reviews", "GET", "/", "-H", &agent])?;
    ensure!(said.contains("it goes to") && said.contains("subset v2"), "{said}");
    telling.fact("weft routes explain says so before anybody asks, by the waypoint's own decision:");
    for line in said.lines().filter(|line| line.starts_with("it goes") || line.starts_with("  b")) {
        telling.detail(line);
    }
    scene.take_away(NETWORKING, "VirtualService", "reviews")
}

/// Four in five to v1, one in five to v2, by the Gateway API.
pub(crate) fn split(scene: &Scene, telling: &Telling) -> Result<()> {
    for version in ["v1", "v2"] {
        let service = scene.world.service("shop", &format!("reviews-{version}"));
        service.select([("app", "reviews"), ("version", version)]).port("http", PORT, "http").apply()?;
    }
    let backend = |version: &str, weight: u64| json!({"name": format!("reviews-{version}"), "port": PORT, "weight": weight});
    let route = json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
        "rules": [{"backendRefs": [backend("v1", 80), backend("v2", 20)]}],
    });
    scene.write(GATEWAY_API, "HTTPRoute", "reviews", &route)?;
    let report = share_of_v2(scene, 0.2)?;
    telling.fact(&format!(
        "HTTPRoute, 80 to reviews-v1 and 20 to reviews-v2: of {REQUESTS} requests, {} answered by v1 and {} by v2",
        of(&report, "v1"),
        of(&report, "v2")
    ));
    scene.take_away(GATEWAY_API, "HTTPRoute", "reviews")
}

/// What `weft` says of this world.
fn weft(scene: &Scene, words: &[&str]) -> Result<String> {
    let mut command = Command::new(find_binary("weft")?);
    command.arg("--world").arg(scene.world.folder()).args(words);
    let output = command.output().context("running weft")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "weft {words:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}
