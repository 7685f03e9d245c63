//! The repository's own tool: `cargo xtask <what>`. Each subcommand is a module; this file only picks one.
#![forbid(unsafe_code)]

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
    /// Makes the Rust code of the wire's messages (crates/proto/src/generated).
    Codegen(codegen::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Codegen(args) => codegen::run(&args),
    }
}
