//! The repository's own tool: `cargo xtask <what>`. Each subcommand is a module; this file only picks one.
#![forbid(unsafe_code)]

mod demo;
mod bench;
mod test;
mod kernels;
mod tidy;
mod codegen;
mod programs;
mod setup;
mod build_ebpf;
mod machine;
mod summary;
mod steps;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and shows Weft.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Brings up a mesh of two nodes on this machine and shows what it does.
    Demo(demo::Args),
    /// Runs every test, those that need root included.
    Test(test::Args),
    /// Measures the mesh against the same path without it, or the waypoint against Envoy.
    Bench(bench::Args),
    /// Checks formatting, lints, generated code and the direction of imports.
    Tidy(tidy::Args),
    /// Removes what a demo, a test or a benchmark left on this machine.
    Sweep,
    /// Builds the kernel's programs (target/ebpf/weft.bpf.o).
    BuildEbpf(build_ebpf::Args),
    /// Makes the Rust code of the wire's messages (crates/proto/src/generated).
    Codegen(codegen::Args),
}

fn main() -> ExitCode {
    match run(Args::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a backtrace: these errors are for people who want to know what to do.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> anyhow::Result<()> {
    match what {
        What::Demo(args) => demo::run(&args),
        What::Test(args) => test::run(&args),
        What::Bench(args) => bench::run(&args),
        What::Tidy(args) => tidy::run(&args),
        What::Sweep => programs::sweep(),
        What::BuildEbpf(args) => build_ebpf::run(&args),
        What::Codegen(args) => codegen::run(&args),
    }
}
