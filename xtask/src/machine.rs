//! Whether this machine can hold a world of namespaces at all: asked before anything is built, because a build takes
//! minutes. What the kernel's eBPF can do is `weft check`'s business.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Something that every world needs.
struct Need {
    what: &'static str,
    met: fn() -> bool,
    advice: &'static str,
}

const NEEDS: [Need; 4] = [
    Need {
        what: "root",
        met: is_root,
        advice: "run it as root: it makes network namespaces and loads eBPF programs",
    },
    Need {
        what: "BTF of the kernel (/sys/kernel/btf/vmlinux)",
        met: || Path::new("/sys/kernel/btf/vmlinux").exists(),
        advice: "use a kernel with CONFIG_DEBUG_INFO_BTF=y; every distribution's has it",
    },
    Need {
        what: "cgroup v2",
        met: has_cgroup2,
        advice: "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
    },
    Need {
        what: "network namespaces",
        met: has_namespaces,
        advice: "use a machine (or a privileged container) that may make namespaces: `unshare --net true` fails here",
    },
];

/// Fails with everything that is missing, and what to do about it.
pub(crate) fn require() -> Result<()> {
    let missing: Vec<String> = NEEDS
        .iter()
        .filter(|need| !(need.met)())
        .map(|need| format!("  {}\n    {}", need.what, need.advice))
        .collect();
    if !missing.is_empty() {
        bail!("this machine lacks what a mesh needs:\n{}", missing.join("\n"));
    }
    Ok(())
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn has_cgroup2() -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup2"))
}

fn has_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}
