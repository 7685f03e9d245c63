//! Waypoints in a mesh: capture, tunnels and node proxies before and behind them, and what users come with.
#![forbid(unsafe_code)]

mod outside;
mod scene;

use anyhow::{Context as _, Result, ensure};
use scene::{PATIENCE, Scene};
use serde_json::{Value, json};
use std::time::Duration;
use weft_testkit::Get;
use weft_testkit::report::GetReport;
use weft_tests::waiting::eventually;

const NETWORKING: &str = "networking.istio.io/v1";
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const SECURITY: &str = "security.istio.io/v1";
/// Chrome, as it calls itself.
const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// Runs a test on a scene; a failure shows what the processes have logged.
fn on_scene(test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let scene = Scene::set()?;
    test(&scene).with_context(|| scene.logs().unwrap_or_default())
}

/// How many of a thousand requests `v2` has answered.
fn v2_of_thousand(report: &GetReport) -> Result<u64> {
    ensure!(report.ok == 1000, "{:?}", report.failures);
    Ok(report.versions.get("v2").copied().unwrap_or_default())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn users_come_with_canaries() -> Result<()> {
    on_scene(|scene| {
        let versions = json!({
            "host": "reviews",
            "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}],
        });
        scene.apply(NETWORKING, "DestinationRule", "reviews", &versions)?;
        // All the while requests run, and none of them fails.
        let steady =
            Get::url(&scene.url("/steady")).times(1_000_000).connections(4).pause(Duration::from_millis(2));
        let steady = scene.teller.start_tool(&steady)?;
        let canary = |v1: u64, v2: u64| {
            let to = |subset: &str, weight: u64| json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight});
            json!({"hosts": ["reviews"], "http": [{"route": [to("v1", v1), to("v2", v2)]}]})
        };
        for (v1, v2, want) in [(90, 10, 43..=157), (10, 90, 843..=957), (100, 0, 0..=0)] {
            scene.apply(NETWORKING, "VirtualService", "reviews", &canary(v1, v2))?;
            eventually(&format!("{v1} to {v2}"), PATIENCE, || {
                let found = v2_of_thousand(&scene.ask(&scene.client, 1000, &[])?)?;
                ensure!(want.contains(&found), "{found} of a thousand went to v2");
                Ok(())
            })?;
        }
        let browsers = json!({"hosts": ["reviews"], "http": [
            {
                "match": [{"headers": {"user-agent": {"regex": ".*Chrome.*"}}}],
                "route": [{"destination": {"host": "reviews", "subset": "v2"}}],
            },
            {"route": [{"destination": {"host": "reviews", "subset": "v1"}}]},
        ]});
        scene.apply(NETWORKING, "VirtualService", "reviews", &browsers)?;
        eventually("Chrome's users meet v2", PATIENCE, || {
            let found = v2_of_thousand(&scene.ask(&scene.client, 1000, &[("user-agent", CHROME)])?)?;
            ensure!(found == 1000, "{found} of a thousand went to v2");
            Ok(())
        })?;
        let found = v2_of_thousand(&scene.ask(&scene.client, 1000, &[("user-agent", "curl/8")])?)?;
        ensure!(found == 0, "{found} of a thousand of other browsers went to v2");
        scene.remove(NETWORKING, "VirtualService", "reviews")?;
        let report = steady.end()?;
        ensure!(report.failed == 0 && report.ok > 0, "{:?}", report.failures);
        Ok(())
    })
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_route_of_the_gateway_api_splits_a_service() -> Result<()> {
    on_scene(|scene| {
        for version in ["v1", "v2"] {
            let service = scene.world.service("shop", &format!("reviews-{version}"));
            service.select([("app", "reviews"), ("version", version)]).port("http", 80, 8080).apply()?;
        }
        let backend = |name: &str, weight: u64| json!({"name": name, "port": 80, "weight": weight});
        let split = |v1: u64, v2: u64| {
            json!({
                "parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
                "rules": [{"backendRefs": [backend("reviews-v1", v1), backend("reviews-v2", v2)]}],
            })
        };
        for (v1, v2, want) in [(80, 20, 124..=276), (0, 1, 1000..=1000)] {
            scene.apply(GATEWAY_API, "HTTPRoute", "reviews", &split(v1, v2))?;
            eventually(&format!("{v1} to {v2}"), PATIENCE, || {
                let found = v2_of_thousand(&scene.ask(&scene.client, 1000, &[])?)?;
                ensure!(want.contains(&found), "{found} of a thousand went to v2");
                Ok(())
            })?;
        }
        // The address that is asked for decides, not the name: a pod's own has no route.
        let direct = scene.client.get(&format!("http://{}/", scene.v1.addr(8080)))?;
        ensure!(direct.version() == "v1", "{direct:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn nobody_gets_around_a_waypoint_that_has_policy() -> Result<()> {
    on_scene(|scene| {
        let pods = [scene.v1.addr(8080), scene.v2.addr(8080)];
        let clients = [&scene.client, &scene.teller, &scene.stranger];
        for (client, to) in clients.iter().flat_map(|client| pods.map(|to| (client, to))) {
            let answer = client.get(&format!("http://{to}/"))?;
            ensure!(answer.is_ok(), "without policy, {} to {to}: {answer:?}", client.name());
        }
        let to_reviews = |rules: Value| {
            json!({
                "targetRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
                "action": "DENY", "rules": rules,
            })
        };
        let admin = json!([{"to": [{"operation": {"paths": ["/admin*"]}}]}]);
        scene.apply(SECURITY, "AuthorizationPolicy", "admin", &to_reviews(admin))?;
        for client in [&scene.client, &scene.teller] {
            scene.await_answer("the waypoint denies", (client, &scene.url("/admin")), |answer| {
                answer.status == 403
            })?;
            for path in ["/x/../admin", "//admin", "/%61dmin", "/./admin/1"] {
                let answer = client.get(&scene.url(path))?;
                ensure!(answer.status == 403, "{path}: {answer:?}");
            }
            let answer = client.get(&scene.url("/shop"))?;
            ensure!(answer.is_ok(), "{answer:?}");
        }
        for (client, to) in clients.iter().flat_map(|client| pods.map(|to| (client, to))) {
            let what = format!("{} does not get past the waypoint to {to}", client.name());
            scene
                .await_answer(&what, (client, &format!("http://{to}/")), |answer| answer.error == "reset")?;
        }
        // Who goes by policy sees the client, not the waypoint.
        let no_bank = json!([{"from": [{"source": {"namespaces": ["bank"]}}]}]);
        scene.apply(SECURITY, "AuthorizationPolicy", "no-bank", &to_reviews(no_bank))?;
        scene.await_answer("the bank is kept out", (&scene.teller, &scene.url("/shop")), |answer| {
            answer.status == 403
        })?;
        let answer = scene.client.get(&scene.url("/shop"))?;
        ensure!(answer.is_ok(), "the shop is not the bank: {answer:?}");
        // Without its waypoint the Service answers nobody.
        scene.waypoint.kill()?;
        let gone = scene.client.get(&scene.url("/shop"))?;
        ensure!(!gone.is_ok(), "past a waypoint that is gone: {gone:?}");
        scene.waypoint.start()?;
        scene.waypoint.wait_ready()?;
        scene.await_answer("it is back", (&scene.client, &scene.url("/shop")), |answer| answer.is_ok())?;
        // Who wants it otherwise says so.
        scene.reviews().label("weft.dev/waypoint-bypass", "allow").apply()?;
        let url = format!("http://{}/", scene.v1.addr(8080));
        scene.await_answer("the Service lets it", (&scene.client, &url), |answer| answer.is_ok()).map(drop)
    })
}
