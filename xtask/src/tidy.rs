//! `cargo xtask tidy`: what a reviewer should not have to look for.

mod edges;
mod order;

use anyhow::{Result, bail};

use crate::codegen;
use crate::steps;

/// A check and its name.
type Check = (&'static str, fn() -> Result<()>);

/// What `tidy` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only checks whose name contains this.
    only: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let checks: [Check; 6] = [
        ("formatting", formatting),
        ("imports within crates point down", order::check),
        ("edges between crates point down", edges::check),
        ("generated code is fresh", codegen::check),
        ("lints", lints),
        ("dependencies", dependencies),
    ];
    let mut failed = Vec::new();
    let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    for (name, check) in checks.into_iter().filter(|(name, _)| wanted(name)) {
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
