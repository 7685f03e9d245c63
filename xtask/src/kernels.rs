//! `cargo xtask test kernels`: the capture of this tree on Debian's older kernels. Each boots in QEMU, without KVM, from
//! an initramfs that holds the privileged suites of `weft-ebpf-host`: they load, attach, capture and fail closed there.

mod guest;
mod initramfs;
mod image;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::setup::{self, Purpose};
use crate::summary::Summary;
use crate::{programs, steps};

/// The oldest series that Weft supports, and the one that most distributions have today.
const SERIES: [&str; 2] = ["6.1", "6.12"];
/// The suites, which are test targets of [`PACKAGE`].
const SUITES: [&str; 5] = ["capture", "edges", "odd_packets", "lifecycle", "acceleration"];
const PACKAGE: &str = "weft-ebpf-host";

/// What `test kernels` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Looks for newer packages of the kernels; otherwise those under target/kernels are taken.
    #[arg(long)]
    newest: bool,
    /// Only these, by the first two numbers of their version: 6.1, 6.12, or another one that Debian has.
    series: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    // The virtual machine is the running child and ends with this program; nothing else is left.
    steps::on_interrupt(setup::undo)?;
    let mut summary = Summary::default();
    let outcome = every_kernel(args, &mut summary);
    summary.finish(outcome)
}

fn every_kernel(args: &Args, summary: &mut Summary) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the kernels are x86-64's, and the suites are built for this machine"
    );
    summary.time("what it takes", || setup::run(Purpose::Kernels))?;
    summary.time("building the kernel's programs", programs::build_ebpf_object)?;
    let mut suites = Vec::new();
    summary.time("building the suites", || {
        suites = build_suites()?;
        Ok(())
    })?;
    let chosen = match args.series.as_slice() {
        [] => SERIES.map(str::to_owned).to_vec(),
        chosen => chosen.to_vec(),
    };
    for series in chosen {
        // One kernel that breaks says nothing of the next.
        if let Err(error) = one_kernel(&series, args.newest, &suites, summary) {
            summary.add_broken(format!("Linux {series}: {error:#}"));
        }
    }
    Ok(())
}

fn one_kernel(series: &str, newest: bool, suites: &[PathBuf], summary: &mut Summary) -> Result<()> {
    let cache = programs::target().join("kernels");
    let image = match image::kept(series, &cache) {
        Some(kept) if !newest => kept,
        _ => image::fetch(series, &cache)?,
    };
    let name = format!("Linux {}", image.release);
    steps::announce(&format!("{name}: {} in QEMU (some minutes)", SUITES.join(", ")));
    let initramfs = initramfs::build(&image, suites, &cache.join(&image.release))?;
    let log = cache.join(format!("{}.log", image.release));
    let told = guest::boot(&image, &initramfs, &log)?;
    summary.add(&name, told.took, told.counts, &told.failures);
    let broken = told.broken(&SUITES);
    if !broken.is_empty() || told.counts.failed > 0 {
        guest::show_tail(&log);
    }
    for broken in broken {
        summary.add_broken(format!("{name}: {broken}"));
    }
    Ok(())
}

/// The suites as programs, in the order of [`SUITES`].
fn build_suites() -> Result<Vec<PathBuf>> {
    steps::announce("building the suites");
    let mut cargo = steps::cargo(&["test", "--no-run", "--package", PACKAGE]);
    cargo.arg("--message-format=json-render-diagnostics");
    cargo.args(SUITES.iter().flat_map(|suite| ["--test", suite]));
    let mut built: Vec<PathBuf> = Vec::new();
    let status = steps::listen(&mut cargo, |line| built.extend(executable(line)))?;
    ensure!(status.success(), "cargo test --no-run: {status}");
    let find = |suite: &&str| {
        let of_suite = |path: &&PathBuf| name_of(path) == Some(suite);
        built.iter().find(of_suite).cloned().with_context(|| format!("cargo has not built the suite {suite}"))
    };
    SUITES.iter().map(find).collect()
}

/// The program that a message of cargo's names.
fn executable(message: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    Some(message.get("executable")?.as_str()?.into())
}

/// The suite that a program is: cargo names it `capture-` and a hash.
fn name_of(program: &Path) -> Option<&str> {
    program.file_name()?.to_str()?.rsplit_once('-').map(|(suite, _)| suite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargos_messages() {
        for (message, want) in [
            (r#"{"reason":"compiler-artifact","executable":"/t/deps/edges-0f"}"#, Some("edges")),
            (r#"{"reason":"compiler-artifact","executable":null}"#, None),
            (r#"{"reason":"build-finished","success":true}"#, None),
            ("not JSON", None),
        ] {
            let program = executable(message);
            assert_eq!(program.as_deref().and_then(name_of), want, "{message}");
        }
    }
}
