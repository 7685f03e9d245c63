//! A world: built, asked and taken down again.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::capture::Capture;
use crate::cluster::{Pairs, node_name};
use crate::manifests::Manifests;
use crate::mesh::{Mesh, MeshSettings};
use crate::mesh_identity::{Component, MeshIdentity};
use crate::network;
use crate::node::Node;
use crate::plan::{NODES_MAX, Plan};
use crate::process::tell;
use crate::service::ServiceBuilder;
use crate::shared::Shared;
use crate::state::{MachineLock, Remains, sweep_locked};
use crate::tap::TapOptions;

/// The namespace between the nodes, where the control plane runs.
const FABRIC: &str = "fabric";

/// A world to be.
#[derive(Debug)]
#[must_use = "a world begins with build()"]
pub struct WorldBuilder {
    nodes: usize,
    zones: Vec<(usize, String, String)>,
    patience: Duration,
    interrupt: Option<Hook>,
}

/// What a program does before it ends because of a signal.
struct Hook(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Hook")
    }
}

impl WorldBuilder {
    /// How many nodes (two, unless told).
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Puts a node into a region and a zone; otherwise all are in `region1` and `zone1`.
    pub fn zone(mut self, node: usize, region: &str, zone: &str) -> Self {
        self.zones.push((node, region.to_owned(), zone.to_owned()));
        self
    }

    /// How long to wait for another world on this machine (ten minutes, unless told).
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// On SIGINT, SIGTERM or SIGHUP, also while the world is being built: calls `hook`, removes everything and ends the
    /// program with status 130. For programs, not for tests.
    pub fn on_interrupt(mut self, hook: impl FnOnce() + Send + 'static) -> Self {
        self.interrupt = Some(Hook(Box::new(hook)));
        self
    }

    /// Removes what earlier runs left, and builds.
    pub fn build(self) -> Result<World> {
        ensure!((1..=NODES_MAX).contains(&self.nodes), "a world has 1 to {NODES_MAX} nodes");
        ensure!(nix::unistd::geteuid().is_root(), "a world needs root");
        let machine = MachineLock::take(self.patience)?;
        for name in sweep_locked()? {
            eprintln!("removed what an earlier run left: {name}");
        }
        let remains = Remains { prefix: format!("weft-{}", world_name()) };
        // Before there is anything to remove: one that comes just then would leave it behind.
        let interrupt = self.interrupt.map(|hook| signals().map(|signals| (hook, signals))).transpose()?;
        let world = World { shared: Arc::new(Shared::new(remains, machine, self.nodes)?) };
        if let Some((hook, signals)) = interrupt {
            world.on_interrupt(hook, signals)?;
        }
        let shared = &world.shared;
        let growing = shared.grow()?;
        let nodes: Vec<String> =
            (1..=self.nodes).map(|number| shared.netns_name(&node_name(number))).collect();
        network::build(&shared.netns_name(FABRIC), &nodes, shared.plan)?;
        for number in 1..=self.nodes {
            let zone = self.zones.iter().rev().find(|(node, ..)| *node == number);
            let (region, zone) = zone.map_or(("region1", "zone1"), |(_, region, zone)| (region, zone));
            shared.cluster.lock().apply_node(number, region, zone, &Pairs::new())?;
        }
        drop(growing);
        Ok(world)
    }
}

/// Nodes and pods as network namespaces, removed with everything in them when this is dropped.
#[derive(Debug)]
pub struct World {
    shared: Arc<Shared>,
}

impl World {
    /// Begins a world.
    pub fn builder() -> WorldBuilder {
        WorldBuilder { nodes: 2, zones: Vec::new(), patience: Duration::from_secs(600), interrupt: None }
    }

    /// `weft-<name>`: its folder under /run, its cgroup, and the prefix of its namespaces.
    pub fn prefix(&self) -> &str {
        self.shared.prefix()
    }

    /// Its folder: logs, manifests, the state of the mesh's processes.
    pub fn folder(&self) -> PathBuf {
        self.shared.folder()
    }

    /// Its addresses.
    pub fn plan(&self) -> Plan {
        self.shared.plan
    }

    /// A node, counted from 1.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn node(&self, number: usize) -> Node {
        assert!((1..=self.shared.nodes).contains(&number), "this world has {} nodes", self.shared.nodes);
        Node::new(Arc::clone(&self.shared), number)
    }

    /// All nodes.
    pub fn nodes(&self) -> Vec<Node> {
        (1..=self.shared.nodes).map(|number| self.node(number)).collect()
    }

    /// The namespace between the nodes.
    pub fn fabric_netns(&self) -> PathBuf {
        self.shared.netns(FABRIC)
    }

    /// Where the control plane is, IPv4.
    pub fn control_ip(&self) -> IpAddr {
        self.shared.plan.fabric4().into()
    }

    /// Asks the control plane's own endpoints: status and body.
    pub fn control_http_get(&self, port: u16, path: &str) -> Result<(u16, String)> {
        crate::binaries::http_get(&self.fabric_netns(), port, path)
    }

    /// Writes a Kubernetes namespace. Those that are not written get `weft.dev/mesh: enabled` with their first pod.
    pub fn namespace<const N: usize>(&self, name: &str, labels: [(&str, &str); N]) -> Result<()> {
        let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        self.shared.cluster.lock().apply_namespace(name, &labels)
    }

    /// A Service.
    pub fn service(&self, namespace: &str, name: &str) -> ServiceBuilder {
        ServiceBuilder::new(Arc::clone(&self.shared), namespace, name)
    }

    /// The folder of manifests, for everything that has no words of its own here.
    pub fn manifests(&self) -> &Manifests {
        &self.shared.manifests
    }

    /// Writes any object.
    pub fn apply(&self, object: &Value) -> Result<PathBuf> {
        self.shared.manifests.apply(object)
    }

    /// Removes any object that was written by [`World::apply`].
    pub fn remove(&self, object: &Value) -> Result<()> {
        self.shared.manifests.remove(object)
    }

    /// Writes a text as it is.
    pub fn apply_yaml(&self, file_name: &str, text: &str) -> Result<PathBuf> {
        self.shared.manifests.write(file_name, text.as_bytes())
    }

    /// Who the agent or the proxy of a node is, and where it expects its token.
    pub fn mesh_identity(&self, component: Component, node: usize) -> MeshIdentity {
        MeshIdentity::new(&self.shared, component, node)
    }

    /// The folder of the control plane's own state, as it will find it.
    pub fn control_folder(&self) -> PathBuf {
        self.folder().join("control")
    }

    /// Starts the mesh and waits until all of it is ready.
    pub fn start_mesh(&self, settings: MeshSettings) -> Result<Mesh> {
        Mesh::start(&self.shared, settings)
    }

    /// Listens on every node's wire to the fabric, in the order of the nodes.
    pub fn capture_nodes(&self, options: &TapOptions) -> Result<Vec<Capture>> {
        self.nodes().iter().map(|node| node.capture_with(Some(network::UPLINK), options.clone())).collect()
    }

    /// Listens on any device of any namespace.
    pub fn capture(&self, netns: &Path, device: Option<&str>, options: TapOptions) -> Result<Capture> {
        Capture::start(netns, device, options)
    }

    /// When one of the signals comes, or has come: calls `hook`, removes everything and ends the program with status 130.
    fn on_interrupt(&self, Hook(hook): Hook, signals: Signals) -> Result<()> {
        let shared = Arc::downgrade(&self.shared);
        let thread = std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
            if signals.wait().is_ok() {
                // A hook may print, which panics when the terminal is gone; what comes next matters more.
                let _panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(hook));
                if let Some(Err(error)) = shared.upgrade().map(|shared| shared.tear_down()) {
                    tell(format_args!("cleaning up: {error:#}"));
                }
                std::process::exit(130);
            }
        });
        thread.context("starting a thread for signals").map(drop)
    }

    /// Removes everything now, and says if something could not be removed. Dropping does the same and only prints.
    pub fn tear_down(self) -> Result<()> {
        self.shared.tear_down()
    }

    /// Leaves the world standing when the program ends. The next world, or [`crate::sweep`], removes it.
    pub fn keep(self) {
        self.shared.keep();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(format_args!("{}", self.shared.log_tails()));
        }
        if let Err(error) = self.shared.tear_down() {
            tell(format_args!("cleaning up {}: {error:#}", self.shared.prefix()));
        }
    }
}

/// Signals that end the program, taken from the moment this is made.
struct Signals {
    runtime: tokio::runtime::Runtime,
    taken: [tokio::signal::unix::Signal; 3],
}

fn signals() -> Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
    let taken = {
        let _entered = runtime.enter();
        let take = |kind, name: &str| signal(kind).with_context(|| format!("taking {name}"));
        [
            take(SignalKind::interrupt(), "SIGINT")?,
            take(SignalKind::terminate(), "SIGTERM")?,
            // The terminal is closed, or the connection to it is lost.
            take(SignalKind::hangup(), "SIGHUP")?,
        ]
    };
    Ok(Signals { runtime, taken })
}

impl Signals {
    fn wait(mut self) -> Result<()> {
        let [interrupt, terminate, hangup] = &mut self.taken;
        self.runtime
            .block_on(async {
                tokio::select! {
                    got = interrupt.recv() => got,
                    got = terminate.recv() => got,
                    got = hangup.recv() => got,
                }
            })
            .context("the signals have ended")
    }
}

/// Four letters and digits that the last worlds did not have.
fn world_name() -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos()) as u64;
    let mixed = (seed ^ u64::from(std::process::id()) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (0..4).map(|place| char::from(DIGITS[(mixed >> (40 + 5 * place)) as usize % DIGITS.len()])).collect()
}
