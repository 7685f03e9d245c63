//! Shares of requests.

use anyhow::{Result, ensure};
use weft_testkit::{Get, Speaks};
use weft_tests::requests::{asks, await_share};

use crate::Case;
use crate::grpc::ECHO;
use crate::scene::Scene;

/// Of so many requests shares are told.
const REQUESTS: u64 = 1000;

fn are_seven_to_three(scene: &Scene, get: &Get) -> Result<()> {
    let report = await_share(&scene.v1, get, "echo-v2", 0.3)?;
    ensure!(report.versions.get("echo-v1").is_some_and(|v1| *v1 > 0), "{:?}", report.versions);
    Ok(())
}

pub(crate) const HTTP: Case = Case {
    test: "MeshHTTPRouteWeight",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: weights, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - backendRefs: [{name: echo-v1, port: 80, weight: 70}, {name: echo-v2, port: 80, weight: 30}]
",
    holds: |scene| are_seven_to_three(scene, &Get::url("http://echo/").times(REQUESTS).connections(10)),
};

pub(crate) const GRPC: Case = Case {
    test: "MeshGRPCRouteWeight",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: weights, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 7070}]
  rules:
  - backendRefs: [{name: echo-v1, port: 7070, weight: 70}, {name: echo-v2, port: 7070, weight: 30}]
",
    holds: |scene| are_seven_to_three(scene, &Get::url(ECHO).times(REQUESTS).speaks(Speaks::Grpc)),
};

pub(crate) const SPLIT: Case = Case {
    test: "MeshTrafficSplit",
    manifest: "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: mesh}
spec:
  parentRefs: [{group: '', kind: Service, name: echo, port: 80}]
  rules:
  - matches: [{path: {type: Exact, value: /v1}}]
    backendRefs: [{name: echo-v1, port: 80}]
  - matches: [{path: {type: Exact, value: /v2}}]
    backendRefs: [{name: echo-v2, port: 80}]
",
    holds: |scene| {
        asks(&scene.v1, "http://echo/v1").reaches(&scene.v1)?;
        asks(&scene.v1, "http://echo/v2").reaches(&scene.v2)
    },
};
