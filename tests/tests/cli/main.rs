//! `weft`, the program, about a mesh that lives: every verb in every format, against what is so.
#![forbid(unsafe_code)]

mod check;
mod explain;
mod lists;
mod status;
mod waypoint;
mod weft;
mod yaml;

use anyhow::Result;
use std::time::Duration;
use weft::Weft;
use weft_testkit::{App, Mesh, MeshSettings, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;

pub(crate) const WITHIN: Duration = Duration::from_secs(10);
/// Until everybody has found a control plane that was away: they ask less and less often.
pub(crate) const BACK_WITHIN: Duration = Duration::from_secs(45);
/// Where the servers answer: to anybody, to nobody, and to those whom a policy on trial would deny.
pub(crate) const OPEN: u16 = 7000;
pub(crate) const CLOSED: u16 = 7100;
pub(crate) const TRIAL: u16 = 7200;

const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {ports: ['7100']}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: trial, namespace: shop, annotations: {istio.io/dry-run: 'true'}}
spec:
  action: DENY
  selector: {matchLabels: {app: reviews}}
  rules: [{to: [{operation: {ports: ['7200']}}]}, {to: [{operation: {ports: ['7201']}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: near, namespace: shop}
spec: {selector: {matchLabels: {strict: 'yes'}}, mtls: {mode: STRICT}}
";

/// In the mesh: `client` and `near` on node 1, `far` on node 2; `near`, which is STRICT, and `far` serve `reviews`, and
/// so would `sick`, which is not ready. Outside: `stranger`.
pub(crate) struct Stage {
    client: Pod,
    near: Pod,
    far: Pod,
    stranger: Pod,
    weft: Weft,
    // Dropped in this order.
    mesh: Mesh,
    world: World,
}

impl Stage {
    fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let server = |node: usize, name: &str| {
            let echo = |port: u16| App::echo().port(port).port_name(&format!("echo-{port}"));
            let pod = world.node(node).pod("shop", name).service_account(name).label("app", "reviews");
            pod.app(echo(OPEN)).app(echo(CLOSED)).app(echo(TRIAL))
        };
        let client = world.node(1).pod("shop", "client").service_account("client").start()?;
        let near = server(1, "near").label("strict", "yes").start()?;
        let far = server(2, "far").start()?;
        world.node(2).pod("shop", "sick").label("app", "reviews").not_ready().start()?;
        let stranger = world.node(1).outside("stranger").start()?;
        world.service("shop", "reviews").select([("app", "reviews")]).port("echo", 80, OPEN).apply()?;
        world.apply_yaml("policies.yaml", POLICIES)?;
        let mesh = start_mesh(&world, MeshSettings::default())?;
        await_enrolled(&mesh, [&client, &near, &far], WITHIN)?;
        let weft = Weft::of(&world.folder())?;
        Ok(Self { client, near, far, stranger, weft, mesh, world })
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn what_it_says_is_so() -> Result<()> {
    let stage = Stage::set()?;
    lists::are_what_there_is(&stage)?;
    explain::agrees_with_what_happens(&stage)?;
    status::of_a_mesh_that_is_well(&stage)?;
    status::names_what_is_wrong_in_the_folder(&stage)?;
    status::says_who_is_away(&stage)?;
    waypoint::is_told_of(&stage)
}
