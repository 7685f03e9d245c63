//! A mesh whose operator names no ranges (`WEFT_MESH_CIDRS`): discovery is asked for every address that is not known. From
//! one of its nodes nothing leaves the mesh (`WEFT_EGRESS`).
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use weft_core::ports::TUNNEL;
use weft_testkit::{App, Component, Mesh, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::waiting::{access_lines, eventually, with_json_lines};

const WITHIN: Duration = Duration::from_secs(15);
/// The proxy's readiness, which it tells at all of its node's addresses.
const READY: u16 = 15021;
/// Addresses of node 1 that discovery does not know.
const ONE: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 2);

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn without_ranges_what_is_not_known_is_asked_for() -> Result<()> {
    let world = World::builder().nodes(2).build()?;
    let client = world.node(1).pod("shop", "client").app(App::http("v0")).start()?;
    let server = world.node(2).pod("shop", "server").app(App::http("v1")).start()?;
    let settings = with_json_lines().env(Component::NodeProxy, "WEFT_MESH_CIDRS", "");
    let mesh = start_mesh(&world, settings.env_on(Component::NodeProxy, 2, "WEFT_EGRESS", "refuse"))?;
    await_enrolled(&mesh, [&client, &server], WITHIN)?;
    for ip in [ONE, OTHER] {
        let added = world.node(1).run(["ip", "addr", "add", &format!("{ip}/32"), "dev", "lo"])?;
        ensure!(added.status.success(), "{added:?}");
    }
    let [near, far] = [ONE, OTHER].map(|ip| SocketAddr::from((ip, READY)));

    is_reached(&client, server.addr(8080), "/")?;
    let tunnelled = line(&mesh, 1, server.addr(8080), "security", "mutual_tls")?;
    ensure!(tunnelled["dst.tunnel_addr"] == format!("{}:{TUNNEL}", world.node(2).ip()), "{tunnelled}");
    // Nobody of the mesh has it, says discovery.
    is_reached(&client, far, "/readyz")?;
    line(&mesh, 1, far, "security", "none")?;
    // Where nodes give pods their addresses it may be a pod that is new, though this one is the gateway of pods.
    is_refused((&client, 1), &mesh, (world.plan().gateway4(2), READY).into(), "nobody has it")?;
    // From the other node nothing leaves the mesh, and what is in the mesh is reached as before.
    is_reached(&server, client.addr(8080), "/")?;
    is_refused((&server, 2), &mesh, near, "egress is refused")?;

    mesh.control().kill()?;
    // What is known goes on, and so does what discovery has said is nobody's.
    is_reached(&client, server.addr(8080), "/")?;
    is_reached(&client, far, "/readyz")?;
    // This one might be a pod by now, and nobody can say.
    is_refused((&client, 1), &mesh, near, "discovery does not answer")?;

    mesh.control().start()?;
    is_reached(&client, near, "/readyz")
}

fn is_reached(client: &Pod, to: SocketAddr, path: &str) -> Result<()> {
    eventually(&format!("{to} is reached"), WITHIN, || {
        let answer = client.get(&format!("http://{to}{path}"))?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
}

fn is_refused((client, node): (&Pod, usize), mesh: &Mesh, to: SocketAddr, why: &str) -> Result<()> {
    let answer = client.get(&format!("http://{to}/readyz"))?;
    ensure!(["refused", "reset"].contains(&answer.error.as_str()), "{answer:?}");
    let refused = line(mesh, node, to, "end", "refused")?;
    let said = refused["error"].as_str().context("why")?;
    ensure!(said.contains(why), "{said}");
    Ok(())
}

/// A line of a node's proxy on an address.
fn line(mesh: &Mesh, node: usize, to: SocketAddr, field: &str, value: &str) -> Result<serde_json::Value> {
    eventually(&format!("{to}: {field} is {value}"), WITHIN, || {
        let lines = access_lines(mesh.proxy(node), &to.to_string());
        let found = lines.iter().find(|line| line["dst.addr"] == to.to_string() && line[field] == value);
        found.cloned().with_context(|| format!("{lines:?}"))
    })
}
