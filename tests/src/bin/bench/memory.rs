//! Memory: of fresh proxies, with a thousand connections open, and with two hundred pods.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weft_testkit::{Hold, PodBuilder};
use weft_tests::asking::await_enrolled;

use crate::site::{Acceleration, Path, Side, Site};

/// Connections that are opened.
pub(crate) const CONNECTIONS: u64 = 1000;
/// Pods that are added to the first node.
pub(crate) const PODS: usize = 200;
/// The port of [`weft_testkit::App::echo`].
const ECHO_PORT: u16 = 7000;
/// Until what was only needed while connections opened has been given back.
const SETTLE: Duration = Duration::from_secs(2);

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// One proxy, idle; the bigger of the two.
    pub(crate) idle: u64,
    /// What one open connection adds to the client's proxy.
    pub(crate) per_connection_client: u64,
    /// And to the server's.
    pub(crate) per_connection_server: u64,
    /// Agent and proxy of a node.
    pub(crate) node: u64,
    /// The same with [`PODS`] more pods in the mesh.
    pub(crate) node_with_pods: u64,
}

/// Measures all of it.
pub(crate) fn measure(site: &Site) -> Result<Memory> {
    let proxy = |node: usize| -> Result<u64> { site.mesh.proxy(node).process()?.memory_bytes() };
    let node = || -> Result<u64> { Ok(proxy(1)? + site.mesh.agent(1).process()?.memory_bytes()?) };
    let (client, server, node_before) = (proxy(1)?, proxy(2)?, node()?);
    let cast = site.cast(Side::Meshed(Acceleration::Standard));
    let target = SocketAddr::new(cast.server(Path::CrossNode).ip(), ECHO_PORT);
    let holder = cast.client.start_tool(&Hold::to(&target, CONNECTIONS))?;
    holder.wait_for("holding", Duration::from_secs(60))?;
    std::thread::sleep(SETTLE);
    let (client_held, server_held) = (proxy(1)?, proxy(2)?);
    let report = holder.end()?;
    ensure!(report.open == CONNECTIONS && report.ended == 0, "the connections did not stay open: {report:?}");
    let per_connection = |before: u64, after: u64| after.saturating_sub(before) / CONNECTIONS;
    let with_pods = with_pods(site, node)?;
    Ok(Memory {
        idle: client.max(server),
        per_connection_client: per_connection(client, client_held),
        per_connection_server: per_connection(server, server_held),
        node: node_before,
        node_with_pods: with_pods,
    })
}

/// What `memory` says while the node has [`PODS`] more pods, each with an identity of its own.
fn with_pods(site: &Site, memory: impl Fn() -> Result<u64>) -> Result<u64> {
    let node = site.world.node(1);
    let builders: Vec<PodBuilder> = (0..PODS)
        .map(|number| {
            node.pod("crowd", &format!("pod-{number}")).service_account(&format!("account-{number}"))
        })
        .collect();
    let pods = PodBuilder::start_all(&builders)?;
    await_enrolled(&site.mesh, &pods, Duration::from_secs(120))?;
    std::thread::sleep(SETTLE);
    let bytes = memory()?;
    pods.into_iter().try_for_each(weft_testkit::Pod::delete)?;
    Ok(bytes)
}
