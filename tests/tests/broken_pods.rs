//! Pods whose network namespace is not where it is said to be, or is none: they are named with the reason, and those
//! beside them notice nothing.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use weft_testkit::{App, Mesh, MeshSettings, Pod, PodBuilder, World};
use weft_tests::asking::{agent_socket, ask, await_enrolled};
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;
use weft_tests::waiting::eventually;

const WITHIN: Duration = Duration::from_secs(10);
const NO_NAMESPACE: &str = "asking which namespace it is";

/// Broken in many ways: each pod's name, where its namespace is said to be, and what the agent says to that.
fn broken(world: &World) -> Result<Vec<(&'static str, PathBuf, &'static str)>> {
    let folder = world.folder().join("broken");
    std::fs::create_dir_all(&folder)?;
    let at = |name: &str| folder.join(name);
    // Opened without care this one never answers.
    nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).context("making a pipe")?;
    File::create(at("file")).context("making a file")?;
    Ok(vec![
        ("missing", at("missing"), "No such file or directory"),
        ("pipe", at("pipe"), NO_NAMESPACE),
        ("file", at("file"), NO_NAMESPACE),
        ("folder", folder.clone(), NO_NAMESPACE),
        ("device", PathBuf::from("/dev/null"), NO_NAMESPACE),
        ("of-another-kind", PathBuf::from("/proc/self/ns/uts"), NO_NAMESPACE),
        ("of-the-node", world.node(1).netns(), "this is the node's own network namespace"),
    ])
}

/// Waits until the agent names a pod with this reason.
fn await_reason(mesh: &Mesh, name: &str, reason: &str) -> Result<()> {
    eventually(&format!("{name} is named"), WITHIN, || {
        let status = ask(&agent_socket(mesh, 1), "/status")?;
        let mut pods = status["pods"].as_array().into_iter().flatten();
        let own = pods.find(|one| one["name"] == name).context("the agent does not know it")?;
        let told = own["reason"].as_str().unwrap_or_default();
        ensure!(told.contains(reason) && own["state"] != "enrolled", "not {reason:?}: {own}");
        Ok(())
    })
}

fn assert_carried(between: [&Pod; 2]) -> Result<()> {
    for (from, to) in [(between[0], between[1]), (between[1], between[0])] {
        for addr in [to.addr(7000), to.addr6(7000)] {
            Talk::begin(from, addr)
                .and_then(Talk::finish)
                .with_context(|| format!("{} to {addr}", from.name()))?;
        }
    }
    Ok(())
}

/// Takes a namespace's name away: first it is an empty file, then nothing.
fn vanish(netns: &Path) -> Result<()> {
    umount2(netns, MntFlags::MNT_DETACH).context("unmounting a namespace")?;
    std::fs::remove_file(netns).context("removing its name")
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn they_are_named_and_hold_up_nobody() -> Result<()> {
    let world = World::builder().nodes(1).build()?;
    let pod = |name: &str| world.node(1).pod("shop", name).app(App::echo());
    let mesh = start_mesh(&world, MeshSettings::default())?;
    let broken = broken(&world)?;
    let said = |(name, path, _): &(&str, PathBuf, &str)| {
        pod(name).annotation("weft.dev/netns", &path.display().to_string())
    };
    let bad = PodBuilder::start_all(&broken.iter().map(said).collect::<Vec<_>>())?;
    for (name, _, reason) in &broken {
        await_reason(&mesh, name, reason)?;
    }

    // While those are tried again and again, others come.
    let begun = Instant::now();
    let (one, other, doomed) = (pod("one").start()?, pod("other").start()?, pod("doomed").start()?);
    await_enrolled(&mesh, [&one, &other, &doomed], WITHIN)?;
    println!("enrolled after {:?}", begun.elapsed());
    assert_carried([&one, &other])?;
    let twin = pod("twin").annotation("weft.dev/netns", &one.netns().display().to_string()).start()?;
    await_reason(&mesh, "twin", "its network namespace is that of")?;
    assert_carried([&one, &other]).context("beside a pod that claims to be where another is")?;

    // One vanishes while nobody looks.
    mesh.agent(1).kill()?;
    vanish(&doomed.netns())?;
    mesh.agent(1).start()?;
    mesh.agent(1).wait_ready()?;
    await_reason(&mesh, "doomed", "No such file or directory")?;
    await_enrolled(&mesh, [&one, &other], WITHIN).context("the next agent has the others")?;
    assert_carried([&one, &other]).context("with the next agent")?;
    for (name, _, reason) in &broken {
        await_reason(&mesh, name, reason).context("the next agent names them too")?;
    }

    // What is repaired is enrolled, without anybody's restart.
    let missing = bad.iter().find(|pod| pod.name() == "missing").context("it is among them")?;
    missing.set_annotation("weft.dev/netns", Some(&missing.netns().display().to_string()))?;
    await_enrolled(&mesh, [missing], WITHIN)?;
    assert_carried([missing, &other])?;
    twin.delete()?;
    assert_carried([&one, &other]).context("after the other claim was dropped")
}
