//! The work of `cargo xtask codegen`.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps;

/// The sources, in the order of their packages.
const SOURCES: [&str; 4] = [
    "istio/security/authorization.proto",
    "istio/v1/auth/ca.proto",
    "istio/workload/workload.proto",
    "weft/v1/discovery.proto",
];

/// Messages that are read in bulk: their bodies stay slices of what was read.
const SHARED_BYTES: &str = ".weft.v1.SavedResource";

/// Makes the code, and replaces what is committed unless it is only to be checked.
pub(super) fn run(args: &super::Args) -> anyhow::Result<()> {
    let proto = steps::workspace().join("crates/proto");
    let committed = proto.join("src/generated");
    let fresh = steps::workspace().join("target/codegen");
    generate(&proto.join("proto"), &fresh)?;
    let (old, new) = (read(&committed)?, read(&fresh)?);
    if old == new {
        return Ok(());
    }
    if args.check {
        let names = old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name));
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        bail!("not what `cargo xtask codegen` makes: {}", names.join(", "));
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        std::fs::remove_file(committed.join(name)).with_context(|| format!("removing {name}"))?;
    }
    for (name, text) in &new {
        std::fs::write(committed.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

fn generate(sources: &Path, out: &Path) -> anyhow::Result<()> {
    if out.exists() {
        std::fs::remove_dir_all(out).context("clearing the folder for generated code")?;
    }
    std::fs::create_dir_all(out).context("making the folder for generated code")?;
    let files = SOURCES.map(|file| sources.join(file));
    let messages = protox::compile(files, [sources]).context("compiling the .proto files")?;
    let mut config = tonic_prost_build::Config::new();
    // Maps in order, so that equal values have equal bytes: versions are hashes of them.
    config.btree_map(["."]).bytes([SHARED_BYTES]).enable_type_names();
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_fds_with_config(messages, config)
        .context("generating Rust")?;
    let generated: Vec<PathBuf> = read(out)?.keys().map(|name| out.join(name)).collect();
    let formatted = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(steps::workspace())
        .args(generated)
        .status()
        .context("starting rustfmt")?;
    if !formatted.success() {
        bail!("rustfmt refused the generated code");
    }
    Ok(())
}

fn read(folder: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry.context("listing")?.path();
        if path.extension().is_some_and(|end| end == "rs") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading {name}"))?;
            files.insert(name, text);
        }
    }
    Ok(files)
}
