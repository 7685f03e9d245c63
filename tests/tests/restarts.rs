//! Each process of the mesh dies, is stopped or is away for a while, under load; applications should not notice, and
//! nothing may go out in plain text.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use weft_core::ports::TUNNEL;
use weft_testkit::{App, Capture, Connects, Mesh, MeshSettings, Node, Pod, PodBuilder, TapOptions, World};
use weft_tests::asking::{agent_socket, ask, await_enrolled, await_known, proxy_socket};
use weft_tests::stage::start_mesh;
use weft_tests::talk::{Ending, Talk, is_refused};
use weft_tests::traces::{Traces, listening_sockets};
use weft_tests::waiting::{access_lines, eventually, with_json_lines};

const KILLS: usize = 20;
const NEW_CONNECTIONS_PER_SECOND: u64 = 1000;
const SECRET: &str = "said-in-confidence";
const ENROLS_WITHIN: Duration = Duration::from_secs(10);
/// How long an agent may be away under load: connections wait longer than that for a socket.
const AGENT_AWAY: Duration = Duration::from_secs(1);
/// Connections through one tunnel: more than a proxy has sockets for in stock.
const MANY: usize = 40;
/// Selects every pod, so that all keep their tunnels in their own namespaces.
const SELECTS_ALL: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: all, \
     namespace: shop}, spec: {podSelector: {}, ingress: [{}], egress: [{}]}}\n";
/// How late a connection may be begun on a busy machine, for a load of six seconds to count as steady.
const LATE_MAX: Duration = Duration::from_secs(2);

/// A client on node 1, a server on each node, and captures on both nodes' wires from before the mesh on.
struct Stage {
    client: Pod,
    near: Pod,
    far: Pod,
    captures: Vec<Capture>,
    // Dropped in this order.
    mesh: Mesh,
    world: World,
}

impl Stage {
    fn set(settings: MeshSettings) -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let server = |node: usize, name| {
            world
                .node(node)
                .pod("shop", name)
                .service_account(name)
                .app(App::echo())
                .app(App::http(name))
                .start()
        };
        let client = world.node(1).pod("shop", "client").service_account("client").start()?;
        let (near, far) = (server(1, "near")?, server(2, "far")?);
        let markers = vec![SECRET.as_bytes().to_vec()];
        let captures =
            world.capture_nodes(&TapOptions { markers, keep_bytes: 1 << 20, ..TapOptions::default() })?;
        let mesh = start_mesh(&world, settings)?;
        await_enrolled(&mesh, [&client, &near, &far], ENROLS_WITHIN)?;
        Ok(Self { client, near, far, captures, mesh, world })
    }

    /// Both nodes' wires carried TLS between the nodes, and nothing else between what is on the one and on the other: pods
    /// and pods, pods and the other node's addresses, nodes and nodes.
    fn assert_nothing_leaked(&self) -> Result<()> {
        let nodes = [self.world.node(1), self.world.node(2)];
        let on = |node: &Node, pods: &[&Pod]| -> Vec<IpAddr> {
            pods.iter().flat_map(|pod| pod.ips()).chain(node.ips()).collect()
        };
        let ones = on(&nodes[0], &[&self.client, &self.near]);
        let others = on(&nodes[1], &[&self.far]);
        for capture in &self.captures {
            capture.assert_complete()?;
            capture.assert_no_marker()?;
            capture.non_tls_bytes(&ones, &others).assert_none()?;
            let tls = capture.tls_bytes(&nodes[0].ips(), &nodes[1].ips());
            ensure!(tls > 0, "the captures saw no tunnel at all");
        }
        Ok(())
    }

    /// Bytes on the wires from node 1 and its pods: their own packets, and those of the tunnels, but not those to the
    /// control plane. The other node may still have a last word for a proxy that is gone.
    fn bytes_from_node_1(&self) -> u64 {
        let control = self.world.control_ip();
        let node = self.world.node(1);
        let own: Vec<IpAddr> =
            [self.client.ips(), self.near.ips()].into_iter().flatten().chain(node.ips()).collect();
        let flows = self.captures.iter().flat_map(Capture::flows);
        let counted = flows.filter(|(key, _)| own.contains(&key.src.ip()) && key.dst.ip() != control);
        counted.map(|(_, flow)| flow.wire_bytes).sum()
    }

    /// STRICT for all pods, and waits until it holds.
    fn demand_mutual_tls(&self) -> Result<()> {
        self.world.apply(&json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "default", "namespace": "shop"}, "spec": {"mtls": {"mode": "STRICT"}},
        }))?;
        let stranger = self.world.node(2).outside("stranger").start()?;
        [&self.near, &self.far].into_iter().try_for_each(|server| {
            eventually("STRICT", ENROLS_WITHIN, || is_refused(&stranger, server.addr(7000)))
        })
    }

    /// A pod that nobody knows yet: nobody in the mesh talks to it or hears it, and nothing is sent to it in plain text.
    fn assert_left_alone(&self, newcomer: &Pod) -> Result<()> {
        let ways = [
            (&self.client, newcomer.addr(7000)),
            (&self.far, newcomer.addr(7000)),
            (&self.far, newcomer.addr6(7000)),
            (newcomer, self.far.addr(7000)),
            (newcomer, self.near.addr6(7000)),
        ];
        // At once, because each may wait for discovery.
        std::thread::scope(|scope| {
            let tries: Vec<_> = ways.iter().map(|(from, to)| scope.spawn(|| is_refused(from, *to))).collect();
            tries.into_iter().try_for_each(|tried| tried.join().expect("it panics nowhere"))
        })?;
        for capture in &self.captures {
            let flows = capture.flows();
            let to_it =
                flows.iter().find(|(key, _)| [newcomer.addr(7000), newcomer.addr6(7000)].contains(&key.dst));
            ensure!(to_it.is_none(), "somebody tried to reach it in plain text: {to_it:?}");
        }
        Ok(())
    }

    fn load(&self, seconds: u64) -> Connects {
        let load = Connects::to(&self.far.addr(7000)).rate(NEW_CONNECTIONS_PER_SECOND);
        load.during(Duration::from_secs(seconds)).send(SECRET).timeout(Duration::from_secs(20))
    }

    fn assert_traffic(&self, when: &str) -> Result<()> {
        for to in [&self.near, &self.far] {
            for addr in [to.addr(7000), to.addr6(7000)] {
                Talk::begin(&self.client, addr).with_context(|| format!("to {addr} {when}"))?.finish()?;
            }
        }
        Ok(())
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn twenty_kills_of_a_proxy_refuse_nobody_and_leak_nothing() -> Result<()> {
    let stage = Stage::set(MeshSettings::default())?;
    let mut load = stage.client.start_tool(&stage.load(6))?;
    let (mut reports, mut slowest) = (Vec::new(), Duration::ZERO);
    for kill in 0..KILLS {
        // Each kill comes under load, however long a busy machine takes for all of them.
        if !load.process().is_running() {
            reports.push(load.finish()?);
            load = stage.client.start_tool(&stage.load(6))?;
        }
        let proxy = stage.mesh.proxy(1 + kill % 2);
        let begun = Instant::now();
        proxy.kill_and_restart().with_context(|| format!("kill {kill}"))?;
        slowest = slowest.max(begun.elapsed());
        // Who waited is through; the next kill finds the mesh at work.
        Talk::begin(&stage.client, stage.far.addr(7000))
            .with_context(|| format!("after kill {kill}"))?
            .finish()?;
    }
    reports.push(load.finish()?);
    println!("{KILLS} kills, the slowest back after {slowest:?}: {reports:?}");
    for report in reports {
        let late = Duration::from_micros(report.late_max);
        assert!(late < LATE_MAX, "connections were begun {late:?} late: that is not the rate asked for");
        assert_eq!((report.refused, report.timeout, report.no_port), (0, 0, 0), "{report:?}");
        // What was open when its proxy was killed breaks; that is no refusal, and is little.
        assert_eq!(report.ok + report.reset + report.closed, report.tried, "{report:?}");
        assert!(report.ok * 10 > report.tried * 9, "{report:?}");
    }

    // Accept queues run full while nobody accepts; those who wait get through later.
    let proxy = stage.mesh.proxy(1);
    proxy.pause()?;
    let fill = stage.client.fill_accept_queue(stage.far.addr(7000), 15_000)?;
    println!("the accept queues took {} connections", fill.opened());
    assert!(stage.client.listen_overflows()? > 0, "a queue ran over");
    let waiting = stage.client.start_tool(&stage.load(2))?;
    proxy.kill()?;
    let before = stage.bytes_from_node_1();
    let while_down = Connects::to(&stage.far.addr(7000)).rate(50).during(Duration::from_secs(1));
    let report = stage.client.connects(&while_down.send(SECRET).timeout(Duration::from_secs(1)))?;
    assert_eq!((report.ok, report.refused), (0, 0), "without a proxy nobody answers: {report:?}");
    assert_eq!(stage.bytes_from_node_1(), before, "without a proxy nothing leaves the pods");
    drop(fill);
    proxy.start()?;
    proxy.wait_ready()?;
    let report = waiting.finish()?;
    println!("after full queues: {report:?}");
    assert_eq!((report.refused, report.timeout), (0, 0), "{report:?}");
    stage.assert_traffic("after all the kills")?;
    stage.assert_nothing_leaked()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn an_agent_comes_back_and_nobody_notices() -> Result<()> {
    let stage = Stage::set(MeshSettings::default())?;
    let mut open = [
        Talk::begin(&stage.client, stage.far.addr(7000))?,
        Talk::begin(&stage.client, stage.near.addr6(7000))?,
    ];
    let listeners = listening_sockets(&stage.client)?;
    assert!(!listeners.is_empty());

    let agent = stage.mesh.agent(1);
    agent.kill()?;
    open.iter_mut().try_for_each(Talk::go_on)?;
    stage.assert_traffic("while the agent is away")?;
    let newcomer = stage.world.node(1).pod("shop", "newcomer").app(App::echo()).start()?;
    assert!(
        await_enrolled(&stage.mesh, [&newcomer], Duration::from_millis(300)).is_err(),
        "nobody enrols it yet"
    );
    agent.start()?;
    agent.wait_ready()?;
    await_enrolled(&stage.mesh, [&newcomer], ENROLS_WITHIN)?;
    Talk::begin(&newcomer, stage.far.addr(7000))?.finish()?;
    Talk::begin(&stage.client, newcomer.addr(7000))?.finish()?;

    // And under load, several times, the proxy among them: none of the two takes the other's listeners with it.
    let load = stage.client.start_tool(&stage.load(4))?;
    for _ in 0..3 {
        agent.kill_and_restart()?;
        await_linked(&stage.mesh, 1)?;
    }
    let report = load.finish()?;
    println!("three agents under load: {report:?}");
    assert_eq!(report.ok, report.tried, "{report:?}");
    // Of pods of one node each connection takes a socket of the agent's; there are some for a while.
    let near = Connects::to(&stage.near.addr(7000)).rate(NEW_CONNECTIONS_PER_SECOND);
    let load = stage
        .client
        .start_tool(&near.during(Duration::from_secs(4)).send(SECRET).timeout(Duration::from_secs(20)))?;
    agent.kill()?;
    std::thread::sleep(AGENT_AWAY);
    agent.start()?;
    await_linked(&stage.mesh, 1)?;
    let report = load.finish()?;
    println!("an agent away for {AGENT_AWAY:?}: {report:?}");
    assert_eq!(report.ok, report.tried, "{report:?}");
    open.iter_mut().try_for_each(Talk::go_on)?;
    assert_eq!(listening_sockets(&stage.client)?, listeners, "the very same listeners were taken back");
    stage.mesh.proxy(1).kill_and_restart()?;
    assert_eq!(listening_sockets(&stage.client)?, listeners, "and handed to the next proxy");
    stage.assert_traffic("after agents and a proxy")?;
    stage.assert_nothing_leaked()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn open_tunnels_of_pods_go_on_with_the_next_agent() -> Result<()> {
    let stage = Stage::set(with_json_lines())?;
    stage.world.apply_yaml("network-policy.yaml", SELECTS_ALL)?;
    let tunnel = SocketAddr::new(stage.far.ip(), TUNNEL).to_string();
    eventually("a tunnel to the pod itself", ENROLS_WITHIN, || {
        Talk::begin(&stage.client, stage.far.addr(7000))?.finish()?;
        let lines = access_lines(stage.mesh.proxy(1), &stage.far.addr(7000).to_string());
        ensure!(lines.last().is_some_and(|last| last["dst.tunnel_addr"] == tunnel), "{:?}", lines.last());
        Ok(())
    })?;
    stage.mesh.agent(2).kill_and_restart()?;
    await_linked(&stage.mesh, 2)?;
    for number in 0..MANY {
        let said = Talk::begin(&stage.client, stage.far.addr(7000)).and_then(Talk::finish);
        said.with_context(|| format!("connection {number} through the tunnel of before"))?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn nobody_needs_the_control_plane_for_a_while() -> Result<()> {
    let stage = Stage::set(MeshSettings::default())?;
    stage.demand_mutual_tls()?;
    let mut open = Talk::begin(&stage.client, stage.far.addr(7000))?;
    let serials = serials(&stage.mesh, 1)?;
    // What discovery tells is written down within a second; STRICT is the last of it, and stands with each pod.
    let known = stage.mesh.proxy(1).folder().join("proxy/discovery");
    let strict = || {
        let text = std::fs::read(&known).unwrap_or_default();
        String::from_utf8_lossy(&text).matches("istio_converted_static_strict").count() > 3
    };
    stage.mesh.proxy(1).process()?.wait_until("written down", ENROLS_WITHIN, strict)?;
    stage.mesh.control().kill()?;
    open.go_on()?;
    stage.assert_traffic("while control is away")?;
    stage.mesh.proxy(1).kill_and_restart()?;
    assert_eq!(self::serials(&stage.mesh, 1)?, serials, "the same certificates as before");
    stage.assert_traffic("with a new proxy while control is away")?;
    stage.mesh.agent(1).kill_and_restart()?;
    await_linked(&stage.mesh, 1)?;
    stage.assert_traffic("with a new agent while control is away")?;

    let newcomer =
        stage.world.node(1).pod("shop", "newcomer").service_account("new").app(App::echo()).start()?;
    assert!(
        await_enrolled(&stage.mesh, [&newcomer], Duration::from_millis(300)).is_err(),
        "nobody knows of it yet"
    );
    stage.assert_left_alone(&newcomer)?;
    stage.mesh.control().start()?;
    stage.mesh.control().wait_ready()?;
    await_enrolled(&stage.mesh, [&newcomer], Duration::from_secs(40))?;
    await_known(&stage.mesh, 2, &newcomer, Duration::from_secs(40))?;
    for (from, to) in [(&stage.client, &newcomer), (&stage.far, &newcomer), (&newcomer, &stage.near)] {
        Talk::begin(from, to.addr(7000))?.finish()?;
        Talk::begin(from, to.addr6(7000))?.finish()?;
    }
    Talk::begin(&newcomer, stage.far.addr6(7000))?.finish()?;
    let now = self::serials(&stage.mesh, 1)?;
    assert!(now.is_superset(&serials), "nothing was renewed that did not need it");
    stage.assert_nothing_leaked()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_deleted_pod_leaves_nothing_open_and_nothing_changed() -> Result<()> {
    let stage = Stage::set(MeshSettings::default())?;
    let pod = stage.world.node(2).pod("shop", "passing").app(App::echo()).start()?;
    let held = std::fs::File::open(pod.netns()).context("holding its namespace")?;
    await_enrolled(&stage.mesh, [&pod], ENROLS_WITHIN)?;
    let into = Talk::begin(&stage.client, pod.addr(7000))?;
    let out_of = Talk::begin(&pod, stage.near.addr(7000))?;
    // It leaves the mesh and lives on: its namespace can still be looked at.
    pod.set_label("weft.dev/mesh", Some("disabled"))?;
    let within = ENROLS_WITHIN;
    for (what, talk) in [("into the pod", into), ("out of the pod", out_of)] {
        let ending = talk.wait_for_end(within).with_context(|| what.to_owned())?;
        println!("{what}: {ending:?}");
    }
    let untouched = traces_of_none(&stage.world)?;
    eventually("as if it had never been in the mesh", within, || {
        let differences = Traces::of(&pod)?.beyond(&untouched);
        ensure!(differences.is_empty(), "{differences:#?}");
        Ok(())
    })?;
    // Outside the mesh it is reached in plain text now, and reaches others so.
    Talk::begin(&pod, stage.far.addr(7000))?.finish()?;
    drop(held);

    let doomed = stage.world.node(2).pod("shop", "doomed").app(App::echo()).start()?;
    await_enrolled(&stage.mesh, [&doomed], ENROLS_WITHIN)?;
    let talk = Talk::begin(&stage.client, doomed.addr(7000))?;
    doomed.delete()?;
    talk.wait_for_end(within)?;
    stage.assert_traffic("after pods have gone")
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_proxy_told_to_end_finishes_what_is_open() -> Result<()> {
    let stage = Stage::set(MeshSettings::default())?;
    let mut finishing = Talk::begin(&stage.client, stage.far.addr(7000))?;
    let mut lasting = Talk::begin(&stage.client, stage.near.addr(7000))?;
    let (old, proxy) = (stage.mesh.proxy(1).process()?, stage.mesh.proxy(1));
    old.terminate()?;
    old.wait_until("draining", ENROLS_WITHIN, || old.log().contains("draining"))?;
    for _ in 0..20 {
        finishing.go_on()?;
        lasting.go_on()?;
    }
    finishing.finish()?;
    // New ones wait in the queues for the next process, and none is refused.
    let waiting = stage.client.start_tool(&stage.load(1))?;
    lasting.go_on()?;
    assert!(old.is_running(), "it waits for what is open");
    assert_eq!(lasting.wait_for_end(Duration::from_secs(15))?, Ending::Reset, "the time to drain is over");
    old.wait(Duration::from_secs(5))?;
    proxy.start()?;
    proxy.wait_ready()?;
    let report = waiting.finish()?;
    assert_eq!(report.ok, report.tried, "{report:?}");
    stage.assert_traffic("after draining")?;
    stage.assert_nothing_leaked()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn two_hundred_pods_are_taken_over_at_once_and_cost_little() -> Result<()> {
    const PODS: usize = 200;
    let world = World::builder().nodes(2).build()?;
    let crowd = (1..PODS).map(|number| {
        let account = format!("account-{}", number % 50);
        world.node(1).pod("many", &format!("pod-{number}")).service_account(&account)
    });
    let crowd = PodBuilder::start_all(&crowd.collect::<Vec<_>>())?;
    let server = world.node(1).pod("many", "server").app(App::echo()).start()?;
    let far = world.node(2).pod("many", "far").app(App::echo()).start()?;
    let mesh =
        start_mesh(&world, MeshSettings { deadline: Duration::from_secs(60), ..MeshSettings::default() })?;
    await_enrolled(&mesh, crowd.iter().chain([&server, &far]), Duration::from_secs(60))?;
    let (agent, proxy) = (mesh.agent(1), mesh.proxy(1));
    let rss = |when: &str| -> Result<u64> {
        let (agent, proxy) = (agent.process()?.memory_bytes()?, proxy.process()?.memory_bytes()?);
        println!("{PODS} pods, {when}: agent {} MB, proxy {} MB", agent >> 20, proxy >> 20);
        Ok(agent + proxy)
    };
    rss("from the start")?;
    let serials = serials(&mesh, 1)?;
    assert_eq!(serials.len(), 51, "one for each service account");
    mesh.control().kill()?;
    proxy.kill()?;
    let begun = Instant::now();
    proxy.start()?;
    proxy.wait_ready()?;
    let took = begun.elapsed();
    println!("ready after {took:?} with {PODS} pods and control away");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(self::serials(&mesh, 1)?, serials, "with the same certificates");
    for pod in crowd.iter().step_by(20) {
        Talk::begin(pod, far.addr(7000))?.finish()?;
        Talk::begin(pod, server.addr6(7000))?.finish()?;
    }
    let all = rss("after the proxy's restart")?;
    assert!(all < 60 << 20, "{all} bytes");
    Ok(())
}

/// Waits until the proxy has its agent again: with it, readiness has all of its conditions.
fn await_linked(mesh: &Mesh, node: usize) -> Result<()> {
    mesh.proxy(node).process()?.wait_until("linked to the new agent", ENROLS_WITHIN, || {
        let status = ask(&agent_socket(mesh, node), "/status");
        status.is_ok_and(|status| status["proxies"].as_array().is_some_and(|proxies| proxies.len() == 1))
    })
}

/// The serial numbers of all certificates that a node's proxy holds.
fn serials(mesh: &Mesh, node: usize) -> Result<BTreeSet<String>> {
    let certificates = ask(&proxy_socket(mesh, node), "/certificates")?;
    let serial = |row: &serde_json::Value| row["serial"].as_str().map(str::to_owned);
    let serials: BTreeSet<_> = certificates.as_array().into_iter().flatten().filter_map(serial).collect();
    ensure!(!serials.is_empty(), "the proxy of node {node} holds no certificate");
    Ok(serials)
}

/// What is to be seen in a pod that was never in the mesh.
fn traces_of_none(world: &World) -> Result<Traces> {
    Traces::of(&world.node(2).outside("stranger").app(App::echo()).start()?)
}
