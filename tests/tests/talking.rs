//! The kernel's programs as `cargo xtask build-ebpf --debug` makes them: they say what they decide, and the agent writes
//! it into its log. `cargo xtask test` builds such an agent and names it by `WEFT_TEST_TALKING_AGENT`.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use std::os::unix::fs::symlink;
use std::time::Duration;
use weft_testkit::{App, Component, MeshSettings, World, find_binary};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;
use weft_tests::waiting::eventually;

const WITHIN: Duration = Duration::from_secs(10);

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn the_agent_writes_down_what_the_programs_say() -> Result<()> {
    let talking = std::env::var_os("WEFT_TEST_TALKING_AGENT");
    let talking = talking.context("WEFT_TEST_TALKING_AGENT names no agent; `cargo xtask test` builds one")?;
    let programs = tempfile::tempdir().context("a folder")?;
    for program in ["weft-control", "weft-node-proxy"] {
        symlink(find_binary(program)?, programs.path().join(program)).context("linking a program")?;
    }
    symlink(&talking, programs.path().join("weft-agent")).context("linking the agent")?;
    let world = World::builder().nodes(1).build()?;
    let client = world.node(1).pod("shop", "client").start()?;
    let server = world.node(1).pod("shop", "server").app(App::echo()).start()?;
    let mut settings = MeshSettings::default().env(Component::Agent, "WEFT_LOG", "info,weft_ebpf=debug");
    settings.bin_dir = Some(programs.path().to_owned());
    let mesh = start_mesh(&world, settings)?;
    await_enrolled(&mesh, [&client, &server], WITHIN)?;
    let to = server.addr(7000);
    let talk = Talk::begin(&client, to)?;
    let from = talk.flow()?.client;
    talk.finish()?;
    // The programs have one kind of addresses: those of IPv4 are mapped.
    let want =
        format!("egress captures ::ffff:{} {} > ::ffff:{} {}", from.ip(), from.port(), to.ip(), to.port());
    eventually("the programs' words", WITHIN, || {
        let log = mesh.agent(1).log();
        ensure!(log.lines().any(|line| line.contains(&want)), "no {want:?} in\n{log}");
        Ok(())
    })
}
