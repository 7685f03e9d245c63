//! Where it is measured: one world, in it the same pods twice, inside and outside the mesh; everything on the same
//! cores and with the same congestion control.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weft_testkit::{App, Component, Mesh, MeshSettings, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;

use crate::congestion::Allowed;
use crate::load::{Load, Measured, STREAM_PORT};
use crate::nginx::{self, Further};

/// A pod that a NetworkPolicy selects has no tunnel from node to node: HBONE is left.
const APART: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: apart, namespace: bench}, \
                     spec: {podSelector: {matchLabels: {server: apart}}, ingress: [{}]}}\n";
/// How long a tool may take longer than it was told to.
const GRACE: Duration = Duration::from_secs(30);

/// On which cores everything runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    /// The first two.
    Two,
    /// The first one.
    One,
}

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// From the first node to the second.
    CrossNode,
    /// The same, to a pod that is reached by HBONE: as peers are that are not Weft.
    Hbone,
    /// Within the first node.
    SameNode,
}

/// Inside or outside the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Outside.
    Direct,
    /// Inside.
    Meshed(Acceleration),
}

/// How far a meshed pod's connections to the proxy are accelerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceleration {
    /// As if nobody had said anything.
    Standard,
    /// Towards the proxy.
    Proxy,
    /// Both ways.
    Full,
}

impl Acceleration {
    const ALL: [Self; 3] = [Self::Standard, Self::Proxy, Self::Full];

    /// As the annotation has it.
    fn value(self) -> Option<&'static str> {
        match self {
            Self::Standard => None,
            Self::Proxy => Some("proxy"),
            Self::Full => Some("full"),
        }
    }

    fn namespace(self) -> String {
        self.value().map_or_else(|| "bench".to_owned(), |value| format!("bench-{value}"))
    }

    /// What it adds to the name of a load.
    pub(crate) fn words(self) -> String {
        self.value().map_or_else(String::new, |value| format!(", {value}"))
    }
}

impl Cores {
    /// As `taskset` takes it.
    fn list(self) -> &'static str {
        match self {
            Self::Two => "0,1",
            Self::One => "0",
        }
    }

    /// What it is called.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Two => "two cores",
            Self::One => "one core",
        }
    }
}

impl Path {
    /// What it is called.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::CrossNode => "cross-node",
            Self::Hbone => "cross-node by HBONE",
            Self::SameNode => "same-node",
        }
    }
}

/// A client on the first node, a server on each, and one on the second that keeps its tunnels to itself.
pub(crate) struct Cast {
    pub(crate) client: Pod,
    pub(crate) near: Pod,
    pub(crate) far: Pod,
    apart: Pod,
}

/// A world with a mesh.
pub(crate) struct Site {
    pub(crate) mesh: Mesh,
    direct: Cast,
    meshed: [Cast; 3],
    cores: Cores,
    pub(crate) world: World,
    _congestion: Allowed,
}

/// CPU time used so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) proxies: f64,
    pub(crate) agents: f64,
    pub(crate) control: f64,
    /// Client and server.
    pub(crate) applications: f64,
}

impl Site {
    /// Builds it.
    pub(crate) fn build(cores: Cores) -> Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        ensure!(cores == Cores::One || count >= 2, "this machine has one core; two are needed");
        let congestion = Allowed::declare()?;
        let undo = congestion.undo();
        let world = World::builder()
            .nodes(2)
            .on_interrupt(move || {
                eprintln!("interrupted: removing everything");
                undo();
            })
            .build()?;
        let config = nginx::write_config(&world.folder(), &Further::default())?;
        let cast = |side: Side| -> Result<Cast> {
            let pod = |node: usize, name: &str| match side {
                Side::Direct => world.node(node).outside(name),
                Side::Meshed(acceleration) => {
                    let pod = world.node(node).pod(&acceleration.namespace(), name);
                    let value = acceleration.value();
                    value.map_or(pod.clone(), |value| pod.annotation("weft.dev/acceleration", value))
                }
            };
            let server = |node: usize, name: &str| {
                let pod = pod(node, name)
                    .label("server", name)
                    .app(nginx::app(cores.list(), &config))
                    .app(iperf(cores))
                    .app(App::echo());
                pod.start()
            };
            Ok(Cast {
                client: pod(1, "client").start()?,
                near: server(1, "near")?,
                far: server(2, "far")?,
                apart: server(2, "apart")?,
            })
        };
        let direct = cast(Side::Direct)?;
        let [standard, proxy, full] = Acceleration::ALL.map(|acceleration| cast(Side::Meshed(acceleration)));
        let meshed = [standard?, proxy?, full?];
        for node in world.nodes() {
            congestion.set_node(&node)?;
        }
        for pod in std::iter::once(&direct).chain(&meshed).flat_map(Cast::pods) {
            congestion.set_pod(pod)?;
            // A port may be used again after a second. Else a fast machine runs out of them, by either way, and what is
            // measured is how the kernel looks for one that is free.
            pod.sysctl("net.ipv4.tcp_tw_reuse", "1")?;
        }
        world.apply_yaml("apart.yaml", APART)?;
        let mesh = start_mesh(&world, pinned(cores))?;
        await_enrolled(&mesh, meshed.iter().flat_map(Cast::pods), Duration::from_secs(30))?;
        Ok(Self { mesh, direct, meshed, cores, world, _congestion: congestion })
    }

    /// Removes it.
    pub(crate) fn strike(self) -> Result<()> {
        drop(self.mesh);
        self.world.tear_down()
    }

    /// The pods of a side.
    pub(crate) fn cast(&self, side: Side) -> &Cast {
        match side {
            Side::Direct => &self.direct,
            Side::Meshed(acceleration) => &self.meshed[acceleration as usize],
        }
    }

    /// Runs a load to its end.
    pub(crate) fn run(&self, side: Side, path: Path, load: Load, time: Duration) -> Result<Measured> {
        let cast = self.cast(side);
        let target = SocketAddr::new(cast.server(path).ip(), load.port());
        let command = ["taskset", "-c", self.cores.list()].map(str::to_owned);
        let process = cast.client.spawn(command.into_iter().chain(load.command(target, time)))?;
        let output = process.output(time + GRACE)?;
        let what = || format!("{} {side:?} to {target}", load.words());
        ensure!(output.status.success(), "{}: {}\n{}{}", what(), output.status, output.stdout, output.stderr);
        load.read(&output.stdout).with_context(what)
    }

    /// CPU time used so far by the mesh and by a side's client and server.
    pub(crate) fn cpu(&self, side: Side, path: Path) -> Result<Cpu> {
        let mut cpu = Cpu::default();
        for process in self.mesh.all() {
            let used = process.cpu_time()?.as_secs_f64();
            match process.component() {
                Component::Control => cpu.control += used,
                Component::Agent => cpu.agents += used,
                Component::NodeProxy | Component::Waypoint => cpu.proxies += used,
            }
        }
        let cast = self.cast(side);
        cpu.applications = (cast.client.cpu_time()? + cast.server(path).cpu_time()?).as_secs_f64();
        Ok(cpu)
    }
}

impl Cast {
    fn pods(&self) -> [&Pod; 4] {
        [&self.client, &self.near, &self.far, &self.apart]
    }

    /// The server at the end of a path.
    pub(crate) fn server(&self, path: Path) -> &Pod {
        match path {
            Path::CrossNode => &self.far,
            Path::Hbone => &self.apart,
            Path::SameNode => &self.near,
        }
    }
}

impl Cpu {
    /// What was used since.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            proxies: self.proxies - earlier.proxies,
            agents: self.agents - earlier.agents,
            control: self.control - earlier.control,
            applications: self.applications - earlier.applications,
        }
    }

    /// Of all processes.
    pub(crate) fn all(self) -> f64 {
        self.proxies + self.agents + self.control + self.applications
    }
}

fn pinned(cores: Cores) -> MeshSettings {
    let prefix = ["taskset", "-c", cores.list()].map(str::to_owned).to_vec();
    let components = [Component::Control, Component::Agent, Component::NodeProxy];
    let prefix: BTreeMap<_, _> = components.map(|component| (component, prefix.clone())).into();
    MeshSettings { prefix, ..MeshSettings::default() }
}

fn iperf(cores: Cores) -> App {
    let port = STREAM_PORT.to_string();
    let args = ["-c", cores.list(), "iperf3", "--server", "--port", &port];
    App::program("taskset").args(args).port(STREAM_PORT).port_name("streams")
}
