//! `cargo xtask codegen`: turns crates/proto/proto into Rust, without protoc, and checks that what is
//! committed is what it makes. The work is behind a feature, because it takes long to build.

#[cfg(feature = "codegen")]
mod make;

/// What `codegen` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if the committed code is not what would be made.
    #[arg(long)]
    check: bool,
}

#[cfg(feature = "codegen")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    make::run(args)
}

/// Runs the same with the feature.
#[cfg(not(feature = "codegen"))]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    use crate::steps;
    let mut command = steps::cargo(&["run", "--package", "xtask", "--features", "codegen", "--", "codegen"]);
    command.args(args.check.then_some("--check"));
    steps::run("cargo xtask codegen", &mut command).map(drop)
}

/// The code is as committed.
pub(crate) fn check() -> anyhow::Result<()> {
    run(&Args { check: true })
}
