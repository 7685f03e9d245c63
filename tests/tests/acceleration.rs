//! Connections that leave TCP out between applications and their proxies, through the whole mesh: every byte comes, it
//! is known that it took the other way, and what dies on the way is noticed as ever.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use std::net::SocketAddr;
use std::time::Duration;
use weft_testkit::{App, Component, Mesh, MeshSettings, Pod, Probe, World};
use weft_tests::asking::{agent_socket, ask, await_enrolled};
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;
use weft_tests::waiting::eventually;

const PATIENCE: Duration = Duration::from_secs(15);
const PROBE: u16 = 7002;
/// Words after which a connection has been paired.
const WORDS: usize = 12;

struct Stage {
    client: Pod,
    near: Pod,
    far: Pod,
    // Dropped in this order.
    mesh: Mesh,
    _world: World,
}

impl Stage {
    /// All pods say this of themselves.
    fn set(value: &str, settings: MeshSettings) -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let pod = |node: usize, name: &str| {
            let pod = world.node(node).pod("shop", name).annotation("weft.dev/acceleration", value);
            pod.app(App::probe()).app(App::echo()).start()
        };
        let (client, near, far) = (pod(1, "client")?, pod(1, "near")?, pod(2, "far")?);
        let mesh = start_mesh(&world, settings)?;
        await_enrolled(&mesh, [&client, &near, &far], PATIENCE)?;
        Ok(Self { client, near, far, mesh, _world: world })
    }

    /// Messages of this node's pods and proxy that left TCP out.
    fn accelerated(&self, node: usize) -> Result<u64> {
        let status = ask(&agent_socket(&self.mesh, node), "/status")?;
        let counts = status["packets"].as_array().context("the agent counts")?;
        let found = counts.iter().find(|one| one[0] == "accelerated").and_then(|one| one[1].as_u64());
        found.context("the agent counts them")
    }

    /// Every byte both ways at once, in both address families; how many messages left TCP out on each node meanwhile.
    fn probe(&self, server: &Pod) -> Result<[u64; 2]> {
        let before = [self.accelerated(1)?, self.accelerated(2)?];
        for ip in server.ips() {
            let target = SocketAddr::new(ip, PROBE);
            for (seed, probe) in [
                (1, Probe::to(&target)),
                (2, Probe::to(&target).connections(24).bytes(100_000).write_max(700)),
                (3, Probe::to(&target).connections(2).bytes(12 << 20).write_max(1 << 20)),
            ] {
                let report = self.client.probe(&probe.seed(seed))?;
                ensure!(report.received == report.sent, "to {target}, probe {seed}: {report:?}");
            }
        }
        Ok([self.accelerated(1)? - before[0], self.accelerated(2)? - before[1]])
    }

    fn say_words(&self, server: &Pod) -> Result<Talk> {
        let mut talk = Talk::begin(&self.client, server.addr(7000))?;
        (0..WORDS).try_for_each(|_| talk.go_on())?;
        Ok(talk)
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn every_byte_comes_past_tcp() -> Result<()> {
    for value in ["proxy", "full"] {
        let stage = Stage::set(value, MeshSettings::default())?;
        for (case, server) in [("on one node", &stage.near), ("between nodes", &stage.far)] {
            let [one, two] = stage.probe(server).with_context(|| format!("{value}, {case}"))?;
            println!("{value}, {case}: {one} and {two} messages left TCP out");
            assert!(one > 100, "{value}, {case}: {one}");
            assert_eq!(two > 100, case == "between nodes", "{value}, {case}: {two}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn nothing_is_accelerated_that_does_not_want_it() -> Result<()> {
    for (case, value, settings) in [
        ("off", "off", MeshSettings::default()),
        ("unknown", "fast", MeshSettings::default()),
        ("the node's limit", "full", {
            MeshSettings::default().env(Component::Agent, "WEFT_ACCELERATION", "off")
        }),
    ] {
        let stage = Stage::set(value, settings)?;
        assert_eq!(stage.probe(&stage.near)?, [0, 0], "{case}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_pod_changes_its_mind_while_bytes_flow() -> Result<()> {
    let stage = Stage::set("full", MeshSettings::default())?;
    let mut talk = stage.say_words(&stage.near)?;
    stage.near.set_annotation("weft.dev/acceleration", Some("off"))?;
    eventually("it goes by TCP again", PATIENCE, || {
        let before = stage.accelerated(1)?;
        (0..WORDS).try_for_each(|_| talk.go_on())?;
        ensure!(stage.accelerated(1)? == before, "still past it");
        Ok(())
    })?;
    stage.near.set_annotation("weft.dev/acceleration", Some("full"))?;
    eventually("it leaves TCP out again", PATIENCE, || {
        let before = stage.accelerated(1)?;
        (0..WORDS).try_for_each(|_| talk.go_on())?;
        ensure!(stage.accelerated(1)? > before, "still by it");
        Ok(())
    })?;
    talk.finish()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn processes_come_and_go() -> Result<()> {
    let stage = Stage::set("full", MeshSettings::default())?;
    for server in [&stage.near, &stage.far] {
        let node = server.node();
        let grows = |talk: &mut Talk| -> Result<()> {
            let before = stage.accelerated(node)?;
            (0..WORDS).try_for_each(|_| talk.go_on())?;
            ensure!(stage.accelerated(node)? > before, "{}: by TCP", server.name());
            Ok(())
        };
        let mut talk = stage.say_words(server)?;
        grows(&mut talk)?;
        stage.mesh.agent(node).kill()?;
        (0..WORDS).try_for_each(|_| talk.go_on()).context("without an agent")?;
        stage.mesh.agent(node).start()?;
        stage.mesh.agent(node).wait_ready()?;
        await_enrolled(&stage.mesh, [&stage.client, &stage.near, &stage.far], PATIENCE)?;
        grows(&mut talk).context("with the next agent")?;
        stage.mesh.proxy(node).kill_and_restart()?;
        talk.wait_for_end(PATIENCE).context("its proxy is dead")?;
        await_enrolled(&stage.mesh, [&stage.client, &stage.near, &stage.far], PATIENCE)?;
        let mut talk = stage.say_words(server).context("the next proxy")?;
        grows(&mut talk).context("the next proxy")?;
        talk.finish()?;
    }
    Ok(())
}
