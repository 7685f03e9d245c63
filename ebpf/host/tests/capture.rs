//! Real connections through the kernel: both directions, both IP versions, and closed where they must be.
//! They make network namespaces, so they need root: `cargo xtask test`, or `cargo test -p weft-ebpf-host -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::net::TcpListener;
use std::time::Duration;

use weft_ebpf_host::{Counter, ListenerKind, TcMode};
use world::relay::{Source, ask, ask_within, relay, server};
use world::{PATIENCE, POD_V4, POD_V6, REMOTE_V4, REMOTE_V6, World, at, ip};

fn outbound(mut world: World) {
    let listener = world.listener(ListenerKind::Outbound, 15001);
    let owner = world.host().owner().unwrap();
    let seen = relay(&world.pod, listener, owner, Source::Own);
    let (accepted, _server) = server(&world.remote, 8080);
    world.enrol();
    for (case, pod, remote) in [("IPv4", POD_V4, REMOTE_V4), ("IPv6", POD_V6, REMOTE_V6)] {
        let to = at(remote, 8080);
        let (answer, peer) =
            world.pod.within(move || ask(to)).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(peer, to, "{case}: the application sees whom it asked");
        assert_eq!(answer, ip(pod).to_string(), "{case}: the server sees the pod");
        let seen = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!((seen.from.ip(), seen.to), (ip(pod), to), "{case}: the proxy sees both");
        assert_eq!(accepted.recv_timeout(PATIENCE).unwrap().ip(), ip(pod), "{case}");
    }
    assert!(world.host().counters().of(Counter::ChosenOutbound) >= 2);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn outbound_connections_reach_the_listener() {
    outbound(World::new());
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn outbound_connections_reach_the_listener_with_clsact() {
    outbound(World::with(Some(TcMode::Clsact), false));
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn inbound_connections_reach_the_listener() {
    let mut world = World::new();
    let listener = world.listener(ListenerKind::Inbound, 15006);
    let owner = world.host().owner().unwrap();
    let seen = relay(&world.pod, listener, owner, Source::Client);
    let (accepted, _server) = server(&world.pod, 8080);
    world.enrol();
    for (case, pod, remote) in [("IPv4", POD_V4, REMOTE_V4), ("IPv6", POD_V6, REMOTE_V6)] {
        let to = at(pod, 8080);
        let (answer, peer) =
            world.remote.within(move || ask(to)).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(peer, to, "{case}: the client sees whom it asked");
        assert_eq!(answer, ip(remote).to_string(), "{case}: the application sees its client");
        let seen = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!((seen.from.ip(), seen.to), (ip(remote), to), "{case}: the proxy sees both");
        assert_eq!(accepted.recv_timeout(PATIENCE).unwrap().ip(), ip(remote), "{case}");
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn the_tunnel_port_is_left_alone() {
    let mut world = World::new();
    let tunnel = world.mesh_socket(socket2::Type::STREAM);
    tunnel.bind(&at("::", 15008).into()).unwrap();
    tunnel.listen(16).unwrap();
    world.enrol();
    for pod in [POD_V4, POD_V6] {
        let accepted = {
            let client =
                world.remote.spawn(move || std::net::TcpStream::connect_timeout(&at(pod, 15008), PATIENCE));
            tunnel.set_read_timeout(Some(PATIENCE)).unwrap();
            client.join().unwrap()
        };
        accepted.unwrap_or_else(|error| panic!("{pod}: {error}"));
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn without_a_listener_nothing_passes() {
    let mut world = World::new();
    let (at_remote, _remote) = server(&world.remote, 8080);
    let (at_pod, _pod) = server(&world.pod, 8080);
    world.enrol();
    let short = Duration::from_millis(700);
    for (pod, remote) in [(POD_V4, REMOTE_V4), (POD_V6, REMOTE_V6)] {
        let out = world.pod.within(move || ask_within(at(remote, 8080), short));
        assert!(out.is_err(), "out to {remote}: {out:?}");
        let back = world.remote.within(move || ask_within(at(pod, 8080), short));
        assert!(back.is_err(), "in to {pod}: {back:?}");
    }
    assert!(at_remote.try_recv().is_err() && at_pod.try_recv().is_err());
    assert!(world.host().counters().of(Counter::DroppedNoListener) >= 4);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn loopback_is_the_pods_own() {
    let mut world = World::new();
    world.enrol();
    world.pod.within(|| {
        for address in ["127.0.0.1", "::1", POD_V4, POD_V6] {
            let listener = TcpListener::bind(at(address, 0)).unwrap();
            let to = listener.local_addr().unwrap();
            std::net::TcpStream::connect_timeout(&to, PATIENCE)
                .unwrap_or_else(|error| panic!("{address}: {error}"));
        }
    });
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn programs_for_real_nodes_keep_no_log() {
    let mut world = World::new();
    assert!(world.host().words().is_none(), "that is for `cargo xtask build-ebpf --debug`");
}
