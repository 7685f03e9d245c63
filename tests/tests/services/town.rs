//! A mesh of two nodes in two zones, a client on each, and words to ask which pods a Service leads to.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use weft_testkit::{App, Get, Mesh, Pod, ServiceBuilder, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::waiting::{access_lines, eventually, settles, with_json_lines};

/// How long a change may take at most on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Connections by which a client finds out who answers. Of two pods one is missed once in 32 000 times.
const CONNECTIONS: u64 = 16;
/// What the pods of the Service `web` are labelled with.
pub(crate) const WEB: [(&str, &str); 1] = [("app", "web")];

/// Clients `one` and `two` on the nodes 1 and 2, and web servers `v1` and `v2` there, all in namespace `shop`.
pub(crate) struct Town {
    pub(crate) one: Pod,
    pub(crate) two: Pod,
    pub(crate) v1: Pod,
    pub(crate) v2: Pod,
    // Dropped in this order.
    pub(crate) mesh: Mesh,
    pub(crate) world: World,
}

impl Town {
    /// With what `build` adds before the mesh comes.
    pub(crate) fn build(build: impl FnOnce(&World) -> Result<Vec<Pod>>) -> Result<(Self, Vec<Pod>)> {
        let world = World::builder().nodes(2).zone(1, "here", "zone-a").zone(2, "here", "zone-b").build()?;
        let client = |node: usize, name: &str| world.node(node).pod("shop", name).start();
        let server = |node: usize, version: &str| {
            world.node(node).pod("shop", version).labels(WEB).app(App::http(version)).start()
        };
        let (one, two) = (client(1, "one")?, client(2, "two")?);
        let (v1, v2) = (server(1, "v1")?, server(2, "v2")?);
        let more = build(&world)?;
        let mesh = start_mesh(&world, with_json_lines())?;
        let own = [&one, &two, &v1, &v2];
        await_enrolled(&mesh, own.into_iter().chain(&more), PATIENCE)?;
        Ok((Self { one, two, v1, v2, mesh, world }, more))
    }

    /// A Service that leads to the web servers, on port 80.
    pub(crate) fn web(&self, name: &str) -> ServiceBuilder {
        self.world.service("shop", name).select(WEB).port("http", 80, 8080)
    }

    /// Waits until exactly these versions answer a client, over connections of their own.
    pub(crate) fn leads_to(&self, client: &Pod, to: SocketAddr, versions: &[&str]) -> Result<()> {
        let want: BTreeSet<String> = versions.iter().map(|version| (*version).to_owned()).collect();
        let what = format!("{} leads {} to {versions:?}", to, client.name());
        settles(&what, PATIENCE, &want, || versions_at(client, to))
    }

    /// Waits until a client is turned away from an address, and its proxy says why.
    pub(crate) fn refuses(&self, client: &Pod, to: SocketAddr, why: &str) -> Result<Value> {
        eventually(&format!("{to} is refused to {} ({why})", client.name()), PATIENCE, || {
            let answer = client.get(&format!("http://{to}/"))?;
            ensure!(["refused", "reset"].contains(&answer.error.as_str()), "{to} answers {answer:?}");
            let lines = access_lines(self.mesh.proxy(client.node()), &to.to_string());
            let told = |line: &Value| {
                line["dst.addr"] == to.to_string()
                    && line["end"] == "refused"
                    && line["error"].as_str().is_some_and(|error| error.contains(why))
            };
            lines.iter().rev().find(|line| told(line)).cloned().with_context(|| format!("{lines:?}"))
        })
    }
}

/// The versions that answer a client, over connections of their own.
pub(crate) fn versions_at(client: &Pod, to: SocketAddr) -> Result<BTreeSet<String>> {
    let report = client.run_tool(&Get::url(&format!("http://{to}/")).times(CONNECTIONS).close())?;
    ensure!(report.failed == 0, "{to}: {:?}", report.failures);
    Ok(report.versions.into_keys().collect())
}

/// Writes a Service; gives its port 80, over IPv4 and IPv6.
pub(crate) fn open(service: ServiceBuilder) -> Result<[SocketAddr; 2]> {
    let at = at_80(&service);
    service.apply()?;
    Ok(at)
}

/// Port 80 of a Service, over IPv4 and IPv6.
pub(crate) fn at_80(service: &ServiceBuilder) -> [SocketAddr; 2] {
    service.ips().map(|ip| SocketAddr::new(ip, 80))
}
