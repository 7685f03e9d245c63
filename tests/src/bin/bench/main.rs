//! `weft-bench`: the mesh against the same path without it. One world, pods inside and outside the mesh on the same
//! wires, the same tools, rounds that alternate between the two; medians are reported. Servers and clients are nginx,
//! wrk and iperf3. `weft-bench waypoint`: the waypoint against Envoy.
#![forbid(unsafe_code)]

mod waypoint;
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
mod nginx;
mod load;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use plan::Plan;

/// Measures the mesh against the same path without it, or a part of it against somebody else's.
#[derive(Parser)]
#[command(name = "weft-bench")]
struct Args {
    /// What is measured.
    #[arg(value_enum, default_value = "mesh")]
    subject: Subject,
    /// What an end of tunnels is told.
    #[arg(hide = true)]
    words: Vec<String>,
    /// Fewer and shorter rounds: numbers to look at, not to publish.
    #[arg(long)]
    quick: bool,
    /// How many rounds, instead of what is usual.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each run takes, instead of what is usual.
    #[arg(long)]
    seconds: Option<u64>,
    /// Only measurements whose name contains this; their files' names end in `-part`.
    #[arg(long)]
    only: Option<String>,
    /// Prints the names of the measurements and ends.
    #[arg(long)]
    list: bool,
    /// Where the JSON file and the chart are written.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// The program that the waypoint is measured against.
    #[arg(long)]
    envoy: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    /// The mesh of node proxies, against the same path without it.
    Mesh,
    /// The waypoint, against Envoy.
    Waypoint,
    /// An end of tunnels beside a waypoint that is measured: what this program starts itself.
    #[value(hide = true)]
    Ends,
    /// Requests at a steady rate: likewise.
    #[value(hide = true)]
    Pace,
}

/// The texts that are printed and written.
struct Report {
    name: &'static str,
    table: String,
    json: String,
    chart: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.subject {
        Subject::Mesh => mesh(&args),
        Subject::Waypoint => waypoint(&args),
        Subject::Ends => waypoint::run_end(&args.words),
        Subject::Pace => waypoint::run_pace(&args.words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn mesh(args: &Args) -> Result<()> {
    let mut plan = if args.quick { Plan::quick() } else { Plan::full() };
    plan.change(args.rounds, args.seconds);
    if let Some(only) = &args.only {
        plan.keep(only);
    }
    if args.list {
        plan.names().iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let results = plan.measure()?;
    let (table, chart) = (table::render(&results), chart::render(&results));
    Report { name: "bench", table, json: json::render(&results)?, chart }.write(args)
}

fn waypoint(args: &Args) -> Result<()> {
    let mut plan = if args.quick { waypoint::Plan::quick() } else { waypoint::Plan::full() };
    plan.change(args.rounds, args.seconds);
    if let Some(only) = &args.only {
        plan.keep(only);
    }
    if args.list {
        plan.names().iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let envoy = args.envoy.as_ref().ok_or_else(|| {
        anyhow!("--envoy names no program; `cargo xtask bench waypoint` fetches Envoy, and names it")
    })?;
    let results = plan.measure(envoy)?;
    let (table, chart) = (waypoint::table(&results), waypoint::chart(&results));
    Report { name: "waypoint", table, json: waypoint::json(&results)?, chart }.write(args)
}

impl Report {
    fn write(&self, args: &Args) -> Result<()> {
        println!("{}", self.table);
        let out = &args.out;
        // What was measured whole is not lost to a look at a part.
        let part = args.only.as_ref().map_or("", |_| "-part");
        std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
        for (end, text) in [("json", &self.json), ("svg", &self.chart)] {
            let path = out.join(format!("{}{part}.{end}", self.name));
            std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            println!("{}", path.display());
        }
        Ok(())
    }
}
