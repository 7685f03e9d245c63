//! Connections that leave TCP out between an application and its proxy: that they do, and that nobody can tell.
//! They need root: `cargo xtask test`, or `cargo test -p weft-ebpf-host -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod world;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use socket2::{SockRef, Socket};
use weft_ebpf_host::{Acceleration, Counter, ListenerKind, TcMode};
use world::{PATIENCE, POD_V4, REMOTE_V4, REMOTE_V6, World, at, run};

/// Turns after which a lively connection has been paired and its floor passed.
const TURNS: usize = 8;
/// What a reader takes at once where it says how far it is.
const CHUNK: usize = 1000;
/// What may wait past TCP, and one message more.
const QUEUE_MAX: usize = (256 + 68) * 1024;

/// A captured connection: the application's end and the mesh's.
struct Pair {
    application: TcpStream,
    mesh: TcpStream,
}

impl Pair {
    fn connect(world: &World, listener: &Socket, remote: &str) -> Self {
        let to = at(remote, 8080);
        let application = world.pod.within(move || TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
        let mesh: TcpStream = listener.accept().unwrap().0.into();
        for stream in [&application, &mesh] {
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
        }
        Self { application, mesh }
    }

    fn talk(&mut self, turns: usize) {
        let mut came = [0; 4];
        for turn in 0..turns as u32 {
            write_whole(&mut self.application, &turn.to_be_bytes());
            read_whole(&mut self.mesh, &mut came);
            assert_eq!(u32::from_be_bytes(came), turn);
            write_whole(&mut self.mesh, &turn.to_le_bytes());
            read_whole(&mut self.application, &mut came);
            assert_eq!(u32::from_le_bytes(came), turn);
        }
    }
}

fn count(world: &mut World, counter: Counter) -> u64 {
    world.host().counters().of(counter)
}

/// An enrolled pod and a connection that is paired.
fn paired(level: Acceleration) -> (World, Socket, Pair) {
    let mut world = World::accelerated(level);
    let listener = world.listener(ListenerKind::Outbound, 15001);
    world.enrol();
    let mut pair = Pair::connect(&world, &listener, REMOTE_V4);
    pair.talk(TURNS);
    assert_eq!(count(&mut world, Counter::PairedEnds), 1);
    assert!(count(&mut world, Counter::Accelerated) > 0);
    (world, listener, pair)
}

/// Messages that went past TCP while something was done.
fn accelerated(world: &mut World, work: impl FnOnce()) -> u64 {
    let before = count(world, Counter::Accelerated);
    work();
    count(world, Counter::Accelerated) - before
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn messages_leave_tcp_out() {
    for (case, level, remote, want) in [
        ("off", Acceleration::Off, REMOTE_V4, 0),
        ("to the proxy, IPv4", Acceleration::Proxy, REMOTE_V4, 100),
        ("to the proxy, IPv6", Acceleration::Proxy, REMOTE_V6, 100),
        ("both ways, IPv4", Acceleration::Full, REMOTE_V4, 200),
        ("both ways, IPv6", Acceleration::Full, REMOTE_V6, 200),
    ] {
        let mut world = World::accelerated(level);
        let listener = world.listener(ListenerKind::Outbound, 15001);
        world.enrol();
        let mut pair = Pair::connect(&world, &listener, remote);
        pair.talk(TURNS);
        assert_eq!(accelerated(&mut world, || pair.talk(100)), want, "{case}");
        let paired = u64::from(level != Acceleration::Off);
        assert_eq!(count(&mut world, Counter::PairedEnds), paired, "{case}");
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn one_request_and_bulk_are_left_to_tcp() {
    let mut world = World::accelerated(Acceleration::Full);
    let listener = world.listener(ListenerKind::Outbound, 15001);
    world.enrol();
    for _ in 0..10 {
        Pair::connect(&world, &listener, REMOTE_V4).talk(1);
    }
    let Pair { mut application, mut mesh } = Pair::connect(&world, &listener, REMOTE_V4);
    let reader = std::thread::spawn(move || read_whole(&mut application, &mut vec![0; 4 << 20]));
    write_whole(&mut mesh, &vec![1; 4 << 20]);
    reader.join().unwrap();
    assert_eq!(count(&mut world, Counter::PairedEnds), 0);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn applications_of_one_pod_are_not_paired() {
    let mut world = World::accelerated(Acceleration::Full);
    world.enrol();
    let (application, mesh) = world.pod.within(|| {
        let listener = TcpListener::bind(at(POD_V4, 0)).unwrap();
        let application = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (application, listener.accept().unwrap().0)
    });
    application.set_nonblocking(true).unwrap();
    mesh.set_nonblocking(true).unwrap();
    Pair { application, mesh }.talk(TURNS);
    assert_eq!(count(&mut world, Counter::PairedEnds), 0);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn applications_that_wait_in_a_read_are_left_to_tcp() {
    let mut world = World::accelerated(Acceleration::Full);
    let listener = world.listener(ListenerKind::Outbound, 15001);
    world.enrol();
    let mut pair = Pair::connect(&world, &listener, REMOTE_V4);
    pair.application.set_nonblocking(false).unwrap();
    pair.talk(TURNS);
    assert_eq!(count(&mut world, Counter::PairedEnds), 0);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_slow_reader_holds_its_sender_up() {
    let (mut world, _listener, mut pair) = paired(Acceleration::Proxy);
    let (mut sent, chunk) = (Vec::new(), pattern(20_000));
    let past = accelerated(&mut world, || {
        while let Ok(count) = pair.application.write(&chunk) {
            sent.extend_from_slice(&chunk[..count]);
            assert!(sent.len() < 64 << 20, "nothing holds the sender up");
        }
    });
    assert!((10..20).contains(&past), "{past} messages of 20 kB fill the queue; the others go by TCP");
    let mut came = vec![0; sent.len()];
    read_whole(&mut pair.mesh, &mut came);
    assert!(came == sent, "in order, and whole");
    // Where a send would have blocked within TCP, the kernel keeps that verdict for one message more.
    let again = accelerated(&mut world, || pair.talk(10));
    assert!((9..=10).contains(&again), "and back past TCP: {again}");
    assert!((past as usize) * chunk.len() <= QUEUE_MAX);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn ends_come_behind_what_was_sent() {
    let (mut world, listener, mut pair) = paired(Acceleration::Full);
    let sent = pattern(30_000);
    assert!(accelerated(&mut world, || pair.application.write_all(&sent).unwrap()) > 0);
    pair.application.shutdown(Shutdown::Write).unwrap();
    let mut came = vec![0; sent.len()];
    read_whole(&mut pair.mesh, &mut came);
    assert!(came == sent);
    assert_eq!(end(&mut pair.mesh), Ok(()));
    assert!(accelerated(&mut world, || pair.mesh.write_all(&sent).unwrap()) > 0, "the other half goes on");
    drop(pair.mesh);
    came.fill(0);
    read_whole(&mut pair.application, &mut came);
    assert!(came == sent);
    assert_eq!(end(&mut pair.application), Ok(()));

    let mut pair = Pair::connect(&world, &listener, REMOTE_V4);
    pair.talk(TURNS);
    assert!(accelerated(&mut world, || pair.application.write_all(&sent).unwrap()) > 0);
    SockRef::from(&pair.application).set_linger(Some(Duration::ZERO)).unwrap();
    drop(pair.application);
    let mut came = vec![0; sent.len()];
    read_whole(&mut pair.mesh, &mut came);
    assert!(came == sent);
    assert_eq!(end(&mut pair.mesh), Err(ErrorKind::ConnectionReset));
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_sender_hears_that_its_reader_is_gone() {
    for level in [Acceleration::Proxy, Acceleration::Full] {
        let (_world, _listener, mut pair) = paired(level);
        SockRef::from(&pair.mesh).set_linger(Some(Duration::ZERO)).unwrap();
        drop(pair.mesh);
        assert_eq!(end(&mut pair.application), Err(ErrorKind::ConnectionReset), "{level:?}");
        assert!(pair.application.write(b"more").is_err(), "{level:?}");
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn switching_while_bytes_flow_loses_none() {
    let (mut world, _listener, pair) = paired(Acceleration::Full);
    let key = world.key.clone();
    let Pair { application, mesh } = pair;
    // Before a byte flows: all of them may have passed before this thread's next turn.
    let before = count(&mut world, Counter::Accelerated);
    let flows = [(&application, &mesh), (&mesh, &application)].map(|(from, to)| {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let total: usize = 8 << 20;
        let read = Arc::new(AtomicUsize::new(0));
        let progress = Arc::clone(&read);
        let writer = std::thread::spawn(move || {
            let (bytes, mut at) = (pattern(total), 0);
            let mut random = 7u64;
            while at < total {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let size = (random >> 48) as usize % 40_000 + 1;
                let end = total.min(at + size);
                write_whole(&mut from, &bytes[at..end]);
                at = end;
                // A reader that has caught up is given bytes past TCP again.
                while random >> 62 == 0 && progress.load(Ordering::Acquire) < at / CHUNK {
                    std::thread::yield_now();
                }
            }
            from.shutdown(Shutdown::Write).unwrap();
        });
        let reader = std::thread::spawn(move || {
            let mut came = vec![0; total];
            for chunk in came.chunks_mut(CHUNK) {
                read_whole(&mut to, chunk);
                read.fetch_add(1, Ordering::Release);
            }
            assert!(came == pattern(total), "lost, changed or out of order");
            assert_eq!(end(&mut to), Ok(()));
        });
        (writer, reader)
    });
    let start = Instant::now();
    let mut levels = [Acceleration::Off, Acceleration::Proxy, Acceleration::Full].into_iter().cycle();
    while flows.iter().any(|(writer, reader)| !writer.is_finished() || !reader.is_finished()) {
        assert!(start.elapsed() < Duration::from_secs(60), "stuck");
        world.host().set_acceleration(&key, levels.next().unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    for (writer, reader) in flows {
        writer.join().unwrap();
        reader.join().unwrap();
    }
    assert!(count(&mut world, Counter::Accelerated) > before);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn acceleration_outlives_the_agent() {
    let (mut world, listener, mut pair) = paired(Acceleration::Full);
    world.host = None;
    pair.talk(10);
    let mut next = Pair::connect(&world, &listener, REMOTE_V4);
    next.talk(TURNS);
    world.open();
    assert_eq!(count(&mut world, Counter::PairedEnds), 2, "also while it is away");
    world.enrol();
    assert_eq!(accelerated(&mut world, || pair.talk(10)), 20);
    let mut newest = Pair::connect(&world, &listener, REMOTE_V4);
    newest.talk(TURNS);
    assert_eq!(accelerated(&mut world, || newest.talk(10)), 20);
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_kernel_without_tcx_does_it_as_well() {
    let mut world = World::accelerated_with(Some(TcMode::Clsact), Acceleration::Full);
    let listener = world.listener(ListenerKind::Outbound, 15001);
    world.enrol();
    let mut pair = Pair::connect(&world, &listener, REMOTE_V4);
    pair.talk(TURNS);
    assert_eq!(accelerated(&mut world, || pair.talk(10)), 20);
    assert!(filters(&world).contains("pair"));
    let key = world.key.clone();
    world.host().release(&key).unwrap();
    assert!(!filters(&world).contains("pair"), "nothing is left");
}

fn filters(world: &World) -> String {
    world.pod.within(|| run("tc", &["filter", "show", "dev", "lo", "ingress"]))
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn release_ends_it() {
    let (mut world, _listener, mut pair) = paired(Acceleration::Full);
    let key = world.key.clone();
    world.host().set_acceleration(&key, Acceleration::Off).unwrap();
    assert_eq!(accelerated(&mut world, || pair.talk(10)), 0, "off is off");
    world.host().set_acceleration(&key, Acceleration::Full).unwrap();
    assert_eq!(accelerated(&mut world, || pair.talk(10)), 20);
    world.host().release(&key).unwrap();
    // Its routing is gone with it, so these two cannot reach each other, and may have been told so already.
    let sent = accelerated(&mut world, || {
        for end in [&mut pair.application, &mut pair.mesh] {
            let written = end.write(b"more");
            assert!(matches!(written.map_err(|error| error.kind()), Ok(4) | Err(ErrorKind::ConnectionReset)));
        }
    });
    assert_eq!(sent, 0);
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect()
}

fn await_flags(stream: &TcpStream, flags: PollFlags) {
    let mut polled = [PollFd::new(stream.as_fd(), flags)];
    assert!(poll(&mut polled, 10_000u16).unwrap() > 0, "nothing comes");
}

fn write_whole(to: &mut TcpStream, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => await_flags(to, PollFlags::POLLOUT),
            Err(error) => panic!("{error}"),
        }
    }
}

fn read_whole(from: &mut TcpStream, into: &mut [u8]) {
    let mut at = 0;
    while at < into.len() {
        match from.read(&mut into[at..]) {
            Ok(0) => panic!("the end after {at} bytes"),
            Ok(count) => at += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => await_flags(from, PollFlags::POLLIN),
            Err(error) => panic!("{error} after {at} bytes"),
        }
    }
}

/// How it ends, if nothing comes any more.
fn end(of: &mut TcpStream) -> Result<(), ErrorKind> {
    loop {
        match of.read(&mut [0; 8]) {
            Ok(0) => return Ok(()),
            Ok(_) => panic!("more comes"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => await_flags(of, PollFlags::POLLIN),
            Err(error) => return Err(error.kind()),
        }
    }
}
