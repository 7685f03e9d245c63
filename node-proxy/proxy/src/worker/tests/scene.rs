//! A worker whose pods have loopback addresses in this process' own namespace: the listener that "captures" a connection is
//! bound to where the connection is meant to go.

use super::super::dns::{DnsRules, DnsUpstream};
use super::super::request::{COMMANDS_MAX, Command, NewPod, REQUESTS_MAX, Request};
use super::super::{Knowledge, Limits, WorkerParts, serve};
use crate::telemetry::metrics::Families;
use parking_lot::Mutex;
use prometheus::IntCounter;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{LocalSet, spawn_local};
use weft_agent_link::{Listener, ListenerKind, SocketKind};
use weft_core::names::NodeName;
use weft_core::route::{MeshRules, Ranges};
use weft_core::service::{AppProtocol, Service, ServicePort};
use weft_core::snapshot::Snapshot;
use weft_core::workload::{NodeTunnel, PortPair, TunnelPlace, Workload};
use weft_pki::{Leaf, TrustBundle, TrustView, live_trust};
use weft_runtime::access::AccessFormat;
use weft_runtime::metrics::Metrics;
use weft_runtime::outlet::{Outlet, Rest};
use weft_xds::leaves::leaves;
use weft_xds::{Client, ClientConfig, ControlSettings, ControlUrl, Mesh, Node, Role, Subscribe};

/// Longer than any test may wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than that.
const NEVER: Duration = Duration::from_secs(600);

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(PATIENCE, test).await.expect("done within a minute");
    });
}

pub(super) struct Scene {
    commands: mpsc::Sender<Command>,
    requests: mpsc::Receiver<Request>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    lines: Lines,
    pub(super) trust: TrustView,
    _kept: (Rest, Client<Mesh>),
}

/// Who this worker's pods are, and who vouches for others.
#[derive(Default)]
pub(super) struct Papers {
    pub(super) leaves: Vec<Leaf>,
    pub(super) trust: TrustBundle,
}

impl Scene {
    pub(super) fn set(snapshot: Snapshot, papers: Papers) -> Self {
        let nowhere = ControlUrl { host: "127.0.0.1".to_owned(), port: 1 };
        let (roots, token) = ("none".into(), "none".into());
        let (client, view) = Client::<Mesh>::new(ClientConfig {
            control: ControlSettings { url: nowhere, roots, token, cluster: "Kubernetes".to_owned() },
            node: Node {
                role: Role::NodeProxy,
                ip: [127, 0, 0, 1].into(),
                pod: "proxy".to_owned(),
                namespace: "weft-system".to_owned(),
                node: NodeName::new("node1"),
            },
            subscribe: Subscribe::All,
            state_file: None,
        });
        let (snapshots, told) = watch::channel(Arc::new(snapshot));
        let (mut leaf_writer, leaves) = leaves();
        leaf_writer.change(|table| papers.leaves.into_iter().for_each(|leaf| table.insert(leaf)));
        let (_, trust) = live_trust(papers.trust);
        let lines = Lines::default();
        let lost = IntCounter::new("lost", "Lost.").unwrap();
        let (outlet, rest) = Outlet::start("test", lines.clone(), lost).unwrap();
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let knowledge = Knowledge {
            view: view.over(told),
            leaves,
            trust: trust.clone(),
            rules: Arc::new(MeshRules { ranges: Ranges::Said(Vec::new()), ..MeshRules::default() }),
            dns: DnsRules { upstream: DnsUpstream::None, cluster_domain: "cluster.local".into() },
            affinity: Arc::default(),
            asked_for: Arc::default(),
            limits: Limits {
                connect: NEVER,
                handshake: NEVER,
                discovery: Duration::from_secs(2),
                idle: None,
                drain: NEVER,
                connections: usize::MAX,
            },
        };
        let families = Families::register(&Metrics::new()).unwrap();
        let (access, index) = (AccessFormat::Text, 0);
        spawn_local(serve(
            WorkerParts { index, knowledge, requests, families, access, lines: outlet },
            inbox,
        ));
        Self { commands, requests: asked, snapshots, lines, trust, _kept: (rest, client) }
    }

    pub(super) async fn say(&self, command: Command) {
        self.commands.send(command).await.expect("the worker runs");
    }

    pub(super) async fn enrol(&self, pod: &Workload, listeners: &[(ListenerKind, &TcpListener)]) {
        self.enrol_in(1, pod, listeners).await;
    }

    /// The same pod in another namespace.
    pub(super) async fn enrol_anew(&self, pod: &Workload, listeners: &[(ListenerKind, &TcpListener)]) {
        self.enrol_in(2, pod, listeners).await;
    }

    async fn enrol_in(&self, netns_cookie: u64, pod: &Workload, listeners: &[(ListenerKind, &TcpListener)]) {
        let listener = |(kind, socket): &(ListenerKind, &TcpListener)| Listener {
            kind: *kind,
            socket: socket.try_clone().unwrap().into(),
        };
        let listeners = listeners.iter().map(listener).collect();
        self.say(Command::Pod(NewPod { uid: pod.uid.clone(), netns_cookie, listeners })).await;
    }

    /// What the agent would do.
    pub(super) async fn give_sockets(&self, pod: &Workload, count: usize) {
        let fresh = |_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            OwnedFd::from(socket)
        };
        let sockets = (0..count).map(fresh).collect();
        self.say(Command::Sockets { pod: pod.uid.clone(), kind: SocketKind::TcpV4, sockets }).await;
    }

    /// Waits for a request of the worker's.
    pub(super) async fn hears(&mut self, wanted: impl Fn(&Request) -> bool) {
        while !wanted(&self.requests.recv().await.expect("the worker runs")) {}
    }

    /// Waits until the worker has done what it was told.
    pub(super) async fn settles(&self) {
        let (answer, done) = oneshot::channel();
        self.say(Command::Connections(answer)).await;
        done.await.expect("the worker answers");
    }

    pub(super) fn tell(&self, change: impl FnOnce(&mut Snapshot)) {
        self.snapshots.send_modify(|snapshot| change(Arc::make_mut(snapshot)));
    }

    /// The access lines, once there are some.
    pub(super) async fn lines(&self) -> Vec<String> {
        loop {
            let text = String::from_utf8(self.lines.0.lock().clone()).unwrap();
            if !text.is_empty() {
                return text.lines().map(str::to_owned).collect();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A listener at 127.0.0.`host`.
pub(super) fn listener(host: u8) -> TcpListener {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// An enrolled pod at 127.0.0.`host`, whose node's tunnel is there.
pub(super) fn pod(name: &str, host: u8, tunnel: SocketAddr) -> Workload {
    Workload {
        addresses: vec![IpAddr::from([127, 0, 0, host])],
        node: NodeName::new(tunnel.ip().to_string()),
        node_tunnel: Some(NodeTunnel { place: TunnelPlace::Node(vec![tunnel]), versions: vec![1] }),
        ..weft_samples::workload("shop", name)
    }
}

/// A service at `at`, and the pod as its only endpoint, which serves it at `port`.
pub(super) fn served(pod: &mut Workload, at: SocketAddr, port: u16) -> Service {
    let port = ServicePort { service_port: at.port(), target_port: port, app_protocol: AppProtocol::Unknown };
    let service = Service {
        vips: vec![weft_samples::vip(at.ip())],
        ports: vec![port],
        ..weft_samples::service("shop", "web.shop.svc.cluster.local")
    };
    let pair = PortPair { service_port: port.service_port, target_port: port.target_port };
    pod.services.push((service.name.clone(), vec![pair]));
    service
}
