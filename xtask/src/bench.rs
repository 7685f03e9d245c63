//! `cargo xtask bench`: prepares the machine, builds, and becomes `weft-bench`, which does everything else.

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::{machine, programs, steps};

/// What `bench` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is measured.
    #[arg(value_enum, default_value = "mesh")]
    subject: Subject,
    /// Fewer and shorter rounds: numbers to look at, not to publish.
    #[arg(long)]
    quick: bool,
    /// Only measurements whose name contains this (`weft-bench --list` names them).
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// The mesh of node proxies, against the same path without it.
    Mesh,
    /// The waypoint, against Envoy.
    Waypoint,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    steps::on_interrupt(setup::undo)?;
    machine::require()?;
    setup::run(Purpose::Bench)?;
    programs::build(Some("weft-bench"))?;
    let mut bench = programs::command("weft-bench");
    if args.subject == Subject::Waypoint {
        bench.args(["waypoint", "--envoy"]).arg(setup::envoy(&programs::target())?);
    }
    bench.args(args.quick.then_some("--quick"));
    bench.args(args.only.iter().flat_map(|only| ["--only", only]));
    bench.arg("--out").arg(steps::workspace().join("target/bench"));
    steps::turn_into(&mut bench)
}
