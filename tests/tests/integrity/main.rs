//! What goes in comes out: every byte in order, the end of each direction by itself, and a reset as a reset, on every
//! path through the mesh and in both address families; also when ports are few and queues are full.
#![forbid(unsafe_code)]

mod ends;

use anyhow::{Context as _, Result, ensure};
use ends::Close;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use weft_testkit::{App, Component, Connects, Mesh, MeshSettings, Pod, Probe, World};
use weft_tests::asking::{ask, await_enrolled, proxy_socket};
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;
use weft_tests::waiting::{eventually, settles};

const PATIENCE: Duration = Duration::from_secs(15);
const PROBE: u16 = 7002;
const NETWORK_POLICY: &str = "network-policy.yaml";

struct Stage {
    client: Pod,
    near: Pod,
    far: Pod,
    /// Beside `far`, on the node where connections are encrypted all the same.
    neighbour: Pod,
    stranger: Pod,
    mesh: Mesh,
    world: World,
}

impl Stage {
    fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let server = |node: usize, name: &str| {
            let pod = world.node(node).pod("shop", name).service_account(name);
            pod.app(App::probe()).app(App::echo()).app(App::http(name))
        };
        let client = world.node(1).pod("shop", "client").start()?;
        let (near, far) = (server(1, "near").start()?, server(2, "far").start()?);
        let neighbour = world.node(2).pod("shop", "neighbour").start()?;
        let stranger = world.node(2).outside("stranger").app(App::probe()).app(App::echo()).start()?;
        let settings = MeshSettings::default();
        let settings = settings.env_on(Component::NodeProxy, 2, "WEFT_SAME_NODE", "encrypt");
        let mesh = start_mesh(&world, settings)?;
        await_enrolled(&mesh, [&client, &near, &far, &neighbour], PATIENCE)?;
        Ok(Self { client, near, far, neighbour, stranger, mesh, world })
    }

    /// Has a NetworkPolicy select every pod: tunnels go from pod to pod.
    fn select_all(&self) -> Result<()> {
        self.world.apply_yaml(
            NETWORK_POLICY,
            "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: all, namespace: shop},\n \
             spec: {podSelector: {}, ingress: [{}], egress: [{}]}}\n",
        )?;
        self.await_node_tunnels(0)
    }

    fn select_none(&self) -> Result<()> {
        self.world.manifests().remove_file(NETWORK_POLICY)?;
        self.await_node_tunnels(4)
    }

    /// Takes Weft's own dialect away, by what a node without it looks like: HBONE is left.
    fn leave_hbone(&self) -> Result<()> {
        for node in self.world.nodes() {
            let file = format!("node.{}.yaml", node.name());
            let text = std::fs::read_to_string(self.world.manifests().folder().join(&file))
                .context("a node's manifest")?;
            let lines: Vec<&str> =
                text.lines().filter(|line| !line.contains("weft.dev/tunnel-versions")).collect();
            ensure!(lines.len() + 1 == text.lines().count(), "one line speaks of the dialect:\n{text}");
            self.world.manifests().write(&file, (lines.join("\n") + "\n").as_bytes())?;
        }
        self.await_node_tunnels(0)
    }

    /// Until every proxy knows that the nodes' tunnels lead to so many pods.
    fn await_node_tunnels(&self, count: usize) -> Result<()> {
        for node in [1, 2] {
            settles("pods that their node's tunnel leads to", PATIENCE, &count, || {
                let workloads = ask(&proxy_socket(&self.mesh, node), "/workloads")?;
                let tunnels = workloads.as_array().into_iter().flatten();
                Ok(tunnels
                    .filter(|one| one["node_tunnel"].as_array().is_some_and(|all| !all.is_empty()))
                    .count())
            })?;
        }
        Ok(())
    }

    /// Fails unless the last connections out of a node's pods went through tunnels to this address.
    fn assert_tunnel(&self, node: usize, to: SocketAddr) -> Result<()> {
        eventually("a line that names the tunnel", PATIENCE, || {
            let log = self.mesh.proxy(node).log();
            let line =
                log.lines().rfind(|line| line.contains("direction=outbound")).context("no line yet")?;
            ensure!(line.contains(&format!("dst.tunnel_addr={to} ")), "not through {to}: {line}");
            Ok(())
        })
    }
}

/// From whom to whom, both families.
fn every_byte_and_every_end(path: &str, from: &Pod, to: &Pod) -> Result<()> {
    for (family, ip) in [("IPv4", to.ip()), ("IPv6", to.ip6())] {
        let begun = Instant::now();
        let target = SocketAddr::new(ip, PROBE);
        for (seed, probe) in [
            (1, Probe::to(&target)),
            // Many small pieces, and pieces that are bigger than every buffer.
            (2, Probe::to(&target).connections(24).bytes(100_000).write_max(700)),
            (3, Probe::to(&target).connections(2).bytes(12 << 20).write_max(1 << 20)),
        ] {
            let probe = probe.seed(seed);
            let report = from.probe(&probe).with_context(|| format!("{path}, {family}, probe {seed}"))?;
            assert_eq!(report.ok, probe.connections, "{path}, {family}, probe {seed}: {report:?}");
            assert_eq!(report.received, report.sent, "{path}, {family}, probe {seed}");
        }
        ends::check_all(from, to, ip).with_context(|| format!("{path}, {family}"))?;
        println!("{path}, {family}: whole, in {:?}", begun.elapsed());
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn every_path_carries_every_byte_and_every_end() -> Result<()> {
    let stage = Stage::set()?;
    let Stage { client, near, far, stranger, .. } = &stage;
    every_byte_and_every_end("through the nodes' tunnel", client, far)?;
    let node = SocketAddr::new(stage.world.node(2).ip(), 15008);
    stage.assert_tunnel(1, node)?;
    every_byte_and_every_end("on one node", client, near)?;
    every_byte_and_every_end("on one node, encrypted", &stage.neighbour, far)?;
    stage.assert_tunnel(2, node)?;
    every_byte_and_every_end("out of the mesh", client, stranger)?;
    every_byte_and_every_end("into the mesh, from another node", stranger, near)?;
    every_byte_and_every_end("into the mesh, on one node", stranger, far)?;
    stage.select_all()?;
    every_byte_and_every_end("between the pods' own addresses", client, far)?;
    stage.assert_tunnel(1, far.addr6(15008))?;
    stage.select_none()?;
    stage.leave_hbone()?;
    every_byte_and_every_end("by HBONE", client, far)?;
    stage.assert_tunnel(1, far.addr6(15008))?;
    every_byte_and_every_end("on one node, without the dialect", client, near)
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn more_connections_than_ports_stall_nowhere() -> Result<()> {
    const CONNECTIONS: [u64; 2] = [2000, 1000];
    let stage = Stage::set()?;
    // One setting for both families.
    stage.client.sysctl("net.ipv4.ip_local_port_range", "40000 40049")?;
    for server in [&stage.far, &stage.near, &stage.stranger] {
        for (ip, connections) in server.ips().into_iter().zip(CONNECTIONS) {
            for (how, close) in
                [("closed by the server", Close::ByServer), ("reset by the client", Close::ByReset)]
            {
                // In the server's namespace the proxy is the client.
                let sent_again =
                    || Ok::<_, anyhow::Error>(stage.client.syn_retransmits()? + server.syn_retransmits()?);
                let before = sent_again()?;
                let slowest = ends::one_after_the_other(&stage.client, (server, ip), connections, close)?;
                let again = sent_again()? - before;
                println!("{} at {ip}, {how}: the slowest took {slowest:?}", server.name());
                // A SYN that was swallowed is sent again after a second; only a busy machine is slow without.
                let stalls = slowest >= Duration::from_secs(1) && again > 0;
                assert!(!stalls, "{} at {ip}, {how}: {slowest:?}, {again} sent again", server.name());
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn ten_thousand_wait_for_a_proxy_that_stands_still() -> Result<()> {
    let stage = Stage::set()?;
    let proxy = stage.mesh.proxy(1);
    proxy.pause()?;
    // Half of them over either family: one queue takes both.
    let to = [stage.far.addr(7000), stage.far.addr6(7000)];
    let load = |to: &SocketAddr| {
        let load = Connects::to(to).rate(2500).during(Duration::from_secs(2));
        stage.client.start_tool(&load.send("x").timeout(Duration::from_secs(120)))
    };
    let loads = to.iter().map(load).collect::<Result<Vec<_>>>()?;
    eventually("queues run over", PATIENCE, || {
        ensure!(stage.client.listen_overflows()? > 0, "they do not");
        Ok(())
    })?;
    // All of them, and not one more, have knocked by now or will find the queues full.
    for to in to {
        eventually(&format!("five thousand have knocked for {to}"), PATIENCE, || {
            let list = format!("ss -Htn state syn-sent state established 'dst {to}' | wc -l");
            let opening = stage.client.run(["sh", "-c", &list])?.stdout;
            ensure!(opening.trim().parse::<u64>()? >= 5000, "{opening}");
            Ok(())
        })?;
    }
    proxy.resume()?;
    let begun = Instant::now();
    for (load, to) in loads.into_iter().zip(to) {
        let report = load.finish()?;
        println!("all answered at {to} {:?} after it went on: {report:?}", begun.elapsed());
        assert_eq!((report.tried, report.ok), (5000, 5000), "{to}: {report:?}");
    }
    Talk::begin(&stage.client, stage.far.addr6(7000))?.finish()
}
