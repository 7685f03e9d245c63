//! `weft waypoint`, `weft routes` and `weft analyze`, about a waypoint that stands before a service.

use crate::weft::{cells, row};
use crate::{OPEN, Stage, WITHIN};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weft_tests::stage::{start_waypoint, waypoint_pod};
use weft_tests::waiting::eventually;

const ROUTES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: guarded, namespace: shop}
spec:
  hosts: [guarded]
  http:
  - match: [{headers: {user-agent: {regex: '.*Chrome.*'}}}]
    route:
    - {destination: {host: guarded}, weight: 90}
    - {destination: {host: guarded, subset: later}, weight: 10}
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: told, namespace: shop}
spec: {targetRefs: [{group: '', kind: Service, name: guarded}], tracing: [{randomSamplingPercentage: 1}]}
";

pub(crate) fn is_told_of(stage: &Stage) -> Result<()> {
    let Stage { weft, world, mesh, .. } = stage;
    let folder = world.manifests().folder().display().to_string();
    let gate = waypoint_pod(world.node(2).pod("shop", "gate"), "gate")?;
    let apply = ["waypoint", "apply", "--namespace", "shop", "--name", "gate"];
    let printed = weft.say(&apply)?;
    ensure!(printed.code == Some(0) && printed.err.contains("weft-waypoint\n"), "{printed:?}");
    let written = weft.say(&[&apply[..], &["--manifests", &folder]].concat())?;
    let file = world.manifests().folder().join("gateway.shop.gate.yaml");
    ensure!(written.code == Some(0) && std::fs::read_to_string(&file)? == printed.out, "{written:?}");
    let service = world.service("shop", "guarded").select([("app", "reviews")]);
    service.port("http", 80, OPEN).label("weft.dev/waypoint", "gate").apply()?;
    world.apply_yaml("routes.yaml", ROUTES)?;
    let waypoint = start_waypoint(world, mesh, &gate)?;

    eventually("the waypoint is told of", WITHIN, || {
        let all = weft.value(&["waypoint", "list"])?;
        let own = row(&all, &[("namespace", "shop"), ("name", "gate")])?;
        ensure!(own["instances"][0]["in_sync"] == true && own["services"][0].is_string(), "{own:#}");
        ensure!(weft.value(&["routes", "shop/guarded"])?["ports"][0]["looks_at"] == "http", "no routes yet");
        Ok(())
    })?;
    cells(&weft.table(&["waypoint", "list"])?, &["shop", "gate", "service", "1/1 ready", "1/1", "1", "0"])?;
    let status = weft.value(&["waypoint", "status", "shop/gate"])?;
    ensure!(status["here"][0]["pod"] == "shop/gate", "{status:#}");
    let telemetry = &status["waypoints"][0]["telemetries"][0];
    ensure!(telemetry["name"] == "shop/told" && telemetry["services"][0].is_string(), "{status:#}");
    let listing = weft.table(&["routes", "guarded"])?;
    cells(&listing, &["1. header user-agent ~ .*Chrome.*"])?;
    cells(&listing, &["90.0 % to shop/guarded.shop.svc.cluster.local:80"])?;

    let explain = |path: &str, agent: &str| {
        weft.value(&["routes", "explain", "shop/guarded", "GET", path, "-H", agent, "--from", "shop/client"])
    };
    let told = explain("/", "user-agent: Chrome/142")?;
    ensure!(told["rule"]["rule"] == "VirtualService shop/guarded rule 0", "{told:#}");
    ensure!(told["source_identity"] == "spiffe://cluster.local/ns/shop/sa/client", "{told:#}");
    ensure!(told["backends"][0]["endpoints"].as_array().is_some_and(|all| all.len() >= 2), "{told:#}");
    let missing = told["backends"][1]["problem"].as_str().unwrap_or_default();
    ensure!(missing.contains("later"), "{told:#}");
    let told = explain("/old/1?x=2", "user-agent: curl")?;
    ensure!(told["outcome"] == "it is answered by the waypoint", "{told:#}");
    let told = explain("/", "user-agent: curl")?;
    ensure!(told["rule"] == Value::Null && told["outcome"] == "no rule takes it: it gets 404", "{told:#}");

    for live in [&["analyze", "--live"][..], &["analyze", &folder]] {
        let said = weft.say(&[live, &["-o", "json"]].concat())?;
        ensure!(said.code == Some(1) && said.err.is_empty(), "{said:?}");
        let problems: Value = serde_json::from_str(&said.out).with_context(|| format!("{said:?}"))?;
        let field = "spec.http[0].route[1].destination.subset";
        let found = row(&problems, &[("object", "VirtualService shop/guarded"), ("field", field)])?;
        ensure!(found["line"] == 11 && found["severity"] == "error", "{found:#}");
    }
    drop(waypoint);
    let said = weft.say(&["routes", "shop/guarded"])?;
    ensure!(
        said.code == Some(1)
            && said.out.is_empty()
            && said.err.contains("the process that made this socket has ended"),
        "{said:?}"
    );
    let deleted =
        weft.say(&["waypoint", "delete", "--namespace", "shop", "--name", "gate", "--manifests", &folder])?;
    ensure!(deleted.code == Some(0) && !file.exists(), "{deleted:?}");
    Ok(())
}
