//! What the page takes for granted: `shop` behind the page's Gateway `wp`, `reviews` in two versions there, each in a zone of
//! its own, a client in `shop` and one in `bank`, which serves `ledger` too, and a machine outside the mesh that has the
//! addresses of the page and knows its names.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use weft_testkit::{App, Component, Mesh, Node, Pod, Waypoint, World};
use weft_tests::asking::{ask, await_enrolled};
use weft_tests::stage::{await_through, start_mesh, start_waypoint, waypoint_pod};
use weft_tests::waiting::{eventually, with_json_lines};

/// How long a change may take at most on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// A header that has a server wait with its answer, beyond each timeout of the page.
pub(crate) const LATE: (&str, &str) = ("answer-after-ms", "600");
/// Addresses outside, as the page has them.
pub(crate) const OUTSIDE: [&str; 2] = ["192.0.2.7", "192.0.2.8"];
/// A name below the domain of which any will do.
pub(crate) const TENANT: &str = "blue.tenants.example";
/// Names outside, of the second of these addresses.
const NAMED: [&str; 2] = ["rates.example", TENANT];
const NAMED_ADDR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 8));
/// Where a section's manifests are.
const FILE: &str = "example.yaml";

pub(crate) struct Scene {
    /// In `shop`, on node 1.
    pub(crate) client: Pod,
    /// In `bank`, on node 2.
    pub(crate) teller: Pod,
    pub(crate) v1: Pod,
    pub(crate) v2: Pod,
    /// Outside the mesh.
    pub(crate) machine: Pod,
    // Dropped in this order.
    pub(crate) waypoint: Waypoint,
    pub(crate) mesh: Mesh,
    pub(crate) world: World,
}

impl Scene {
    pub(crate) fn set(gateway: &str) -> Result<Self> {
        let world = World::builder().nodes(2).zone(1, "eu", "a").zone(2, "eu", "b").build()?;
        let client =
            world.node(1).pod("shop", "client").service_account("client").label("app", "client").start()?;
        let teller = world.node(2).pod("bank", "teller").service_account("teller").label("app", "ledger");
        let teller = teller.app(App::http("ledger")).start()?;
        let server = |node: usize, version: &str| {
            let pod = world.node(node).pod("shop", version).service_account("reviews");
            let http = App::http(version).logs_requests().fails_while(&fail_file(&world, version));
            pod.labels([("app", "reviews"), ("version", version)]).app(http).app(App::first(version)).start()
        };
        let (v1, v2) = (server(1, "v1")?, server(2, "v2")?);
        let machine = world.node(1).outside("machine").app(App::http("machine").logs_requests());
        let machine = machine.app(App::dns(&NAMED.map(|name| (name, NAMED_ADDR)))).start()?;
        OUTSIDE.iter().try_for_each(|address| lives_at(&machine, &world.node(1), address))?;
        services(&world)?;
        world.apply_yaml("gateway.yaml", gateway)?;
        let gate = waypoint_pod(world.node(1).pod("shop", "wp"), "wp")?;
        // There is no DNS beyond the mesh here but for the waypoint's, and nobody should wait for its silence.
        let settings = with_json_lines().env(Component::NodeProxy, "WEFT_DNS_UPSTREAM", "none");
        let settings = settings.env(Component::Waypoint, "WEFT_DNS_UPSTREAM", &machine.addr(53));
        let settings = settings.env(Component::Waypoint, "WEFT_ACCESS_LOG", "json");
        let mesh = start_mesh(&world, settings)?;
        await_enrolled(&mesh, [&client, &teller, &v1, &v2], PATIENCE)?;
        let waypoint = start_waypoint(&world, &mesh, &gate)?;
        let scene = Self { client, teller, v1, v2, machine, waypoint, mesh, world };
        stands(&scene)?;
        Ok(scene)
    }

    /// Writes a section's manifests, sees what is so, and takes them away again.
    pub(crate) fn play(&self, title: &str, manifest: &str, holds: fn(&Self) -> Result<()>) -> Result<()> {
        let problems = self.problems()?;
        ensure!(problems.is_empty(), "before {title}: {problems:?}");
        self.world.apply_yaml(FILE, manifest)?;
        let held = holds(self).and_then(|()| {
            let problems = self.problems()?;
            ensure!(problems.is_empty(), "the control plane finds fault with {title}: {problems:?}");
            Ok(())
        });
        self.world.manifests().remove_file(FILE)?;
        for version in ["v1", "v2"] {
            self.mends(version)?;
        }
        // What was written is gone once the control plane has no route any more.
        eventually("all is as before", PATIENCE, || {
            let left = self.routes()?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })?;
        held
    }

    /// From now on a version answers every Nth request with 503.
    pub(crate) fn fails(&self, version: &str, every: u64) -> Result<()> {
        std::fs::write(fail_file(&self.world, version), every.to_string()).context("letting it fail")
    }

    /// From now on it does not.
    pub(crate) fn mends(&self, version: &str) -> Result<()> {
        match std::fs::remove_file(fail_file(&self.world, version)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("mending it"),
            _ => Ok(()),
        }
    }

    /// The Service's own address.
    pub(crate) fn vip(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.world.service("shop", "reviews").ips()[0], port)
    }

    /// The ends of the logs of all that carry requests.
    pub(crate) fn logs(&self) -> Result<String> {
        let processes = [&*self.waypoint, self.mesh.proxy(1), self.mesh.proxy(2), self.mesh.control()];
        let tails = processes.map(|process| process.process().map(|process| process.log_tail()));
        Ok(tails.into_iter().collect::<Result<Vec<_>>>().context("logs")?.join("\n"))
    }

    /// What the control plane finds fault with.
    pub(crate) fn problems(&self) -> Result<Vec<String>> {
        let status = self.control_status()?;
        Ok(status["problems"].as_array().context("no problems")?.iter().map(ToString::to_string).collect())
    }

    /// The routes of the Gateway API that it knows.
    fn routes(&self) -> Result<Vec<String>> {
        let status = self.control_status()?;
        let all = status["statuses"].as_array().context("no statuses")?;
        let routes = all.iter().filter(|one| one["kind"] != "Gateway");
        Ok(routes.map(|one| format!("{} {}", one["kind"], one["name"])).collect())
    }

    fn control_status(&self) -> Result<Value> {
        ask(&self.mesh.control().folder().join("control-admin.sock"), "/status")
    }
}

/// The Gateway of the page stands, and requests to what it is for come through it.
fn stands(scene: &Scene) -> Result<()> {
    await_through(&scene.waypoint, &scene.client, "http://reviews/through/client", PATIENCE)?;
    await_through(&scene.waypoint, &scene.teller, "http://reviews.shop/through/teller", PATIENCE)
}

/// While this file is there, a version answers every Nth request with 503; it holds the N.
fn fail_file(world: &World, version: &str) -> PathBuf {
    world.folder().join(format!("{version}-fails"))
}

fn services(world: &World) -> Result<()> {
    world.namespace("shop", [("weft.dev/mesh", "enabled"), ("weft.dev/waypoint", "wp")])?;
    let service = |name: &str| {
        let service = world.service("shop", name).port("http", 80, 8080).port("grpc", 7070, 8080);
        service.port("tcp", 7001, 7001).port("tls", 7443, 7001)
    };
    service("reviews").select([("app", "reviews")]).apply()?;
    for version in ["v1", "v2"] {
        service(&format!("reviews-{version}")).select([("app", "reviews"), ("version", version)]).apply()?;
    }
    world.service("bank", "ledger").select([("app", "ledger")]).port("http", 80, 8080).apply()
}

/// Gives a pod another address, and tells its node the way.
pub(crate) fn lives_at(pod: &Pod, node: &Node, address: &str) -> Result<()> {
    let own = ["ip", "addr", "add", &format!("{address}/32"), "dev", "lo"];
    let way = ["ip", "route", "replace", address, "via", &pod.ip().to_string()];
    for output in [pod.run(own)?, node.run(way)?] {
        ensure!(output.status.success(), "{}", output.stderr);
    }
    Ok(())
}
