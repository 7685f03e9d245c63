//! A mesh of two nodes with one waypoint: `reviews` in two versions behind it, clients on both nodes, and a stranger.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use weft_testkit::report::{Answer, GetReport};
use weft_testkit::{App, Component, Get, Mesh, Pod, ServiceBuilder, Waypoint, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::{start_mesh, start_waypoint};
use weft_tests::waiting::{eventually, with_json_lines};

/// How long a change may take at most on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the stranger, and one of whoever asks, as the waypoint's DNS server has them.
pub(crate) const OUTSIDE_NAME: &str = "api.example.org";
pub(crate) const LOCAL_NAME: &str = "local.example.org";

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
        let names = [(OUTSIDE_NAME, stranger.ip()), (LOCAL_NAME, IpAddr::V4(Ipv4Addr::LOCALHOST))];
        let names = world.node(1).outside("names").app(App::dns(&names)).start()?;
        let server = |node: usize, version: &str| {
            let pod = world.node(node).pod("shop", version).service_account("reviews");
            pod.labels([("app", "reviews"), ("version", version)]).app(App::http(version)).start()
        };
        let (v1, v2) = (server(1, "v1")?, server(2, "v2")?);
        let gate = world.node(2).pod("shop", "gate").service_account("gate");
        let gate = gate.label("gateway.networking.k8s.io/gateway-name", "gate").start()?;
        world.apply(&json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "gate", "namespace": "shop"},
            "spec": {
                "gatewayClassName": "weft-waypoint",
                "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
            },
        }))?;
        let settings = with_json_lines().env(Component::Waypoint, "WEFT_DNS_UPSTREAM", &names.addr(53));
        let mesh = start_mesh(&world, settings)?;
        await_enrolled(&mesh, [&client, &teller, &v1, &v2], PATIENCE)?;
        let waypoint = start_waypoint(&world, &mesh, &gate)?;
        let scene = Self { client, teller, stranger, v1, v2, _names: names, waypoint, mesh, world };
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

    /// Requests to the Service, on one connection.
    pub(crate) fn ask(&self, from: &Pod, count: u64, headers: &[(&str, &str)]) -> Result<GetReport> {
        let get = Get::url(&self.url("/")).times(count);
        from.run_tool(&headers.iter().fold(get, |get, (name, value)| get.header(name, value)))
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

    /// Waits until requests reach the Service through the waypoint, which says so in its access log.
    fn comes_through(&self, from: &Pod) -> Result<()> {
        let path = format!("/through/{}", from.name());
        eventually(&format!("requests of {} come through the waypoint", from.name()), PATIENCE, || {
            let answer = from.get(&self.url(&path))?;
            ensure!(answer.is_ok(), "{answer:?}");
            ensure!(self.waypoint.log().contains(&path), "the waypoint has not seen {path}");
            Ok(())
        })
    }

    /// Writes an object of `shop`.
    pub(crate) fn apply(&self, api: &str, kind: &str, name: &str, spec: &Value) -> Result<()> {
        let object = json!({
            "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
        });
        self.world.apply(&object).map(drop)
    }

    /// Takes it away.
    pub(crate) fn remove(&self, api: &str, kind: &str, name: &str) -> Result<()> {
        let object =
            json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "shop"}});
        self.world.remove(&object)
    }

    /// The ends of the logs of all that carry requests, for a test that fails.
    pub(crate) fn logs(&self) -> Result<String> {
        let processes = [&*self.waypoint, self.mesh.proxy(1), self.mesh.proxy(2), self.mesh.control()];
        let tails = processes.map(|process| process.process().map(|process| process.log_tail()));
        Ok(tails.into_iter().collect::<Result<Vec<_>>>().context("logs")?.join("\n"))
    }
}
