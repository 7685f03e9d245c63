//! Enrolling, the agent's death and return, and release.
//! They need root: `cargo xtask test`, or `cargo test -p weft-ebpf-host -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use weft_ebpf_host::{Acceleration, EnrolError, ListenerKind, PodAttachment, TcMode};
use world::relay::{Source, ask, ask_within, relay, server, talk};
use world::{Ns, PATIENCE, POD_V4, REMOTE_V4, World, at, chain, ip};

const SHORT: Duration = Duration::from_millis(700);

/// Everything of a namespace that capture touches.
fn footprint(ns: &Ns) -> String {
    let mut text = String::new();
    for args in [
        &["rule"][..],
        &["-6", "rule"],
        &["route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
    ] {
        text += &ns.ip(args);
    }
    let sysctls = ["all/rp_filter", "lo/rp_filter", "eth0/rp_filter", "lo/accept_local", "all/accept_local"];
    for name in sysctls {
        text += &ns.within(|| std::fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}")).unwrap());
    }
    text
}

/// What is attached to the devices of a namespace, as tcx links and as filters of clsact.
fn programs(ns: &Ns) -> Vec<String> {
    ns.within(|| {
        let mut found = Vec::new();
        let devices = nix::net::if_::if_nameindex().unwrap();
        for device in devices.iter().map(|device| device.name().to_string_lossy()) {
            for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
                // Older kernels have no tcx to ask for.
                let attached = SchedClassifier::query_tcx(&device, direction)
                    .map(|(_, found)| found)
                    .unwrap_or_default();
                let names =
                    attached.iter().map(|program| program.name_as_str().unwrap_or_default().to_owned());
                found.extend(names.map(|name| format!("{device} {name}")));
            }
            for direction in ["ingress", "egress"] {
                let shown =
                    Command::new("tc").args(["filter", "show", "dev", &device, direction]).output().unwrap();
                let shown = String::from_utf8(shown.stdout).unwrap();
                found.extend(
                    shown
                        .lines()
                        .filter(|line| line.contains("handle 0x5745"))
                        .map(|line| format!("{device} {line}")),
                );
            }
        }
        found
    })
}

/// The devices of a namespace that have a clsact qdisc.
fn clsact(ns: &Ns) -> Vec<String> {
    let shown = world::run("tc", &["-n", &ns.name, "qdisc", "show"]);
    let lines = shown.lines().filter(|line| line.contains("clsact"));
    lines.map(|line| line.split(' ').skip_while(|word| *word != "dev").nth(1).unwrap().to_owned()).collect()
}

fn released_without_a_trace(mode: Option<TcMode>) {
    let mut world = World::with(mode, false);
    let (pod, node, key) = (world.pod.clone(), world.node.clone(), world.key.clone());
    pod.sysctl("ipv4/conf/all/rp_filter", "2");
    pod.sysctl("ipv4/conf/lo/rp_filter", "1");
    drop(server(&world.remote, 8080));
    let before = footprint(&pod);
    world.enrol();
    assert_ne!(footprint(&pod), before);
    let (inside, outside) = (programs(&pod), programs(&node));
    assert_eq!((inside.len(), outside.len()), (4, 1), "{inside:?} {outside:?}");
    assert!(pod.within(|| ask_within(at(REMOTE_V4, 8080), SHORT)).is_err(), "captured");
    // Enrolling again must not take our own values for the pod's.
    world.enrol();
    world.host().release(&key).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(footprint(&pod), before);
    assert_eq!((programs(&pod), programs(&node)), (vec![], vec![]));
    assert_eq!((clsact(&pod), clsact(&node)), (vec![], vec![]));
    pod.within(|| ask(at(REMOTE_V4, 8080))).unwrap();
    world.host().release(&key).unwrap();
    assert!(world.host().adopted().is_empty());
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn release_leaves_no_trace() {
    released_without_a_trace(None);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn release_leaves_no_trace_with_clsact() {
    released_without_a_trace(Some(TcMode::Clsact));
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn release_leaves_a_clsact_that_is_not_its_own_alone() {
    let mut world = World::with(Some(TcMode::Clsact), false);
    let (pod, node, key) = (world.pod.clone(), world.node.clone(), world.key.clone());
    let tc = |ns: &Ns, args: &[&str]| world::run("tc", &[&["-n", &ns.name], args].concat());
    tc(&pod, &["qdisc", "add", "dev", "eth0", "clsact"]);
    world.enrol();
    assert_eq!((clsact(&pod), clsact(&node)), (names(&["lo", "eth0"]), names(&["v0"])));
    // Another process of the agent's gives back what this one has added.
    world.host = None;
    world.open();
    world.enrol();
    let all = "1,6 0 0 4294967295";
    tc(&node, &["filter", "add", "dev", "v0", "egress", "prio", "7", "bpf", "da", "bytecode", all]);
    world.host().release(&key).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(clsact(&pod), names(&["eth0"]), "it was there before");
    assert_eq!(clsact(&node), names(&["v0"]), "somebody else has a filter there by now");
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn capture_outlives_the_agent(mode: Option<TcMode>) {
    let mut world = World::with(mode, false);
    let pod = world.pod.clone();
    let before = footprint(&pod);
    let listener = world.listener(ListenerKind::Outbound, 15001);
    let owner = world.host().owner().unwrap();
    let spare = listener.try_clone().unwrap();
    let seen = relay(&pod, listener, owner, Source::Own);
    drop(server(&world.remote, 8080));
    world.enrol();
    world.host = None;
    pod.within(|| ask(at(REMOTE_V4, 8080))).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().to, at(REMOTE_V4, 8080));
    world.open();
    let adopted = world.host().adopted();
    assert_eq!(adopted.iter().map(|pod| pod.key.as_str()).collect::<Vec<_>>(), ["pod-1"]);
    let cookie = weft_ebpf_host::netns::netns_cookie(pod.file().as_fd()).unwrap();
    assert_eq!(adopted[0].netns_cookie, cookie);
    world.enrol();
    world.register(ListenerKind::Outbound, spare.as_fd());
    pod.within(|| ask(at(REMOTE_V4, 8080))).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().to, at(REMOTE_V4, 8080));
    let key = world.key.clone();
    world.host().release(&key).unwrap();
    assert_eq!(footprint(&pod), before, "the next agent restores what the first one found");
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn capture_goes_on_without_the_agent() {
    capture_outlives_the_agent(None);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn capture_goes_on_without_the_agent_with_clsact() {
    capture_outlives_the_agent(Some(TcMode::Clsact));
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn older_connections_go_on_and_their_ports_do_not() {
    let mut world = World::new();
    drop(server(&world.remote, 8080));
    let (pod, key) = (world.pod.clone(), world.key.clone());
    let old = pod.within(|| TcpStream::connect(at(REMOTE_V4, 8080)).unwrap());
    let forgotten = pod.within(|| TcpStream::connect(at(REMOTE_V4, 8080)).unwrap());
    let ends = weft_ebpf_host::Ends { local: old.local_addr().unwrap(), remote: at(REMOTE_V4, 8080) };
    world.host().exempt_established(&key, &[ends]).unwrap();
    world.enrol();
    let mut answer = [0; 64];
    old.set_read_timeout(Some(PATIENCE)).unwrap();
    (&old).write_all(b"still there?").unwrap();
    assert!((&old).read(&mut answer).unwrap() > 0, "an exempted connection goes on");
    assert!(talk(forgotten, SHORT).is_err(), "a connection that nobody exempted does not go on");
    // Without lingering there is no TIME_WAIT to be in the way.
    socket2::SockRef::from(&old).set_linger(Some(Duration::ZERO)).unwrap();
    drop(old);
    let dropped = world.host().counters().of(weft_ebpf_host::Counter::DroppedNoListener);
    let again = pod.within(move || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&ends.local.into()).unwrap();
        socket.connect_timeout(&ends.remote.into(), SHORT)
    });
    assert!(again.is_err(), "the same four numbers, but a new connection");
    assert!(world.host().counters().of(weft_ebpf_host::Counter::DroppedNoListener) > dropped);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn one_pod_does_not_take_the_room_for_older_connections_of_all() {
    let mut world = World::new();
    let key = world.key.clone();
    let many: Vec<_> = (0..=u32::try_from(weft_ebpf_host::ESTABLISHED_PER_POD_MAX).unwrap())
        .map(|number| {
            let remote = std::net::Ipv4Addr::from_bits(0xac10_0000 + number);
            weft_ebpf_host::Ends { local: at(POD_V4, 8080), remote: (remote, 40_000).into() }
        })
        .collect();
    assert_eq!(world.host().exempt_established(&key, &many).unwrap(), 1);
    assert_eq!(world.host().exempt_established(&key, &many[..2]).unwrap(), 0, "those are known already");
    let next = "pod-2".parse().unwrap();
    assert_eq!(world.host().exempt_established(&next, &many[..2]).unwrap(), 0);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn pinned_maps_say_how_many_pods_there_may_be() {
    let mut world = World::new();
    world.host = None;
    world.open_for(16);
    let nobody = "nobody".parse().unwrap();
    world.host().set_addresses(&nobody, &[at(POD_V4, 0).ip()]).unwrap();
    // Who is not there gets no number.
    for number in 0..8 {
        let key = format!("pod-{number}").parse().unwrap();
        world.host().exempt_established(&key, &[]).unwrap();
    }
    let error = world.host().exempt_established(&"pod-8".parse().unwrap(), &[]).unwrap_err();
    assert!(chain(&error).contains("this node has 8 pods already"), "{}", chain(&error));
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn nothing_breaks_while_a_pod_is_joining() {
    let mut world = World::new();
    let listener = world.listener(ListenerKind::Outbound, 15001);
    let _inbound = world.listener(ListenerKind::Inbound, 15006);
    let owner = world.host().owner().unwrap();
    let seen = relay(&world.pod, listener, owner, Source::Own);
    drop(server(&world.remote, 8080));
    drop(server(&world.pod, 8081));
    let (pod, remote, key) = (world.pod.clone(), world.remote.clone(), world.key.clone());
    let out = || pod.within(|| TcpStream::connect(at(REMOTE_V4, 8080)).unwrap());
    let speak = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"still there?").unwrap();
        stream.read(&mut [0; 64]).unwrap()
    };
    let (speaks, silent) = (out(), out());
    assert!(!world.host().is_joining(&key).unwrap());
    world.begin_enrol();
    assert!(world.host().is_joining(&key).unwrap());
    assert!(speak(&speaks) > 0, "an older connection goes on");
    let to_it = remote.within(|| TcpStream::connect(at(POD_V4, 8081)).unwrap());
    assert!(speak(&to_it) > 0, "so does one that is opened to it");
    assert!(seen.try_recv().is_err(), "neither is the mesh's");
    talk(out(), PATIENCE).unwrap();
    seen.recv_timeout(PATIENCE).expect("what the pod opens is the mesh's");

    world.host().settle(&key).unwrap();
    assert!(speak(&speaks) > 0 && speak(&to_it) > 0, "both go on");
    assert!(talk(silent, SHORT).is_err(), "nobody has exempted this one, and it had said nothing");
    let late = remote.within(|| TcpStream::connect(at(POD_V4, 8081)).unwrap());
    let chosen = world.host().counters().of(weft_ebpf_host::Counter::ChosenInbound);
    assert_eq!(chosen, 1, "what is opened to it now is the mesh's: {late:?}");
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_later_device_is_held_and_then_captured() {
    let mut world = World::new();
    let listener = world.listener(ListenerKind::Outbound, 15001);
    let owner = world.host().owner().unwrap();
    let seen = relay(&world.pod, listener, owner, Source::Own);
    drop(server(&world.node, 8080));
    let (pod, node, key) = (world.pod.clone(), world.node.clone(), world.key.clone());
    world.enrol();
    let events = world.host().device_events(&key).unwrap();
    node.ip(&["link", "add", "v9", "type", "veth", "peer", "name", "eth9", "netns", &pod.name]);
    for (ns, device, last) in [(&node, "v9", 1), (&pod, "eth9", 2)] {
        ns.ip(&["addr", "add", &format!("10.99.9.{last}/24"), "dev", device]);
        ns.ip(&["link", "set", device, "up"]);
    }
    let mut buffer = [0; 4096];
    let length = nix::sys::socket::recv(events.as_raw_fd(), &mut buffer, nix::sys::socket::MsgFlags::empty());
    assert!(length.unwrap() > 0, "a device's coming is heard");
    drop(events);
    world.host().refresh_devices(&key).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(world.host().uncontained(&key).is_empty());
    pod.within(|| ask(at("10.99.9.1", 8080))).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().to, at("10.99.9.1", 8080));
}

/// Makes a tun device; its frames are read from and written to the file.
fn tun(ns: &Ns, name: &str) -> File {
    let name = name.to_owned();
    ns.within(move || {
        let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
        // SAFETY: all zeros is a request; the ioctl reads a name that ends within it.
        unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            for (place, byte) in std::iter::zip(&mut request.ifr_name, name.bytes()) {
                *place = byte.cast_signed();
            }
            request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
            assert_eq!(libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request), 0);
        }
        file
    })
}

/// Carries frames from one to the other.
fn shuttle(mut from: File, mut to: File) {
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok(length) = from.read(&mut buffer) {
            let _ = to.write(&buffer[..length]);
        }
    });
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_device_without_ethernet_is_captured() {
    let mut world = World::new();
    let (pod, remote, key) = (world.pod.clone(), world.remote.clone(), world.key.clone());
    let (near, far) = (tun(&pod, "tun7"), tun(&remote, "tun7"));
    shuttle(near.try_clone().unwrap(), far.try_clone().unwrap());
    shuttle(far, near);
    for (ns, last) in [(&pod, 2), (&remote, 1)] {
        ns.ip(&["addr", "add", &format!("10.99.7.{last}/24"), "dev", "tun7"]);
        ns.ip(&["-6", "addr", "add", &format!("fd99:7::{last}/64"), "dev", "tun7", "nodad"]);
        ns.ip(&["link", "set", "tun7", "up"]);
    }
    let mut seen = Vec::new();
    for (kind, port, source) in
        [(ListenerKind::Outbound, 15001, Source::Own), (ListenerKind::Inbound, 15006, Source::Client)]
    {
        let listener = world.listener(kind, port);
        let owner = world.host().owner().unwrap();
        seen.push(relay(&pod, listener, owner, source));
    }
    drop((server(&remote, 8080), server(&pod, 8080)));
    world.enrol();
    assert!(world.host().uncontained(&key).contains(&"tun7".to_owned()));
    for (ns, to, seen) in [
        (&pod, "10.99.7.1", &seen[0]),
        (&pod, "fd99:7::1", &seen[0]),
        (&remote, "10.99.7.2", &seen[1]),
        (&remote, "fd99:7::2", &seen[1]),
    ] {
        let answer = ns.within(|| ask(at(to, 8080)));
        answer.unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap().to, at(to, 8080));
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn another_namespace_of_the_same_name_is_refused() {
    let mut world = World::new();
    world.enrol();
    let other = world.remote.file();
    let key = world.key.clone();
    let pod = PodAttachment {
        key,
        netns: other.as_fd(),
        addresses: vec![ip(REMOTE_V4)],
        acceleration: Acceleration::Off,
    };
    assert!(matches!(world.host().enrol(&pod), Err(EnrolError::OtherNamespace)));
}

/// Makes the pinned records say that the programs came from another build, as they do after an upgrade.
fn age(world: &World) {
    let path = world.bpffs.join("v1/maps/PODS_KNOWN");
    let map = aya::maps::Map::HashMap(aya::maps::MapData::from_pin(path).unwrap());
    let mut records: aya::maps::HashMap<_, u32, [u8; 104]> = map.try_into().unwrap();
    let entries: Vec<_> = records.iter().flatten().collect();
    for (slot, mut record) in entries {
        record[8..16].fill(0x55);
        records.insert(slot, record, 0).unwrap();
    }
}

fn programs_are_replaced(mode: Option<TcMode>) {
    let mut world = World::with(mode, false);
    let listener = world.listener(ListenerKind::Outbound, 15001);
    let owner = world.host().owner().unwrap();
    let seen = relay(&world.pod, listener, owner, Source::Own);
    drop(server(&world.remote, 8080));
    world.enrol();
    let (pod, node) = (world.pod.clone(), world.node.clone());
    let before = (programs(&pod).len(), programs(&node).len());
    world.host = None;
    age(&world);
    world.open();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let load = pod.spawn(move || {
        let mut count = 0;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            ask(at(REMOTE_V4, 8080)).unwrap_or_else(|error| panic!("connection {count} failed: {error}"));
            count += 1;
        }
        count
    });
    seen.recv_timeout(PATIENCE).unwrap();
    for _ in 0..5 {
        world.enrol();
        world.host = None;
        age(&world);
        world.open();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let count = load.join().unwrap();
    assert!(count > 0);
    assert_eq!((programs(&pod).len(), programs(&node).len()), before, "replaced, not added");
    let dropped = world.host().counters().of(weft_ebpf_host::Counter::DroppedNoListener);
    assert_eq!(dropped, 0);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn newer_programs_replace_older_ones_under_load() {
    programs_are_replaced(None);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn newer_programs_replace_older_ones_under_load_with_clsact() {
    programs_are_replaced(Some(TcMode::Clsact));
}
