//! `weft-fuzz [TARGET]`: runs one target, or all of them in turn.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result};
use clap::Parser;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use weft_fuzz::{ALL, Campaign, Failure, Target, campaign};

/// Feeds mutated inputs to everything of Weft that reads bytes from outside.
#[derive(Parser)]
struct Args {
    /// The target; all of them, if none is named.
    target: Option<String>,
    /// How long each target is run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Determines every input; the clock chooses one, if none is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs this input alone, such as one that a failure left behind.
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let targets = match &args.target {
        Some(name) => vec![find(name)?],
        None => ALL.iter().collect(),
    };
    if let (Some(path), [target]) = (&args.input, targets.as_slice()) {
        let input = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        return Ok(match campaign::attempt(target, &input) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                println!("{message}");
                ExitCode::FAILURE
            }
        });
    }
    let seed = args.seed.unwrap_or_else(seed_of_now);
    println!("seed {seed}");
    let mut code = ExitCode::SUCCESS;
    for target in targets {
        let report = Campaign { target, seed, time: Duration::from_secs(args.seconds) }.run();
        let rate = report.executions_per_second();
        println!("{:<14} {:>9} executions {rate:>8.0}/s", target.name, report.executions);
        if let Some(failure) = report.failure {
            let path = keep(target, &failure)?;
            println!("  case {}: {}\n  input: {}", failure.case, failure.message, path.display());
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn find(name: &str) -> Result<&'static Target> {
    let names = || ALL.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    ALL.iter()
        .find(|target| target.name == name)
        .with_context(|| format!("no target {name}; there are {}", names()))
}

fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs()
}

/// Writes the input to `target/fuzz/`.
fn keep(target: &Target, failure: &Failure) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let hash = weft_proto::state::checksum(&failure.input);
    let path = folder.join(format!("{}-{hash:016x}", target.name));
    std::fs::write(&path, &failure.input).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
