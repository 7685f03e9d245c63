//! The mesh's own processes: what they are told, how it is known that they are ready, and how they are treated badly.
//! Every environment variable stands in [`environment`], and nowhere else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;

use crate::binaries::{find_binary, http_get};
use crate::cluster::node_name;
use crate::mesh_identity::{Component, MeshIdentity};
use crate::pod::Pod;
use crate::process::{Process, tell};
use crate::shared::{Place, Shared};
use crate::state::{BPF, cpu_time, mount_bpf};

/// The unprivileged user of a node proxy.
pub const PROXY_UID: u32 = 15_008;

/// How it is known that a process is ready.
#[derive(Clone, Debug)]
pub enum Readiness {
    /// A port on the loopback device of its namespace answers this path with 200.
    Http(u16, &'static str),
    /// A file, or a socket, is there: a path inside the process's own folder of the world.
    File(&'static str),
    /// It is taken to be ready at once.
    AtOnce,
}

/// How to start a mesh. The default is the real thing.
#[derive(Clone, Debug)]
pub struct MeshSettings {
    /// Further variables, or other values for those that the testkit sets; with a number, on that node alone.
    pub env: Vec<(Component, Option<usize>, String, String)>,
    /// Put before the program, for example `["setpriv", "--reuid=65532"]`.
    pub prefix: BTreeMap<Component, Vec<String>>,
    /// How readiness shows.
    pub readiness: BTreeMap<Component, Readiness>,
    /// How long each process may take until it is ready.
    pub deadline: Duration,
    /// Where the programs are, if not where [`find_binary`] looks.
    pub bin_dir: Option<PathBuf>,
    /// Which processes are started with the mesh. Waypoints come one by one: [`Mesh::start_waypoint`].
    pub components: Vec<Component>,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            env: Vec::new(),
            prefix: BTreeMap::new(),
            readiness: BTreeMap::from([
                (Component::Control, Readiness::Http(15014, "/readyz")),
                (Component::Agent, Readiness::File("agent.sock")),
                (Component::NodeProxy, Readiness::Http(15021, "/readyz")),
                (Component::Waypoint, Readiness::Http(15021, "/readyz")),
            ]),
            deadline: Duration::from_secs(20),
            bin_dir: None,
            components: vec![Component::Control, Component::Agent, Component::NodeProxy],
        }
    }
}

impl MeshSettings {
    /// Sets a variable for one kind of process.
    pub fn env(mut self, component: Component, key: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.env.push((component, None, key.to_owned(), value.to_string()));
        self
    }

    /// The same on one node alone.
    pub fn env_on(
        mut self,
        component: Component,
        node: usize,
        key: &str,
        value: &(impl ToString + ?Sized),
    ) -> Self {
        self.env.push((component, Some(node), key.to_owned(), value.to_string()));
        self
    }

    fn binary(&self, component: Component) -> Result<PathBuf> {
        match &self.bin_dir {
            Some(folder) => Ok(folder.join(component.binary())),
            None => find_binary(component.binary()),
        }
    }
}

/// Where a process of the mesh runs.
#[derive(Clone, Debug)]
enum Seat {
    /// Between the nodes.
    Fabric,
    /// In a node's namespace.
    Node(usize),
    /// In a pod's.
    Pod(Pod),
}

/// Where a process of the mesh belongs.
struct Site<'a> {
    shared: &'a Shared,
    seat: &'a Seat,
}

impl Site<'_> {
    /// `fabric`, `node1`, or `shop.waypoint`.
    fn name(&self) -> String {
        match self.seat {
            Seat::Fabric => "fabric".to_owned(),
            Seat::Node(node) => node_name(*node),
            Seat::Pod(pod) => format!("{}.{}", pod.namespace(), pod.name()),
        }
    }

    /// Sockets and state of all processes of one node: `/run/weft-<world>/node1`.
    fn folder(&self) -> PathBuf {
        self.shared.folder().join(self.name())
    }

    fn control_folder(&self) -> PathBuf {
        self.shared.folder().join("control")
    }

    /// Outside the control plane's own folder, which nobody else may enter.
    fn roots(&self) -> PathBuf {
        self.shared.folder().join("root-cert.pem")
    }
}

/// What each process is told.
fn environment(component: Component, site: &Site<'_>) -> Result<Vec<(&'static str, String)>> {
    let shared = site.shared;
    let plan = shared.plan;
    let text = |path: &Path| path.display().to_string();
    let control = format!("https://{}:15012", plan.fabric4());
    let (pods, services) = (plan.pods().join(","), plan.services().join(","));
    let mut env = vec![("WEFT_LOG", "info".to_owned())];
    let (node, identity) = match site.seat {
        Seat::Fabric => {
            env.extend([
                ("WEFT_DIRECTORY", text(shared.manifests.folder())),
                ("WEFT_CA_DIR", text(&site.control_folder())),
                ("WEFT_ROOTS_FILE", text(&site.roots())),
                ("WEFT_ADMIN_SOCKET", text(&site.folder().join("control-admin.sock"))),
                ("WEFT_SERVING_NAMES", format!("{},{}", plan.fabric4(), plan.fabric6())),
            ]);
            return Ok(env);
        }
        Seat::Node(node) => (*node, MeshIdentity::new(shared, component, *node)),
        Seat::Pod(pod) => (pod.node(), MeshIdentity::of_pod(pod)?),
    };
    let name = node_name(node);
    env.extend([
        ("WEFT_NODE_NAME", name.clone()),
        ("WEFT_CONTROL_ADDRESS", control),
        ("WEFT_CONTROL_ROOTS", text(&site.roots())),
        ("WEFT_TOKEN_FILE", text(&identity.token_file)),
        ("WEFT_POD_NAME", identity.pod),
    ]);
    match site.seat {
        Seat::Fabric => {}
        Seat::Node(node) => env.extend([
            ("WEFT_NODE_IPS", format!("{},{}", plan.node4(*node), plan.node6(*node))),
            ("WEFT_AGENT_SOCKET", text(&site.folder().join("agent.sock"))),
            ("WEFT_PROXY_UID", PROXY_UID.to_string()),
        ]),
        Seat::Pod(pod) => env.extend([
            ("WEFT_POD_NAMESPACE", identity.namespace),
            ("WEFT_SERVICE_ACCOUNT", identity.service_account),
            ("WEFT_POD_IPS", pod.ips().map(|ip| ip.to_string()).join(",")),
            ("WEFT_STATE_DIR", text(&site.folder().join("state"))),
            ("WEFT_ADMIN_SOCKET", text(&site.folder().join("waypoint-admin.sock"))),
        ]),
    }
    match component {
        Component::Control | Component::Waypoint => {}
        Component::Agent => env.extend([
            ("WEFT_RUN_DIR", text(&site.folder())),
            ("WEFT_BPF_DIR", format!("{BPF}/{}-{name}", shared.prefix())),
            ("WEFT_PROBE_CGROUP", text(&shared.cgroup(&format!("{name}/kubelet"))?)),
        ]),
        Component::NodeProxy => env.extend([
            ("WEFT_STATE_DIR", text(&site.folder().join("proxy"))),
            ("WEFT_ADMIN_SOCKET", text(&site.folder().join("proxy/admin.sock"))),
            ("WEFT_MESH_CIDRS", format!("{pods},{services}")),
        ]),
    }
    Ok(env)
}

/// A running mesh. Its processes are killed when it is dropped.
#[derive(Debug)]
#[must_use = "the mesh ends when dropped"]
pub struct Mesh {
    shared: Arc<Shared>,
    settings: Arc<MeshSettings>,
    processes: BTreeMap<(Component, usize), MeshProcess>,
}

/// One process of the mesh, through all its restarts.
#[derive(Debug)]
pub struct MeshProcess {
    shared: Arc<Shared>,
    component: Component,
    seat: Seat,
    settings: Arc<MeshSettings>,
    /// Variables of this one.
    env: Mutex<Vec<(String, String)>>,
    current: Mutex<Option<Arc<Process>>>,
}

impl Mesh {
    pub(crate) fn start(shared: &Arc<Shared>, settings: MeshSettings) -> Result<Self> {
        settings.components.iter().try_for_each(|component| settings.binary(*component).map(drop))?;
        mount_bpf()?;
        MeshIdentity::apply_all(shared)?;
        let mut mesh =
            Self { shared: Arc::clone(shared), settings: Arc::new(settings), processes: BTreeMap::new() };
        for component in [Component::Control, Component::Agent, Component::NodeProxy] {
            if !mesh.settings.components.contains(&component) {
                continue;
            }
            let sites = if component == Component::Control { 0..=0 } else { 1..=shared.nodes };
            for site in sites.clone() {
                let seat = if site > 0 { Seat::Node(site) } else { Seat::Fabric };
                let process = mesh.process(component, seat);
                process.start()?;
                mesh.processes.insert((component, site), process);
            }
            for site in sites {
                mesh.find(component, site).wait_ready()?;
            }
        }
        Ok(mesh)
    }

    /// The control plane.
    pub fn control(&self) -> &MeshProcess {
        self.find(Component::Control, 0)
    }

    /// The agent of a node.
    pub fn agent(&self, node: usize) -> &MeshProcess {
        self.find(Component::Agent, node)
    }

    /// The proxy of a node.
    pub fn proxy(&self, node: usize) -> &MeshProcess {
        self.find(Component::NodeProxy, node)
    }

    /// Starts a waypoint in a pod, and waits until it is ready. It is killed when what this gives is dropped.
    pub fn start_waypoint(&self, pod: &Pod) -> Result<Waypoint> {
        let process = self.process(Component::Waypoint, Seat::Pod(pod.clone()));
        process.start()?;
        process.wait_ready()?;
        Ok(Waypoint { process, kept: false })
    }

    fn process(&self, component: Component, seat: Seat) -> MeshProcess {
        MeshProcess {
            shared: Arc::clone(&self.shared),
            component,
            seat,
            settings: Arc::clone(&self.settings),
            env: Mutex::default(),
            current: Mutex::new(None),
        }
    }

    /// The processes that were started with it.
    pub fn all(&self) -> impl Iterator<Item = &MeshProcess> {
        self.processes.values()
    }

    /// Leaves the processes running when the program ends, for a world that is kept too.
    pub fn keep(mut self) {
        self.processes.clear();
    }

    fn find(&self, component: Component, site: usize) -> &MeshProcess {
        let found = self.processes.get(&(component, site));
        found.unwrap_or_else(|| panic!("no {} on node {site} in this mesh", component.binary()))
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for process in self.processes.values().rev() {
            if let Err(error) = process.kill() {
                tell(format_args!("ending the mesh: {error:#}"));
            }
        }
    }
}

/// A waypoint that runs in a pod.
#[derive(Debug)]
#[must_use = "a waypoint ends when dropped"]
pub struct Waypoint {
    process: MeshProcess,
    /// Whether it goes on when this is dropped.
    kept: bool,
}

impl Waypoint {
    /// Leaves it running when the program ends, for a world that is kept too.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl std::ops::Deref for Waypoint {
    type Target = MeshProcess;

    fn deref(&self) -> &MeshProcess {
        &self.process
    }
}

impl Drop for Waypoint {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.process.kill()
        {
            tell(format_args!("ending a waypoint: {error:#}"));
        }
    }
}

impl MeshProcess {
    /// Which program it is.
    pub fn component(&self) -> Component {
        self.component
    }

    /// `weft-agent.node1`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.component.binary(), self.site().name())
    }

    /// The process that runs now, or ran last.
    pub fn process(&self) -> Result<Arc<Process>> {
        self.current.lock().clone().with_context(|| format!("{} was never started", self.name()))
    }

    /// Sets a variable of this process, from its next start on.
    pub fn set_env(&self, key: &str, value: &str) {
        self.env.lock().push((key.to_owned(), value.to_owned()));
    }

    /// Starts it, without waiting until it is ready.
    pub fn start(&self) -> Result<()> {
        let mut current = self.current.lock();
        ensure!(
            !current.as_ref().is_some_and(|process| process.is_running()),
            "{} runs already",
            self.name()
        );
        let site = self.site();
        let (folder, state) = (site.folder(), site.control_folder());
        for folder in [&folder, &state] {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let cgroup = self.cgroup()?;
        let resolv = if let Seat::Pod(pod) = &self.seat { pod.place.resolv.clone() } else { None };
        let place = Place { netns: self.shared.netns(&site.name()), cgroup, resolv };
        if self.component == Component::NodeProxy {
            let own = folder.join("proxy");
            std::fs::create_dir_all(&own).with_context(|| format!("making {}", own.display()))?;
            std::os::unix::fs::chown(&own, Some(PROXY_UID), Some(PROXY_UID))
                .context("giving the proxy its folder")?;
        }
        let prefix = self.settings.prefix.get(&self.component).into_iter().flatten();
        let mut command: Vec<OsString> = prefix.map(OsString::from).collect();
        command.push(self.settings.binary(self.component)?.into());
        *current = Some(self.shared.start(&self.name(), &place, command, self.env(&site)?)?);
        Ok(())
    }

    fn env(&self, site: &Site<'_>) -> Result<Vec<(String, String)>> {
        let own = environment(self.component, site)?.into_iter().map(|(key, value)| (key.to_owned(), value));
        let further = self.settings.env.iter().filter(|(component, node, ..)| {
            *component == self.component && (node.is_none() || *node == self.node())
        });
        // Later ones win, as in every environment.
        let further = further.map(|(.., key, value)| (key.clone(), value.clone()));
        Ok(own.chain(further).chain(self.env.lock().iter().cloned()).collect())
    }

    /// Waits until it is ready; an error shows the end of its log.
    pub fn wait_ready(&self) -> Result<()> {
        let process = self.process()?;
        let (netns, folder) = (self.shared.netns(&self.site().name()), self.site().folder());
        let readiness = self.settings.readiness.get(&self.component).unwrap_or(&Readiness::AtOnce);
        process.wait_until("ready", self.settings.deadline, || match readiness {
            Readiness::Http(port, path) => {
                http_get(&netns, *port, path).is_ok_and(|(status, _)| status == 200)
            }
            Readiness::File(name) => folder.join(name).exists(),
            Readiness::AtOnce => true,
        })
    }

    /// `kill -9`; it is gone afterwards.
    pub fn kill(&self) -> Result<()> {
        self.current.lock().as_ref().map_or(Ok(()), |process| process.kill())
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(&self, deadline: Duration) -> Result<()> {
        let process = self.process()?;
        process.terminate()?;
        process.wait(deadline).map(drop)
    }

    /// `kill -9`, a new process, and waits until that is ready.
    pub fn kill_and_restart(&self) -> Result<()> {
        self.kill()?;
        self.start()?;
        self.wait_ready()
    }

    /// SIGTERM, a new process once the old one has ended, and waits until that is ready.
    pub fn restart(&self, deadline: Duration) -> Result<()> {
        self.terminate(deadline)?;
        self.start()?;
        self.wait_ready()
    }

    /// SIGSTOP.
    pub fn pause(&self) -> Result<()> {
        self.process()?.pause()
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.process()?.resume()
    }

    /// CPU time that it, its predecessors and their children have used, to the microsecond.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu_time(&self.cgroup()?)
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> Result<PathBuf> {
        match &self.seat {
            Seat::Pod(pod) => Ok(pod.cgroup()),
            _ => self.shared.cgroup(&format!("{}/{}", self.site().name(), self.component.binary())),
        }
    }

    /// Everything that it and its predecessors have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where it logs.
    pub fn log_path(&self) -> PathBuf {
        self.shared.log_path(&self.name())
    }

    /// The folder of its sockets and state, shared by the processes of its node.
    pub fn folder(&self) -> PathBuf {
        self.site().folder()
    }

    fn site(&self) -> Site<'_> {
        Site { shared: &self.shared, seat: &self.seat }
    }

    /// The node that it runs on, if it is on one.
    fn node(&self) -> Option<usize> {
        match &self.seat {
            Seat::Fabric => None,
            Seat::Node(node) => Some(*node),
            Seat::Pod(pod) => Some(pod.node()),
        }
    }
}
