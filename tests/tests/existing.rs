//! Connections that are open when their pod joins the mesh: they go on, are listed, and end when they have to.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use weft_testkit::{App, Mesh, MeshSettings, Pod, World};
use weft_tests::asking::{agent_socket, ask, await_enrolled, await_known};
use weft_tests::stage::start_mesh;
use weft_tests::talk::{Ending, Talk};
use weft_tests::waiting::eventually;

const WITHIN: Duration = Duration::from_secs(10);

/// Two pods of one namespace on two nodes, outside the mesh, and a third that stays outside.
struct Stage {
    client: Pod,
    server: Pod,
    stranger: Pod,
    // Dropped in this order.
    mesh: Mesh,
    world: World,
}

impl Stage {
    fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        world.namespace("shop", [])?;
        let client = world.node(1).pod("shop", "client").start()?;
        let server = world.node(2).pod("shop", "server").app(App::echo()).start()?;
        let stranger = world.node(1).pod("street", "stranger").outside().start()?;
        let mesh = start_mesh(&world, MeshSettings::default())?;
        Ok(Self { client, server, stranger, mesh, world })
    }

    fn enrol(&self, labels: &[(&str, &str)]) -> Result<()> {
        let mut all: serde_json::Map<String, Value> =
            [("weft.dev/mesh".to_owned(), json!("enabled"))].into_iter().collect();
        all.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
        self.world.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": all},
        }))?;
        await_enrolled(&self.mesh, [&self.client, &self.server], WITHIN)?;
        await_known(&self.mesh, 1, &self.server, WITHIN)?;
        await_known(&self.mesh, 2, &self.client, WITHIN)
    }

    /// A connection to the server that says a word.
    fn talk(&self, from: &Pod) -> Result<Talk> {
        Talk::begin(from, self.server.addr(7000))
    }

    /// Waits until the agent lists so many older connections of a pod.
    fn await_listed(&self, pod: &Pod, count: usize, opened_by: &str) -> Result<()> {
        eventually(&format!("{count} older connections of {}", pod.name()), WITHIN, || {
            let status = ask(&agent_socket(&self.mesh, pod.node()), "/status")?;
            let mut pods = status["pods"].as_array().into_iter().flatten();
            let own = pods.find(|one| one["name"] == pod.name()).context("the agent does not know it")?;
            let listed = own["existing"].as_array().context("no list")?;
            ensure!(listed.len() == count, "there are {listed:?}");
            ensure!(listed.iter().all(|one| one["opened_by"] == opened_by), "opened by another: {listed:?}");
            Ok(())
        })
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn they_go_on_until_they_close_or_strict_ends_them() -> Result<()> {
    let stage = Stage::set()?;
    let mut v4 = stage.talk(&stage.client)?;
    let mut v6 = Talk::begin(&stage.client, stage.server.addr6(7000))?;
    let mut foreign = stage.talk(&stage.stranger)?;
    let short = stage.talk(&stage.client)?;
    stage.enrol(&[])?;
    stage.await_listed(&stage.client, 3, "pod")?;
    stage.await_listed(&stage.server, 4, "peer")?;
    for talk in [&mut v4, &mut v6, &mut foreign] {
        talk.go_on().context("after the enrolment")?;
    }
    let later = stage.talk(&stage.client).context("through the mesh")?;
    stage.await_listed(&stage.client, 3, "pod").context("what the mesh carries is not listed")?;

    short.finish()?;
    stage.await_listed(&stage.client, 2, "pod")?;
    stage.await_listed(&stage.server, 3, "peer")?;

    stage.mesh.agent(2).kill_and_restart()?;
    stage.await_listed(&stage.server, 3, "peer").context("the next agent knows them")?;
    for talk in [&mut v4, &mut v6, &mut foreign] {
        talk.go_on().context("with the next agent")?;
    }

    stage.world.apply(&json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "shop"}, "spec": {"mtls": {"mode": "STRICT"}},
    }))?;
    for (name, talk) in [("IPv4", v4), ("IPv6", v6), ("foreign", foreign)] {
        assert_eq!(talk.wait_for_end(WITHIN).context(name)?, Ending::Reset, "{name}");
    }
    stage.await_listed(&stage.server, 0, "peer")?;
    stage.await_listed(&stage.client, 0, "pod")?;
    stage.talk(&stage.client)?.finish().context("the listener still listens")?;
    later.finish().context("what the mesh carries is not touched")
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn reset_tells_both_ends() -> Result<()> {
    let stage = Stage::set()?;
    let listener = stage.server.enter(|| TcpListener::bind("[::]:7100"))??;
    let open = || -> Result<(TcpStream, TcpStream)> {
        let theirs = stage.client.enter(|| TcpStream::connect(stage.server.addr(7100)))??;
        let (ours, _) = listener.accept()?;
        Ok((theirs, ours))
    };
    let mut pairs = (0..20).map(|_| open()).collect::<Result<Vec<_>>>()?;
    stage.enrol(&[("weft.dev/existing", "reset")])?;
    for (theirs, ours) in &mut pairs {
        let ends = [theirs, ours].map(|end| -> Result<ErrorKind> {
            end.set_read_timeout(Some(WITHIN))?;
            Ok(end.read(&mut [0]).expect_err("nobody has sent anything").kind())
        });
        let [theirs, ours] = ends;
        // Both agents end what they see: who is second hears of it from the first.
        for kind in [theirs?, ours?] {
            assert!(matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset), "{kind:?}");
        }
    }
    stage.await_listed(&stage.client, 0, "pod")?;
    stage.await_listed(&stage.server, 0, "peer")?;
    stage.talk(&stage.client)?.finish()
}

/// How often the pods join while connections are being opened.
const ROUNDS: usize = 8;
/// Threads that open them.
const OPENERS: usize = 6;

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn what_is_being_opened_goes_on() -> Result<()> {
    let stage = Stage::set()?;
    for round in 1..=ROUNDS {
        let over = Arc::new(AtomicBool::new(false));
        let openers: Vec<_> = (0..OPENERS)
            .map(|_| {
                let (over, to) = (over.clone(), stage.server.addr(7000));
                stage.client.background(move || open_until(&over, to))
            })
            .collect::<Result<_>>()?;
        stage.enrol(&[])?;
        over.store(true, Ordering::Relaxed);
        let mut opened = 0;
        for opener in openers {
            opened += opener.join().expect("it does not panic")?.with_context(|| format!("round {round}"))?;
        }
        ensure!(opened >= OPENERS, "too few to tell anything: {opened}");
        stage.world.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))?;
        for node in [1, 2] {
            eventually("the pods leave", WITHIN, || {
                let status = ask(&agent_socket(&stage.mesh, node), "/status")?;
                let pods = status["pods"].as_array().context("no list of pods")?;
                ensure!(pods.is_empty(), "there are {pods:?}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Opens one connection after the other, and says how many. Each has to carry a word both ways.
fn open_until(over: &AtomicBool, to: SocketAddr) -> Result<usize> {
    let mut opened = 0;
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect_timeout(&to, WITHIN).context("connecting")?;
        let local = stream.local_addr()?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.write_all(b"word").with_context(|| format!("{local} speaks"))?;
        stream.read_exact(&mut [0; 4]).with_context(|| format!("{local} listens"))?;
        opened += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(opened)
}
