//! The server's side of Weft's own dialect: other nodes bring connections for this node's pods to the node's own tunnel.
//! Pods that keep their tunnels to themselves come to the pod's own port ([`super::pod_tunnel`]), and are served here too.

use super::Worker;
use super::carry::{Attempt, Cause, Failure};
use super::deliver::{Came, DeliverError, deliver};
use super::dial::watch_peer;
use super::pods::Pod;
use super::registry::{Direction, Judged};
use crate::describe;
use crate::telemetry::Security;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::task::spawn_local;
use tokio::time::Instant;
use weft_core::admit::{
    Admitted, Door, NotAdmitted, NotPermitted, WeftRequest, admit_weft_request, patience, spoken_for,
};
use weft_core::identity::Identity;
use weft_core::names::{Network, WorkloadUid};
use weft_core::policy::Connection;
use weft_core::snapshot::Snapshot;
use weft_pki::{Peer, Usage, peer_of, server_config};
use weft_tunnel::end::Refused;
use weft_tunnel::handle::Handle;
use weft_tunnel::moment::until;
use weft_tunnel::mux::{ALPN, Incoming, Mux, MuxStream, OpenRequest};
use weft_tunnel::socket::Socket;
use weft_tunnel::tls::{Session, TlsError};
use weft_tunnel::words::Authority;
use weft_xds::leaves::SessionLeaf;

/// A peer's TLS session.
pub(super) struct PeerSession {
    pub(super) peer: Peer,
    pub(super) addr: SocketAddr,
    /// The identity that it was opened for.
    pub(super) served: Identity,
    /// The pod at whose own address it ends; none if it ends at the node's.
    pub(super) pod: Option<Rc<Pod>>,
}

/// Why a peer's session does not begin.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("no TLS handshake within the limit")]
    Timeout,
    #[error("too many others have begun theirs before it was done with its handshake; it may try again")]
    TooMany,
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("configuring TLS")]
    Config(#[from] weft_pki::ConfigError),
    #[error("the peer's certificate")]
    Peer(#[from] weft_pki::PeerError),
    #[error("the peer asked for no identity")]
    NoName,
}

/// Why a peer's stream is refused.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("OPEN names a host, and no gateway is here")]
    Name,
    #[error("{0}")]
    NotAdmitted(NotAdmitted),
    #[error("{0} is not enrolled on this node")]
    NotHere(IpAddr),
    #[error("discovery does not know this pod ({0}) any more")]
    UnknownPod(WorkloadUid),
    #[error("no pod is enrolled on this node, or discovery knows none of them")]
    Nobody,
    #[error("{0}")]
    NotPermitted(NotPermitted),
    #[error(transparent)]
    Deliver(#[from] DeliverError),
}

impl StreamError {
    /// What the peer is told. It learns the kind, not the details: those stand in this side's log.
    fn refusal(&self) -> Refused {
        match self {
            Self::Name | Self::NotAdmitted(NotAdmitted::MeshPort(_)) => Refused::Malformed,
            Self::NotAdmitted(
                NotAdmitted::NoWorkload(_) | NotAdmitted::OtherIdentity(_) | NotAdmitted::OwnTunnel(_),
            ) => Refused::NoWorkload,
            Self::NotAdmitted(
                NotAdmitted::UnknownSource(_)
                | NotAdmitted::ForeignIdentity(_)
                | NotAdmitted::ForeignNode(_)
                | NotAdmitted::ForeignAddr(_),
            ) => Refused::ForeignSource,
            Self::NotHere(_) | Self::UnknownPod(_) | Self::Nobody => Refused::NoWorkload,
            Self::NotPermitted(_) | Self::NotAdmitted(NotAdmitted::PastWaypoint(..)) => Refused::Policy,
            Self::Deliver(_) => Refused::AppUnreachable,
        }
    }
}

impl Failure for StreamError {
    fn cause(&self) -> Cause {
        match self {
            Self::Name | Self::NotAdmitted(_) | Self::NotHere(_) => Cause::Unknown,
            Self::UnknownPod(_) | Self::Nobody => Cause::Unknown,
            Self::NotPermitted(error) => error.cause(),
            Self::Deliver(error) => error.cause(),
        }
    }
}

impl Worker {
    pub(super) async fn serve_node_tunnel(self: Rc<Self>, listener: OwnedFd) {
        self.accept_all(listener, "node tunnel", |worker, socket, peer| worker.node_session(socket, peer))
            .await;
    }

    async fn node_session(self: Rc<Self>, socket: Socket, addr: SocketAddr) {
        if let Err(error) = watch_peer(&socket2::SockRef::from(&socket)) {
            tracing::debug!(%addr, %error, "cannot set the peer's time limits");
        }
        match self.handshake(&socket, addr).await {
            Err(error) => tracing::info!(%addr, error = describe(&error), "refused a peer's tunnel"),
            Ok((session, leftover, peer)) => {
                let (mux, driver) = Mux::server(socket, session, leftover);
                self.drive(mux, driver, Rc::new(peer)).await;
            }
        }
    }

    async fn handshake(
        &self,
        socket: &Socket,
        addr: SocketAddr,
    ) -> Result<(Session, weft_tunnel::scratch::ReadBuffer, PeerSession), SessionError> {
        let under_way = self.handshakes.begin();
        let leaf = Arc::new(SessionLeaf::new(self.knowledge.leaves.clone()));
        let config = server_config(leaf.clone(), self.knowledge.trust.clone(), &[ALPN])?;
        // A peer may hear of a new pod before the authority has signed for it.
        let ready = |name| self.knowledge.leaves.wait_named(name);
        let accepted = Session::accept_when(socket, Arc::new(config), ready);
        let limit = self.knowledge.limits.handshake;
        let (session, leftover) = tokio::select! {
            accepted = tokio::time::timeout(limit, accepted) => accepted.map_err(|_| SessionError::Timeout)??,
            () = under_way.given_up() => return Err(SessionError::TooMany),
        };
        let trust = self.knowledge.trust.now();
        let peer = peer_of(Some(session.peer_certificates()), &trust, Usage::Client, SystemTime::now())?;
        let served = leaf.served().ok_or(SessionError::NoName)?.clone();
        Ok((session, leftover, PeerSession { peer, addr, served, pod: None }))
    }

    /// Serves a session until it ends, or a certificate does.
    pub(super) async fn drive(
        self: &Rc<Self>,
        mux: Mux,
        driver: weft_tunnel::mux::Driver,
        session: Rc<PeerSession>,
    ) {
        let own = self.knowledge.leaves.get(&session.served).map(|leaf| leaf.not_after());
        let ends = own.unwrap_or(session.peer.not_after()).min(session.peer.not_after());
        let handle = Handle::Mux(mux);
        self.peers.add(handle.clone(), session.pod.as_ref().map(|pod| pod.uid.clone()));
        let worker = self.clone();
        let peer = session.clone();
        let driven = driver.run(move |incoming| match incoming {
            Incoming::Open(request, stream) => {
                spawn_local(worker.clone().node_stream(peer.clone(), request, stream));
            }
            Incoming::Bad(error) => {
                tracing::info!(addr = %peer.addr, error = describe(&error), "refused a bad request");
            }
        });
        tokio::select! {
            ended = driven => if let Err(error) = ended {
                tracing::info!(addr = %session.addr, error = describe(&error), "a peer's tunnel ended");
            },
            () = until(ends) => tracing::info!(addr = %session.addr, "a peer's tunnel ended with its certificate"),
        }
        handle.close();
        self.peers.remove(&handle);
    }

    async fn node_stream(
        self: Rc<Self>,
        session: Rc<PeerSession>,
        request: OpenRequest,
        mut stream: MuxStream,
    ) {
        let Authority::Addr(target) = request.connect.authority else {
            tracing::info!(addr = %session.addr, error = %StreamError::Name, "refused a stream");
            return stream.refuse(StreamError::Name.refusal());
        };
        let mut attempt = Attempt::new(&self, Direction::Inbound, request.source, target);
        let named = request.connect.forwarded.and_then(|forwarded| forwarded.client);
        attempt.parties.source_identity = Some(session.peer.identity().clone());
        attempt.parties.security = Security::MutualTls;
        match self.try_node_stream(&session, named, &mut attempt).await {
            Err(error) => {
                stream.refuse(error.refusal());
                attempt.refuse(&self, &error);
            }
            Ok((pod, app, judged)) => {
                stream.accept();
                let ongoing = attempt.open(&self, vec![pod.uid.clone()], Some(judged));
                let end = stream.relay(Rc::new(app), ongoing.carried()).await;
                ongoing.finish(end);
            }
        }
    }

    async fn try_node_stream(
        &self,
        session: &PeerSession,
        named: Option<SocketAddr>,
        attempt: &mut Attempt,
    ) -> Result<(Rc<Pod>, Socket, Judged), StreamError> {
        let target = attempt.target;
        let network = self.network_of(session).await?;
        let question = WeftRequest {
            door: session.pod.as_ref().map_or(Door::Node, |pod| Door::Pod(&pod.uid)),
            peer: session.peer.identity(),
            peer_ip: session.addr.ip(),
            source: attempt.client,
            destination: target,
            served: &session.served,
        };
        // Discovery may tell this node of a new pod later than the pod's own node.
        let admit = |snapshot: &Snapshot| {
            let admitted = admit_weft_request(snapshot, &network, &question);
            admitted.map(|admitted| (spoken_for(snapshot, &admitted, target.port(), named), admitted))
        };
        let limit = self.knowledge.limits.discovery;
        let admitted = self.knowledge.view.find(admit, |why| patience(why, limit));
        let admitted = admitted.await.map_err(StreamError::NotAdmitted)?;
        let (named, Admitted { source, destination }) = admitted;
        attempt.client = named.unwrap_or(attempt.client);
        attempt.parties.source = source.clone();
        attempt.parties.destination = Some(destination.clone());
        let pod = match &session.pod {
            Some(pod) => Some(pod.clone()),
            None => self.await_pod(&destination.uid).await,
        };
        let pod = pod.ok_or_else(|| StreamError::NotHere(target.ip()))?;
        let client = attempt.client;
        let connection = Connection {
            source_ip: client.ip(),
            source: Some(session.peer.identity().clone()),
            destination_ip: target.ip(),
            destination_port: target.port(),
        };
        let permit = self
            .judge(attempt, &connection, source.as_deref(), &destination)
            .map_err(StreamError::NotPermitted)?;
        let limit = self.knowledge.limits.connect;
        let seen = self.seen(&destination, client, target);
        let app = deliver(&pod, &permit, (seen, Came::FromAfar), target, limit).await?;
        let source = source.map(|source| source.uid.clone());
        Ok((pod, app, Judged { connection, source, workload: destination.uid.clone() }))
    }

    /// The network that a session's addresses belong to: the pod's, or that of any pod of this node.
    async fn network_of(&self, session: &PeerSession) -> Result<Network, StreamError> {
        if let Some(pod) = &session.pod {
            let workload = self.await_workload(&pod.uid).await;
            let network = workload.map(|one| one.network.clone());
            return network.ok_or_else(|| StreamError::UnknownPod(pod.uid.clone()));
        }
        let network = |snapshot: &Snapshot| {
            let of_pod = |uid: &WorkloadUid| snapshot.workload(uid).map(|one| one.network.clone());
            self.pods.find(of_pod).ok_or(StreamError::Nobody)
        };
        // A peer may come before the agent is done with the first pod here.
        let deadline = Instant::now() + self.knowledge.limits.discovery;
        loop {
            let (arrival, left) = (self.pods.arrival(), deadline.saturating_duration_since(Instant::now()));
            tokio::select! {
                found = self.knowledge.view.find(network, |_| left) => return found,
                () = arrival => {}
            }
        }
    }
}
