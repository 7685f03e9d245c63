//! Pods that stand: what runs in them, what can be asked of them, and what can be done to them.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::app::App;
use crate::binaries::find_binary;
use crate::capture::Capture;
use crate::cluster::node_name;
use crate::fault::{self, Fill};
use crate::netns;
use crate::network::{self, LinkState, UPLINK};
use crate::process::{Output, Process};
use crate::report::{Answer, ConnectsReport, ProbeReport};
use crate::shared::{Place, Shared};
use crate::state::cpu_time;
use crate::tap::TapOptions;
use crate::tools::{Connects, Get, Probe, Running, Tool};

/// How long an application may take until it listens.
const APP_START: Duration = Duration::from_secs(10);

/// A pod that stands. It lives as long as its world, or until [`Pod::delete`]; dropping this value changes nothing.
#[derive(Clone, Debug)]
pub struct Pod {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: usize,
    pub(crate) slot: usize,
    pub(crate) key: (String, String),
    pub(crate) ips: [IpAddr; 2],
    pub(crate) place: Place,
}

impl Pod {
    /// Its Kubernetes namespace.
    pub fn namespace(&self) -> &str {
        &self.key.0
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.key.1
    }

    /// Its `metadata.uid`.
    pub fn uid(&self) -> Result<String> {
        self.shared.cluster.lock().pod_uid(&self.key)
    }

    /// The service account that it runs as.
    pub fn service_account(&self) -> Result<String> {
        self.shared.cluster.lock().service_account(&self.key)
    }

    /// The number of its node.
    pub fn node(&self) -> usize {
        self.node
    }

    /// Its IPv4 address.
    pub fn ip(&self) -> IpAddr {
        self.ips[0]
    }

    /// Its IPv6 address.
    pub fn ip6(&self) -> IpAddr {
        self.ips[1]
    }

    /// Both its addresses, IPv4 first.
    pub fn ips(&self) -> [IpAddr; 2] {
        self.ips
    }

    /// A port of it, IPv4.
    pub fn addr(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ips[0], port)
    }

    /// A port of it, IPv6.
    pub fn addr6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ips[1], port)
    }

    /// Its network namespace, as `nsenter --net=` takes it.
    pub fn netns(&self) -> PathBuf {
        self.place.netns.clone()
    }

    /// CPU time that its processes have used, to the microsecond.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu_time(&self.place.cgroup)
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> PathBuf {
        self.place.cgroup.clone()
    }

    /// The device on the node that leads to it.
    pub fn host_device(&self) -> String {
        network::host_device(self.slot)
    }

    /// Runs a closure in the pod's network namespace, on a thread of its own, and waits for it. The thread is not in
    /// the pod's cgroup: what depends on that needs a process.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        netns::within(&self.place.netns, work)
    }

    /// The same without waiting.
    pub fn background<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        netns::background(&self.place.netns, work)
    }

    /// Starts an application and waits until it listens.
    pub fn start_app(&self, app: &App) -> Result<Arc<Process>> {
        let process = self.launch(app)?;
        wait_for_port(app, &process)?;
        Ok(process)
    }

    pub(crate) fn launch(&self, app: &App) -> Result<Arc<Process>> {
        let test_app = || find_binary("weft-testapp").map(OsString::from);
        let command = app.command_line(test_app, self.name())?;
        self.shared.start(&format!("{}.{}", self.key.0, self.key.1), &self.place, command, Vec::new())
    }

    /// Everything that its applications have logged.
    pub fn log(&self) -> String {
        let path = self.shared.log_path(&format!("{}.{}", self.key.0, self.key.1));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Runs a program in the pod to its end.
    pub fn run<A: Into<OsString>>(&self, command: impl IntoIterator<Item = A>) -> Result<Output> {
        let command: Vec<OsString> = command.into_iter().map(Into::into).collect();
        let name = command.first().context("an empty command")?.to_string_lossy().replace('/', "_");
        self.shared.start_run(&name, &self.place, command)?.output(Duration::from_secs(600))
    }

    /// Starts a program in the pod and does not wait for it; it is killed with the world.
    pub fn spawn<A: Into<OsString>>(&self, command: impl IntoIterator<Item = A>) -> Result<Arc<Process>> {
        let command: Vec<OsString> = command.into_iter().map(Into::into).collect();
        let name = command.first().context("an empty command")?.to_string_lossy().replace('/', "_");
        self.shared.start_run(&name, &self.place, command)
    }

    /// Starts a client.
    pub fn start_tool<T: Tool>(&self, tool: &T) -> Result<Running<T::Report>> {
        let mut command = vec![OsString::from(find_binary("weft-testapp")?)];
        command.extend(tool.args().into_iter().map(OsString::from));
        let process = self.shared.start_run(&format!("{}.client", self.name()), &self.place, command)?;
        Ok(Running::new(process, tool.patience()))
    }

    /// Runs a client to its end.
    pub fn run_tool<T: Tool>(&self, tool: &T) -> Result<T::Report> {
        self.start_tool(tool)?.finish()
    }

    /// One HTTP request. An answer of any status, and none, is a value: see [`Answer::is_ok`].
    pub fn get(&self, url: &str) -> Result<Answer> {
        let mut report = self.run_tool(&Get::url(url))?;
        report.answers.pop().context("a report without an answer")
    }

    /// New connections at a steady rate.
    pub fn connects(&self, connects: &Connects) -> Result<ConnectsReport> {
        self.run_tool(connects)
    }

    /// An integrity probe; fails if anything was lost, changed or cut.
    pub fn probe(&self, probe: &Probe) -> Result<ProbeReport> {
        let report = self.run_tool(probe)?;
        ensure!(report.failures.is_empty(), "the probe to {} failed: {:#?}", probe.target, report.failures);
        Ok(report)
    }

    /// Listens on the pod's own device.
    pub fn capture(&self) -> Result<Capture> {
        Capture::start(&self.place.netns, Some(UPLINK), TapOptions::default())
    }

    /// Sets or clears the Ready condition in the manifest.
    pub fn set_ready(&self, ready: bool) -> Result<()> {
        self.shared.cluster.lock().change_pod(&self.key, |pod| pod.ready = ready)
    }

    /// Marks the pod as being deleted, in the manifest.
    pub fn set_terminating(&self) -> Result<()> {
        self.shared.cluster.lock().change_pod(&self.key, |pod| pod.terminating = true)
    }

    /// Changes its labels in the manifest; `None` removes one.
    pub fn set_label(&self, key: &str, value: Option<&str>) -> Result<()> {
        self.shared.cluster.lock().change_pod(&self.key, |pod| {
            match value {
                Some(value) => pod.labels.insert(key.to_owned(), value.to_owned()),
                None => pod.labels.remove(key),
            };
        })
    }

    /// Changes its annotations in the manifest; `None` removes one.
    pub fn set_annotation(&self, key: &str, value: Option<&str>) -> Result<()> {
        self.shared.cluster.lock().change_pod(&self.key, |pod| {
            match value {
                Some(value) => pod.annotations.insert(key.to_owned(), value.to_owned()),
                None => pod.annotations.remove(key),
            };
        })
    }

    /// Ends the pod: manifest, processes, namespace and cgroup, in this order.
    pub fn delete(self) -> Result<()> {
        let _growing = self.shared.grow()?;
        self.shared.cluster.lock().remove_pod(&self.key)?;
        std::fs::write(self.place.cgroup.join("cgroup.kill"), "1").context("killing the pod's processes")?;
        network::delete_namespaces(&[self.shared.netns_name(&format!("{}.{}", self.key.0, self.key.1))])?;
        self.shared.remove_cgroup(&self.place.cgroup)
    }

    /// Unplugs its wire on the node's side; its own device loses its carrier and keeps its addresses and routes.
    pub fn cut(&self) -> Result<()> {
        network::set_link(
            &self.shared.netns_name(&node_name(self.node)),
            &self.host_device(),
            LinkState::Down,
        )
    }

    /// Plugs the wire in again.
    pub fn mend(&self) -> Result<()> {
        network::set_link(&self.shared.netns_name(&node_name(self.node)), &self.host_device(), LinkState::Up)
    }

    /// Writes a sysctl in its namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        network::sysctl(&self.shared.netns_name(&format!("{}.{}", self.key.0, self.key.1)), key, value)
    }

    /// Opens connections to `target` until its accept queue is full (or, in the mesh, that of the listener which takes
    /// its place). Pause the listener's process first.
    pub fn fill_accept_queue(&self, target: SocketAddr, limit: usize) -> Result<Fill> {
        fault::fill(&self.place.netns, target, limit)
    }

    /// How often listeners in this pod's namespace have turned a connection away because their queue was full.
    pub fn listen_overflows(&self) -> Result<u64> {
        fault::tcp_counter(&self.place.netns, "ListenOverflows")
    }

    /// How often a SYN, or the answer to one, was sent again because nobody had answered.
    pub fn syn_retransmits(&self) -> Result<u64> {
        fault::tcp_counter(&self.place.netns, "TCPSynRetrans")
    }
}

/// Waits until the application listens, if it is known where it will.
pub(crate) fn wait_for_port(app: &App, process: &Process) -> Result<()> {
    match app.port {
        Some((_, port)) => {
            process.wait_until(&format!("listening on {port}"), APP_START, || process.listens_on(port))
        }
        None => Ok(()),
    }
}
