//! A mesh of two nodes with one waypoint: `reviews` in two versions behind it, clients on both nodes, and a stranger.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use weft_core::names::canonical;
use weft_testkit::report::Answer;
use weft_testkit::{App, Component, Mesh, Pod, ServiceBuilder, Waypoint, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::{await_through, object, place_waypoint, start_mesh, start_waypoint};
use weft_tests::waiting::{access_lines, eventually, with_json_lines};

/// How long a change may take at most on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the stranger, and one of whoever asks, as the waypoint's DNS server has them.
pub(crate) const OUTSIDE_NAME: &str = "api.example.org";
pub(crate) const LOCAL_NAME: &str = "local.example.org";
/// More names of the stranger, below domains whose names nobody lists, and one of whoever asks.
pub(crate) const TENANT: &str = "blue.tenants.example";
pub(crate) const OTHER_TENANT: &str = "red.tenants.example";
pub(crate) const LOCAL_TENANT: &str = "local.tenants.example";
pub(crate) const THROUGH_NAME: &str = "blue.through.example";

/// `client` (node 1, namespace `shop`), `teller` (node 2, `bank`), `stranger` (node 1, outside), `v1` and `v2` of
/// `reviews` (nodes 1 and 2, `shop`), and the waypoint's pod on node 2.
pub(crate) struct Scene {
    pub(crate) client: Pod,
    pub(crate) teller: Pod,
    pub(crate) stranger: Pod,
    pub(crate) v1: Pod,
    pub(crate) v2: Pod,
    /// The DNS server that the waypoint asks.
    _names: Pod,
    /// The waypoint's pod.
    pub(crate) gate: Pod,
    // Dropped in this order.
    pub(crate) waypoint: Waypoint,
    pub(crate) mesh: Mesh,
    pub(crate) world: World,
}

impl Scene {
    pub(crate) fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let client = world.node(1).pod("shop", "client").service_account("client").start()?;
        let teller = world.node(2).pod("bank", "teller").service_account("teller").start()?;
        let stranger = world.node(1).outside("stranger").app(App::http("outside")).start()?;
        let outside = [OUTSIDE_NAME, TENANT, OTHER_TENANT, THROUGH_NAME].map(|name| (name, stranger.ip()));
        let local = [LOCAL_NAME, LOCAL_TENANT].map(|name| (name, IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let names = [&outside[..], &local].concat();
        let names = world.node(1).outside("names").app(App::dns(&names)).start()?;
        let server = |node: usize, version: &str| {
            let pod = world.node(node).pod("shop", version).service_account("reviews");
            pod.labels([("app", "reviews"), ("version", version)]).app(App::http(version)).start()
        };
        let (v1, v2) = (server(1, "v1")?, server(2, "v2")?);
        let gate = place_waypoint(&world, 2, "shop", "gate")?;
        let settings = with_json_lines().env(Component::Waypoint, "WEFT_ACCESS_LOG", "json");
        let settings = settings.env(Component::Waypoint, "WEFT_DNS_UPSTREAM", &names.addr(53));
        // A name that the mesh does not know yet is unknown at once.
        let settings = settings.env(Component::NodeProxy, "WEFT_DNS_UPSTREAM", "none");
        let mesh = start_mesh(&world, settings)?;
        await_enrolled(&mesh, [&client, &teller, &v1, &v2], PATIENCE)?;
        let waypoint = start_waypoint(&world, &mesh, &gate)?;
        let scene = Self { client, teller, stranger, v1, v2, _names: names, gate, waypoint, mesh, world };
        scene.reviews().apply()?;
        scene.comes_through(&scene.client)?;
        scene.comes_through(&scene.teller)?;
        Ok(scene)
    }

    /// The Service, bound to the waypoint.
    pub(crate) fn reviews(&self) -> ServiceBuilder {
        let service = self.world.service("shop", "reviews").select([("app", "reviews")]);
        service.port("http", 80, 8080).label("weft.dev/waypoint", "gate")
    }

    /// Its address.
    pub(crate) fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.reviews().ips()[0], 80)
    }

    /// A URL of the Service.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.vip())
    }

    /// Waits until what a client is answered satisfies `wanted`.
    pub(crate) fn await_answer(
        &self,
        what: &str,
        (from, url): (&Pod, &str),
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Answer> {
        eventually(what, PATIENCE, || {
            let answer = from.get(url)?;
            ensure!(wanted(&answer), "{answer:?}");
            Ok(answer)
        })
    }

    /// Waits until the waypoint tells of a client's requests with a port of the client's as it is wanted: its own, or zero for
    /// none. Either way the server sees the client's address, not the waypoint's.
    pub(crate) fn await_port(
        &self,
        what: &str,
        (from, path): (&Pod, &str),
        wanted: impl Fn(u16) -> bool,
    ) -> Result<()> {
        eventually(what, PATIENCE, || {
            let answer = from.get(&self.url(path))?;
            ensure!(answer.is_ok(), "{answer:?}");
            let seen = answer.peer().map(|peer| canonical(peer).ip());
            ensure!(seen == Some(from.ip()), "the server sees {seen:?}, not its client");
            let mut lines = access_lines(&self.waypoint, path).into_iter().filter_map(|line| {
                let addr = line["src.addr"].as_str()?.parse::<SocketAddr>().ok()?;
                (line["path"] == path && addr.ip() == from.ip()).then_some(addr)
            });
            let addr = lines.next_back().context("no line yet")?;
            ensure!(wanted(addr.port()), "{addr}");
            Ok(())
        })
    }

    /// Waits until requests reach the Service through the waypoint.
    fn comes_through(&self, from: &Pod) -> Result<()> {
        await_through(&self.waypoint, from, &self.url(&format!("/through/{}", from.name())), PATIENCE)
    }

    /// Writes an object of `shop`.
    pub(crate) fn apply(&self, api: &str, kind: &str, name: &str, spec: &Value) -> Result<()> {
        self.world.apply(&object(api, kind, ["shop", name], spec)).map(drop)
    }

    /// Takes it away.
    pub(crate) fn remove(&self, api: &str, kind: &str, name: &str) -> Result<()> {
        self.world.remove(&object(api, kind, ["shop", name], &Value::Null))
    }

    /// The ends of the logs of all that carry requests, for a test that fails.
    pub(crate) fn logs(&self) -> Result<String> {
        let processes = [&*self.waypoint, self.mesh.proxy(1), self.mesh.proxy(2), self.mesh.control()];
        let tails = processes.map(|process| process.process().map(|process| process.log_tail()));
        Ok(tails.into_iter().collect::<Result<Vec<_>>>().context("logs")?.join("\n"))
    }
}
