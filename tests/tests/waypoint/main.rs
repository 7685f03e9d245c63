//! Waypoints in a mesh: capture, tunnels and node proxies before and behind them, and what users come with.
#![forbid(unsafe_code)]

mod bytes;
mod changes;
mod outside;
mod reach;
mod scene;

use anyhow::{Context as _, Result, ensure};
use scene::Scene;
use serde_json::{Value, json};
use weft_tests::stage::TUNNEL_VERSIONS;

const NETWORKING: &str = "networking.istio.io/v1";
const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const SECURITY: &str = "security.istio.io/v1";

/// Runs a test on a scene; a failure shows what the processes have logged.
fn on_scene(test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let scene = Scene::set()?;
    test(&scene).with_context(|| scene.logs().unwrap_or_default())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn changes_take_effect_everywhere_at_once_and_fail_nothing() -> Result<()> {
    on_scene(changes::take_effect)
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn node_proxies_speak_wefts_own_dialect_to_a_waypoint_that_says_it_does() -> Result<()> {
    on_scene(|scene| {
        let clients = [&scene.client, &scene.teller];
        for client in clients {
            scene.await_port("Weft's own dialect says it", (client, "/own"), |port| port != 0)?;
        }
        // As one of an older version, or of another mesh, which does not say so.
        scene.gate.set_annotation(TUNNEL_VERSIONS, None)?;
        for client in clients {
            scene.await_port("HBONE does not", (client, "/hbone"), |port| port == 0)?;
        }
        scene.gate.set_annotation(TUNNEL_VERSIONS, Some("1"))?;
        for client in clients {
            scene.await_port("it is said again", (client, "/own-again"), |port| port != 0)?;
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn bytes_come_through_a_waypoint_whole() -> Result<()> {
    on_scene(bytes::come_through_whole)
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_waypoint_stands_before_what_labels_say() -> Result<()> {
    on_scene(reach::is_what_labels_say)
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
