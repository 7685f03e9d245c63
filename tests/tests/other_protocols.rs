//! What is neither TCP nor DNS: it passes by the mesh, unless the node's setting says that it is dropped.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use weft_testkit::{App, Component, Mesh, MeshSettings, Pod, World};
use weft_tests::asking::{agent_socket, ask, await_enrolled};
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;
use weft_tests::waiting::eventually;

const WITHIN: Duration = Duration::from_secs(10);
/// On one machine an answer takes less than a millisecond.
const SILENCE: Duration = Duration::from_millis(300);

/// Whether a datagram to an echo server comes back.
fn echoes(from: &Pod, to: SocketAddr) -> Result<bool> {
    from.enter(|| -> Result<bool> {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).context("a socket")?;
        socket.set_read_timeout(Some(SILENCE)).context("a timeout")?;
        // A packet that is dropped on its way out may be told as an error: that is no answer either.
        let sent = socket.send_to(b"hello", to);
        Ok(sent.is_ok() && socket.recv(&mut [0; 16]).is_ok())
    })?
}

fn dropped(mesh: &Mesh, node: usize) -> Result<u64> {
    let status = ask(&agent_socket(mesh, node), "/status")?;
    let mut packets = status["packets"].as_array().into_iter().flatten();
    let row = packets.find(|row| row[0] == "dropped_other").context("it is not counted")?;
    row[1].as_u64().context("no number")
}

fn stage(settings: MeshSettings) -> Result<(World, Mesh, Pod, Pod, Pod)> {
    let world = World::builder().nodes(2).build()?;
    let client = world.node(1).pod("shop", "client").start()?;
    let server = world.node(2).pod("shop", "server").app(App::echo()).app(App::udp_echo()).start()?;
    let outside = world.node(2).pod("street", "outside").outside().app(App::udp_echo()).start()?;
    let mesh = start_mesh(&world, settings)?;
    await_enrolled(&mesh, [&client, &server], WITHIN)?;
    Ok((world, mesh, client, server, outside))
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn they_pass_by_default() -> Result<()> {
    let (_world, mesh, client, server, outside) = stage(MeshSettings::default())?;
    // The echo server speaks IPv4 only.
    for to in [server.addr(7003), outside.addr(7003)] {
        ensure!(echoes(&client, to)?, "{to} does not answer");
    }
    assert_eq!(dropped(&mesh, 1)?, 0);
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn they_are_dropped_where_the_setting_says_so() -> Result<()> {
    let settings = MeshSettings::default().env(Component::Agent, "WEFT_OTHER_PROTOCOLS", "drop");
    let (_world, mesh, client, server, outside) = stage(settings)?;
    for to in [server.addr(7003), server.addr6(7003), outside.addr(7003)] {
        ensure!(!echoes(&client, to)?, "{to} answers");
    }
    ensure!(dropped(&mesh, 1)? >= 3, "they are not counted");
    ensure!(echoes(&outside, outside.addr(7003))?, "a pod outside the mesh is not concerned");
    ensure!(!echoes(&outside, server.addr(7003))?, "nor does an answer leave");
    // Neighbours have to be found anew: that is neither TCP nor DNS.
    for pod in [&client, &server] {
        pod.run(["ip", "neigh", "flush", "all"])?;
    }
    for to in [server.addr(7000), server.addr6(7000)] {
        Talk::begin(&client, to)?.finish()?;
    }
    Ok(())
}

/// What is captured already has the programs of the setting before; applications shall not notice the change.
#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn another_setting_replaces_the_programs_of_captured_pods() -> Result<()> {
    let (_world, mesh, client, server, outside) = stage(MeshSettings::default())?;
    let mut open = Talk::begin(&client, server.addr(7000))?;
    for (setting, passes) in [("drop", false), ("pass", true)] {
        let agent = mesh.agent(1);
        agent.set_env("WEFT_OTHER_PROTOCOLS", setting);
        agent.restart(WITHIN)?;
        eventually("the other programs", WITHIN, || {
            for to in [server.addr(7003), outside.addr(7003)] {
                ensure!(echoes(&client, to)? == passes, "{setting}: {to}");
            }
            Ok(())
        })?;
        open.go_on().with_context(|| format!("a connection from before, at {setting}"))?;
        Talk::begin(&client, server.addr(7000))?.finish()?;
    }
    open.finish()
}
