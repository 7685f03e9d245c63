//! `cargo xtask build-ebpf`: builds the kernel's programs into `target/ebpf/weft.bpf.o`, which `weft-ebpf-host` embeds.
//! It takes the toolchain that it finds: a rustup nightly with `rust-src`, or Debian's `rustc-web` with its source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Where the object is put, below the workspace.
const OBJECT: &str = "target/ebpf/weft.bpf.o";
/// A folder of its own: the other one is locked by whoever builds the workspace.
const TARGET_DIR: &str = "target/ebpf";
const TARGET: &str = "bpfel-unknown-none";
/// The package, and its one binary.
const PROGRAMS: &str = "weft-ebpf-programs";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

const ADVICE: &str = "no toolchain can build for the kernel. Install one of:
  rustup toolchain install nightly --component rust-src
  apt-get install rustc-web rust-web-src cargo-web        (Debian)";
const LINKER_ADVICE: &str = "bpf-linker is not in PATH. Install it:
  apt-get install llvm-22-dev libpolly-22-dev libzstd-dev zlib1g-dev
  LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --no-default-features --features llvm-22";

/// What `build-ebpf` takes.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Prints the path of the object and nothing else.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Programs that log their verdicts, which the agent forwards (`WEFT_LOG=info,weft_ebpf=debug`). For looking at
    /// one machine, not for one with traffic.
    #[arg(long)]
    pub(crate) debug: bool,
    /// Where to put the object, if not where `weft-ebpf-host` looks for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) object: Option<PathBuf>,
}

/// Builds the object. Does nothing but ask cargo if nothing has changed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let workspace = workspace();
    let linker = find_in_path("bpf-linker").context(LINKER_ADVICE)?;
    let toolchain = Toolchain::find().context(ADVICE)?;
    if !args.quiet {
        eprintln!("building with {}", toolchain.name());
    }
    let mut command = toolchain.command(&workspace, &linker);
    command.args(args.debug.then_some(["--features", "log"]).iter().flatten());
    let status = command.status().context("starting cargo")?;
    if !status.success() {
        bail!("the build of the kernel's programs failed ({status})");
    }
    let built = workspace.join(TARGET_DIR).join(TARGET).join("release").join(PROGRAMS);
    let object = args.object.clone().unwrap_or_else(|| workspace.join(OBJECT));
    publish(&built, &object)?;
    println!("{}", object.display());
    Ok(())
}

/// Whether some compiler here can build for the kernel.
pub(crate) fn has_toolchain() -> bool {
    Toolchain::find().is_some()
}

/// Whether bpf-linker is where [`run`] looks for it.
pub(crate) fn has_linker() -> bool {
    find_in_path("bpf-linker").is_some()
}

enum Toolchain {
    Nightly,
    Debian,
}

impl Toolchain {
    fn find() -> Option<Self> {
        if nightly_has_source() {
            return Some(Self::Nightly);
        }
        debian_has_source().then_some(Self::Debian)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Nightly => "rustup's nightly",
            Self::Debian => "Debian's rustc-web",
        }
    }

    fn command(&self, workspace: &Path, linker: &Path) -> Command {
        let mut command = match self {
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]);
                command.env_remove("RUSTC");
                command
            }
            Self::Debian => {
                let mut command = Command::new(DEBIAN_CARGO);
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        command
            .current_dir(workspace)
            .args(["build", "--release", "--package", PROGRAMS, "--bin", PROGRAMS])
            .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir", TARGET_DIR])
            .env("CARGO_ENCODED_RUSTFLAGS", flags())
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
            .env("CARGO_PROFILE_RELEASE_LTO", "fat")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
            .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3");
        // Cargo sets these for what it runs, this program included; the other toolchain must not see them.
        for name in
            ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "RUSTDOC"]
        {
            command.env_remove(name);
        }
        command
    }
}

/// The loader needs BTF, and aya-ebpf's bindings want to know whose kernel it is.
fn flags() -> String {
    let arch = std::env::consts::ARCH;
    let flags = ["-Cdebuginfo=2", "-Clink-arg=--btf", &format!("--cfg=bpf_target_arch=\"{arch}\"")];
    flags.join("\x1f")
}

fn nightly_has_source() -> bool {
    let asked = Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]).output();
    let Ok(output) = asked else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    output.status.success() && has_source(Path::new(sysroot.trim()))
}

fn debian_has_source() -> bool {
    let asked = Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"]).output();
    let Ok(output) = asked else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout);
    output.status.success() && Path::new(DEBIAN_CARGO).exists() && has_source(Path::new(sysroot.trim()))
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}

fn find_in_path(program: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(home).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Replaces the object only if its bytes differ, so that what embeds it is not built again for nothing.
fn publish(built: &Path, object: &Path) -> Result<()> {
    let new = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let beside = object.with_extension("new");
    fs::write(&beside, new).with_context(|| format!("writing {}", beside.display()))?;
    fs::rename(&beside, object).with_context(|| format!("replacing {}", object.display()))
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
