//! A pod that is root in its namespace, with every capability that a namespace gives: nothing of it gets out in plain
//! text, and it is never taken for another pod.

use crate::frames::{Frame, mac_of, send_past_tc};
use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use weft_testkit::{App, Capture, Mesh, MeshSettings, Pod, TapOptions, World};
use weft_tests::asking::await_enrolled;
use weft_tests::metrics::packets;
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;
use weft_tests::waiting::{eventually, settles};

/// Sent before the mesh is there: shows that the captures would see it.
const BEFORE: &[u8] = b"mallory-before-the-mesh";
const SECRET: &[u8] = b"mallory-in-the-clear";
/// For connections that are not to come about.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the agent marks its routes with, and some others.
const MARKS: [u32; 4] = [0x5745_4654, 1, 0x1337, u32::MAX];

struct Stage {
    mallory: Pod,
    /// On mallory's node.
    client: Pod,
    near: Pod,
    far: Pod,
    captures: Vec<(&'static str, Capture)>,
    mesh: Mesh,
    world: World,
}

impl Stage {
    fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let pod = |node: usize, name: &str| world.node(node).pod("shop", name).service_account(name);
        let mallory = pod(1, "mallory").app(App::echo()).start()?;
        let client = pod(1, "client").start()?;
        let near = pod(1, "near").app(App::echo()).start()?;
        let far = pod(2, "far").app(App::echo()).start()?;
        let options =
            || TapOptions { markers: vec![BEFORE.to_vec(), SECRET.to_vec()], ..TapOptions::default() };
        let on = |netns: &Path| world.capture(netns, Some("eth0"), options());
        let mut captures =
            vec![("the near pod's device", on(&near.netns())?), ("the far pod's device", on(&far.netns())?)];
        captures.extend(["node 1's wire", "node 2's wire"].into_iter().zip(world.capture_nodes(&options())?));
        for to in [near.addr(7000), near.addr6(7000), far.addr(7000), far.addr6(7000)] {
            let hop = if near.ips().contains(&to.ip()) { to.ip() } else { gateway(&world, to) };
            let mac = mac_of(&mallory, hop)?;
            let frame = Frame { to, from: of_family(&mallory, to, 40_000), mac, payload: BEFORE };
            mallory.enter(|| send_past_tc("eth0", &frame))??;
        }
        for (place, capture) in &captures {
            for family in [0, 1] {
                let seen = |pod: &Pod| capture.tcp_payloads_between(mallory.ips()[family], pod.ips()[family]);
                // Neighbours on the way have to find each other first.
                eventually(&format!("a forged frame without the mesh, on {place}"), PATIENCE, || {
                    ensure!(seen(&near).len() + seen(&far).len() > 0, "IPv{}", [4, 6][family]);
                    Ok(())
                })?;
            }
        }
        let mesh = start_mesh(&world, MeshSettings::default())?;
        await_enrolled(&mesh, [&mallory, &client, &near, &far], Duration::from_secs(10))?;
        Ok(Self { mallory, client, near, far, captures, mesh, world })
    }

    fn victims(&self) -> [SocketAddr; 4] {
        [self.far.addr(7000), self.far.addr6(7000), self.near.addr(7000), self.near.addr6(7000)]
    }

    fn assert_contained(&self, after: &str) -> Result<()> {
        for (place, capture) in &self.captures {
            let (count, first) = capture.marker(1);
            ensure!(count == 0, "{after}: plain text on {place}, {count} times, first in {first:?}");
            capture.assert_complete()?;
        }
        for addr in self.victims() {
            Talk::begin(&self.client, addr).with_context(|| format!("after {after}"))?.finish()?;
        }
        Ok(())
    }

    fn access_lines(&self) -> Vec<String> {
        let log = [self.mesh.proxy(1).log(), self.mesh.proxy(2).log()].concat();
        log.lines().filter(|line| line.contains("log=access")).map(str::to_owned).collect()
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_pod_with_every_capability_gets_nothing_out_in_plain_text() -> Result<()> {
    let stage = Stage::set()?;
    let mallory = &stage.mallory;
    for mark in MARKS {
        for to in stage.victims() {
            // The mesh carries it under mallory's own name, or the pod's own routes have no use for the mark.
            let said = mallory.enter(|| speak(marked(to, mark)?, to))?;
            println!("marked {mark:#x}, to {to}: {said:?}");
        }
    }
    stage.assert_contained("forged marks")?;

    let stopped = || -> Result<u64> {
        let counts = packets(&stage.world.node(1))?;
        counts.get("dropped_second_lock").copied().context("it is not counted")
    };
    let (before, mut frames) = (stopped()?, 0);
    for to in stage.victims() {
        mallory.enter(|| raw_segment(to))??;
        let hop = if stage.near.ips().contains(&to.ip()) { to.ip() } else { gateway(&stage.world, to) };
        for pod in [mallory, &stage.client] {
            let from = of_family(pod, to, 40_001);
            let frame = Frame { to, from, mac: mac_of(mallory, hop)?, payload: SECRET };
            mallory.enter(|| send_past_tc("eth0", &frame))??;
            frames += 1;
        }
    }
    stage.assert_contained("raw sockets and frames past tc")?;
    settles("each frame past tc is stopped, and counted", PATIENCE, &frames, || Ok(stopped()? - before))?;

    let own: Vec<Socket> = [15001, 15006, 15008]
        .iter()
        .filter_map(|port| mallory.enter(|| listener(*port)).ok()?.ok())
        .collect();
    println!("{} listeners of mallory's own stand on the mesh's ports", own.len());
    for to in stage.victims() {
        // To the mesh, or to itself: not out.
        for _ in 0..8 {
            let _whichever = mallory.enter(|| speak(marked(to, 0)?, to))?;
        }
    }
    stage.assert_contained("listeners of its own on the mesh's ports")?;
    Talk::begin(&stage.client, mallory.addr(7000))
        .context("mallory's own listeners take nobody else's")?
        .finish()?;
    drop(own);
    stage.assert_contained("all of it")
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_pod_is_not_taken_for_the_one_whose_address_it_sends_from() -> Result<()> {
    let stage = Stage::set()?;
    let mut forged = Vec::new();
    for own_too in [false, true] {
        if own_too {
            // With the address on a device of its own, answers come back to mallory too.
            for ip in stage.client.ips() {
                let added = stage.mallory.run(["ip", "addr", "add", &ip.to_string(), "dev", "lo"])?;
                ensure!(added.status.success(), "{}", added.stderr);
            }
        }
        for to in stage.victims() {
            let ip = if to.is_ipv4() { stage.client.ip() } else { stage.client.ip6() };
            let from = SocketAddr::new(ip, 41_000 + u16::try_from(forged.len())?);
            let answered = stage.mallory.enter(|| speak(from_elsewhere(from, to)?, to))?;
            assert!(
                answered.is_err(),
                "{to} answers to {from}, who is not mallory (address added: {own_too})"
            );
            forged.push(format!("src.addr={from} "));
        }
        stage.assert_contained("foreign source addresses")?;
    }
    let forged = |line: &&String| forged.iter().any(|from| line.contains(from.as_str()));
    stage.mesh.proxy(1).process()?.wait_until("telling of it", PATIENCE * 2, || {
        stage.access_lines().iter().filter(forged).count() > 0
    })?;
    for line in stage.access_lines().iter().filter(forged) {
        println!("{line}");
        assert!(
            line.contains("end=refused")
                && !line.contains("src.identity=spiffe://cluster.local/ns/shop/sa/client"),
            "{line}"
        );
    }
    Ok(())
}

/// Where mallory's packets to other nodes go first.
fn gateway(world: &World, to: SocketAddr) -> IpAddr {
    let plan = world.plan();
    if to.is_ipv4() { plan.gateway4(1).into() } else { plan.gateway6(1).into() }
}

/// A port of the pod, of the same family as the address.
fn of_family(pod: &Pod, to: SocketAddr, port: u16) -> SocketAddr {
    if to.is_ipv4() { pod.addr(port) } else { pod.addr6(port) }
}

/// Says the secret and hears it again.
fn speak(socket: Socket, to: SocketAddr) -> Result<()> {
    let connected = socket.connect_timeout(&SockAddr::from(to), PATIENCE);
    connected.with_context(|| format!("connecting to {to}"))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(SECRET).context("saying it")?;
    let mut heard = vec![0; SECRET.len()];
    stream.read_exact(&mut heard).context("hearing it again")?;
    ensure!(heard == SECRET, "something else came back");
    Ok(())
}

fn marked(to: SocketAddr, mark: u32) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_mark(mark).context("forging a mark")?;
    Ok(socket)
}

fn from_elsewhere(from: SocketAddr, to: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    match from {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    socket.bind(&from.into()).with_context(|| format!("binding to {from}"))?;
    Ok(socket)
}

/// A listener like the mesh's own. The kernel may let the pod's root share the port.
fn listener(port: u16) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    socket.set_only_v6(false)?;
    socket.set_ip_transparent_v6(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(16)?;
    Ok(socket)
}

/// A segment out of a raw socket, with the secret in it.
fn raw_segment(to: SocketAddr) -> Result<()> {
    let domain = Domain::for_address(to);
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::TCP)).context("a raw socket")?;
    let segment = crate::frames::segment(40_002, to.port(), SECRET);
    // What stands for the port is the protocol here, and that is known.
    socket.send_to(&segment, &SocketAddr::new(to.ip(), 0).into()).context("sending it")?;
    Ok(())
}
