//! Nodes: a namespace with a bridge for its pods and a wire to the fabric.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::binaries::{find_binary, http_get};
use crate::capture::Capture;
use crate::cluster::node_name;
use crate::netns;
use crate::network::{self, LinkState, UPLINK};
use crate::pod_builder::PodBuilder;
use crate::process::{Output, Process};
use crate::report::Answer;
use crate::shared::{Place, Shared};
use crate::tap::TapOptions;
use crate::tools::{Get, Running, Tool};

/// The Kubernetes namespace of pods that know nothing of the mesh.
const OUTSIDE: &str = "outside";

/// A node of a world.
#[derive(Clone, Debug)]
pub struct Node {
    shared: Arc<Shared>,
    number: usize,
}

impl Node {
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self { shared, number }
    }

    /// Its number, counted from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its name in Kubernetes.
    pub fn name(&self) -> String {
        node_name(self.number)
    }

    /// Its address on the fabric, IPv4.
    pub fn ip(&self) -> IpAddr {
        self.shared.plan.node4(self.number).into()
    }

    /// Its address on the fabric, IPv6.
    pub fn ip6(&self) -> IpAddr {
        self.shared.plan.node6(self.number).into()
    }

    /// All its addresses: on the fabric, and on its pods' bridge.
    pub fn ips(&self) -> [IpAddr; 4] {
        let plan = self.shared.plan;
        [self.ip(), self.ip6(), plan.gateway4(self.number).into(), plan.gateway6(self.number).into()]
    }

    /// Its network namespace, as `nsenter --net=` takes it.
    pub fn netns(&self) -> PathBuf {
        self.shared.netns(&self.name())
    }

    /// The cgroup of what plays the kubelet.
    pub fn kubelet_cgroup(&self) -> Result<PathBuf> {
        self.shared.cgroup(&format!("{}/kubelet", self.name()))
    }

    /// A pod on this node.
    pub fn pod(&self, namespace: &str, name: &str) -> PodBuilder {
        PodBuilder::new(Arc::clone(&self.shared), self.number, namespace, name)
    }

    /// A pod on this node, in a namespace outside the mesh.
    pub fn outside(&self, name: &str) -> PodBuilder {
        self.pod(OUTSIDE, name).outside()
    }

    /// Runs a closure in the node's network namespace, on a thread of its own, and waits for it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        netns::within(&self.netns(), work)
    }

    /// Runs a program on the node to its end.
    pub fn run<A: Into<OsString>>(&self, command: impl IntoIterator<Item = A>) -> Result<Output> {
        let command = command.into_iter().map(Into::into).collect();
        self.start_in("host", command)?.output(Duration::from_secs(600))
    }

    /// Runs a client of the node itself (as a host-network pod would be) to its end.
    pub fn run_tool<T: Tool>(&self, tool: &T) -> Result<T::Report> {
        self.tool_in("host", tool)?.finish()
    }

    /// Runs a client in the kubelet's cgroup to its end.
    pub fn run_tool_as_kubelet<T: Tool>(&self, tool: &T) -> Result<T::Report> {
        self.tool_in("kubelet", tool)?.finish()
    }

    /// A health probe over HTTP, as the kubelet makes it.
    pub fn probe_as_kubelet(&self, url: &str) -> Result<Answer> {
        self.run_tool_as_kubelet(&Get::url(url).close())?.answers.pop().context("a report without an answer")
    }

    /// Asks a process on this node: status and body. Metrics are on 15020, readiness on 15021.
    pub fn http_get(&self, port: u16, path: &str) -> Result<(u16, String)> {
        http_get(&self.netns(), port, path)
    }

    /// Listens on the node's wire to the fabric.
    pub fn capture(&self) -> Result<Capture> {
        self.capture_with(Some(UPLINK), TapOptions::default())
    }

    /// Listens on another device of the node, or on all of them, with other limits or with markers.
    pub fn capture_with(&self, device: Option<&str>, options: TapOptions) -> Result<Capture> {
        Capture::start(&self.netns(), device, options)
    }

    /// Unplugs the node on the fabric's side; its own device loses its carrier and keeps its addresses and routes.
    pub fn cut(&self) -> Result<()> {
        network::set_link(&self.shared.netns_name("fabric"), &self.name(), LinkState::Down)
    }

    /// Plugs it in again.
    pub fn mend(&self) -> Result<()> {
        network::set_link(&self.shared.netns_name("fabric"), &self.name(), LinkState::Up)
    }

    /// Writes a sysctl in its namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        network::sysctl(&self.shared.netns_name(&self.name()), key, value)
    }

    fn tool_in<T: Tool>(&self, group: &str, tool: &T) -> Result<Running<T::Report>> {
        let mut command = vec![OsString::from(find_binary("weft-testapp")?)];
        command.extend(tool.args().into_iter().map(OsString::from));
        Ok(Running::new(self.start_in(group, command)?, tool.patience()))
    }

    fn start_in(&self, group: &str, command: Vec<OsString>) -> Result<Arc<Process>> {
        let cgroup = self.shared.cgroup(&format!("{}/{group}", self.name()))?;
        let place = Place { netns: self.netns(), cgroup, resolv: None };
        self.shared.start_run(&format!("{}.{group}", self.name()), &place, command)
    }
}
