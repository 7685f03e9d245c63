//! Where captures of this kind have failed before: ports taken again, cookies, frames past tc, DNS, probes.
//! They need root: `cargo xtask test`, or `cargo test -p weft-ebpf-host -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg,
    sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Socket, Type};
use weft_ebpf_host::{Counter, ListenerKind};
use world::batches;
use world::frames::{self, TCP, UDP, Way, Wire, heard};
use world::relay::{Source, ask, ask_within, relay, server, talk};
use world::{NODE_V4, PATIENCE, POD_V4, POD_V6, REMOTE_V4, REMOTE_V6, World, at, ip};

/// A world whose pod is enrolled with both relays, and a server on both sides.
fn relayed() -> World {
    let mut world = World::new();
    relay_both(&mut world);
    world
}

fn relay_both(world: &mut World) {
    for (kind, port, source) in
        [(ListenerKind::Outbound, 15001, Source::Own), (ListenerKind::Inbound, 15006, Source::Client)]
    {
        let listener = world.listener(kind, port);
        let owner = world.host().owner().unwrap();
        drop(relay(&world.pod, listener, owner, source));
    }
    drop(server(&world.remote, 8080));
    drop(server(&world.pod, 8080));
    world.enrol();
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_port_is_taken_again_while_the_proxy_is_in_time_wait() {
    let world = relayed();
    for (case, pod, remote, ns, to) in [
        ("out", POD_V4, REMOTE_V4, &world.pod, REMOTE_V4),
        ("out, IPv6", POD_V6, REMOTE_V6, &world.pod, REMOTE_V6),
        ("in", POD_V4, REMOTE_V4, &world.remote, POD_V4),
    ] {
        let from = if to == pod { remote } else { pod };
        for round in 0..20 {
            let began = Instant::now();
            ns.within(move || {
                let socket = Socket::new(Domain::for_address(at(to, 8080)), Type::STREAM, None).unwrap();
                socket.set_reuse_address(true).unwrap();
                socket.bind(&at(from, 40_000).into()).unwrap();
                socket
                    .connect_timeout(&at(to, 8080).into(), PATIENCE)
                    .unwrap_or_else(|error| panic!("{case} {round}: {error}"));
                talk(socket.into(), PATIENCE).unwrap_or_else(|error| panic!("{case} {round}: {error}"));
            });
            let took = began.elapsed();
            assert!(took < Duration::from_millis(900), "{case} {round}: {took:?}");
            // The client must not hold the TIME_WAIT itself: the relay closes first, and a moment later it has.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn cookies_change_nothing() {
    let world = relayed();
    for ns in [&world.pod, &world.remote] {
        ns.sysctl("ipv4/tcp_syncookies", "2");
    }
    for (ns, to) in
        [(&world.pod, REMOTE_V4), (&world.pod, REMOTE_V6), (&world.remote, POD_V4), (&world.remote, POD_V6)]
    {
        for round in 0..100 {
            let answer = ns.within(move || ask(at(to, 8080)));
            answer.unwrap_or_else(|error| panic!("{to}, {round}: {error}"));
        }
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn many_at_once_in_both_directions() {
    let world = relayed();
    let mut threads = Vec::new();
    for (ns, to) in
        [(&world.pod, REMOTE_V4), (&world.pod, REMOTE_V6), (&world.remote, POD_V4), (&world.remote, POD_V6)]
    {
        for _ in 0..4 {
            threads.push(ns.spawn(move || {
                for round in 0..150 {
                    ask(at(to, 8080)).unwrap_or_else(|error| panic!("{to}, {round}: {error}"));
                }
            }));
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn link_local_addresses_are_guarded_as_well() {
    let mut world = World::new();
    drop(server(&world.pod, 8080));
    let (pod, node) = (world.pod.clone(), world.node.clone());
    let addresses = pod.ip(&["-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"]);
    let local = addresses.split_whitespace().nth(3).unwrap().split('/').next().unwrap().to_owned();
    let index: u32 = node.within(|| nix::net::if_::if_nametoindex("v0").unwrap());
    let to: SocketAddr = format!("[{local}%{index}]:8080").parse().unwrap();
    let reach = move || ask_within(to, Duration::from_millis(700));
    let deadline = Instant::now() + PATIENCE;
    // Duplicate address detection has to end first.
    while node.within(reach).is_err() {
        assert!(Instant::now() < deadline, "reachable before enrolment");
    }
    world.enrol();
    assert!(node.within(reach).is_err(), "reached the application past the mesh");
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn frames_past_tc_stop_at_the_hosts_end() {
    const FAMILIES: [[&str; 2]; 2] = [[POD_V4, REMOTE_V4], [POD_V6, REMOTE_V6]];
    let mut world = World::new();
    let (pod, remote) = (world.pod.clone(), world.remote.clone());
    let wire = Wire::between((&pod, "eth0"), (&world.node, "v0"));
    let send = |protocol: u8, [from, to]: [&str; 2]| {
        let (from, to) = (at(from, 40_000), at(to, 8080));
        let body = if protocol == TCP { frames::data(from, to) } else { frames::datagram(from, to) };
        let frame = wire.plain([from.ip(), to.ip()], protocol, &body);
        pod.within(|| wire.send(&frame, Way::PastTc));
    };
    for ends @ [from, to] in FAMILIES {
        // The neighbours have to know each other first.
        pod.within(|| UdpSocket::bind(at(from, 0)).unwrap().send_to(b"x", at(to, 9)).unwrap());
        assert_eq!(heard(&remote, || send(TCP, ends)), 1, "before enrolment it gets there: {from}");
    }
    world.enrol();
    for (ends @ [from, _], dropped) in FAMILIES.into_iter().zip(1..) {
        assert_eq!(heard(&remote, || send(TCP, ends)), 0, "TCP past tc: {from}");
        assert_eq!(world.host().counters().of(Counter::DroppedSecondLock), dropped, "{from}");
        assert_eq!(heard(&remote, || send(UDP, ends)), 1, "other UDP passes: {from}");
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn what_comes_in_batches_reaches_the_listener_all_the_same() {
    const BATCH: u16 = 16;
    let mut world = World::new();
    let _mesh = world.listener(ListenerKind::Inbound, 15006);
    drop(server(&world.pod, 8080));
    world.enrol();
    // An answer with a cookie has no socket: the programs look whose it is, before what came in with it is looked up.
    world.pod.sysctl("ipv4/tcp_syncookies", "2");
    batches::gather((&world.node, "v0"), (&world.pod, "eth0"));
    let wire = Wire::between((&world.node, "v0"), (&world.pod, "eth0"));
    let mut wanted = 0;
    // Addresses that nobody has, who would answer with RSTs of his own.
    for (from, to) in [("10.99.1.77", POD_V4), ("fd99:1::77", POD_V6)] {
        for batch in 0..40 {
            let syn = |number: u16| {
                let from = at(from, 20_000 + batch * BATCH + number);
                wire.plain([from.ip(), ip(to)], TCP, &frames::syn(from, at(to, 8080)))
            };
            let frames: Vec<_> = (0..BATCH).map(syn).collect();
            world.node.within(|| {
                batches::alone();
                wire.send_from("v0", &frames, Way::PastTc);
            });
            wanted += u64::from(BATCH);
            let chosen = || world.host.as_ref().unwrap().counters().of(Counter::ChosenInbound);
            let deadline = Instant::now() + PATIENCE;
            while chosen() != wanted {
                assert!(Instant::now() < deadline, "{from}: {} of {wanted} came to the mesh", chosen());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Answers one query from the address that it was sent to.
fn answer_dns(socket: &Socket) -> (SocketAddr, IpAddr) {
    let mut buffer = [0; 512];
    let (client, asked, length) = {
        let mut control = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let mut place = [IoSliceMut::new(&mut buffer)];
        let message =
            recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut place, Some(&mut control), MsgFlags::empty())
                .unwrap();
        let client: SockaddrStorage = message.address.unwrap();
        let asked = message.cmsgs().unwrap().find_map(|found| match found {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::V4(u32::from_be(info.ipi_addr.s_addr).into()))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = std::net::Ipv6Addr::from(info.ipi6_addr.s6_addr);
                Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
            }
            _ => None,
        });
        (client, asked.unwrap(), message.bytes)
    };
    let iov = [IoSlice::new(&buffer[..length])];
    match asked {
        IpAddr::V4(source) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(source).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            send(socket, &iov, ControlMessage::Ipv4PacketInfo(&info), &client);
        }
        IpAddr::V6(source) => {
            let info =
                libc::in6_pktinfo { ipi6_ifindex: 0, ipi6_addr: libc::in6_addr { s6_addr: source.octets() } };
            send(socket, &iov, ControlMessage::Ipv6PacketInfo(&info), &client);
        }
    }
    let client = match (client.as_sockaddr_in(), client.as_sockaddr_in6()) {
        (Some(address), _) => SocketAddr::V4((*address).into()),
        (_, Some(address)) => world::relay::plain(SocketAddr::V6((*address).into())),
        _ => panic!("neither IPv4 nor IPv6"),
    };
    (client, asked)
}

fn send(socket: &Socket, iov: &[IoSlice<'_>], info: ControlMessage<'_>, client: &SockaddrStorage) {
    let flags = MsgFlags::empty();
    match (client.as_sockaddr_in(), client.as_sockaddr_in6()) {
        (Some(address), _) => sendmsg::<SockaddrIn>(socket.as_raw_fd(), iov, &[info], flags, Some(address)),
        (_, address) => sendmsg::<SockaddrIn6>(socket.as_raw_fd(), iov, &[info], flags, address),
    }
    .unwrap();
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn dns_answers_come_from_the_server_that_was_asked() {
    let mut world = World::new();
    for (domain, any) in [(Domain::IPV4, "0.0.0.0"), (Domain::IPV6, "::")] {
        let socket = world.pod.within(|| world::mesh_socket(domain, Type::DGRAM));
        match domain {
            Domain::IPV4 => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).unwrap(),
            _ => {
                socket.set_only_v6(true).unwrap();
                setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true).unwrap();
            }
        }
        world.host().own(socket.as_fd()).unwrap();
        socket.bind(&at(any, 15053).into()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        world.register(ListenerKind::Dns, socket.as_fd());
        world.pod.spawn(move || {
            loop {
                let _ = answer_dns(&socket);
            }
        });
    }
    world.enrol();
    for (case, pod, remote) in [("IPv4", POD_V4, REMOTE_V4), ("IPv6", POD_V6, REMOTE_V6)] {
        for connected in [true, false] {
            world.pod.within(|| {
                let client = UdpSocket::bind(at(pod, 0)).unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                if connected {
                    client.connect(at(remote, 53)).unwrap();
                    client.send(b"query").unwrap();
                } else {
                    client.send_to(b"query", at(remote, 53)).unwrap();
                }
                let mut buffer = [0; 64];
                let (length, from) =
                    client.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!((from, &buffer[..length]), (at(remote, 53), &b"query"[..]), "{case}");
            });
        }
    }
    assert_eq!(world.host().counters().of(Counter::AnsweredDns), 4);
}

/// Asks for the first byte of a connection, in a process of its own that may sit in a cgroup.
fn connect_from(world: &World, cgroup: Option<&std::path::Path>, to: &str, port: u16) -> bool {
    let enter = cgroup.map_or(String::new(), |path| format!("echo $$ > {}/cgroup.procs; ", path.display()));
    let script = format!("{enter}exec 3<>/dev/tcp/{to}/{port} && echo hi >&3 && read -t 2 -n 1 x <&3");
    let netns = format!("--net={}", world.node.path().display());
    Command::new("nsenter")
        .args([&netns, "timeout", "3", "bash", "-c", &script])
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap()
        .success()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn only_the_kubelets_own_connections_are_probes() {
    let mut world = World::with(None, true);
    let (accepted, _server) = server(&world.pod, 8080);
    world.enrol();
    let cgroup = world.cgroup.clone();
    for pod in [POD_V4, POD_V6] {
        assert!(connect_from(&world, cgroup.as_deref(), pod, 8080), "a probe of {pod}");
        let from = accepted.recv_timeout(PATIENCE).unwrap().ip();
        assert!(from == ip(NODE_V4) || from == ip("fd99:0::1"), "{from}");
        assert!(
            !connect_from(&world, None, pod, 8080),
            "from the node's address, but not the kubelet: {pod}"
        );
    }
    assert!(accepted.try_recv().is_err());
    assert_eq!(world.host().counters().of(Counter::NotedProbe), 2);
    // An agent that is told of no kubelet follows.
    world.host = None;
    world.cgroup = None;
    world.open();
    for pod in [POD_V4, POD_V6] {
        assert!(!connect_from(&world, cgroup.as_deref(), pod, 8080), "no probe any more: {pod}");
    }
    world.cgroup = cgroup;
}
