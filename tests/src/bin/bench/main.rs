//! `weft-bench`: the mesh against the same path without it. One world, pods inside and outside the mesh on the same
//! wires, the same tools, rounds that alternate between the two; medians are reported. Servers and clients are nginx,
//! wrk and iperf3.
#![forbid(unsafe_code)]

mod plan;
mod chart;
mod table;
mod json;
mod results;
mod rival;
mod memory;
mod rounds;
mod site;
mod congestion;
mod load;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use plan::Plan;

/// Measures the mesh against the same path without it.
#[derive(Parser)]
#[command(name = "weft-bench")]
struct Args {
    /// Fewer and shorter rounds: numbers to look at, not to publish.
    #[arg(long)]
    quick: bool,
    /// How many rounds, instead of what is usual.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each run takes, instead of what is usual.
    #[arg(long)]
    seconds: Option<u64>,
    /// Only measurements whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Prints the names of the measurements and ends.
    #[arg(long)]
    list: bool,
    /// Where the JSON file and the chart are written.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut plan = if args.quick { Plan::quick() } else { Plan::full() };
    plan.change(args.rounds, args.seconds);
    if let Some(only) = &args.only {
        plan.keep(only);
    }
    if args.list {
        plan.names().iter().for_each(|name| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    match run(&plan, &args.out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan, out: &std::path::Path) -> Result<()> {
    let results = plan.measure()?;
    println!("{}", table::render(&results));
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    for (name, text) in [("bench.json", json::render(&results)?), ("bench.svg", chart::render(&results))] {
        let path = out.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
