//! Gives up everything that the proxy does not need, before it meets a byte from outside: the root user, every
//! capability (also those that it could get back), new privileges, and all system calls but the ones that
//! carrying bytes takes. Runs before any other thread exists, so that every thread is bound by it.

use nix::unistd::{Gid, Uid, setgid, setgroups, setresgid, setresuid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::io;
use weft_runtime::Settings;

/// What the process gives up.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The user and group to become if started as root.
    pub uid: u32,
    /// Whether to run on if privileges cannot be given up.
    pub mode: SandboxMode,
}

/// Whether privileges have to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxMode {
    /// The process does not run with any.
    Required,
    /// The operator has said that it may (`WEFT_SANDBOX=off`): for debugging.
    Off,
}

/// The user that the proxy becomes: in no system's own range, and used by nothing else.
const DEFAULT_UID: u32 = 15_008;

impl SandboxConfig {
    /// Reads the settings.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        Self {
            uid: settings.get("WEFT_PROXY_UID", "a numeric user id other than 0", DEFAULT_UID),
            mode: settings.get("WEFT_SANDBOX", "on or off", SandboxMode::Required),
        }
    }
}

impl std::str::FromStr for SandboxMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "on" => Ok(Self::Required),
            "off" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

/// Why the process cannot be confined.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// It would run as root.
    #[error("the proxy does not run as root; set WEFT_PROXY_UID to another user than 0")]
    Root,
    /// Changing the user failed.
    #[error("becoming user {uid}")]
    User {
        /// The user.
        uid: u32,
        /// Why.
        source: nix::Error,
    },
    /// Dropping capabilities failed.
    #[error("giving up capabilities")]
    Capabilities(#[source] io::Error),
    /// The kernel does not take the filter.
    #[error("installing the system call filter")]
    Seccomp(#[source] seccompiler::Error),
    /// The filter cannot be built for this processor.
    #[error("building the system call filter")]
    Filter(#[source] seccompiler::BackendError),
}

/// Confines the process.
///
/// # Errors
/// As [`SandboxError`] says; the caller ends the process then.
pub fn confine(config: &SandboxConfig) -> Result<(), SandboxError> {
    if config.mode == SandboxMode::Off {
        tracing::warn!("WEFT_SANDBOX=off: the proxy keeps the privileges that it was started with");
        return Ok(());
    }
    if config.uid == 0 {
        return Err(SandboxError::Root);
    }
    drop_bounding_set().map_err(SandboxError::Capabilities)?;
    if Uid::effective().is_root() {
        become_user(config.uid).map_err(|source| SandboxError::User { uid: config.uid, source })?;
    }
    drop_capabilities().map_err(SandboxError::Capabilities)?;
    rustix::thread::set_no_new_privs(true).map_err(|errno| SandboxError::Capabilities(errno.into()))?;
    let program = filter().map_err(SandboxError::Filter)?;
    seccompiler::apply_filter_all_threads(&program).map_err(SandboxError::Seccomp)
}

fn drop_bounding_set() -> io::Result<()> {
    for number in 0..64 {
        let Some(capability) = CapabilitySet::from_bits(1 << number) else {
            continue;
        };
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => {}
            // Not in the set, or beyond what this kernel knows.
            Ok(false) | Err(rustix::io::Errno::INVAL) => continue,
            Err(errno) => return Err(errno.into()),
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn become_user(uid: u32) -> nix::Result<()> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    setgroups(&[])?;
    setgid(group)?;
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}

fn drop_capabilities() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}

/// What carrying bytes takes. Everything else fails with EPERM, so that a library that tries something optional
/// goes on without it.
const ALLOWED: &[libc::c_long] = &[
    // Bytes.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    // Sockets that were handed over, and the proxy's own.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_listen,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_socketpair,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // Threads and signals.
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_prctl,
    libc::SYS_set_tid_address,
    libc::SYS_membarrier,
    // Files: settings that change, the last known configuration, the administrative socket.
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_getdents64,
    libc::SYS_mkdirat,
    libc::SYS_mkdir,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_open,
    libc::SYS_flock,
    libc::SYS_getcwd,
    libc::SYS_umask,
    // Harmless questions.
    libc::SYS_getrandom,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_prlimit64,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
];

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, socket_rules()?);
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?.try_into()
}

/// Stream, datagram and packet-preserving sockets of the families that the proxy speaks; no raw and no packet
/// sockets.
fn socket_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    /// The bits of `type` that are not flags (socket(2)).
    const TYPE_MASK: u64 = 0xf;
    let mut rules = Vec::new();
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
            let equals = |argument, comparison, value: i32| {
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value as u64)
            };
            rules.push(SeccompRule::new(vec![
                equals(0, SeccompCmpOp::Eq, family)?,
                equals(1, SeccompCmpOp::MaskedEq(TYPE_MASK), kind)?,
            ])?);
        }
    }
    Ok(rules)
}
