//! Weft's own programs: optimised for the demo and the benchmark. Tests run those that are built with them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build_ebpf;
use crate::steps;

/// The packages whose programs are needed. Always all of them, so that cargo always chooses the same features and builds
/// everything once.
const PACKAGES: [&str; 7] = [
    "weft-control",
    "weft-agent",
    "weft-node-proxy",
    "weft-waypoint",
    "weft-cli",
    "weft-testkit",
    "weft-tests",
];

/// What the demo runs.
const PROGRAMS: [&str; 8] = [
    "weft-control",
    "weft-agent",
    "weft-node-proxy",
    "weft-waypoint",
    "weft",
    "weft-testapp",
    "weft-demo",
    "weft-sweep",
];

/// Builds the kernel's programs and then all others, and one more if somebody needs it.
pub(crate) fn build(one_more: Option<&str>) -> Result<()> {
    build_ebpf_object()?;
    let mut command = steps::cargo(&["build", "--release"]);
    command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.args(PROGRAMS.into_iter().chain(one_more).flat_map(|program| ["--bin", program]));
    steps::run("building Weft (the first time takes some minutes)", &mut command).map(drop)
}

/// Builds the kernel's programs, which the agent embeds.
pub(crate) fn build_ebpf_object() -> Result<()> {
    steps::announce("building the kernel's programs");
    build_ebpf::run(&build_ebpf::Args::default())
}

/// Builds an agent with programs that say what they decide, for the test that listens to them. By the agent's own tests,
/// whose libraries the other tests need too.
pub(crate) fn build_talking_agent() -> Result<PathBuf> {
    steps::announce("building the kernel's programs that talk");
    let object = steps::workspace().join("target/ebpf/talking.bpf.o");
    build_ebpf::run(&build_ebpf::Args { debug: true, object: Some(object.clone()), ..Default::default() })?;
    let mut command = steps::cargo(&["test", "--workspace", "--test", "hijack", "--no-run"]);
    command.env("WEFT_EBPF_OBJECT", object);
    steps::run("building an agent that talks (the first time takes some minutes)", &mut command)?;
    // The next build puts another one in its place.
    let folder = target().join("talking");
    let (built, kept) = (target().join("debug/weft-agent"), folder.join("weft-agent"));
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::copy(&built, &kept).with_context(|| format!("copying {} to {}", built.display(), kept.display()))?;
    Ok(kept)
}

/// Where everything is built.
pub(crate) fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    steps::workspace().join(target)
}

/// One of the optimised programs.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(target().join("release").join(name));
    command.current_dir(steps::workspace());
    command
}

/// Removes the worlds that are left on this machine, if `weft-sweep` was ever built: nothing else makes any.
pub(crate) fn sweep() -> Result<()> {
    let built = ["release", "debug"].map(|profile| target().join(profile).join("weft-sweep"));
    let age = |program: &&PathBuf| program.metadata().and_then(|found| found.modified()).ok();
    // The newest knows all that can be left.
    let newest = built.iter().filter(|program| program.is_file()).max_by_key(age);
    let Some(program) = newest else { return Ok(()) };
    // Not by way of `steps`: this also runs when everything else has been interrupted.
    let status = Command::new(program).status().context("starting weft-sweep")?;
    ensure!(status.success(), "weft-sweep: {status}");
    Ok(())
}
