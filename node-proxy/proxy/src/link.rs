//! The main thread's side of the link to the agent: spreads pods and sockets over the workers, gathers their
//! requests, and holds every listener so that an agent that restarts can have them back.

use crate::worker::request::{Command, NewPod, Request};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use weft_agent_link::{FromAgent, FromProxy, Held, Listener, Pod, ProxyEnd, SocketKind, Workers};
use weft_core::names::WorkloadUid;
use weft_pki::Leaf;
use weft_runtime::drain::{Stop, Stopper};
use weft_runtime::fds::{seal, unseal};
use weft_runtime::ready::Condition;
use weft_xds::keeper::Inherited;

/// How long to wait before the agent is tried again.
const RECONNECT: Duration = Duration::from_millis(200);
/// Leaves of a thousand identities take some megabytes; more than this is not ours.
const STATE_LEAVES_MAX: u32 = 65_536;

/// The link.
pub struct Link {
    path: PathBuf,
    workers: Vec<mpsc::Sender<Command>>,
    requests: mpsc::Receiver<Request>,
    /// Where leaves of a previous process go.
    inherited: mpsc::Sender<Inherited>,
    /// The leaves that the next process shall have.
    keep: watch::Receiver<Vec<Leaf>>,
    /// The pods that are enrolled here, told to whoever fetches certificates.
    enrolled: watch::Sender<Vec<WorkloadUid>>,
    condition: Condition,
    stopper: Arc<Stopper>,
    pods: HashMap<WorkloadUid, HeldPod>,
    node: Vec<OwnedFd>,
    /// Whose sockets come next, for each pod and kind: the agent answers in order.
    orders: HashMap<(WorkloadUid, SocketKind), VecDeque<Order>>,
    drained: usize,
    /// How many words of pods that leave have been passed on.
    releases: u64,
}

struct HeldPod {
    netns_cookie: u64,
    listeners: Vec<Listener>,
    leaving: Option<Leaving>,
}

/// A pod that leaves.
struct Leaving {
    /// The word that the workers answer.
    release: u64,
    /// Workers that have still to close it.
    left: usize,
}

struct Order {
    worker: usize,
    left: usize,
}

/// What a link is made of.
pub struct LinkParts {
    /// The agent's socket.
    pub path: PathBuf,
    /// The workers.
    pub workers: Vec<mpsc::Sender<Command>>,
    /// What they ask for.
    pub requests: mpsc::Receiver<Request>,
    /// Where leaves of a previous process go.
    pub inherited: mpsc::Sender<Inherited>,
    /// The leaves that the next process shall have.
    pub keep: watch::Receiver<Vec<Leaf>>,
    /// The pods that are enrolled here.
    pub enrolled: watch::Sender<Vec<WorkloadUid>>,
    /// Readiness.
    pub condition: Condition,
    /// A newer proxy makes this one stop.
    pub stopper: Arc<Stopper>,
}

impl Link {
    /// Puts a link together.
    pub fn new(parts: LinkParts) -> Self {
        let LinkParts { path, workers, requests, inherited, keep, enrolled, condition, stopper } = parts;
        Self {
            path,
            workers,
            requests,
            inherited,
            keep,
            enrolled,
            condition,
            stopper,
            pods: HashMap::new(),
            node: Vec::new(),
            orders: HashMap::new(),
            drained: 0,
            releases: 0,
        }
    }

    /// Talks to the agent until the word to stop, then has the workers drain, and ends when they have.
    pub async fn run(mut self, mut stop: Stop) {
        while !stop.is_requested() {
            let workers = Workers::clamped(self.workers.len());
            match ProxyEnd::connect(&self.path, workers).await {
                Ok((end, welcome)) => {
                    tracing::info!(node = %welcome.node, "linked to the agent");
                    if let Err(error) = self.talk(&end, &mut stop).await {
                        tracing::warn!(error, "lost the agent; what is open goes on");
                    }
                    self.orders.clear();
                    self.tell_all(|| Command::AgentRestarted).await;
                    if stop.is_requested() {
                        self.drain(Some(&end)).await;
                        return;
                    }
                    self.condition.unmet("lost the agent");
                }
                Err(error) => {
                    let error = crate::describe(&error);
                    self.condition.unmet(format!("no agent at {}: {error}", self.path.display()));
                    tracing::debug!(error, "no agent yet");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RECONNECT) => {}
                () = stop.requested() => {}
            }
        }
        self.drain(None).await;
    }

    async fn talk(&mut self, end: &ProxyEnd, stop: &mut Stop) -> Result<(), String> {
        self.return_held(end).await?;
        self.keep.mark_changed();
        loop {
            tokio::select! {
                message = end.recv() => match message {
                    Ok(Some(message)) => self.on_agent(end, message).await?,
                    Ok(None) => return Err("the agent has closed the link".to_owned()),
                    Err(error) => return Err(crate::describe(&error)),
                },
                Some(request) = self.requests.recv() => self.on_request(end, request).await?,
                Ok(()) = self.keep.changed() => self.send_keep(end).await?,
                () = stop.requested() => return Ok(()),
            }
        }
    }

    /// An agent that has restarted gets the listeners back.
    async fn return_held(&self, end: &ProxyEnd) -> Result<(), String> {
        if !self.node.is_empty() {
            let listeners = self.node.iter().map(AsFd::as_fd).collect();
            send(end, &FromProxy::HeldNode { listeners }).await?;
        }
        for (uid, pod) in &self.pods {
            let listeners =
                pod.listeners.iter().map(|one| Listener { kind: one.kind, socket: one.socket.as_fd() });
            let held =
                Held { uid: uid.clone(), netns_cookie: pod.netns_cookie, listeners: listeners.collect() };
            send(end, &FromProxy::Held(held)).await?;
        }
        send(end, &FromProxy::<OwnedFd>::HeldEnd).await
    }

    async fn on_agent(&mut self, end: &ProxyEnd, message: FromAgent) -> Result<(), String> {
        match message {
            FromAgent::State { state } => self.on_state(state.as_fd()).await,
            FromAgent::Pod(pod) => self.on_pod(pod).await,
            FromAgent::Addresses { uid, .. } => tracing::debug!(%uid, "a pod's addresses have changed"),
            FromAgent::PodGone { uid } => self.on_pod_gone(end, uid).await?,
            FromAgent::NodeTunnel { listeners } => self.on_node_tunnel(listeners).await,
            FromAgent::Sockets { uid, kind, sockets } => self.on_sockets(&uid, kind, sockets).await,
            FromAgent::NoSockets { uid, kind, reason } => {
                tracing::warn!(%uid, %kind, reason, "the agent cannot make sockets");
                self.orders.remove(&(uid, kind));
            }
            FromAgent::Synced => {
                self.condition.met();
                send(end, &FromProxy::<OwnedFd>::Ready).await?;
            }
            FromAgent::Superseded => {
                tracing::info!("a newer proxy has taken over");
                self.stopper.stop();
            }
        }
        Ok(())
    }

    async fn on_state(&self, state: BorrowedFd<'_>) {
        match unseal(state).map_err(|error| crate::describe(&error)).and_then(|bytes| read_leaves(&bytes)) {
            Ok(leaves) => {
                tracing::info!(count = leaves.len(), "took over the certificates of the previous process");
                let (taken, when_taken) = oneshot::channel();
                // The keeper outlives the link, except when the process ends. Listeners come next on the link.
                let _ = self.inherited.send(Inherited { leaves, taken }).await;
                let _ = when_taken.await;
            }
            Err(error) => tracing::warn!(error, "cannot use what the previous process left"),
        }
    }

    async fn on_pod(&mut self, pod: Pod) {
        let Pod { uid, netns_cookie, listeners, .. } = pod;
        tracing::info!(%uid, listeners = listeners.len(), "pod enrolled");
        let mut shares: Vec<Vec<Listener>> = self.workers.iter().map(|_| Vec::new()).collect();
        let mut seen = HashMap::new();
        for listener in &listeners {
            // The first of each kind to the first worker, and so on; members that are left over go round again.
            let turn = seen.entry(listener.kind).or_insert(0);
            match listener.socket.try_clone() {
                Ok(socket) => shares[*turn].push(Listener { kind: listener.kind, socket }),
                Err(error) => tracing::error!(%uid, %error, "cannot copy a listener"),
            }
            *turn = (*turn + 1) % self.workers.len();
        }
        for (worker, listeners) in shares.into_iter().enumerate() {
            self.tell(worker, Command::Pod(NewPod { uid: uid.clone(), netns_cookie, listeners })).await;
        }
        self.pods.insert(uid, HeldPod { netns_cookie, listeners, leaving: None });
        self.tell_enrolled();
    }

    async fn on_pod_gone(&mut self, end: &ProxyEnd, uid: WorkloadUid) -> Result<(), String> {
        let Some(pod) = self.pods.get_mut(&uid) else {
            return send(end, &FromProxy::<OwnedFd>::PodReleased { uid }).await;
        };
        // An agent that has come back says it again; the workers are at it, and one answer is enough.
        if pod.leaving.is_some() {
            return Ok(());
        }
        self.releases += 1;
        let release = self.releases;
        pod.leaving = Some(Leaving { release, left: self.workers.len() });
        pod.listeners.clear();
        self.tell_all(|| Command::PodGone { pod: uid.clone(), release }).await;
        self.tell_enrolled();
        Ok(())
    }

    async fn on_node_tunnel(&mut self, listeners: Vec<OwnedFd>) {
        let mut shares: Vec<Vec<OwnedFd>> = self.workers.iter().map(|_| Vec::new()).collect();
        for (index, listener) in listeners.iter().enumerate() {
            match listener.try_clone() {
                Ok(copy) => shares[index % self.workers.len()].push(copy),
                Err(error) => tracing::error!(%error, "cannot copy the node tunnel's listener"),
            }
        }
        for (worker, share) in shares.into_iter().enumerate() {
            self.tell(worker, Command::NodeTunnel(share)).await;
        }
        self.node = listeners;
    }

    async fn on_sockets(&mut self, uid: &WorkloadUid, kind: SocketKind, mut sockets: Vec<OwnedFd>) {
        while let Some(order) = self.orders.get_mut(&(uid.clone(), kind)).and_then(VecDeque::front_mut) {
            let share = sockets.split_off(sockets.len() - order.left.min(sockets.len()));
            order.left -= share.len();
            let (worker, done) = (order.worker, order.left == 0);
            if !share.is_empty() {
                self.tell(worker, Command::Sockets { pod: uid.clone(), kind, sockets: share }).await;
            }
            if !done {
                return;
            }
            if let Some(orders) = self.orders.get_mut(&(uid.clone(), kind)) {
                orders.pop_front();
            }
        }
        self.orders.remove(&(uid.clone(), kind));
        // A first few come with the pod, unasked: a share for each worker.
        let share = sockets.len().div_ceil(self.workers.len());
        for worker in 0..self.workers.len() {
            let sockets: Vec<OwnedFd> = sockets.drain(..share.min(sockets.len())).collect();
            if !sockets.is_empty() {
                self.tell(worker, Command::Sockets { pod: uid.clone(), kind, sockets }).await;
            }
        }
    }

    async fn on_request(&mut self, end: &ProxyEnd, request: Request) -> Result<(), String> {
        match request {
            Request::Sockets { worker, pod, kind, count } => {
                let orders = self.orders.entry((pod.clone(), kind)).or_default();
                orders.push_back(Order { worker, left: count });
                let count = u16::try_from(count).unwrap_or(weft_agent_link::BATCH_MAX);
                let count = count.min(weft_agent_link::BATCH_MAX);
                send(end, &FromProxy::<OwnedFd>::NeedSockets { uid: pod, kind, count }).await
            }
            Request::Released { pod, release, .. } => {
                if self.on_released(&pod, release) {
                    send(end, &FromProxy::<OwnedFd>::PodReleased { uid: pod }).await?;
                }
                Ok(())
            }
            Request::Drained { .. } => {
                self.drained += 1;
                Ok(())
            }
        }
    }

    /// True once the last worker has let go.
    fn on_released(&mut self, uid: &WorkloadUid, release: u64) -> bool {
        let leaving = self.pods.get_mut(uid).and_then(|pod| pod.leaving.as_mut());
        // Another pod of that name may have come meanwhile, and leave as well.
        let Some(leaving) = leaving.filter(|leaving| leaving.release == release) else {
            return false;
        };
        leaving.left = leaving.left.saturating_sub(1);
        if leaving.left > 0 {
            return false;
        }
        self.pods.remove(uid);
        self.orders.retain(|(pod, _), _| pod != uid);
        true
    }

    async fn send_keep(&mut self, end: &ProxyEnd) -> Result<(), String> {
        let bytes = write_leaves(&self.keep.borrow_and_update());
        if bytes.is_empty() {
            return Ok(());
        }
        let state = seal(&bytes).map_err(|error| crate::describe(&error))?;
        send(end, &FromProxy::Keep { state }).await
    }

    async fn drain(&mut self, end: Option<&ProxyEnd>) {
        if let Some(end) = end
            && let Err(error) = send(end, &FromProxy::<OwnedFd>::Draining).await
        {
            tracing::debug!(error, "the agent does not hear that we drain");
        }
        self.tell_all(|| Command::Drain).await;
        while self.drained < self.workers.len() {
            let heard = tokio::select! {
                request = self.requests.recv() => match (request, end) {
                    (None, _) => return,
                    (Some(Request::Drained { .. }), _) => {
                        self.drained += 1;
                        Ok(())
                    }
                    // Pods may still leave, and their namespaces wait for our word.
                    (Some(request), Some(end)) => self.on_request(end, request).await,
                    (Some(_), None) => Ok(()),
                },
                message = hear(end) => match (message, end) {
                    (Some(FromAgent::PodGone { uid }), Some(end)) => self.on_pod_gone(end, uid).await,
                    // What was accepted is still delivered.
                    (Some(FromAgent::Sockets { uid, kind, sockets }), _) => {
                        self.on_sockets(&uid, kind, sockets).await;
                        Ok(())
                    }
                    (Some(_), _) => Ok(()),
                    (None, _) => Err("the agent has closed the link".to_owned()),
                },
            };
            if let Err(error) = heard {
                tracing::debug!(error, "draining without the agent");
                return self.drain_alone().await;
            }
        }
    }

    async fn drain_alone(&mut self) {
        while self.drained < self.workers.len() {
            match self.requests.recv().await {
                Some(Request::Drained { .. }) => self.drained += 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    fn tell_enrolled(&self) {
        let here = self.pods.iter().filter(|(_, pod)| pod.leaving.is_none());
        self.enrolled.send_replace(here.map(|(uid, _)| uid.clone()).collect());
    }

    async fn tell(&self, worker: usize, command: Command) {
        if self.workers[worker].send(command).await.is_err() {
            tracing::debug!(worker, "the worker is gone");
        }
    }

    async fn tell_all(&self, command: impl Fn() -> Command) {
        for worker in 0..self.workers.len() {
            self.tell(worker, command()).await;
        }
    }
}

async fn send<F: AsFd>(end: &ProxyEnd, message: &FromProxy<F>) -> Result<(), String> {
    end.send(message).await.map_err(|error| crate::describe(&error))
}

/// The agent's next message; never, if there is no agent.
async fn hear(end: Option<&ProxyEnd>) -> Option<FromAgent> {
    match end {
        Some(end) => end.recv().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

/// Leaves one after the other, each with its length in front.
fn write_leaves(leaves: &[Leaf]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for leaf in leaves {
        let sealed = leaf.to_sealed();
        // A leaf is a few kilobytes.
        bytes.extend_from_slice(&(sealed.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&sealed);
    }
    bytes
}

fn read_leaves(mut bytes: &[u8]) -> Result<Vec<Leaf>, String> {
    let mut leaves = Vec::new();
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof).to_string();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (leaf, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        leaves.push(Leaf::from_sealed(leaf).map_err(|error| crate::describe(&error))?);
        bytes = rest;
        if leaves.len() > STATE_LEAVES_MAX as usize {
            return Err("too many certificates".to_owned());
        }
    }
    if bytes.is_empty() { Ok(leaves) } else { Err(cut()) }
}

#[cfg(test)]
mod tests;
