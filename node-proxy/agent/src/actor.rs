//! The agent's one loop: it waits, lets [`Reconcile`] decide, and sets threads and proxies to work.

use crate::enrol::{Enrolled, Enroller, Task, chain};
use crate::memory::{Memory, Remembered};
use crate::metrics::AgentMetrics;
use crate::reconcile::{CniId, Effect, Event, Key, ProxyId, Reconcile, Wanted};
use crate::status::{PodStatus, ProxyStatus, Status};
use crate::supply::Supply;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use weft_agent_link::cni::Answer;
use weft_agent_link::{FromProxy, Held, Workers};
use weft_core::names::{NodeName, WorkloadUid};
use weft_runtime::drain::Stop;
use weft_runtime::fds::{Watched, check_sealed};
use weft_runtime::ready::Condition;

mod existing;
mod jobs;
mod proxies;
mod words;

use existing::Watch;
use words::{Batch, Connected, Done, Kept, Tried};
pub use words::{Input, Out};

/// When nothing is due: for shelves of ready sockets that have become quiet.
const TICK: Duration = Duration::from_secs(10);

/// How often the paths of namespaces are looked at; two calls of the kernel for each pod.
const NETNS_EVERY: Duration = Duration::from_secs(2);

/// What the actor works with; `app.rs` builds it.
pub struct Parts {
    /// The node.
    pub node: NodeName,
    /// Does the work of threads.
    pub enroller: Arc<Enroller>,
    /// For the next agent.
    pub memory: Memory,
    /// Of the node's own tunnel; none for all.
    pub node_addresses: Vec<IpAddr>,
    /// What is counted.
    pub metrics: AgentMetrics,
    /// Whether the node's tunnel has its listeners.
    pub node_tunnel: Condition,
}

/// The loop and what it holds.
pub struct Actor {
    parts: Parts,
    machine: Reconcile,
    now: Instant,
    /// For pods that are enrolled next.
    workers: Workers,
    kept: HashMap<WorkloadUid, Kept>,
    held: HashMap<WorkloadUid, Held>,
    /// Passed by the CNI plugin, with the path that it named.
    passed: HashMap<WorkloadUid, (PathBuf, Arc<OwnedFd>)>,
    proxies: HashMap<ProxyId, Connected>,
    cni: HashMap<CniId, oneshot::Sender<Answer>>,
    cni_last: u64,
    supply: Supply<OwnedFd>,
    state: Option<Arc<OwnedFd>>,
    node_tunnel: Vec<Arc<OwnedFd>>,
    held_node: Vec<OwnedFd>,
    remembering: Remembering,
    /// Why older connections cannot be ended, if so.
    cannot_end: Option<String>,
    /// When older connections are looked at again; nothing if there are none.
    existing_due: Option<Instant>,
    /// When the paths of namespaces are looked at again.
    netns_due: Instant,
    /// A thread looks at them, which a file system that hangs holds up.
    looking: bool,
    /// Threads that enrol or release pods: they take memory that nobody needs later.
    working: usize,
    jobs: JoinSet<Done>,
}

/// Whether the file of pods is being written.
#[derive(PartialEq, Eq)]
enum Remembering {
    No,
    Writing,
    /// And once more after that.
    Again,
}

impl Actor {
    /// Begins with what an earlier agent left.
    pub fn new(parts: Parts, adopted: Vec<Key>, remembered: Remembered) -> Self {
        let now = tokio::time::Instant::now().into_std();
        let cannot_end = parts.enroller.capture().can_destroy().err().map(|error| chain(&error));
        if let Some(reason) = &cannot_end {
            tracing::warn!(
                reason,
                "this kernel cannot end connections that are older than their pod's enrolment"
            );
        }
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            parts,
            machine: Reconcile::new(adopted, remembered.pods, now),
            now,
            workers: remembered.workers.unwrap_or_else(|| Workers::clamped(cpus)),
            kept: HashMap::new(),
            held: HashMap::new(),
            passed: HashMap::new(),
            proxies: HashMap::new(),
            cni: HashMap::new(),
            cni_last: 0,
            supply: Supply::default(),
            state: None,
            node_tunnel: Vec::new(),
            held_node: Vec::new(),
            remembering: Remembering::No,
            cannot_end,
            existing_due: None,
            netns_due: now,
            looking: false,
            working: 0,
            jobs: JoinSet::new(),
        }
    }

    /// Runs until told to stop. Captured pods stay captured: who stops it cannot tell an upgrade from a
    /// farewell.
    pub async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut stop: Stop) {
        self.on(Event::Tick);
        loop {
            let due = self.machine.deadline(self.now).unwrap_or(self.now + TICK).min(self.now + TICK);
            let due = self.existing_due.map_or(due, |existing| existing.min(due));
            let due = if self.kept.is_empty() { due } else { due.min(self.netns_due) };
            tokio::select! {
                Some(input) = inputs.recv() => self.take(input),
                Some(done) = self.jobs.join_next() => self.done(done.unwrap_or(Done::Nothing)),
                () = tokio::time::sleep_until(due.into()) => self.on_tick(),
                () = stop.requested() => break,
            }
        }
        if let Err(error) = self.parts.memory.write(&self.remembered()) {
            tracing::warn!(error = chain(&error), "the next agent will not know the pods");
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Told(pods) => self.on(Event::Told(pods)),
            Input::Joined { id, greeting, out } => {
                self.workers = greeting.workers;
                self.proxies.insert(id, Connected { greeting, out, batches: 0 });
                self.on(Event::ProxyJoined(id));
            }
            Input::Said(id, said) => self.said(id, said),
            Input::Gone(id) => {
                self.proxies.remove(&id);
                self.on(Event::ProxyGone(id));
            }
            Input::CniAdd { wanted, netns, reply } => {
                if let Some(path) = &wanted.netns {
                    self.passed.insert(wanted.uid.clone(), (path.clone(), Arc::new(netns)));
                }
                let id = self.question(reply);
                self.on(Event::CniAdd(id, wanted));
            }
            Input::CniDel { uid, pod_uid, reply } => {
                let id = self.question(reply);
                self.on(Event::CniDel(id, uid, pod_uid));
            }
            // Whoever asked may have gone.
            Input::Status(reply) => drop(reply.send(self.status())),
        }
    }

    fn question(&mut self, reply: oneshot::Sender<Answer>) -> CniId {
        self.cni_last += 1;
        let id = CniId(self.cni_last);
        self.cni.insert(id, reply);
        id
    }

    fn said(&mut self, id: ProxyId, said: FromProxy) {
        match said {
            FromProxy::Held(held) => {
                let uid = held.uid.clone();
                if self.machine.wants_held(&uid) {
                    self.held.insert(uid.clone(), held);
                }
                self.on(Event::ProxyHolds(id, uid));
            }
            FromProxy::HeldNode { listeners } if self.node_tunnel.is_empty() => self.held_node = listeners,
            FromProxy::HeldNode { .. } => {}
            FromProxy::HeldEnd => self.on(Event::ProxyHeldEnd(id)),
            FromProxy::NeedSockets { uid, kind, count } => self.need(id, &uid, kind, count),
            FromProxy::PodReleased { uid } => self.on(Event::PodReleased(id, uid)),
            FromProxy::Keep { state } => match check_sealed(std::os::fd::AsFd::as_fd(&state)) {
                Ok(_) => self.state = Some(Arc::new(state)),
                Err(error) => tracing::warn!(error = chain(&error), "the proxy's state is not kept"),
            },
            FromProxy::Ready => {
                tracing::info!(proxy = id.0, "proxy serves");
                self.on(Event::ProxyReady(id));
            }
            FromProxy::Draining => tracing::info!(proxy = id.0, "proxy drains"),
        }
    }

    fn on_tick(&mut self) {
        self.on(Event::Tick);
        self.supply.expire(self.now);
        self.judge_all_existing();
        self.look_for_replaced();
        if self.node_tunnel.is_empty() && !self.proxies.is_empty() {
            self.open_node_tunnel();
        }
    }

    fn on(&mut self, event: Event) {
        self.now = tokio::time::Instant::now().into_std();
        for effect in self.machine.on_event(self.now, event) {
            self.apply(effect);
        }
        self.measure();
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Enrol { wanted, key, before } => {
                let passed =
                    self.passed.get(&wanted.uid).filter(|(path, _)| wanted.netns.as_ref() == Some(path));
                let netns = passed.map(|(_, netns)| netns.clone());
                let held = self.held.remove(&wanted.uid);
                self.enrol(Task { wanted, netns, held, workers: self.workers, key, before });
            }
            Effect::Release { uid, key, netns } => self.release(uid, key, netns),
            Effect::ReleaseOrphan(key) => self.release_orphan(key),
            Effect::SetAddresses(uid, addresses) => self.set_addresses(&uid, addresses),
            Effect::JudgeExisting(uid, rule) => self.judge_by(&uid, rule),
            Effect::SetAcceleration(uid, acceleration) => self.set_acceleration(&uid, acceleration),
            Effect::CloseSockets(uid) => {
                self.kept.remove(&uid);
                self.held.remove(&uid);
                self.supply.forget(&uid);
            }
            Effect::Tell(id, tell) => self.tell(id, tell),
            Effect::AnswerCni(id, answer) => {
                if let Some(reply) = self.cni.remove(&id) {
                    // The plugin may have given up.
                    drop(reply.send(answer));
                }
            }
            Effect::Remember => self.remember(),
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Enrolled(uid, tried) => {
                self.worked();
                self.enrolled(uid, tried);
            }
            Done::Replaced(pods) => {
                self.looking = false;
                for (uid, cookie) in pods {
                    // It may have left meanwhile.
                    if self.kept.get(&uid).is_some_and(|kept| kept.netns.cookie == cookie) {
                        self.replaced(uid);
                    }
                }
            }
            Done::Released(uid, result) => {
                self.worked();
                match &result {
                    Ok(()) => tracing::info!(pod = %uid, "pod released"),
                    Err(reason) => {
                        self.parts.metrics.release_failures.inc();
                        tracing::warn!(pod = %uid, reason, "pod not released");
                    }
                }
                self.on(Event::Released(uid, result));
            }
            Done::OrphanReleased(key, result) => self.on(Event::OrphanReleased(key, result)),
            Done::Made(batch, result) => self.made(batch, result),
            Done::DevicesChanged(uid, watched) => self.devices_changed(uid, watched),
            Done::Contained(uid, not_contained) => {
                if let Some(kept) = self.kept.get_mut(&uid) {
                    kept.not_contained = not_contained;
                }
            }
            Done::Existing(uid, cookie, result) => self.existing_judged(&uid, cookie, result),
            Done::Remembered => {
                let again = self.remembering == Remembering::Again;
                self.remembering = Remembering::No;
                if again {
                    self.remember();
                }
            }
            Done::Nothing => {}
        }
    }

    /// Another namespace is another pod, whatever its path.
    fn replaced(&mut self, uid: WorkloadUid) {
        tracing::warn!(pod = %uid, "its path leads to another network namespace: the old one is released");
        // What the CNI plugin has passed is the old one.
        self.passed.remove(&uid);
        self.on(Event::NetnsReplaced(uid));
    }

    fn enrolled(&mut self, uid: WorkloadUid, tried: Tried) {
        let replaced = matches!(tried, Tried::Replaced(_));
        let result = match tried {
            Tried::Enrolled(enrolled) => {
                tracing::info!(pod = %uid, netns_cookie = enrolled.netns.cookie, "pod enrolled");
                self.keep(&uid, *enrolled);
                Ok(())
            }
            Tried::Failed(reason) | Tried::Replaced(reason) => {
                self.parts.metrics.enrol_failures.inc();
                tracing::warn!(pod = %uid, reason, "pod not enrolled");
                Err(reason)
            }
        };
        self.on(Event::Enrolled(uid.clone(), result));
        if replaced {
            self.replaced(uid);
        }
    }

    fn keep(&mut self, uid: &WorkloadUid, enrolled: Enrolled) {
        let Enrolled { wanted, key, netns, listeners, devices, not_contained, cut_off } = enrolled;
        let watched = devices.map(Watched::new).transpose().unwrap_or_else(|error| {
            tracing::warn!(pod = %uid, %error, "new devices of a pod are not seen");
            None
        });
        let devices = watched.map(|watched| self.watch_devices(uid, watched));
        let Wanted { namespace, name, addresses, existing, netns: path, .. } = wanted;
        let existing = Watch::new(existing);
        let kept = Kept {
            key,
            netns,
            path,
            listeners,
            namespace,
            name,
            addresses,
            not_contained,
            cut_off,
            devices,
            existing,
        };
        self.kept.insert(uid.clone(), kept);
        self.judge_existing(uid);
    }

    fn remembered(&self) -> Remembered {
        Remembered { pods: self.machine.remembered(), workers: Some(self.workers) }
    }

    fn measure(&self) {
        let metrics = &self.parts.metrics;
        metrics.pods.reset();
        for state in self.machine.states() {
            metrics.pods.with_label_values(&[state.state]).inc();
        }
        metrics.proxies.set(i64::try_from(self.proxies.len()).unwrap_or(i64::MAX));
    }

    fn status(&self) -> Status {
        let capture = self.parts.enroller.capture();
        let pods = self.machine.states().into_iter().map(|state| {
            let kept = self.kept.get(&state.uid);
            PodStatus {
                netns_cookie: kept.map(|kept| kept.netns.cookie),
                not_contained: kept.map(|kept| kept.not_contained.clone()).unwrap_or_default(),
                existing: kept.map(|kept| kept.existing.seen.clone()).unwrap_or_default(),
                cut_off: kept.map_or(0, |kept| kept.cut_off),
                ..PodStatus::of(state)
            }
        });
        let proxies = self.proxies.values().map(|proxy| ProxyStatus {
            pid: proxy.greeting.pid,
            workers: proxy.greeting.workers.count(),
            version: proxy.greeting.version,
        });
        Status {
            node: self.parts.node.to_string(),
            in_sync: self.machine.has_spoken(),
            pods: pods.collect(),
            proxies: proxies.collect(),
            sockets_ahead: self.supply.count(),
            cannot_end_connections: self.cannot_end.clone(),
            node_tunnel_listeners: self.node_tunnel.len(),
            packets: capture.counters(),
        }
    }
}
