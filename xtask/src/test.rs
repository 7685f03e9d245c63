//! `cargo xtask test`: everything there is to test, and a summary whose last line says how many passed and failed.

use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::summary::Summary;
use crate::{kernels, machine, programs, steps};

/// What `test` takes.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    elsewhere: Option<Elsewhere>,
    /// Leaves out tests whose name has `long_` in it.
    #[arg(long)]
    quick: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// What is not tested on this machine's own kernel.
#[derive(clap::Subcommand)]
enum Elsewhere {
    /// Captures on older kernels, each in a virtual machine: Debian's 6.1 and 6.12.
    Kernels(kernels::Args),
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(Elsewhere::Kernels(args)) = &args.elsewhere {
        return kernels::run(args);
    }
    steps::on_interrupt(|| {
        setup::undo()?;
        programs::sweep()
    })?;
    let mut summary = Summary::default();
    let outcome = every_step(args, &mut summary);
    summary.finish(outcome)
}

fn every_step(args: &Args, summary: &mut Summary) -> Result<()> {
    summary.time("the machine", || {
        machine::require()?;
        setup::run(Purpose::World)
    })?;
    summary.time("building the kernel's programs", programs::build_ebpf_object)?;
    summary.suite("tests that need nothing", cargo_test(args, &["--workspace"], &[]));
    summary.time("building Weft", programs::build)?;
    let mut privileged =
        cargo_test(args, &["--workspace", "--lib", "--bins", "--tests"], &["--ignored", "--test-threads=1"]);
    privileged.env("WEFT_BIN_DIR", programs::folder());
    let target = programs::target();
    summary.time("Envoy", || {
        privileged.env("WEFT_TEST_ENVOY", setup::envoy(&target)?);
        Ok(())
    })?;
    summary.time("an agent that talks", || {
        privileged.env("WEFT_TEST_TALKING_AGENT", programs::build_talking_agent()?);
        Ok(())
    })?;
    summary.suite("tests that need root", privileged);
    // A test that was killed may have left its world.
    summary.time("cleaning up", programs::sweep)
}

fn cargo_test(args: &Args, which: &[&str], how: &[&str]) -> Command {
    let mut command = steps::cargo(&["test", "--no-fail-fast"]);
    command.args(which).arg("--").args(how);
    if args.quick {
        command.args(["--skip", "long_"]);
    }
    command.args(&args.filter);
    command
}
