//! What this machine's kernel offers, found by trying: versions are not compared, distributions carry features back.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use aya::maps::MapType;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, ProgramType, SchedClassifier, TcAttachType};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::acceleration;
use crate::attach::{Hook, TcMode};
use crate::diag::{self, TrialError};
use crate::netns;
use crate::object::{Object, embedded};
use crate::veths;

/// Something that capture needs, or is better with.
#[derive(Debug, Clone)]
pub struct Requirement {
    /// What.
    pub name: &'static str,
    /// Whether it is there.
    pub found: Found,
    /// What to do if it is not.
    pub advice: &'static str,
}

/// Whether something is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Yes.
    Yes,
    /// No, and something else takes its place.
    Instead(&'static str),
    /// No.
    No,
    /// No: this is in the way.
    InTheWay(String),
    /// It could not be found out.
    Unknown(String),
}

/// Tries everything. Needs the agent's privileges, and leaves no trace.
#[must_use]
pub fn check() -> Vec<Requirement> {
    vec![
        Requirement {
            name: "eBPF programs",
            found: yes_or_no(embedded().is_ok()),
            advice: "run `cargo xtask build-ebpf` and build again",
        },
        Requirement {
            name: "BTF",
            found: yes_or_no(Path::new("/sys/kernel/btf/vmlinux").exists()),
            advice: "use a kernel with CONFIG_DEBUG_INFO_BTF=y",
        },
        Requirement {
            name: "sk_lookup",
            found: program(ProgramType::SkLookup),
            advice: "use a kernel of 5.9 or later with CONFIG_BPF_SYSCALL=y; 6.1 is the oldest that is tried",
        },
        Requirement {
            name: "socket storage",
            found: map(MapType::SkStorage),
            advice: "use a kernel with CONFIG_NET=y and CONFIG_BPF_SYSCALL=y; 6.1 is the oldest that is tried",
        },
        Requirement {
            name: "sockmap",
            found: map(MapType::SockMap),
            advice: "use a kernel with CONFIG_NET_SOCK_MSG=y",
        },
        Requirement {
            name: "sock_ops",
            found: program(ProgramType::SockOps),
            advice: "use a kernel with CONFIG_CGROUP_BPF=y; without it no health probe passes",
        },
        Requirement {
            name: "acceleration",
            found: acceleration(),
            advice: "none is needed: connections between applications and the proxy go by TCP",
        },
        Requirement {
            name: "tcx",
            found: tcx(),
            advice: "kernel 6.6 has it; clsact serves as well, but its filters can be removed by whoever administers the pod's devices",
        },
        Requirement {
            name: "cgroup v2",
            found: cgroup2(),
            advice: "mount cgroup2; health probes are recognised by it",
        },
        Requirement {
            name: "bpffs",
            found: match crate::bpffs::is_bpffs(Path::new("/sys/fs/bpf")) {
                true => Found::Yes,
                false => Found::Instead("the agent mounts it"),
            },
            advice: "mount -t bpf bpf /sys/fs/bpf",
        },
        Requirement {
            name: "transparent sockets",
            found: transparent(),
            advice: "give the agent CAP_NET_ADMIN",
        },
        Requirement {
            name: "policy routing",
            found: policy_routing(),
            advice: "use a kernel with CONFIG_IP_MULTIPLE_TABLES=y, and give the agent CAP_NET_ADMIN",
        },
        Requirement {
            name: "veths without XDP",
            found: without(veths::with_native_xdp()),
            advice: "take XDP off: the kernel forgets there whose packets they are, and the mesh's own stop",
        },
        Requirement {
            name: "veths without GRO",
            found: without(veths::with_gro()),
            advice: "ethtool -K DEVICE gro off: with segmentation off in the pod, the mesh's own packets stop there",
        },
        Requirement {
            name: "ending connections",
            found: ending_connections(),
            advice: "use a kernel with CONFIG_INET_DIAG_DESTROY=y (module tcp_diag, if it has one); else restart pods that \
                     join: what they had open and must not go on is only cut off, and the other ends are not told",
        },
    ]
}

fn yes_or_no(found: bool) -> Found {
    if found { Found::Yes } else { Found::No }
}

/// Of devices that should be none.
fn without(found: io::Result<Vec<String>>) -> Found {
    match found {
        Ok(names) if names.is_empty() => Found::Yes,
        Ok(names) => Found::InTheWay(names.join(", ")),
        Err(error) => unknown(error),
    }
}

fn unknown(error: impl std::error::Error) -> Found {
    Found::Unknown(error.to_string())
}

fn program(kind: ProgramType) -> Found {
    aya::sys::is_program_supported(kind).map_or_else(unknown, yes_or_no)
}

fn map(kind: MapType) -> Found {
    aya::sys::is_map_supported(kind).map_or_else(unknown, yes_or_no)
}

/// Anywhere: distributions differ in where it is mounted.
fn cgroup2() -> Found {
    let is_there =
        |point: &Path| statfs(point).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC);
    std::fs::read_to_string("/proc/self/mounts")
        .map_or_else(unknown, |mounts| cgroup2_among(&mounts, is_there))
}

/// Of the mounts of a process (proc_pid_mounts(5)). Another mount may lie over one of them: then its path leads there.
fn cgroup2_among(mounts: &str, is_there: impl Fn(&Path) -> bool) -> Found {
    let of_kind = mounts.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let points: Vec<PathBuf> = of_kind.filter_map(|line| line.split(' ').nth(1)).map(unescape).collect();
    if points.iter().any(|point| is_there(point)) {
        return Found::Yes;
    }
    let covered: Vec<String> =
        points.iter().map(|point| format!("a mount over {}", point.display())).collect();
    if covered.is_empty() { Found::No } else { Found::InTheWay(covered.join(", ")) }
}

/// A path as the kernel writes it there: blanks and backslashes are three octal digits behind a backslash.
fn unescape(field: &str) -> PathBuf {
    let mut parts = field.split('\\');
    let mut path = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let number = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.extend(number);
        path.extend_from_slice(if number.is_some() { &part.as_bytes()[3..] } else { part.as_bytes() });
    }
    PathBuf::from(OsString::from_vec(path))
}

fn acceleration() -> Found {
    match acceleration::trial() {
        Ok(()) => Found::Yes,
        Err(refused) => Found::Instead(refused.summary()),
    }
}

fn tcx() -> Found {
    let Ok(bytes) = embedded() else {
        return Found::Unknown("needs the eBPF programs".to_owned());
    };
    let mut ebpf = match Object::load_unpinned(bytes) {
        Ok(ebpf) => ebpf,
        Err(error) => return unknown(error),
    };
    let found = ebpf.program_mut(Hook::SECOND_LOCK.program).and_then(|program| program.try_into().ok());
    let Some(lock): Option<&mut SchedClassifier> = found else {
        return Found::Unknown("the object has no second lock".to_owned());
    };
    if let Err(error) = lock.load() {
        return unknown(error);
    }
    match tc_mode(lock) {
        TcMode::Tcx => Found::Yes,
        TcMode::Clsact => Found::Instead("clsact"),
    }
}

/// Tries tcx on the `lo` of a namespace made for it.
pub(crate) fn tc_mode(lock: &mut SchedClassifier) -> TcMode {
    match try_tcx(lock) {
        Ok(()) => TcMode::Tcx,
        Err(error) => {
            tracing::info!(%error, "tcx is not to be had; using clsact");
            TcMode::Clsact
        }
    }
}

fn try_tcx(program: &mut SchedClassifier) -> Result<(), Box<dyn std::error::Error>> {
    let scratch = netns::scratch()?;
    let _entered = netns::enter(scratch.as_fd())?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program.attach_with_options("lo", TcAttachType::Ingress, options)?;
    program.detach(link)?;
    Ok(())
}

fn transparent() -> Found {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};
    let tried = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .and_then(|socket| setsockopt(&socket, sockopt::IpTransparent, &true));
    yes_or_no(tried.is_ok())
}

fn policy_routing() -> Found {
    let tried = netns::scratch().map_err(unknown).and_then(|scratch| {
        let _entered = netns::enter(scratch.as_fd()).map_err(unknown)?;
        // `lo` is down there, which a local route does not mind; only the rule is of interest.
        Ok(crate::routing::add(weft_ebpf_common::Family::V4).is_ok())
    });
    match tried {
        Ok(found) => yes_or_no(found),
        Err(found) => found,
    }
}

fn ending_connections() -> Found {
    match diag::can_destroy() {
        Ok(()) => Found::Yes,
        Err(TrialError::Absent) => Found::No,
        Err(TrialError::Refused(error)) => Found::Unknown(format!("the kernel refuses it: {error}")),
        Err(error) => unknown(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_there_where_its_path_leads_to_it() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let plain = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\nproc /proc proc rw 0 0\n";
        let two = "none /mnt/a\\040b cgroup2 rw 0 0\nnone /mnt/c cgroup2 rw 0 0\n";
        let in_the_way = |text: &str| Found::InTheWay(text.to_owned());
        for (case, mounts, there, want) in [
            ("where it mostly is", plain, &["/sys/fs/cgroup"][..], Found::Yes),
            ("elsewhere", hybrid, &["/sys/fs/cgroup/unified"], Found::Yes),
            ("nowhere", "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n", &["/sys/fs/cgroup"], Found::No),
            ("covered", plain, &[], in_the_way("a mount over /sys/fs/cgroup")),
            ("one of two is covered", two, &["/mnt/c"], Found::Yes),
            ("a blank in its name", two, &["/mnt/a b"], Found::Yes),
            ("both are covered", two, &[], in_the_way("a mount over /mnt/a b, a mount over /mnt/c")),
        ] {
            let found = cgroup2_among(mounts, |point| there.iter().any(|one| Path::new(one) == point));
            assert_eq!(found, want, "{case}");
        }
    }
}
