//! The scene: a world of two nodes with its pods, captures on the wires between them, and a mesh. How it is set, kept
//! and struck.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weft_testkit::{
    App, Capture, Component, Mesh, MeshSettings, Pod, ServiceBuilder, TapOptions, Waypoint, World,
    find_binary, leftovers,
};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;

use crate::telling::Telling;

/// Sent with requests, and looked for on the wires.
pub(crate) const SECRET: &str = "only-the-two-pods-may-read-this";

/// How long a proxy may keep access lines before it writes them.
const LOG_PATIENCE: Duration = Duration::from_secs(3);

/// Lines of each log that a failure shows.
const LOG_LINES: usize = 12;

/// Where the waypoint looks for a collector of spans: in its own pod.
pub(crate) const COLLECTOR: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 4317);

/// The Service's port.
pub(crate) const PORT: u16 = 80;

/// Everything that stands while the story is told.
pub(crate) struct Scene {
    /// Once the story has come so far.
    pub(crate) waypoint: Option<Waypoint>,
    /// The pod that it runs in.
    pub(crate) waypoint_pod: Option<Pod>,
    /// Applications that ask each other.
    pub(crate) hops: Vec<Pod>,
    pub(crate) mesh: Mesh,
    /// One for each node's wire.
    pub(crate) captures: Vec<Capture>,
    pub(crate) client: Pod,
    /// On the first node, beside the client.
    pub(crate) v1: Pod,
    /// On the second node.
    pub(crate) v2: Pod,
    /// On the first node, in a namespace outside the mesh.
    pub(crate) stranger: Pod,
    /// The Service's addresses, IPv4 and IPv6.
    pub(crate) service: [std::net::IpAddr; 2],
    // Last, so that it is dropped last.
    pub(crate) world: World,
}

impl Scene {
    /// Builds the world and starts the mesh.
    pub(crate) fn set(telling: &Telling) -> Result<Self> {
        telling.chapter("A world of two nodes");
        let hook = || println!("\ninterrupted: removing everything");
        let world = World::builder().nodes(2).on_interrupt(hook).build()?;
        let markers = vec![SECRET.as_bytes().to_vec()];
        // From before the mesh, so that nothing escapes them.
        let captures = world.capture_nodes(&TapOptions { markers, ..TapOptions::default() })?;
        let reviews = |node: usize, version: &str| {
            let pod = world.node(node).pod("shop", &format!("reviews-{version}"));
            pod.labels([("app", "reviews"), ("version", version)]).service_account("reviews")
        };
        let v1 = reviews(1, "v1").app(App::http("v1")).start()?;
        let v2 = App::http("v2").fails_while(&fail_file(&world));
        let v2 = reviews(2, "v2").app(v2).start()?;
        let client = world.node(1).pod("shop", "client").service_account("client").start()?;
        let stranger = world.node(1).outside("stranger").start()?;
        let builder = service(&world);
        let service = builder.ips();
        builder.apply()?;
        telling.fact("two nodes, four pods and a Service, as namespaces and manifests on this machine");
        for node in world.nodes() {
            telling.detail(&format!("{}  {}  {}", node.name(), node.ip(), node.ip6()));
        }
        for pod in [&client, &v1, &v2, &stranger] {
            telling.detail(&format!(
                "{:<20} on node{}  {}  {}",
                format!("{}/{}", pod.namespace(), pod.name()),
                pod.node(),
                pod.ip(),
                pod.ip6()
            ));
        }
        telling.detail(&format!("{:<20} {}  {}", "Service shop/reviews", service[0], service[1]));
        let start = Instant::now();
        // Nobody decides for a trace but a Telemetry.
        let (ip, port) = COLLECTOR;
        let settings = MeshSettings::default()
            .env(Component::Waypoint, "WEFT_TRACING_ENDPOINT", &format!("http://{ip}:{port}"))
            .env(Component::Waypoint, "WEFT_TRACING_SAMPLING", "0");
        let mesh = start_mesh(&world, settings)?;
        let started = start.elapsed();
        await_enrolled(&mesh, [&client, &v1, &v2], Duration::from_secs(20))?;
        telling.fact(&format!(
            "one control plane, and an agent and a proxy per node, ready after {}; three pods enrolled after {}, \
             none restarted",
            seconds(started),
            seconds(start.elapsed())
        ));
        Ok(Self {
            waypoint: None,
            waypoint_pod: None,
            hops: Vec::new(),
            mesh,
            captures,
            client,
            v1,
            v2,
            stranger,
            service,
            world,
        })
    }

    /// The Service, as it was written.
    pub(crate) fn reviews(&self) -> ServiceBuilder {
        service(&self.world)
    }

    /// While this file is there, `v2` answers every Nth request with 503; it holds the N.
    pub(crate) fn fail_file(&self) -> PathBuf {
        fail_file(&self.world)
    }

    /// The newest access line of a node's proxy that has all of this in it. Lines are written in batches, so it waits.
    pub(crate) fn access_line(&self, node: usize, parts: &[&str]) -> Result<String> {
        let until = Instant::now() + LOG_PATIENCE;
        loop {
            let log = self.mesh.proxy(node).log();
            let wanted =
                |line: &&str| line.contains("log=access") && parts.iter().all(|part| line.contains(part));
            if let Some(line) = log.lines().rev().find(wanted) {
                return Ok(line.to_owned());
            }
            ensure!(Instant::now() < until, "node{node}'s proxy has logged no connection with {parts:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A URL of the Service.
    pub(crate) fn url(&self) -> String {
        format!("http://{}:{PORT}/", self.service[0])
    }

    /// The ends of the logs of the mesh's processes, without the lines that are written for every connection.
    pub(crate) fn log_tails(&self) -> String {
        let mut out = String::new();
        for process in self.mesh.all().chain(self.waypoint.as_deref()) {
            let log = process.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("log=access")).collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
            out += &format!("--- {}\n{}\n", process.log_path().display(), last.join("\n"));
        }
        out
    }

    /// Leaves everything standing, and says how to look around.
    pub(crate) fn keep(self, telling: &Telling) {
        telling.chapter("Everything is kept. Look around:");
        let (run, prefix) = (self.world.folder(), self.world.prefix().to_owned());
        let program =
            |name: &str| find_binary(name).unwrap_or_else(|_missing| name.into()).display().to_string();
        let (weft, testapp) = (program("weft"), program("weft-testapp"));
        let get =
            |netns: &Path, url: &str| format!("nsenter --net={} {testapp} get --body {url}", netns.display());
        for (what, command) in [
            ("a request", get(&self.client.netns(), &self.url())),
            ("the mesh", format!("{weft} --world {} status", run.display())),
            (
                "who may",
                format!("{weft} --world {} policy explain shop/client shop/reviews-v2:8080", run.display()),
            ),
            ("waypoints", format!("{weft} --world {} waypoint status", run.display())),
            ("its routes", format!("{weft} --world {} routes shop/reviews", run.display())),
            ("metrics", get(&self.world.node(1).netns(), "http://127.0.0.1:15020/metrics")),
            ("manifests", format!("{} (what is written there takes effect)", path(&run, "manifests"))),
            ("logs", path(&run, "logs")),
            ("namespaces", format!("ip netns | grep {prefix}")),
            ("remove it all", "cargo xtask sweep".to_owned()),
        ] {
            println!("  {what:<14} {command}");
        }
        if let Some(waypoint) = self.waypoint {
            waypoint.keep();
        }
        self.mesh.keep();
        self.world.keep();
    }

    /// Removes everything, and looks whether something is left.
    pub(crate) fn strike(self, telling: &Telling) -> Result<()> {
        let prefix = self.world.prefix().to_owned();
        drop(self.waypoint);
        drop(self.mesh);
        drop(self.captures);
        self.world.tear_down()?;
        let left = leftovers(&prefix)?;
        ensure!(left.is_empty(), "left: {}", left.join(", "));
        telling.chapter("The end");
        telling.fact("everything is removed: no process, namespace, cgroup or pinned map is left");
        Ok(())
    }
}

fn service(world: &World) -> ServiceBuilder {
    world.service("shop", "reviews").select([("app", "reviews")]).port("http", PORT, "http")
}

fn fail_file(world: &World) -> PathBuf {
    world.folder().join("v2-fails")
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// `0.21 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
