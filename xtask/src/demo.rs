//! `cargo xtask demo`: prepares the machine, builds, and becomes `weft-demo`, which does everything else.

use anyhow::Result;

use crate::setup::{self, Purpose};
use crate::{machine, programs, steps};

/// What `demo` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leaves the world running at the end, and says how to look around.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    steps::on_interrupt(setup::undo)?;
    machine::require()?;
    setup::run(Purpose::World)?;
    programs::build(None)?;
    let mut demo = programs::command("weft-demo");
    demo.args(args.keep.then_some("--keep"));
    steps::turn_into(&mut demo)
}
