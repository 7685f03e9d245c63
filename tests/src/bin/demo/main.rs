//! `weft-demo`: brings up a mesh of two nodes and tells what it does. Every line is printed after what it says has
//! happened and has been checked; what did not happen ends the program with an error.
#![forbid(unsafe_code)]

mod story;
mod trace;
mod resilience;
mod routes;
mod gate;
mod upgrade;
mod policies;
mod traffic;
mod scene;
mod telling;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use scene::Scene;
use telling::Telling;

/// Brings up a mesh of two nodes on this machine and shows what it does.
#[derive(Parser)]
#[command(name = "weft-demo")]
struct Args {
    /// Leaves everything running at the end, and says how to look around.
    #[arg(long)]
    keep: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let telling = Telling::to_stdout();
    match run(&args, &telling) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telling.failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args, telling: &Telling) -> Result<()> {
    let mut scene = Scene::set(telling)?;
    let told = story::tell(&mut scene, telling);
    if told.is_err() {
        eprintln!("{}", scene.log_tails());
    }
    if args.keep {
        scene.keep(telling);
        return told;
    }
    let removed = scene.strike(telling);
    told.and(removed)
}
