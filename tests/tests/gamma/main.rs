//! Every mesh test of the Gateway API's conformance suite (1.6: 22 of them; and the header modifiers of GRPCRoutes, of
//! 1.7), written anew: same meaning, own manifests. Real capture, node proxies, a waypoint, and the control plane on the
//! folder with the manifests. The suite's echo application is `weft-testapp http`.
//!
//! As there, a client is the pod `echo-v1` itself, and a route counts once its status says so at each parent.
#![forbid(unsafe_code)]

mod frontends;
mod matching;
mod redirects;
mod rewrites;
mod headers;
mod weights;
mod grpc;
mod scene;

use anyhow::{Result, ensure};
use scene::Scene;

/// One test of the suite.
pub(crate) struct Case {
    /// Its name there.
    pub(crate) test: &'static str,
    /// What is in the folder while it runs.
    pub(crate) manifest: &'static str,
    /// What is so then.
    pub(crate) holds: fn(&Scene) -> Result<()>,
}

const CASES: [&Case; 23] = [
    &frontends::BASIC,
    &matching::SAME_NAMESPACE,
    &matching::PATHS_AND_HEADERS,
    &matching::QUERY_PARAMETERS,
    &matching::NAMED_RULE,
    &headers::OF_A_RULE,
    &headers::OF_A_BACKEND,
    &redirects::HOST_AND_STATUS,
    &redirects::PATH,
    &redirects::PORT,
    &redirects::SCHEME,
    &redirects::STATUS_303,
    &redirects::STATUS_307,
    &redirects::STATUS_308,
    &rewrites::PATH,
    &weights::HTTP,
    &weights::SPLIT,
    &frontends::CONSUMER,
    &frontends::HOSTNAME,
    &frontends::FRONTEND,
    &frontends::PORTS,
    &weights::GRPC,
    &grpc::HEADERS,
];

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn every_mesh_test_of_the_gateway_api() -> Result<()> {
    let scene = Scene::set()?;
    let mut failed = Vec::new();
    for case in CASES {
        eprintln!("{}", case.test);
        if let Err(error) = scene.play(case) {
            eprintln!("{}: {error:#}\n{}", case.test, scene.logs()?);
            failed.push(case.test);
        }
    }
    ensure!(failed.is_empty(), "of {} tests these failed: {failed:?}", CASES.len());
    Ok(())
}
