//! Root in a pod opens listeners of its own on the mesh's ports, to be given what the mesh captures.

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, fchown};
use weft_agent::capture::CaptureError;
use weft_agent::sockets;
use weft_agent_link::{Listener, ListenerKind, Workers};

/// What an intruder may call itself: whatever it likes, it has CAP_SETUID and CAP_CHOWN.
type Uid = u32;

#[expect(clippy::unnecessary_wraps, reason = "the signature is the one of marking")]
fn unmarked(_: BorrowedFd<'_>) -> Result<(), CaptureError> {
    Ok(())
}

/// Runs with this thread in a new network namespace whose loopback is up.
fn in_a_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a namespace");
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.expect("ip runs").success());
            work()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Opens a listener like the mesh's, as this user.
fn listen(port: u16, ip: &str, kind: Type, uid: Uid) -> io::Result<OwnedFd> {
    let ip: IpAddr = ip.parse().expect("an address");
    let addr = SocketAddr::new(ip, port);
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if ip.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    fchown(&socket, Some(uid), None)?;
    socket.bind(&addr.into())?;
    if kind == Type::STREAM {
        socket.listen(256)?;
    }
    Ok(socket.into())
}

fn uid_of(socket: impl AsFd) -> Uid {
    let file = std::fs::File::from(socket.as_fd().try_clone_to_owned().expect("a duplicate"));
    file.metadata().expect("asked").uid()
}

fn port_of(socket: &OwnedFd) -> u16 {
    let addr = SockRef::from(socket).local_addr().expect("an address");
    addr.as_socket().expect("an address").port()
}

/// How many of so many connections reach the intruder.
fn stolen(intruder: &OwnedFd, to: SocketAddr) -> usize {
    let intruder = SockRef::from(intruder);
    intruder.set_nonblocking(true).expect("set");
    let opened: Vec<_> = (0..16).map(|_| std::net::TcpStream::connect(to).expect("connected")).collect();
    let accepted = std::iter::from_fn(|| intruder.accept().ok()).count();
    drop(opened);
    accepted
}

#[test]
#[ignore = "needs root to make namespaces; run by cargo xtask test"]
fn one_user_is_enough_to_join_a_group() {
    in_a_namespace(|| {
        let _mesh = listen(15006, "::", Type::STREAM, 0).expect("the mesh's");
        let intruder = listen(15006, "::", Type::STREAM, 0).expect("joins");
        for to in ["127.0.0.1:15006", "[::1]:15006"] {
            let stolen = stolen(&intruder, to.parse().expect("an address"));
            assert!(stolen > 0, "what the mesh protects itself from: {to}");
        }
        let _mesh = listen(15053, "::", Type::DGRAM, 0).expect("the mesh's");
        listen(15053, "::", Type::DGRAM, 0).expect("joins");
    });
}

fn refused(listeners: &[Listener], workers: usize) {
    for listener in listeners {
        let kind = if listener.kind == ListenerKind::Dns { Type::DGRAM } else { Type::STREAM };
        // /proc/net/tcp tells an intruder whose each listener is.
        for uid in [0, uid_of(&listener.socket)] {
            for ip in ["::", "0.0.0.0", "::1", "127.0.0.1"] {
                let opened = listen(port_of(&listener.socket), ip, kind, uid);
                let case = format!("{workers} workers, {:?}, {ip} as {uid}", listener.kind);
                let error = opened.expect_err(&case);
                assert_eq!(error.raw_os_error(), Some(nix::libc::EADDRINUSE), "{case}");
            }
        }
    }
}

#[test]
#[ignore = "needs root to make namespaces; run by cargo xtask test"]
fn the_mesh_shares_its_ports_with_nobody() {
    for workers in [1, 2, 3] {
        in_a_namespace(|| {
            let listeners = sockets::listeners(Workers::clamped(workers), &unmarked).expect("listeners");
            refused(&listeners, workers);
            for listener in listeners.iter().filter(|listener| listener.kind == ListenerKind::InboundPlain) {
                SockRef::from(&listener.socket).set_nonblocking(true).expect("set");
            }
            let open: Vec<_> = ["127.0.0.1:15006", "[::1]:15006"]
                .into_iter()
                .cycle()
                .take(128)
                .map(|to| std::net::TcpStream::connect(to).expect("connected"))
                .collect();
            let inbound = listeners.iter().filter(|one| one.kind == ListenerKind::InboundPlain);
            let shares: Vec<_> = inbound
                .map(|one| std::iter::from_fn(|| SockRef::from(&one.socket).accept().ok()).count())
                .collect();
            assert_eq!(shares.iter().sum::<usize>(), open.len());
            assert!(shares.iter().all(|share| *share > 0), "the workers still share: {shares:?}");
        });
    }
}

#[test]
#[ignore = "needs root to make namespaces; run by cargo xtask test"]
fn who_was_there_before_is_noticed() {
    for (port, kind) in [(15006, Type::STREAM), (15053, Type::DGRAM)] {
        in_a_namespace(|| {
            let _before = listen(port, "::", kind, 0).expect("nobody is there");
            sockets::listeners(Workers::clamped(2), &unmarked).expect_err("not ours alone");
        });
    }
}
