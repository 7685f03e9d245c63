//! Tunnels that node proxies open to this waypoint.

use crate::client::{Client, Connection, Destination};
use crate::connection;
use crate::worker::Worker;
use http::HeaderValue;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;
use tokio::task::spawn_local;
use weft_core::admit::{NotAdmitted, Speaker, admit_speaker};
use weft_core::identity::Identity;
use weft_core::names::NetworkAddr;
use weft_core::snapshot::Target;
use weft_core::waypoint::is_instance;
use weft_core::workload::GatewayAddr;
use weft_pki::{Fingerprint, Peer, Usage, peer_of, server_config};
use weft_runtime::log::describe;
use weft_tunnel::accept::{ALPNS, AcceptError, Accepted, accept};
use weft_tunnel::end::Refused;
use weft_tunnel::handle::{Asked, Handle, Incoming};
use weft_tunnel::moment::until;
use weft_tunnel::socket::Socket;
use weft_tunnel::stream::Stream;
use weft_tunnel::words::Authority;

/// Why a peer's session does not begin.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("no certificate yet")]
    NoLeaf,
    #[error("no TLS handshake within the limit")]
    Timeout,
    #[error("too many others have begun theirs before it was done with its handshake; it may try again")]
    TooMany,
    #[error(transparent)]
    Accept(#[from] AcceptError),
    #[error("configuring TLS")]
    Config(#[from] weft_pki::ConfigError),
    #[error("the peer's certificate")]
    Peer(#[from] weft_pki::PeerError),
}

/// Why a peer's stream is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum StreamError {
    #[error("a name was asked for; gateways for names are not here")]
    Name,
    #[error("discovery does not know this waypoint's own pod yet")]
    UnknownSelf,
    #[error("{0}")]
    ForeignSource(NotAdmitted),
    #[error("nothing has the address {0}")]
    Unknown(SocketAddr),
    #[error("{0} has no waypoint, or another one")]
    NotOurs(SocketAddr),
}

impl StreamError {
    /// What the peer is told. It learns the kind, not the details: those stand in this side's log.
    fn refusal(&self) -> Refused {
        match self {
            Self::Name => Refused::Malformed,
            Self::ForeignSource(_) => Refused::ForeignSource,
            Self::UnknownSelf | Self::Unknown(_) | Self::NotOurs(_) => Refused::NoWorkload,
        }
    }
}

/// Serves a peer's connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, socket: Socket, addr: SocketAddr) {
    if let Err(error) = try_serve(worker, socket, addr).await {
        tracing::info!(%addr, error = describe(&error), "refused a peer's tunnel");
    }
}

async fn try_serve(worker: Rc<Worker>, socket: Socket, addr: SocketAddr) -> Result<(), SessionError> {
    let under_way = worker.handshakes.begin();
    let (accepted, own_end) = tokio::select! {
        greeted = greet(&worker, socket) => greeted?,
        () = under_way.given_up() => return Err(SessionError::TooMany),
    };
    let trusted = worker.trusted.subscribe();
    let peer =
        peer_of(Some(accepted.peer_certificates()), &worker.trust.now(), Usage::Client, SystemTime::now())?;
    drop(under_way);
    let ends = own_end.min(peer.not_after());
    let (handle, driver) = accepted.into_tunnel().into_parts();
    let session = Rc::new((peer, addr));
    let _alive = worker.ending.alive();
    let serving = worker.clone();
    let driven = driver.run(move |incoming| match incoming {
        Incoming::Open(asked, stream) => {
            spawn_local(serve_stream(serving.clone(), session.clone(), asked, stream));
        }
        Incoming::Bad(error) => tracing::info!(%addr, error = describe(&error), "refused a bad request"),
    });
    tokio::select! {
        ended = driven => if let Err(error) = ended {
            tracing::info!(%addr, error = describe(&error), "a peer's tunnel ended");
        },
        () = until(ends) => tracing::info!(%addr, "a peer's tunnel ended with its certificate"),
        () = distrusted(&worker, &handle, trusted) => {
            tracing::warn!(%addr, "closing a peer's tunnel whose root has left the trust bundle");
        }
        never = drain(&worker, &handle) => match never {},
    }
    handle.close();
    Ok(())
}

/// The TLS handshake, and until when the certificate is good that was shown to the peer.
async fn greet(worker: &Worker, socket: Socket) -> Result<(Accepted, SystemTime), SessionError> {
    let leaf = worker.leaves.wait(&worker.own).await.ok_or(SessionError::NoLeaf)?;
    let own_end = leaf.not_after();
    let config = server_config(Arc::new(leaf), worker.trust.clone(), &ALPNS)?;
    let handshake = accept(socket, Arc::new(config));
    let accepted = tokio::time::timeout(worker.limits.handshake, handshake).await;
    Ok((accepted.map_err(|_| SessionError::Timeout)??, own_end))
}

/// Waits until no root vouches for the peer any more.
async fn distrusted(worker: &Worker, handle: &Handle, mut trusted: watch::Receiver<Fingerprint>) {
    while trusted.changed().await.is_ok() {
        let trust = worker.trust.now();
        if trust.has_dropped(&handle.peer_certificates(), Usage::Client, SystemTime::now()) {
            return;
        }
    }
    // Nobody looks any more: the worker is over, and ends the tunnel with itself.
    std::future::pending::<()>().await;
}

/// Once the worker ends, the peer opens no more streams; those that are open end with their connections, and then the tunnel.
async fn drain(worker: &Worker, handle: &Handle) -> Infallible {
    worker.ending.begun().await;
    handle.go_away();
    std::future::pending().await
}

async fn serve_stream(worker: Rc<Worker>, session: Rc<(Peer, SocketAddr)>, asked: Asked, mut stream: Stream) {
    let (peer, addr) = &*session;
    let admitted = admit(&worker, peer.identity(), *addr, &asked).await;
    // Nothing of it is needed for as long as the connection lives.
    drop(asked);
    match admitted {
        Ok(admitted) => {
            stream.accept();
            connection::serve(worker, admitted, stream.into_io()).await;
        }
        Err(error) => {
            tracing::info!(%addr, identity = %peer.identity(), %error, "refused a stream");
            stream.refuse(error.refusal());
        }
    }
}

/// Waits a moment if discovery may be behind.
async fn admit(
    worker: &Worker,
    peer: &Identity,
    addr: SocketAddr,
    asked: &Asked,
) -> Result<Connection, StreamError> {
    let mut view = worker.view.clone();
    let deadline = tokio::time::Instant::now() + DISCOVERY_WAIT;
    loop {
        let moment = view.seen();
        let judged = judge(worker, &moment, peer, addr, asked);
        let Err(error) = judged else { return judged };
        let hopeless = error == StreamError::Name;
        if hopeless || !matches!(tokio::time::timeout_at(deadline, view.changed()).await, Ok(Some(_))) {
            return Err(error);
        }
    }
}

/// How long discovery may take to tell of what a client has been told of already.
const DISCOVERY_WAIT: std::time::Duration = std::time::Duration::from_secs(2);

fn judge(
    worker: &Worker,
    moment: &crate::knowledge::Moment,
    peer: &Identity,
    addr: SocketAddr,
    asked: &Asked,
) -> Result<Connection, StreamError> {
    let Authority::Addr(to) = asked.connect.authority else {
        return Err(StreamError::Name);
    };
    let own = moment.mesh.workload(&worker.uid).ok_or(StreamError::UnknownSelf)?;
    let speaker = Speaker { peer, peer_ip: addr.ip(), source: asked.source.map(|source| source.ip()) };
    let source = admit_speaker(&moment.mesh, &own.network, &speaker).map_err(StreamError::ForeignSource)?;
    let at = NetworkAddr { network: own.network.clone(), ip: to.ip().to_canonical() };
    let ours = |gateway: Option<&GatewayAddr>| gateway.is_some_and(|one| is_instance(&moment.mesh, one, own));
    let target = moment.mesh.target_at(&at, to.port(), peer.namespace());
    let destination = match target.ok_or(StreamError::Unknown(to))? {
        Target::Service(service) => {
            ours(service.waypoint.as_ref()).then(|| Destination::service(service, to.port()))
        }
        Target::Workload(workload) => {
            ours(workload.waypoint.as_ref()).then(|| Destination::workload(workload, to.port()))
        }
    };
    Ok(Connection {
        client: Client {
            // The tunnel's own port is not the client application's.
            addr: asked.source.unwrap_or(SocketAddr::new(addr.ip(), 0)),
            identity: peer.clone(),
            name: peer.to_string().into(),
            peer: weft_l7::policy::Peer::new(peer.clone()),
            workload: source.cloned(),
        },
        destination: destination.ok_or(StreamError::NotOurs(to))?,
        addr: to,
        server_name: None,
        certificate: certificate(&worker.own, peer),
    })
}

/// `By` is who took the client's certificate, `URI` what it is for. Identities hold nothing that may not stand in a header.
fn certificate(own: &Identity, client: &Identity) -> HeaderValue {
    HeaderValue::try_from(format!("By={own};URI={client}")).unwrap_or(HeaderValue::from_static(""))
}
