//! Routes that change while requests run: what users come with, switched back and forth, and a flood of changes.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use weft_testkit::report::{GetReport, Hello};
use weft_testkit::{Get, Pod, Running};
use weft_tests::asking::ask;
use weft_tests::requests::await_share;
use weft_tests::stage::{start_waypoint, waypoint_pod};
use weft_tests::waiting::eventually;

use crate::scene::{PATIENCE, Scene};
use crate::{GATEWAY_API, NETWORKING};

/// Chrome, as it calls itself.
const CHROME: (&str, &str) = (
    "user-agent",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
);
const OTHERS: (&str, &str) = ("user-agent", "curl/8");
/// Of so many requests shares are told.
const REQUESTS: u64 = 1000;
/// How often a route is switched.
const SWITCHES: usize = 6;
/// Connections of each client that show where requests go. Of two waypoints one is missed once in 128 times, and then
/// found by those that follow.
const CONNECTIONS: usize = 8;
/// What a switch may take. A busy machine may spoil many of them, but not all.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Changes of the flood, and the time between two.
const CHANGES: u32 = 400;
const PACE: Duration = Duration::from_millis(10);

/// While clients of both nodes ask all the time, of two waypoints: none of these requests may fail.
pub(crate) fn take_effect(scene: &Scene) -> Result<()> {
    let versions = ["v1", "v2"].map(|version| json!({"name": version, "labels": {"version": version}}));
    scene.apply(
        NETWORKING,
        "DestinationRule",
        "reviews",
        &json!({"host": "reviews", "subsets": versions}),
    )?;
    for version in ["v1", "v2"] {
        let service = scene.world.service("shop", &format!("reviews-{version}"));
        service.select([("app", "reviews"), ("version", version)]).port("http", 80, 8080).apply()?;
    }
    let second = waypoint_pod(scene.world.node(1).pod("shop", "gate-too"), "gate")?;
    let second = start_waypoint(&scene.world, &scene.mesh, &second)?;
    eventually("requests come through both waypoints", PATIENCE, || {
        let report = scene.client.run_tool(&Get::url(&scene.url("/both")).times(20).close())?;
        ensure!(report.failed == 0, "{:?}", report.failures);
        let seen = [&*second, &*scene.waypoint].map(|waypoint| waypoint.log().contains("/both"));
        ensure!(seen == [true, true], "{seen:?}");
        Ok(())
    })?;

    let steady = Steady::begin(scene)?;
    shares(scene, "VirtualService", canary, [(90, 10), (10, 90)])?;
    let mut took = switches(scene, "VirtualService", canary, OTHERS)?;
    took.extend(switches(scene, "VirtualService", browsers, CHROME)?);
    ensure!(only(scene, OTHERS, "v1")?, "browsers that are not Chrome went elsewhere");
    flood(scene)?;
    scene.remove(NETWORKING, "VirtualService", "reviews")?;
    shares(scene, "HTTPRoute", split, [(80, 20), (20, 80)])?;
    took.extend(switches(scene, "HTTPRoute", split, OTHERS)?);
    ensure!(took.iter().any(|one| *one < AT_ONCE), "no switch took effect within {AT_ONCE:?}: {took:?}");
    // The address that is asked for decides, not the name: a pod's own has no route.
    for (pod, version) in [(&scene.v1, "v1"), (&scene.v2, "v2")] {
        let direct = scene.client.get(&format!("http://{}/", pod.addr(8080)))?;
        ensure!(direct.version() == version, "{direct:?}");
    }
    scene.remove(GATEWAY_API, "HTTPRoute", "reviews")?;
    steady.end()
}

/// By weights, to v1 and v2.
fn canary(v1: u64, v2: u64) -> Value {
    let to = |subset: &str, weight: u64| json!({"destination": {"host": "reviews", "subset": subset}, "weight": weight});
    json!({"hosts": ["reviews"], "http": [{"route": [to("v1", v1), to("v2", v2)]}]})
}

/// The same of the Gateway API.
fn split(v1: u64, v2: u64) -> Value {
    let backend = |name: &str, weight: u64| json!({"name": name, "port": 80, "weight": weight});
    json!({
        "parentRefs": [{"group": "", "kind": "Service", "name": "reviews"}],
        "rules": [{"backendRefs": [backend("reviews-v1", v1), backend("reviews-v2", v2)]}],
    })
}

/// Chrome's users by weights, and all others to v1.
fn browsers(v1: u64, v2: u64) -> Value {
    let mut chrome = canary(v1, v2)["http"][0].take();
    chrome["match"] = json!([{"headers": {"user-agent": {"regex": ".*Chrome.*"}}}]);
    let others = json!({"route": [{"destination": {"host": "reviews", "subset": "v1"}}]});
    json!({"hosts": ["reviews"], "http": [chrome, others]})
}

fn write(scene: &Scene, kind: &str, spec: &Value) -> Result<()> {
    let api = if kind == "HTTPRoute" { GATEWAY_API } else { NETWORKING };
    scene.apply(api, kind, "reviews", spec)
}

/// Requests get the shares that are written.
fn shares(scene: &Scene, kind: &str, route: fn(u64, u64) -> Value, all: [(u64, u64); 2]) -> Result<()> {
    for (v1, v2) in all {
        write(scene, kind, &route(v1, v2))?;
        let part = v2 as f64 / (v1 + v2) as f64;
        await_share(&scene.client, &Get::url(&scene.url("/")).times(REQUESTS), "v2", part)?;
    }
    Ok(())
}

/// All requests with a header are switched from one version to the other, and back. Gives how long each change took
/// until it was in force everywhere.
fn switches(
    scene: &Scene,
    kind: &str,
    route: fn(u64, u64) -> Value,
    header: (&str, &str),
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    // First away from where most requests go already: so few of them may all be among the most.
    for (v1, v2, version) in [(1, 0, "v1"), (0, 1, "v2")].into_iter().cycle().take(SWITCHES) {
        write(scene, kind, &route(v1, v2))?;
        let written = Instant::now();
        eventually(&format!("{kind}: all to {version}"), PATIENCE, || {
            ensure!(only(scene, header, version)?, "some are still with the other one");
            Ok(())
        })?;
        took.push(written.elapsed());
        ensure!(only(scene, header, version)?, "{kind}: after all went to {version}, some went back");
    }
    eprintln!("{kind}: switched after {took:?}");
    Ok(took)
}

/// Whether one version alone answers clients of both nodes, by whichever waypoint their connections come.
fn only(scene: &Scene, header: (&str, &str), version: &str) -> Result<bool> {
    for client in [&scene.client, &scene.teller] {
        for _ in 0..CONNECTIONS {
            if client.enter(|| who_answers(scene.vip(), header))?? != version {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The version that answers one request on a connection of its own, asked without a program of its own: starting that
/// would take longer than what is to be measured.
fn who_answers(to: SocketAddr, (name, value): (&str, &str)) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE)).context("setting a timeout")?;
    let head = format!("GET / HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n{name}: {value}\r\n\r\n");
    stream.write_all(head.as_bytes()).context("asking")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("listening")?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{answer:?}");
    let from = body.find('{').with_context(|| format!("no JSON: {answer:?}"))?;
    let hello = serde_json::Deserializer::from_str(&body[from..]).into_iter::<Hello>().next();
    Ok(hello.with_context(|| format!("no JSON: {answer:?}"))??.version)
}

/// A hundred changes a second: each weight is another one than before.
fn flood(scene: &Scene) -> Result<()> {
    let admin = scene.mesh.control().folder().join("control-admin.sock");
    let generation =
        || Ok::<_, anyhow::Error>(ask(&admin, "/status")?["generation"].as_u64().unwrap_or_default());
    let (before, begun) = (generation()?, Instant::now());
    for number in 0..CHANGES {
        let v2 = u64::from(number % 100);
        write(scene, "VirtualService", &canary(100 - v2, v2))?;
        // This is the pace of whoever makes the changes; it waits for nothing.
        std::thread::sleep((begun + PACE * (number + 1)).saturating_duration_since(Instant::now()));
    }
    let took = begun.elapsed();
    write(scene, "VirtualService", &canary(0, 1))?;
    eventually("the last change holds", PATIENCE, || {
        ensure!(only(scene, OTHERS, "v2")?, "some are still with v1");
        Ok(())
    })?;
    let seen = generation()? - before;
    eprintln!("{CHANGES} changes in {took:?}, told in {seen} parts");
    ensure!(seen > 1, "the changes came in {seen} part");
    Ok(())
}

/// Requests that go on and on.
struct Steady(Vec<Running<GetReport>>);

impl Steady {
    fn begin(scene: &Scene) -> Result<Self> {
        let get = |path: &str| {
            Get::url(&scene.url(path)).times(1_000_000).connections(4).pause(Duration::from_millis(10))
        };
        let begin = |pod: &Pod, path: &str, close: bool| {
            let get = get(path);
            pod.start_tool(&if close { get.close() } else { get })
        };
        Ok(Self(vec![
            begin(&scene.client, "/steady", false)?,
            begin(&scene.teller, "/steady", false)?,
            begin(&scene.teller, "/new", true)?,
        ]))
    }

    /// Ends them; none may have failed.
    fn end(self) -> Result<()> {
        for running in self.0 {
            let report = running.end()?;
            eprintln!("{} requests, {} failed", report.ok, report.failed);
            ensure!(report.failed == 0 && report.ok > 0, "{:?}", report.failures);
        }
        Ok(())
    }
}
