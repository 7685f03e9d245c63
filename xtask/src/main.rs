//! The repository's own tool: `cargo xtask <what>`. Each subcommand is a module; this file only picks one.
#![forbid(unsafe_code)]

mod build_ebpf;
mod codegen;

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
    /// Builds the kernel's programs (target/ebpf/weft.bpf.o).
    BuildEbpf(build_ebpf::Args),
    /// Makes the Rust code of the wire's messages (crates/proto/src/generated).
    Codegen(codegen::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::BuildEbpf(args) => build_ebpf::run(&args),
        What::Codegen(args) => codegen::run(&args),
    }
}
