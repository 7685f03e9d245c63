//! A worker: one thread, one event loop, its own listeners, tunnels and connections. Workers share only what
//! discovery and the certificate keeper publish.

mod outbound;
mod asked;
mod inbound;
mod pod_tunnel;
mod node_tunnel;
mod deliver;
mod carry;
mod peers;
mod pool;
mod dial;
mod pods;
mod listener;
pub mod registry;
pub mod dns;
mod datagram;
mod stock;
mod places;
pub mod affinity;
pub mod chance;
pub mod request;

use self::places::Places;
use crate::telemetry::metrics::{Families, WorkerMetrics};
use affinity::{Affinity, Sticky};
use asked::AskedFor;
use chance::Sequence;
use dns::DnsRules;
use peers::Peers;
use pods::{Pod, Pods};
use pool::Pool;
use registry::Registry;
use request::{Command, Request, Requests};
use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::Instant;
use weft_agent_link::{Listener, ListenerKind};
use weft_core::names::{NetworkAddr, OriginalDst, WorkloadUid};
use weft_core::route::{Hop, MeshRules};
use weft_core::snapshot::{Snapshot, Target};
use weft_core::workload::Workload;
use weft_pki::{Fingerprint, TrustView};
use weft_runtime::access::{AccessFormat, AccessLog};
use weft_runtime::outlet::Outlet;
use weft_tunnel::end::Stop;
use weft_tunnel::handshakes::{HANDSHAKES_MAX, Handshakes};
use weft_xds::leaves::Leaves;
use weft_xds::{Mesh, View};

/// What a worker reads: everything here is published by somebody else.
#[derive(Clone)]
pub struct Knowledge {
    /// Discovery.
    pub view: View<Mesh>,
    /// Certificates.
    pub leaves: Leaves,
    /// Who vouches for peers.
    pub trust: TrustView,
    /// What the settings say of the mesh.
    pub rules: Arc<MeshRules>,
    /// How captured DNS is answered.
    pub dns: DnsRules,
    /// Who has which endpoint.
    pub affinity: Arc<Affinity>,
    /// Addresses that nobody of the mesh has.
    pub asked_for: Arc<AskedFor>,
    /// How long things may take.
    pub limits: Limits,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connecting to an application or a peer.
    pub connect: Duration,
    /// A peer's TLS handshake.
    pub handshake: Duration,
    /// How long a connection waits for discovery to tell of an address.
    pub discovery: Duration,
    /// How long a connection may carry nothing; for ever if nobody says. TCP itself has no such limit, and applications
    /// rely on that: pools, subscriptions, shells. A peer that is gone is found by keepalives.
    pub idle: Option<Duration>,
    /// How long open connections may go on after the word to drain.
    pub drain: Duration,
    /// Connections of one listener at a time, on one worker.
    pub connections: usize,
}

/// One worker's state. It never leaves its thread.
pub(crate) struct Worker {
    index: usize,
    knowledge: Knowledge,
    requests: Requests,
    pods: Pods,
    pool: Pool,
    open: Rc<Registry>,
    metrics: WorkerMetrics,
    access: AccessLog,
    node_tunnel: RefCell<Vec<AbortHandle>>,
    /// Peers that have not proven who they are.
    handshakes: Handshakes,
    /// Connections that are neither carried nor refused yet.
    attempts: Places,
    peers: Peers,
    chance: Cell<Sequence>,
    /// When idle connections are looked for again.
    idle_due: Cell<Instant>,
    /// When what open connections have carried is counted again.
    count_due: Cell<Instant>,
    /// The trust bundle that the open tunnels were checked against.
    trusted: Cell<Option<Fingerprint>>,
}

/// What a worker is made of.
pub struct WorkerParts {
    /// Its number.
    pub index: usize,
    /// What it reads.
    pub knowledge: Knowledge,
    /// Where it asks.
    pub requests: Requests,
    /// The metric families.
    pub families: Families,
    /// How access lines are written.
    pub access: AccessFormat,
    /// Where they go.
    pub lines: Outlet,
}

/// Access lines wait at most so long.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// How often idle connections are looked for, at most and at least: an eighth of their limit is exact enough.
const IDLE_EVERY: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(30);
/// How often the bytes of open connections are counted: many times while Prometheus waits between two of its questions.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// How long a released pod's connections may take to close before its sockets are dropped.
const RELEASE_WITHIN: Duration = Duration::from_secs(4);

/// How long peers may take to close their tunnels once the proxy goes away, and those that are at their handshakes to finish
/// them: it is a matter of milliseconds, unless they mean no good.
const PEERS_LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// Runs a worker on the current thread until it is told to drain and has.
///
/// # Errors
/// If the event loop cannot be made.
pub fn run(parts: WorkerParts, commands: mpsc::Receiver<Command>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The set owns every task of this worker: when it is dropped, they end.
    LocalSet::new().block_on(&runtime, serve(parts, commands));
    Ok(())
}

async fn serve(parts: WorkerParts, mut commands: mpsc::Receiver<Command>) {
    let mut changes = parts.knowledge.view.clone();
    let worker = Rc::new(Worker::new(parts));
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None | Some(Command::Drain) => break,
                Some(command) => worker.on_command(command),
            },
            changed = changes.changed() => match changed {
                Some(snapshot) => worker.open.judge_again(&snapshot),
                None => break,
            },
            _ = flush.tick() => worker.on_tick(),
        }
    }
    // What is still open obeys policy and trust as before.
    let drain = worker.clone().drain(&mut commands);
    tokio::pin!(drain);
    let mut is_told = true;
    loop {
        tokio::select! {
            () = &mut drain => return,
            changed = changes.changed(), if is_told => match changed {
                Some(snapshot) => worker.open.judge_again(&snapshot),
                None => is_told = false,
            },
            _ = flush.tick() => worker.on_tick(),
        }
    }
}

impl Worker {
    fn new(parts: WorkerParts) -> Self {
        let WorkerParts { index, knowledge, requests, families, access, lines } = parts;
        Self {
            index,
            pods: Pods::default(),
            pool: Pool::new(knowledge.clone()),
            knowledge,
            requests,
            open: Rc::default(),
            metrics: WorkerMetrics::new(families),
            access: AccessLog::new(access, lines),
            node_tunnel: RefCell::default(),
            handshakes: Handshakes::new(HANDSHAKES_MAX),
            attempts: Places::unbounded(),
            peers: Peers::default(),
            chance: Cell::new(Sequence::new(seed(index))),
            idle_due: Cell::new(Instant::now()),
            count_due: Cell::new(Instant::now()),
            trusted: Cell::new(None),
        }
    }

    fn on_command(self: &Rc<Self>, command: Command) {
        match command {
            Command::Pod(new) => {
                let pod = self.enrolled(&new);
                self.listen(&pod, new);
            }
            Command::PodGone { pod, release } => {
                if let Some(pod) = self.pods.remove(&pod) {
                    spawn_local(self.clone().release(pod, release));
                }
            }
            Command::NodeTunnel(listeners) => {
                let serve = |listener| spawn_local(self.clone().serve_node_tunnel(listener)).abort_handle();
                let old = self.node_tunnel.replace(listeners.into_iter().map(serve).collect());
                old.iter().for_each(AbortHandle::abort);
            }
            Command::Sockets { pod, kind, sockets } => {
                if let Some(pod) = self.pods.get(&pod) {
                    pod.stock.put(kind, sockets);
                }
            }
            Command::AgentRestarted => self.pods.each(|pod| pod.stock.forget_orders()),
            Command::Connections(answer) => {
                // Whoever asked may have gone; then nobody misses the answer.
                let _ = answer.send(self.open.describe());
            }
            Command::Drain => {}
        }
    }

    /// The pod that the agent tells of. One that has come back tells of all pods again, and gives new listeners: whoever has
    /// such a pod already goes on with it, for its sockets come to that.
    fn enrolled(&self, new: &request::NewPod) -> Rc<Pod> {
        if let Some(known) = self.pods.get(&new.uid) {
            if known.netns_cookie == new.netns_cookie {
                known.stop_listening();
                known.stock.forget_orders();
                return known;
            }
            // The word that it leaves was said while nobody was linked.
            self.let_go(&known);
            known.stock.clear();
        }
        let pod = Pod::new(self.index, new, self.requests.clone());
        self.pods.insert(pod.clone());
        pod
    }

    fn listen(self: &Rc<Self>, pod: &Rc<Pod>, new: request::NewPod) {
        for Listener { kind, socket } in new.listeners {
            match kind {
                ListenerKind::Outbound => {
                    pod.own(&spawn_local(self.clone().serve_outbound(pod.clone(), socket)));
                }
                ListenerKind::InboundPlain => {
                    pod.own(&spawn_local(self.clone().serve_inbound(pod.clone(), socket)));
                }
                ListenerKind::Tunnel => {
                    pod.own(&spawn_local(self.clone().serve_pod_tunnel(pod.clone(), socket)));
                }
                ListenerKind::Dns => {
                    pod.own(&spawn_local(self.clone().serve_dns(pod.clone(), socket)));
                }
            }
        }
    }

    fn on_tick(&self) {
        self.access.flush();
        self.stop_idle();
        self.count_bytes();
        self.metrics.tick(std::time::Instant::now());
        let trust = self.knowledge.trust.now();
        let changed = self.trusted.replace(Some(trust.fingerprint())) != Some(trust.fingerprint());
        if changed {
            self.peers.close_distrusted(&trust);
        }
        self.pool.close_idle(changed.then_some(&trust));
    }

    fn stop_idle(&self) {
        let Some(limit) = self.knowledge.limits.idle else { return };
        let now = Instant::now();
        if self.idle_due.get() <= now {
            self.idle_due.set(now + (limit / 8).clamp(*IDLE_EVERY.start(), *IDLE_EVERY.end()));
            self.open.stop_idle(now, limit);
        }
    }

    fn count_bytes(&self) {
        let now = Instant::now();
        if self.count_due.get() <= now {
            self.count_due.set(now + COUNT_EVERY);
            self.open.count_bytes();
        }
    }

    /// Where session affinity sends this client, if it asks for a service that has it.
    fn sticky(&self, snapshot: &Snapshot, client: &Workload, dst: OriginalDst) -> Sticky {
        let OriginalDst(dst) = dst;
        let addr = NetworkAddr { network: client.network.clone(), ip: dst.ip().to_canonical() };
        let Some(Target::Service(service)) = snapshot.target_at(&addr, dst.port(), &client.namespace) else {
            return Sticky::Free;
        };
        match (service.session_affinity, client.addresses.first()) {
            (Some(timeout), Some(ip)) => self.knowledge.affinity.get(&service.name, *ip, timeout, std_now()),
            (None, _) | (_, None) => Sticky::Free,
        }
    }

    /// Remembers where a client of a service with session affinity went.
    fn stick(&self, hop: &Hop, client: &Workload) {
        let Hop::Workload(hop) = hop else {
            return;
        };
        if let (Some(service), Some(ip)) = (&hop.service, client.addresses.first())
            && service.session_affinity.is_some()
        {
            self.knowledge.affinity.set(&service.name, *ip, &hop.workload.uid, std_now());
        }
    }

    async fn release(self: Rc<Self>, pod: Rc<Pod>, release: u64) {
        self.let_go(&pod);
        let deadline = Instant::now() + RELEASE_WITHIN;
        // Whoever has something to do with it holds it.
        let is_held = || self.open.has_pod(&pod.uid) || Rc::strong_count(&pod) > 1;
        while is_held() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        pod.stock.clear();
        let released = Request::Released { worker: self.index, pod: pod.uid.clone(), release };
        if self.requests.send(released).await.is_err() {
            tracing::debug!("the main thread is gone; nobody waits for the release");
        }
    }

    fn let_go(&self, pod: &Pod) {
        pod.leave();
        self.open.stop_pod(&pod.uid, Stop::Released);
        self.pool.close_pod(&pod.uid);
        self.peers.close_pod(&pod.uid);
    }

    async fn drain(self: Rc<Self>, commands: &mut mpsc::Receiver<Command>) {
        self.pods.each(|pod| pod.stop_listening());
        for task in self.node_tunnel.borrow_mut().drain(..) {
            task.abort();
        }
        self.peers.go_away();
        // What was accepted last begins in a task of its own.
        tokio::task::yield_now().await;
        let begun = Instant::now();
        let deadline = begun + self.knowledge.limits.drain;
        // What peers had on its way when they were told comes until they have closed their tunnels.
        let have_gone = || self.peers.are_gone() && self.handshakes.are_over();
        let nothing_comes = || have_gone() || begun.elapsed() >= PEERS_LEAVE_WITHIN;
        let is_done = || self.open.is_empty() && self.attempts.are_free() && nothing_comes();
        while !is_done() && Instant::now() < deadline {
            tokio::select! {
                Some(command) = commands.recv() => {
                    if matches!(
                        command,
                        Command::PodGone { .. } | Command::Sockets { .. } | Command::Connections(_)
                    ) {
                        self.on_command(command);
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
        self.open.stop_all(Stop::Drained);
        // One turn of the loop lets the relays see the stop and write their lines.
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.access.flush();
        // The main thread may have given up on us; the process ends either way.
        let _ = self.requests.send(Request::Drained { worker: self.index }).await;
    }

    /// A pod that is, or is about to be, enrolled on this node: others hear of it from discovery, at times before the
    /// agent is done with it.
    async fn await_pod(&self, uid: &WorkloadUid) -> Option<Rc<Pod>> {
        let found = self.pods.wait(uid);
        tokio::time::timeout(self.knowledge.limits.handshake, found).await.ok()
    }

    /// A number below `bound`.
    fn below(&self, bound: u64) -> u64 {
        let mut chance = self.chance.get();
        let number = chance.below(bound);
        self.chance.set(chance);
        number
    }
}

fn std_now() -> std::time::Instant {
    Instant::now().into_std()
}

fn seed(index: usize) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_nanos() as u64 ^ ((index as u64 + 1) << 48)
}

#[cfg(test)]
mod tests;
