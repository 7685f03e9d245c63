//! A pod's own tunnel port: peers that are not Weft bring connections for this pod by HBONE; those that are, and keep
//! their tunnels in the pods' own namespaces, in Weft's own dialect.

use super::Worker;
use super::carry::{Attempt, Cause, Failure};
use super::deliver::{Came, DeliverError, deliver};
use super::dial::watch_peer;
use super::node_tunnel::PeerSession;
use super::pods::{HasLeft, Pod};
use super::registry::{Direction, Judged};
use crate::describe;
use crate::telemetry::Security;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::task::spawn_local;
use weft_core::admit::{
    Admitted, NotAdmitted, NotPermitted, PodRequest, admit_pod_request, patience, spoken_for,
};
use weft_core::names::WorkloadUid;
use weft_core::policy::Connection;
use weft_core::snapshot::Snapshot;
use weft_core::workload::Workload;
use weft_pki::{Leaf, Peer, Usage, peer_of, server_config};
use weft_tunnel::accept::{ALPNS, AcceptError, Accepted, Tunnel, accept};
use weft_tunnel::end::Refused;
use weft_tunnel::handle::Handle;
use weft_tunnel::hbone::{Hbone, HboneStream, Incoming, ServerDriver};
use weft_tunnel::moment::until;
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::socket::Socket;
use weft_tunnel::words::Authority;

/// A peer's TLS session with one pod.
struct PodSession {
    pod: Rc<Pod>,
    peer: Peer,
    addr: SocketAddr,
}

/// Why a peer's session does not begin.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("discovery does not know this pod ({0}) yet")]
    UnknownPod(WorkloadUid),
    #[error("no certificate for {0} yet")]
    NoLeaf(weft_core::identity::Identity),
    #[error("no TLS handshake within the limit")]
    Timeout,
    #[error("too many others have begun theirs before it was done with its handshake; it may try again")]
    TooMany,
    #[error(transparent)]
    HasLeft(#[from] HasLeft),
    #[error(transparent)]
    Accept(#[from] AcceptError),
    #[error("configuring TLS")]
    Config(#[from] weft_pki::ConfigError),
    #[error("the peer's certificate")]
    Peer(#[from] weft_pki::PeerError),
}

/// Why a peer's stream is refused.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("CONNECT names a host, and no gateway is here")]
    Name,
    #[error("discovery does not know this pod ({0}) any more")]
    UnknownPod(WorkloadUid),
    #[error("{0}")]
    NotAdmitted(NotAdmitted),
    #[error("{0}")]
    NotPermitted(NotPermitted),
    #[error(transparent)]
    Deliver(#[from] DeliverError),
}

impl StreamError {
    fn refusal(&self) -> Refused {
        match self {
            Self::Name | Self::NotAdmitted(NotAdmitted::MeshPort(_) | NotAdmitted::NoWorkload(_)) => {
                Refused::Malformed
            }
            Self::NotAdmitted(NotAdmitted::PastWaypoint(..)) => Refused::Policy,
            Self::NotAdmitted(_) => Refused::ForeignSource,
            Self::UnknownPod(_) => Refused::NoWorkload,
            Self::NotPermitted(_) => Refused::Policy,
            Self::Deliver(_) => Refused::AppUnreachable,
        }
    }
}

impl Failure for StreamError {
    fn cause(&self) -> Cause {
        match self {
            Self::Name | Self::UnknownPod(_) | Self::NotAdmitted(_) => Cause::Unknown,
            Self::NotPermitted(error) => error.cause(),
            Self::Deliver(error) => error.cause(),
        }
    }
}

impl Worker {
    pub(super) async fn serve_pod_tunnel(self: Rc<Self>, pod: Rc<Pod>, listener: OwnedFd) {
        let serve = move |worker: Rc<Self>, socket, peer| worker.pod_session(pod.clone(), socket, peer);
        self.accept_all(listener, "pod tunnel", serve).await;
    }

    async fn pod_session(self: Rc<Self>, pod: Rc<Pod>, socket: Socket, addr: SocketAddr) {
        if let Err(error) = watch_peer(&socket2::SockRef::from(&socket)) {
            tracing::debug!(%addr, %error, "cannot set the peer's time limits");
        }
        if let Err(error) = self.try_pod_session(pod, socket, addr).await {
            tracing::info!(%addr, error = describe(&error), "refused a peer's tunnel");
        }
    }

    async fn try_pod_session(
        self: &Rc<Self>,
        pod: Rc<Pod>,
        socket: Socket,
        addr: SocketAddr,
    ) -> Result<(), SessionError> {
        let under_way = self.handshakes.begin();
        let (accepted, leaf) = tokio::select! {
            greeted = pod.unless_left(|| self.greet(&pod.uid, socket)) => greeted??,
            () = under_way.given_up() => return Err(SessionError::TooMany),
        };
        let trust = self.knowledge.trust.now();
        let peer = peer_of(Some(accepted.peer_certificates()), &trust, Usage::Client, SystemTime::now())?;
        drop(under_way);
        match accepted.into_tunnel() {
            Tunnel::Hbone(hbone, driver) => {
                let ends = leaf.not_after().min(peer.not_after());
                self.drive_hbone((hbone, driver), Rc::new(PodSession { pod, peer, addr }), ends).await;
            }
            Tunnel::Mux(mux, driver) => {
                let served = leaf.identity().clone();
                self.drive(mux, driver, Rc::new(PeerSession { peer, addr, served, pod: Some(pod) })).await;
            }
        }
        Ok(())
    }

    /// The TLS handshake in the pod's name, with the certificate that was shown to the peer.
    async fn greet(&self, pod: &WorkloadUid, socket: Socket) -> Result<(Accepted, Leaf), SessionError> {
        let workload = self.await_workload(pod).await;
        let workload = workload.ok_or_else(|| SessionError::UnknownPod(pod.clone()))?;
        let leaf = self.knowledge.leaves.wait(&workload.identity).await;
        let leaf = leaf.ok_or_else(|| SessionError::NoLeaf(workload.identity.clone()))?;
        let config = server_config(Arc::new(leaf.clone()), self.knowledge.trust.clone(), &ALPNS)?;
        let handshake = accept(socket, Arc::new(config));
        let limit = self.knowledge.limits.handshake;
        let accepted = tokio::time::timeout(limit, handshake).await.map_err(|_| SessionError::Timeout)??;
        Ok((accepted, leaf))
    }

    async fn drive_hbone(
        self: &Rc<Self>,
        (hbone, driver): (Hbone, ServerDriver),
        session: Rc<PodSession>,
        ends: SystemTime,
    ) {
        let (handle, addr) = (Handle::Hbone(hbone), session.addr);
        self.peers.add(handle.clone(), Some(session.pod.uid.clone()));
        let worker = self.clone();
        let driven = driver.run(move |incoming| match incoming {
            Incoming::Connect(request, stream) => {
                spawn_local(worker.clone().pod_stream(session.clone(), request, stream));
            }
            Incoming::Bad(error) => tracing::info!(%addr, error = describe(&error), "refused a bad request"),
        });
        tokio::select! {
            ended = driven => if let Err(error) = ended {
                tracing::info!(%addr, error = describe(&error), "a peer's tunnel ended");
            },
            () = until(ends) => tracing::info!(%addr, "a peer's tunnel ended with its certificate"),
        }
        handle.close();
        self.peers.remove(&handle);
    }

    async fn pod_stream(
        self: Rc<Self>,
        session: Rc<PodSession>,
        request: ConnectRequest,
        mut stream: HboneStream,
    ) {
        let Authority::Addr(target) = request.authority else {
            tracing::info!(addr = %session.addr, error = %StreamError::Name, "refused a stream");
            return stream.refuse(StreamError::Name.refusal());
        };
        // The tunnel's own port is not the client application's, which only a waypoint tells.
        let peer = SocketAddr::new(session.addr.ip(), 0);
        let named = request.forwarded.and_then(|forwarded| forwarded.client);
        let mut attempt = Attempt::new(&self, Direction::Inbound, peer, target);
        attempt.parties.source_identity = Some(session.peer.identity().clone());
        attempt.parties.security = Security::MutualTls;
        match self.try_pod_stream(&session, named, &mut attempt).await {
            Err(error) => {
                stream.refuse(error.refusal());
                attempt.refuse(&self, &error);
            }
            Ok((app, judged)) => {
                stream.accept();
                let ongoing = attempt.open(&self, vec![session.pod.uid.clone()], Some(judged));
                let end = stream.relay(Rc::new(app), ongoing.carried()).await;
                ongoing.finish(end);
            }
        }
    }

    async fn try_pod_stream(
        &self,
        session: &PodSession,
        named: Option<SocketAddr>,
        attempt: &mut Attempt,
    ) -> Result<(Socket, Judged), StreamError> {
        let uid = &session.pod.uid;
        let (peer, target) = (session.peer.identity(), attempt.target);
        let peer_ip = session.addr.ip();
        let admit = |snapshot: &Snapshot| {
            let pod: &Arc<Workload> =
                snapshot.workload(uid).ok_or_else(|| StreamError::UnknownPod(uid.clone()))?;
            let request = PodRequest { peer, peer_ip, destination: target, pod };
            let admitted = admit_pod_request(snapshot, &request).map_err(StreamError::NotAdmitted);
            admitted.map(|admitted| (spoken_for(snapshot, &admitted, target.port(), named), admitted))
        };
        let limit = self.knowledge.limits.discovery;
        let patience = |error: &StreamError| match error {
            StreamError::NotAdmitted(why) => patience(why, limit),
            StreamError::Name
            | StreamError::UnknownPod(_)
            | StreamError::NotPermitted(_)
            | StreamError::Deliver(_) => Duration::ZERO,
        };
        let admitted = self.knowledge.view.find(admit, patience).await;
        let (named, Admitted { source, destination }) = admitted?;
        attempt.client = named.unwrap_or(attempt.client);
        attempt.parties.source = source.clone();
        attempt.parties.destination = Some(destination.clone());
        let client = attempt.client;
        let connection = Connection {
            source_ip: client.ip(),
            source: Some(peer.clone()),
            destination_ip: target.ip(),
            destination_port: target.port(),
        };
        let permit = self
            .judge(attempt, &connection, source.as_deref(), &destination)
            .map_err(StreamError::NotPermitted)?;
        let limit = self.knowledge.limits.connect;
        let seen = self.seen(&destination, client, target);
        let app = deliver(&session.pod, &permit, (seen, Came::FromAfar), target, limit).await?;
        let source = source.map(|source| source.uid.clone());
        Ok((app, Judged { connection, source, workload: destination.uid.clone() }))
    }
}
