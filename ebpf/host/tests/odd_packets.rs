//! Packets that are easily misread: VLAN tags, IP options, IPv6 extension headers and fragments, on a real kernel. Each is
//! handled like any other, or dropped and counted; none gets past the mesh.
//! They need root: `cargo xtask test`, or `cargo test -p weft-ebpf-host -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use weft_ebpf_host::{Counter, ListenerKind};
use world::frames::{self, DESTINATION, Extension, HOP_BY_HOP, MORE, TCP, UDP, Way, Wire, fragment, heard};
use world::relay::{Seen, Source, ask, relay, server, talk};
use world::{Ns, PATIENCE, POD_V4, POD_V6, REMOTE_V4, REMOTE_V6, World, at};

const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
/// Four that do nothing.
const OPTIONS: [u8; 4] = [1, 1, 1, 0];
/// As [`DESTINATION`] for `setsockopt`: what follows is the kernel's business.
const OPTION_HEADER: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];

/// A world whose pod is enrolled, with both relays, and what they see.
fn relayed() -> (World, Receiver<Seen>, Receiver<Seen>) {
    let mut world = World::new();
    let mut both =
        [(ListenerKind::Outbound, 15001, Source::Own), (ListenerKind::Inbound, 15006, Source::Client)].map(
            |(kind, port, source)| {
                let listener = world.listener(kind, port);
                let owner = world.host().owner().unwrap();
                Some(relay(&world.pod, listener, owner, source))
            },
        );
    world.enrol();
    let [out, into] = &mut both;
    (world, out.take().unwrap(), into.take().unwrap())
}

/// What counters have come to since `before`.
fn since(world: &mut World, before: &[(Counter, u64)]) -> Vec<(Counter, u64)> {
    let now = world.host().counters();
    before.iter().map(|(counter, count)| (*counter, now.of(*counter) - count)).collect()
}

/// What becomes of a frame that the pod sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Given to the outbound listener.
    Captured,
    /// Taken from its way and not delivered: no device of the pod's `lo` has that VLAN.
    Swallowed,
    /// Dropped, because it cannot be read.
    Dropped,
    /// Not the mesh's business.
    Passed,
}

/// Frames from the pod to the remote machine. Ports differ, so that none is taken for another one's.
fn odd_frames(wire: &Wire) -> Vec<(&'static str, Vec<u8>, Fate)> {
    let port = std::cell::Cell::new(40_000);
    let ends = |from: &str, to: &str, to_port: u16| {
        port.set(port.get() + 1);
        (at(from, port.get()), at(to, to_port))
    };
    let tcp_v4 = |options: &[u8], field: u16| {
        let (from, to) = ends(POD_V4, REMOTE_V4, 8080);
        frames::v4([from.ip(), to.ip()], TCP, options, field, &frames::syn(from, to))
    };
    let tcp_v6 = |extensions: &[Extension]| {
        let (from, to) = ends(POD_V6, REMOTE_V6, 8080);
        frames::v6([from.ip(), to.ip()], TCP, extensions, &frames::syn(from, to))
    };
    let (from, to) = ends(POD_V4, REMOTE_V4, 9);
    let udp_v4 = frames::v4([from.ip(), to.ip()], UDP, &OPTIONS, 0, &frames::datagram(from, to));
    let (from, to) = ends(POD_V6, REMOTE_V6, 9);
    let udp_v6 = frames::v6([from.ip(), to.ip()], UDP, &[DESTINATION], &frames::datagram(from, to));
    let (v4, v6) = (frames::V4, frames::V6);
    let mut too_long = tcp_v4(&[], 0);
    // A header of sixty bytes in a packet of fewer.
    too_long[0] = 0x4f;
    vec![
        ("no odd one", wire.frame(&[], v4, &tcp_v4(&[], 0)), Fate::Captured),
        ("IP options", wire.frame(&[], v4, &tcp_v4(&OPTIONS, 0)), Fate::Captured),
        ("as many options as there can be", wire.frame(&[], v4, &tcp_v4(&[1; 40], 0)), Fate::Captured),
        ("options that are not there", wire.frame(&[], v4, &too_long), Fate::Dropped),
        ("a first fragment", wire.frame(&[], v4, &tcp_v4(&[], MORE)), Fate::Dropped),
        ("a middle fragment", wire.frame(&[], v4, &tcp_v4(&[], MORE | 3)), Fate::Dropped),
        ("a last fragment", wire.frame(&[], v4, &tcp_v4(&[], 3)), Fate::Dropped),
        ("a VLAN", wire.frame(&[VLAN], v4, &tcp_v4(&[], 0)), Fate::Swallowed),
        ("a VLAN in a VLAN", wire.frame(&[QINQ, VLAN], v4, &tcp_v4(&OPTIONS, 0)), Fate::Swallowed),
        ("a VLAN, IPv6", wire.frame(&[VLAN], v6, &tcp_v6(&[DESTINATION])), Fate::Swallowed),
        ("three tags", wire.frame(&[QINQ, QINQ, VLAN], v4, &tcp_v4(&[], 0)), Fate::Dropped),
        ("a tag and half a header", wire.frame(&[VLAN], v4, &tcp_v4(&[], 0)[..12]), Fate::Dropped),
        ("a fragment in a VLAN", wire.frame(&[VLAN], v4, &tcp_v4(&[], MORE)), Fate::Dropped),
        ("extension headers", wire.frame(&[], v6, &tcp_v6(&[HOP_BY_HOP, DESTINATION])), Fate::Captured),
        ("a fragment of one", wire.frame(&[], v6, &tcp_v6(&[fragment(0)])), Fate::Captured),
        ("a first fragment, IPv6", wire.frame(&[], v6, &tcp_v6(&[HOP_BY_HOP, fragment(1)])), Fate::Dropped),
        ("a later fragment, IPv6", wire.frame(&[], v6, &tcp_v6(&[fragment(16)])), Fate::Dropped),
        ("seven headers", wire.frame(&[], v6, &tcp_v6(&[DESTINATION; 7])), Fate::Dropped),
        ("half an extension header", wire.frame(&[], v6, &tcp_v6(&[DESTINATION])[..41]), Fate::Dropped),
        ("options of UDP", wire.frame(&[], v4, &udp_v4), Fate::Passed),
        ("an extension header of UDP", wire.frame(&[], v6, &udp_v6), Fate::Passed),
    ]
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn what_a_pod_sends_is_captured_or_dropped() {
    let (mut world, _out, _into) = relayed();
    let (pod, remote) = (world.pod.clone(), world.remote.clone());
    let wire = Wire::between((&pod, "eth0"), (&world.node, "v0"));
    // The neighbours have to know each other first.
    for (from, to) in [(POD_V4, REMOTE_V4), (POD_V6, REMOTE_V6)] {
        pod.within(|| UdpSocket::bind(at(from, 0)).unwrap().send_to(b"x", at(to, 9)).unwrap());
    }
    let all = odd_frames(&wire);
    let watched = [
        Counter::CapturedTcp,
        Counter::ChosenOutbound,
        Counter::DroppedUnreadable,
        Counter::DroppedSecondLock,
        Counter::PassedEmpty,
        Counter::PassedMesh,
        Counter::DroppedFailed,
    ];
    let got_there = heard(&remote, || {
        for (case, frame, fate) in &all {
            let before = watched.map(|counter| (counter, world.host().counters().of(counter)));
            pod.within(|| wire.send(frame, Way::ThroughTc));
            let deadline = Instant::now() + PATIENCE;
            loop {
                let [captured, chosen, unreadable, others @ ..] = &since(&mut world, &before)[..] else {
                    unreachable!("as many as are watched")
                };
                let found = (captured.1 > 0, chosen.1, unreadable.1);
                let wanted = match fate {
                    // The kernel's answer to an answer that nobody expects is captured as well.
                    Fate::Captured => (true, 1, 0),
                    Fate::Swallowed => (true, 0, 0),
                    Fate::Dropped => (false, 0, 1),
                    Fate::Passed => (false, 0, 0),
                };
                if found == wanted {
                    assert!(others.iter().all(|(_, count)| *count == 0), "{case}: {others:?}");
                    break;
                }
                assert!(Instant::now() < deadline, "{case}: {found:?}, not {wanted:?}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let passed = all.iter().filter(|(.., fate)| *fate == Fate::Passed).count();
    assert_eq!(got_there, passed, "through tc");

    // Past tc the second lock has them all but what is not the mesh's business.
    let before = [(Counter::DroppedSecondLock, world.host().counters().of(Counter::DroppedSecondLock))];
    let got_there = heard(&remote, || {
        all.iter().for_each(|(_, frame, _)| pod.within(|| wire.send(frame, Way::PastTc)));
    });
    assert_eq!(got_there, passed, "past tc");
    assert_eq!(since(&mut world, &before)[0].1, (all.len() - passed) as u64);
}

/// Makes each packet of a socket an odd one.
fn make_odd(socket: &Socket, to: SocketAddr) {
    let options: &[(i32, i32, &[u8])] = match to.ip() {
        IpAddr::V4(_) => &[(libc::IPPROTO_IP, libc::IP_OPTIONS, &OPTIONS)],
        IpAddr::V6(_) => &[
            (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS, &OPTION_HEADER),
            (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &OPTION_HEADER),
        ],
    };
    for (level, name, value) in options {
        // SAFETY: a plain system call; the value lives through it.
        let set = unsafe {
            let (value, length) = (value.as_ptr().cast(), value.len() as libc::socklen_t);
            libc::setsockopt(socket.as_raw_fd(), *level, *name, value, length)
        };
        assert_eq!(set, 0, "option {name}: {}", std::io::Error::last_os_error());
    }
}

fn ask_oddly(ns: &Ns, to: SocketAddr) -> std::io::Result<(String, SocketAddr)> {
    ns.within(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        make_odd(&socket, to);
        socket.connect_timeout(&to.into(), PATIENCE)?;
        talk(TcpStream::from(socket), PATIENCE)
    })
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn connections_with_options_and_extension_headers_are_carried() {
    let (mut world, out, into) = relayed();
    let (pod, remote) = (world.pod.clone(), world.remote.clone());
    drop(server(&remote, 8080));
    let (accepted, _server) = server(&pod, 8080);
    for (case, from, client, to) in
        [("out, options", &pod, POD_V4, REMOTE_V4), ("out, extension headers", &pod, POD_V6, REMOTE_V6)]
    {
        let answer = ask_oddly(from, at(to, 8080)).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!((world::ip(&answer.0), answer.1), (world::ip(client), at(to, 8080)), "{case}");
        assert_eq!(out.recv_timeout(PATIENCE).unwrap().to, at(to, 8080), "{case}");
    }
    for (case, from, client, to) in
        [("in, options", &remote, REMOTE_V4, POD_V4), ("in, extension headers", &remote, REMOTE_V6, POD_V6)]
    {
        let answer = ask_oddly(from, at(to, 8080)).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(answer.1, at(to, 8080), "{case}");
        assert_eq!(into.recv_timeout(PATIENCE).unwrap().from.ip(), world::ip(client), "{case}");
        assert_eq!(accepted.recv_timeout(PATIENCE).unwrap().ip(), world::ip(client), "{case}");
    }
    assert_eq!(world.host().counters().of(Counter::DroppedUnreadable), 0);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn fragments_are_put_together_before_a_listener_is_chosen() {
    let (mut world, _out, into) = relayed();
    let (pod, remote) = (world.pod.clone(), world.remote.clone());
    let (accepted, _server) = server(&pod, 8080);
    let wire = Wire::between((&remote, "eth0"), (&world.node, "v1"));
    // The neighbours have to know each other first.
    for to in [POD_V4, POD_V6] {
        remote.within(|| ask(at(to, 8080))).unwrap();
        into.recv_timeout(PATIENCE).unwrap();
        accepted.recv_timeout(PATIENCE).unwrap();
    }
    for (case, from, to) in
        [("IPv4", at(REMOTE_V4, 40_001), at(POD_V4, 8080)), ("IPv6", at(REMOTE_V6, 40_001), at(POD_V6, 8080))]
    {
        let before = [(Counter::ChosenInbound, world.host().counters().of(Counter::ChosenInbound))];
        let (ends, segment) = ([from.ip(), to.ip()], frames::syn(from, to));
        // The kernel takes no first fragment of IPv6 without the whole header of TCP.
        let (first, second) = segment.split_at(24);
        let pieces = match from {
            SocketAddr::V4(_) => [
                wire.frame(&[], frames::V4, &frames::v4(ends, TCP, &[], MORE, first)),
                wire.frame(&[], frames::V4, &frames::v4(ends, TCP, &[], 3, second)),
            ],
            SocketAddr::V6(_) => [
                wire.frame(&[], frames::V6, &frames::v6(ends, TCP, &[fragment(1)], first)),
                wire.frame(&[], frames::V6, &frames::v6(ends, TCP, &[fragment(24)], second)),
            ],
        };
        remote.within(|| pieces.iter().for_each(|piece| wire.send(piece, Way::ThroughTc)));
        let deadline = Instant::now() + PATIENCE;
        while since(&mut world, &before)[0].1 == 0 {
            assert!(Instant::now() < deadline, "{case}: nobody was chosen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // Nobody has answered the mesh's answer, so nothing came of either; the application heard of neither.
    assert!(accepted.try_recv().is_err());

    // Datagrams of several fragments are not the mesh's business, whole or in pieces.
    let big = vec![7; 4000];
    for (from, to) in [(POD_V4, REMOTE_V4), (POD_V6, REMOTE_V6)] {
        let receiver = remote.within(|| UdpSocket::bind(at(to, 7003)).unwrap());
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();
        pod.within(|| UdpSocket::bind(at(from, 0)).unwrap().send_to(&big, at(to, 7003)).unwrap());
        let mut buffer = [0; 5000];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), big.len(), "{to}");
    }
    assert_eq!(world.host().counters().of(Counter::DroppedUnreadable), 0);
}
