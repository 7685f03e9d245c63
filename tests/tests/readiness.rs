//! `/readyz` refuses while something is missing that traffic needs, and says what; then it does not.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use weft_testkit::{App, Mesh, MeshSettings, Node, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::talk::Talk;
use weft_tests::waiting::eventually;

/// Who has lost the control plane looks for it less and less often: up to half a minute apart.
const WITHIN: Duration = Duration::from_secs(45);
/// Of the proxy, and of the agent.
const PROXY: (u16, [&str; 4]) = (15_021, ["agent", "certificates", "discovery", "trust"]);
const AGENT: (u16, [&str; 2]) = (15_022, ["discovery", "node tunnel"]);

/// Waits until a process says of these conditions, in their order, that they are met or why they are not; and of all
/// together by its status.
fn becomes(node: &Node, (port, names): (u16, &[&str]), want: &[(&str, &str)]) -> Result<()> {
    let what = format!("port {port} says {want:?}");
    eventually(&what, WITHIN, || {
        let (status, text) = node.http_get(port, "/readyz")?;
        ensure!(status == if want.is_empty() { 200 } else { 503 }, "{status}: {text}");
        let lines: Vec<&str> = text.lines().collect();
        ensure!(lines.len() == names.len(), "{text}");
        for (line, name) in lines.iter().zip(names) {
            let reason = want.iter().find(|(unmet, _)| unmet == name).map(|(_, reason)| *reason);
            let said = line.strip_prefix(&format!("{name}: ")).with_context(|| text.clone())?;
            match reason {
                None => ensure!(said == "ok", "{text}"),
                Some(reason) => ensure!(said.starts_with("not ready: ") && said.contains(reason), "{text}"),
            }
        }
        let (alive, _) = node.http_get(port, "/livez")?;
        ensure!(alive == 200, "it lives, and says {alive}");
        Ok(())
    })
}

struct Stage {
    client: Pod,
    server: Pod,
    node: Node,
    mesh: Mesh,
    world: World,
}

impl Stage {
    fn set() -> Result<Self> {
        let world = World::builder().nodes(1).build()?;
        let client = world.node(1).pod("shop", "client").start()?;
        let server = world.node(1).pod("shop", "server").app(App::echo()).start()?;
        let mesh = start_mesh(&world, MeshSettings::default())?;
        await_enrolled(&mesh, [&client, &server], WITHIN)?;
        Ok(Self { client, server, node: world.node(1), mesh, world })
    }

    fn proxy_says(&self, want: &[(&str, &str)]) -> Result<()> {
        becomes(&self.node, (PROXY.0, &PROXY.1), want)
    }

    fn agent_says(&self, want: &[(&str, &str)]) -> Result<()> {
        becomes(&self.node, (AGENT.0, &AGENT.1), want)
    }

    /// Both are ready, and rightly so.
    fn all_is_there(&self) -> Result<()> {
        self.proxy_says(&[])?;
        self.agent_says(&[])?;
        Talk::begin(&self.client, self.server.addr(7000))?.finish()
    }
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn readiness_names_what_is_missing() -> Result<()> {
    let stage = Stage::set()?;
    stage.all_is_there()?;
    let (control, agent, proxy) = (stage.mesh.control(), stage.mesh.agent(1), stage.mesh.proxy(1));
    let known = proxy.folder().join("proxy/discovery");
    proxy.process()?.wait_until("written down", WITHIN, || known.exists())?;

    agent.kill()?;
    stage.proxy_says(&[("agent", "")]).context("no agent")?;
    // A proxy that never had one says where it looks.
    proxy.kill()?;
    proxy.start()?;
    stage.proxy_says(&[("agent", "agent.sock")]).context("never an agent")?;
    agent.start()?;
    stage.all_is_there().context("the agent is back")?;

    proxy.kill()?;
    control.kill()?;
    std::fs::remove_file(&known).context("forgetting what was known")?;
    proxy.start()?;
    stage.proxy_says(&[("discovery", "nothing heard yet")]).context("no control, nothing known")?;
    control.start()?;
    stage.all_is_there().context("control is back")?;

    // Only an agent that is gone has forgotten the certificates.
    proxy.process()?.wait_until("written down", WITHIN, || known.exists())?;
    control.kill()?;
    proxy.kill()?;
    agent.kill()?;
    agent.start()?;
    let missing = [("discovery", "no connection: "), ("node tunnel", "no node proxy has connected yet")];
    stage.agent_says(&missing).context("an agent alone")?;
    proxy.start()?;
    let missing = "no certificate for spiffe://cluster.local/ns/shop/sa/default";
    stage.proxy_says(&[("certificates", missing)]).context("no authority")?;
    stage.agent_says(&[("discovery", "no connection: ")]).context("an agent without control")?;
    control.start()?;
    stage.all_is_there().context("the authority is back")?;

    // Who vouches for peers stands in a file.
    let roots = stage.world.folder().join("root-cert.pem");
    let aside = stage.world.folder().join("root-cert.aside");
    std::fs::rename(&roots, &aside).context("hiding the roots")?;
    proxy.kill()?;
    proxy.start()?;
    stage.proxy_says(&[("trust", "root-cert.pem")]).context("no roots")?;
    std::fs::rename(&aside, &roots).context("showing the roots")?;
    stage.all_is_there().context("the roots are back")
}
