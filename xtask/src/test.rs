//! `cargo xtask test`: everything there is to test, and a summary whose last line says how many passed and failed.

use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::summary::Summary;
use crate::{kernels, machine, programs, steps, tidy};

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
    if let Err(error) = summary.time("tidiness", tidy::run_quick) {
        summary.add_broken(format!("{error:#}"));
    }
    let mut privileged = cargo_test(args, &["--ignored", "--test-threads=1"]);
    summary.time("an agent that talks", || {
        privileged.env("WEFT_TEST_TALKING_AGENT", programs::build_talking_agent()?);
        Ok(())
    })?;
    summary.time("building the kernel's programs", programs::build_ebpf_object)?;
    summary.suite("tests that need nothing", cargo_test(args, &[]));
    let target = programs::target();
    summary.time("Envoy", || {
        privileged.env("WEFT_TEST_ENVOY", setup::envoy(&target)?);
        Ok(())
    })?;
    summary.time("Prometheus", || {
        privileged.env("WEFT_TEST_PROMETHEUS", setup::prometheus(&target)?);
        Ok(())
    })?;
    summary.suite("tests that need root", privileged);
    // A test that was killed may have left its world.
    summary.time("cleaning up", programs::sweep)
}

/// Without the examples in documentation: there are none, and looking for them takes a while.
fn cargo_test(args: &Args, how: &[&str]) -> Command {
    let mut command =
        steps::cargo(&["test", "--no-fail-fast", "--workspace", "--lib", "--bins", "--tests", "--"]);
    command.args(how);
    if args.quick {
        command.args(["--skip", "long_"]);
    }
    command.args(&args.filter);
    command
}
