//! What a confined process cannot do any more. It is this test program, run again as a child that confines itself.
#![expect(unsafe_code, reason = "system calls are made by number, as whoever has broken in would make them")]

use rustix::process::{getegid, geteuid};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{TcpListener, TcpStream};
use weft_node_proxy::sandbox::{SandboxConfig, SandboxError, SandboxMode, confine};

/// Tells a run of this test program that it is the one to be confined.
const IS_THE_CHILD: &str = "SANDBOX_TEST_CHILD";
const UID: u32 = 15_008;

/// What no proxy needs and every intruder wants. All of them take arguments, and get none, so that nothing happens
/// if one is let through: it fails with another error then.
const FORBIDDEN: [(&str, libc::c_long); 24] = [
    ("bpf", libc::SYS_bpf),
    ("setns", libc::SYS_setns),
    ("mount", libc::SYS_mount),
    ("umount2", libc::SYS_umount2),
    ("move_mount", libc::SYS_move_mount),
    ("pivot_root", libc::SYS_pivot_root),
    ("chroot", libc::SYS_chroot),
    ("execve", libc::SYS_execve),
    ("execveat", libc::SYS_execveat),
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("kill", libc::SYS_kill),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("init_module", libc::SYS_init_module),
    ("finit_module", libc::SYS_finit_module),
    ("keyctl", libc::SYS_keyctl),
    ("add_key", libc::SYS_add_key),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("mknodat", libc::SYS_mknodat),
    ("setresuid", libc::SYS_setresuid),
];

/// The error of a system call with arguments that are none.
fn attempt(call: libc::c_long) -> io::Error {
    // SAFETY: null pointers and a descriptor that cannot be open; the kernel checks them, as from any process.
    let result = unsafe { libc::syscall(call, -1_i64, 0_i64, 0_i64, 0_i64, 0_i64, 0_i64) };
    if result == -1 { io::Error::last_os_error() } else { io::Error::other("it succeeded") }
}

fn sockets() -> [(&'static str, io::Result<Socket>); 6] {
    let raw = |domain, protocol| Socket::new(domain, Type::RAW, Some(protocol));
    [
        ("a raw IPv4 socket", raw(Domain::IPV4, Protocol::TCP)),
        ("a raw IPv6 socket", raw(Domain::IPV6, Protocol::ICMPV6)),
        ("a packet socket", Socket::new(Domain::PACKET, Type::RAW, None)),
        ("a cooked packet socket", Socket::new(Domain::PACKET, Type::DGRAM, None)),
        ("a netlink socket", Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, None)),
        ("an XDP socket", Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None)),
    ]
}

#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn a_confined_process_can_carry_bytes_and_nothing_else() {
    let own = std::env::current_exe().expect("this program has a path");
    let child = std::process::Command::new(own)
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(IS_THE_CHILD, "1")
        .output()
        .expect("the child runs");
    let text = [child.stdout, child.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(child.status.success() && text.contains("confined"), "{}\n{text}", child.status);
}

/// Not a test: what the one above runs.
#[test]
#[ignore = "needs root; run by cargo xtask test"]
fn child() {
    if std::env::var_os(IS_THE_CHILD).is_none() {
        return;
    }
    assert!(geteuid().is_root(), "this needs root");
    // As root all of it goes further than to the filter, or the checks below would prove nothing.
    for (name, socket) in &sockets()[..5] {
        assert!(socket.is_ok(), "{name} before: {socket:?}");
    }
    let root = SandboxConfig { uid: 0, mode: SandboxMode::Required };
    assert!(matches!(confine(&root), Err(SandboxError::Root)));
    assert!(geteuid().is_root(), "nothing was given up for a refusal");

    confine(&SandboxConfig { uid: UID, mode: SandboxMode::Required }).expect("it can be confined");
    assert_eq!((geteuid().as_raw(), getegid().as_raw()), (UID, UID));
    for (name, call) in FORBIDDEN {
        let error = attempt(call);
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{name}: {error}");
    }
    for (name, socket) in sockets() {
        let error = socket.expect_err(name);
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{name}: {error}");
    }
    assert!(std::process::Command::new("/bin/true").status().is_err(), "no other program runs");
    assert!(std::fs::read("/etc/shadow").is_err(), "root's files are closed");
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("its own status");
    let zero = "0000000000000000";
    for (field, want) in [
        ("CapPrm", zero),
        ("CapEff", zero),
        ("CapInh", zero),
        ("CapBnd", zero),
        ("CapAmb", zero),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
        assert_eq!(line, Some(want), "{field}");
    }

    // What it is for goes on: threads, sockets, files.
    let listener = TcpListener::bind("127.0.0.1:0").expect("it listens");
    let addr = listener.local_addr().expect("it has an address");
    let thread = std::thread::spawn(move || TcpStream::connect(addr).map(drop));
    listener.accept().expect("it accepts");
    thread.join().expect("a thread ends").expect("it connects");
    println!("confined");
}
