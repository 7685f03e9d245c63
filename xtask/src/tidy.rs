//! `cargo xtask tidy`: what a reviewer should not have to look for.

mod edges;
mod order;

use anyhow::{Result, bail};

use crate::codegen;
use crate::steps;

/// One check.
struct Check {
    name: &'static str,
    check: fn() -> Result<()>,
    /// It is done in a moment; the others build first.
    quick: bool,
}

const CHECKS: [Check; 6] = [
    Check { name: "formatting", check: formatting, quick: true },
    Check { name: "imports within crates point down", check: order::check, quick: true },
    Check { name: "edges between crates point down", check: edges::check, quick: true },
    Check { name: "generated code is fresh", check: codegen::check, quick: false },
    Check { name: "lints", check: lints, quick: false },
    Check { name: "dependencies", check: dependencies, quick: false },
];

/// What `tidy` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only checks whose name contains this.
    only: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    run_those(|check| args.only.as_ref().is_none_or(|only| check.name.contains(only.as_str())))
}

/// Runs what takes no time.
pub(crate) fn run_quick() -> Result<()> {
    run_those(|check| check.quick)
}

fn run_those(wanted: impl Fn(&Check) -> bool) -> Result<()> {
    let mut failed = Vec::new();
    for Check { name, check, .. } in CHECKS.into_iter().filter(wanted) {
        steps::announce(name);
        if let Err(error) = check() {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("not tidy: {}", failed.join(", "));
    }
    Ok(())
}

fn formatting() -> Result<()> {
    steps::run("cargo fmt", &mut steps::cargo(&["fmt", "--all", "--check"])).map(drop)
}

fn lints() -> Result<()> {
    let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    steps::run("cargo clippy", &mut steps::cargo(&args)).map(drop)
}

/// Licences, sources and doubles, as deny.toml has them, where cargo-deny is installed.
fn dependencies() -> Result<()> {
    let there = steps::cargo(&["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("    left out: cargo-deny is not installed (cargo install cargo-deny)");
        return Ok(());
    }
    steps::run("cargo deny", &mut steps::cargo(&["deny", "check", "licenses", "bans", "sources"])).map(drop)
}
