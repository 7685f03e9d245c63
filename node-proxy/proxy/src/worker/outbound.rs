//! Captured connections of a pod of this node to anywhere.

use super::Worker;
use super::affinity::Sticky;
use super::asked::Discovery;
use super::carry::{Attempt, Cause, Failure, Ongoing};
use super::deliver::{Came, DeliverError, deliver, dial};
use super::dial::DialError;
use super::dns::{DNS_PORT, DnsStream};
use super::listener::Listener;
use super::places::Places;
use super::pods::{HasLeft, Pod};
use super::pool::Via;
use super::registry::{Direction, Judged};
use crate::telemetry::Security;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_core::admit::NotPermitted;
use weft_core::names::{NetworkAddr, OriginalDst, WorkloadUid, canonical};
use weft_core::policy::Connection;
use weft_core::route::{Asked, Hop, Path, Question, Refusal, Whose, WorkloadHop, next_hop};
use weft_core::snapshot::Snapshot;
use weft_core::workload::{NodeTunnel, Workload};
use weft_tunnel::accept::Dialect;
use weft_tunnel::end::End;
use weft_tunnel::join::join;
use weft_tunnel::mux::OpenRequest;
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::socket::Socket;
use weft_tunnel::words::Authority;
use weft_xds::Answer;

/// How often it is said that a listener has its share.
const SAID_AGAIN: Duration = Duration::from_secs(1);
/// Tunnels that one connection may try: the node's proxy may be restarting.
const TUNNEL_TRIES: usize = 8;

/// Why a captured connection goes nowhere.
#[derive(Debug, thiserror::Error)]
enum OutboundError {
    /// Discovery does not know the pod itself.
    #[error("discovery does not know this pod ({0}) yet; is weft-control reachable?")]
    UnknownClient(WorkloadUid),
    /// The pod sends from an address that is not its own: NET_RAW is enough for that, and policy and the
    /// application would take it for somebody else.
    #[error("{client} is not an address of pod {pod}")]
    ForeignSource { pod: WorkloadUid, client: IpAddr },
    /// The router says no.
    #[error("{0}")]
    Refused(Refusal),
    /// A waypoint or policy says no (same node).
    #[error("{0}")]
    NotPermitted(NotPermitted),
    /// The pod itself leaves.
    #[error(transparent)]
    HasLeft(#[from] HasLeft),
    /// The destination is said to be on this node, and is not.
    #[error("{0} is on this node according to discovery and not enrolled here yet")]
    NotHere(WorkloadUid),
    /// The other end cannot be reached.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
    /// The other node cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No tunnel lasted long enough.
    #[error("the tunnel broke {TUNNEL_TRIES} times before the connection was taken")]
    TunnelLost,
}

impl Failure for OutboundError {
    fn cause(&self) -> Cause {
        match self {
            Self::UnknownClient(_) | Self::ForeignSource { .. } | Self::Refused(_) => Cause::Unknown,
            Self::NotHere(_) => Cause::Unknown,
            Self::HasLeft(error) => error.cause(),
            Self::NotPermitted(error) => error.cause(),
            Self::Deliver(error) => error.cause(),
            Self::Dial(error) => error.cause(),
            Self::TunnelLost => Cause::Mesh,
        }
    }
}

impl Worker {
    pub(super) async fn serve_outbound(self: Rc<Self>, pod: Rc<Pod>, listener: OwnedFd) {
        let serve = move |worker: Rc<Self>, socket, client| worker.outbound(pod.clone(), socket, client);
        self.accept_all(listener, "outbound", serve).await;
    }

    /// Accepts until the listener fails or the task is aborted; each connection gets a task of its own.
    pub(super) async fn accept_all<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        listener: OwnedFd,
        name: &'static str,
        serve: impl Fn(Rc<Self>, Socket, SocketAddr) -> F + Clone + 'static,
    ) {
        let listener = match Listener::new(listener) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, listener = name, "cannot use a listener of the agent's");
                return;
            }
        };
        // So that one pod, or whoever knocks at one, leaves descriptors for all others.
        let places = Places::new(self.knowledge.limits.connections);
        let mut said: Option<Instant> = None;
        loop {
            match listener.accept().await {
                Ok((socket, client)) => match places.take() {
                    Some(place) => {
                        let (serve, worker) = (serve.clone(), self.clone());
                        spawn_local(async move {
                            // Begun here: a future that is brought along is kept twice, and each connection has one.
                            serve(worker, socket, client).await;
                            drop(place);
                        });
                    }
                    None if said.is_some_and(|said| said.elapsed() < SAID_AGAIN) => {}
                    None => {
                        said = Some(Instant::now());
                        let most = self.knowledge.limits.connections;
                        tracing::warn!(listener = name, %client, most, "closed a connection: this listener has its share of \
                            all descriptors; raise the limit of open files (LimitNOFILE) if that is meant to be so");
                    }
                },
                Err(error) => {
                    tracing::error!(%error, listener = name, "a listener failed and is given up");
                    return;
                }
            }
        }
    }

    async fn outbound(self: Rc<Self>, pod: Rc<Pod>, socket: Socket, client: SocketAddr) {
        let Ok(target) = socket.local_addr().map(canonical) else {
            return; // Reset before it was looked at.
        };
        let mut attempt = Attempt::new(&self, Direction::Outbound, client, target);
        if target.port() == DNS_PORT {
            match pod.unless_left(|| self.serve_dns_stream(&pod, &socket, target)).await {
                Ok(DnsStream::Served) => {
                    return attempt.open(&self, vec![pod.uid.clone()], None).finish(End::Closed);
                }
                Ok(DnsStream::Other(server)) => attempt.target = server,
                Err(error) => {
                    socket.reset_on_close();
                    return attempt.refuse(&self, &error);
                }
            }
        }
        let socket = Rc::new(socket);
        if let Err(error) = self.try_outbound(&pod, &socket, &mut attempt).await {
            socket.reset_on_close();
            attempt.refuse(&self, &error);
        }
    }

    async fn try_outbound(
        self: &Rc<Self>,
        pod: &Rc<Pod>,
        socket: &Rc<Socket>,
        attempt: &mut Attempt,
    ) -> Result<(), OutboundError> {
        let (source, hop) = self.decide_as_pod(pod, attempt).await?;
        match hop {
            Hop::Refuse(refusal) => Err(OutboundError::Refused(refusal)),
            Hop::Ask(addr) => Err(OutboundError::Refused(Refusal::Unknown(addr.ip))),
            Hop::Passthrough(target) => self.pass(pod, socket, attempt, target).await,
            Hop::Workload(hop) => self.to_workload(pod, socket, attempt, &source, *hop).await,
        }
    }

    /// Who connects, and where to.
    async fn decide_as_pod(
        &self,
        pod: &Pod,
        attempt: &mut Attempt,
    ) -> Result<(Arc<Workload>, Hop), OutboundError> {
        let source = pod.unless_left(|| self.await_workload(&pod.uid)).await?;
        let source = source.ok_or_else(|| OutboundError::UnknownClient(pod.uid.clone()))?;
        let hop = self.route_from(pod, attempt, &source).await?;
        let client = attempt.client.ip();
        if !matches!(hop, Hop::Workload(_)) || source.addresses.contains(&client) {
            return Ok((source, hop));
        }
        // A pod that has come back under its name may run before discovery has told its new address.
        let source = pod.unless_left(|| self.await_workload_at(&pod.uid, client)).await?;
        let source = source.ok_or_else(|| OutboundError::ForeignSource { pod: pod.uid.clone(), client })?;
        let hop = self.route_from(pod, attempt, &source).await?;
        Ok((source, hop))
    }

    async fn route_from(
        &self,
        pod: &Pod,
        attempt: &mut Attempt,
        source: &Arc<Workload>,
    ) -> Result<Hop, HasLeft> {
        attempt.parties.source = Some(source.clone());
        attempt.parties.source_identity = Some(source.identity.clone());
        let hop = pod.unless_left(|| self.route(source, OriginalDst(attempt.target))).await?;
        let to = if let Hop::Workload(to) = &hop { Some(to) } else { None };
        attempt.parties.destination = to.map(|to| to.workload.clone());
        attempt.parties.service = to.and_then(|to| to.service.clone());
        Ok(hop)
    }

    async fn to_workload(
        self: &Rc<Self>,
        pod: &Rc<Pod>,
        socket: &Rc<Socket>,
        attempt: &mut Attempt,
        source: &Arc<Workload>,
        hop: WorkloadHop,
    ) -> Result<(), OutboundError> {
        match &hop.path {
            Path::Plain => self.pass(pod, socket, attempt, hop.target).await,
            Path::SameNode => self.join_same_node(pod, socket, attempt, source, &hop).await,
            Path::NodeTunnel(to) => {
                let from = source.node_tunnel.as_ref().map_or(&[][..], NodeTunnel::addresses);
                self.through_tunnel(pod, socket, attempt, source, &hop, Via::Node(from, to)).await
            }
            Path::PodTunnel(addr) => {
                self.through_tunnel(pod, socket, attempt, source, &hop, Via::Pod(pod, *addr, Dialect::Mux))
                    .await
            }
            Path::Hbone(addr) => {
                self.through_tunnel(pod, socket, attempt, source, &hop, Via::Pod(pod, *addr, Dialect::Hbone))
                    .await
            }
        }
    }

    /// Where to; asks discovery if nobody knows the address yet.
    async fn route(&self, client: &Workload, dst: OriginalDst) -> Hop {
        let mut asked = Asked::No;
        let mut view = self.knowledge.view.clone();
        let deadline = Instant::now() + self.knowledge.limits.discovery;
        loop {
            let snapshot = view.seen();
            let hop = self.decide(&snapshot, client, dst, asked);
            match hop {
                Hop::Ask(addr) if asked == Asked::No => asked = self.ask(addr, deadline).await,
                // Control may be told of a new pod a moment after its first client.
                Hop::Refuse(Refusal::Unknown(_))
                    if matches!(tokio::time::timeout_at(deadline, view.changed()).await, Ok(Some(_))) => {}
                hop => {
                    self.stick(&hop, client);
                    return hop;
                }
            }
        }
    }

    /// Where to, by what one snapshot knows.
    fn decide(&self, snapshot: &Snapshot, client: &Workload, dst: OriginalDst, asked: Asked) -> Hop {
        let (sticky, mut first) = match self.sticky(snapshot, client, dst) {
            Sticky::Free => (None, None),
            Sticky::Had(endpoint) => (Some(endpoint), None),
            Sticky::First(chance) => (None, Some(chance)),
        };
        let mut below = |bound| match &mut first {
            Some(chance) => chance.below(bound),
            None => self.below(bound),
        };
        let question = Question { client, dst, sticky: sticky.as_ref(), asked };
        next_hop(snapshot, &self.knowledge.rules, &question, &mut below)
    }

    /// Asks discovery who has an address, unless it has said lately that nobody does. The next snapshot says who.
    async fn ask(&self, addr: NetworkAddr, deadline: Instant) -> Asked {
        let away = self.knowledge.view.sync().connected_since.is_none();
        let discovery = if away { Discovery::Away } else { Discovery::There };
        if self.knowledge.asked_for.has(&addr, discovery, Instant::now()) {
            return Asked::Yes;
        }
        // The internet does not wait for a control plane that is away.
        if away && self.knowledge.rules.ranges.whose(addr.ip) == Whose::Public {
            return Asked::Unanswered;
        }
        match tokio::time::timeout_at(deadline, self.knowledge.view.ask(addr.clone())).await {
            // Somebody may have it who does not have the port.
            Ok(Answer::Unknown | Answer::Known(_)) => {
                self.knowledge.asked_for.add(addr, Instant::now());
                Asked::Yes
            }
            Ok(Answer::NotAsked) | Err(_) => Asked::Unanswered,
        }
    }

    /// To the address as it is, in plain text, from the pod's own namespace.
    async fn pass(
        self: &Rc<Self>,
        pod: &Rc<Pod>,
        socket: &Rc<Socket>,
        attempt: &mut Attempt,
        target: SocketAddr,
    ) -> Result<(), OutboundError> {
        let peer = dial(pod, target, self.knowledge.limits.connect).await?;
        let ongoing = self.begin(attempt, vec![pod.uid.clone()], None);
        let end = join(socket, &peer, ongoing.carried()).await;
        ongoing.finish(end);
        Ok(())
    }

    async fn join_same_node(
        self: &Rc<Self>,
        pod: &Rc<Pod>,
        socket: &Rc<Socket>,
        attempt: &mut Attempt,
        source: &Arc<Workload>,
        hop: &WorkloadHop,
    ) -> Result<(), OutboundError> {
        attempt.direction = Direction::SameNode;
        attempt.parties.security = Security::MutualTls;
        // Discovery may tell of a new pod before the agent has enrolled it.
        let server = pod.unless_left(|| self.await_pod(&hop.workload.uid)).await?;
        let server = server.ok_or_else(|| OutboundError::NotHere(hop.workload.uid.clone()))?;
        // The kernel's word: the connection came out of the client's own namespace.
        let connection = Connection {
            source_ip: attempt.client.ip(),
            source: Some(source.identity.clone()),
            destination_ip: hop.target.ip(),
            destination_port: hop.target.port(),
        };
        let permit = self
            .judge(attempt, &connection, Some(source), &hop.workload)
            .map_err(OutboundError::NotPermitted)?;
        let limit = self.knowledge.limits.connect;
        let seen = self.seen(&hop.workload, attempt.client, hop.target);
        let delivered = || deliver(&server, &permit, (seen, Came::FromAfar), hop.target, limit);
        let peer = pod.unless_left(delivered).await??;
        let judged =
            Judged { connection, source: Some(source.uid.clone()), workload: hop.workload.uid.clone() };
        let ongoing = self.begin(attempt, vec![pod.uid.clone(), server.uid.clone()], Some(judged));
        let end = join(socket, &peer, ongoing.carried()).await;
        ongoing.finish(end);
        Ok(())
    }

    async fn through_tunnel(
        self: &Rc<Self>,
        pod: &Rc<Pod>,
        socket: &Rc<Socket>,
        attempt: &mut Attempt,
        source: &Arc<Workload>,
        hop: &WorkloadHop,
        via: Via<'_>,
    ) -> Result<(), OutboundError> {
        attempt.parties.security = Security::MutualTls;
        let baggage = Some(crate::telemetry::baggage(source));
        let connect = ConnectRequest { baggage, ..Authority::from(hop.target).into() };
        let request = OpenRequest { source: attempt.client, connect };
        let mut ongoing = None;
        for _ in 0..TUNNEL_TRIES {
            let tunnel = || self.pool.get(&source.identity, &hop.workload.identity, via);
            let (tunnel, addr) = match (pod.unless_left(tunnel).await, &ongoing) {
                (Ok(Ok(found)), _) => found,
                (Ok(Err(error)), None) => return Err(error.into()),
                (Err(error), None) => return Err(error.into()),
                (Ok(Err(error)), Some(_)) => {
                    tracing::info!(%error, to = %hop.target, "no other tunnel for a connection that has lost its own");
                    break;
                }
                (Err(_), Some(_)) => break,
            };
            let Some(stream) = tunnel.open(&request) else {
                continue; // It ended in between.
            };
            attempt.tunnel = Some(addr);
            let ongoing = ongoing.get_or_insert_with(|| self.begin(attempt, vec![pod.uid.clone()], None));
            let end = stream.relay(socket.clone(), ongoing.carried()).await;
            if end != End::Unopened {
                ongoing.set_end(end);
                break;
            }
        }
        match ongoing {
            Some(ongoing) if ongoing.has_ended() => Ok(()),
            Some(ongoing) => {
                socket.reset_on_close();
                ongoing.finish(End::TunnelLost);
                Ok(())
            }
            None => Err(OutboundError::TunnelLost),
        }
    }

    /// The attempt becomes a carried connection.
    fn begin(
        self: &Rc<Self>,
        attempt: &mut Attempt,
        pods: Vec<WorkloadUid>,
        judged: Option<Judged>,
    ) -> Ongoing {
        let mut fresh = Attempt::new(self, attempt.direction, attempt.client, attempt.target);
        fresh.begun = attempt.begun;
        std::mem::replace(attempt, fresh).open(self, pods, judged)
    }

    /// The workload with this key once it has this address; waits a moment.
    async fn await_workload_at(&self, uid: &WorkloadUid, addr: IpAddr) -> Option<Arc<Workload>> {
        let there = |one: &&Arc<Workload>| one.addresses.contains(&addr);
        let known = |snapshot: &Snapshot| snapshot.workload(uid).filter(there).cloned().ok_or(());
        self.knowledge.view.find(known, |()| self.knowledge.limits.discovery).await.ok()
    }

    /// The workload with this key; waits a moment, for the pod may be newer than what discovery has told.
    pub(super) async fn await_workload(&self, uid: &WorkloadUid) -> Option<Arc<Workload>> {
        let known = |snapshot: &Snapshot| snapshot.workload(uid).cloned().ok_or(());
        self.knowledge.view.find(known, |()| self.knowledge.limits.discovery).await.ok()
    }
}
