//! Tunnels that node proxies open to this waypoint.

use crate::client::{Client, Connection, Destination};
use crate::connection;
use crate::worker::Worker;
use http::HeaderValue;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::task::spawn_local;
use weft_core::identity::Identity;
use weft_core::names::NetworkAddr;
use weft_core::snapshot::{NoIdentity, Target};
use weft_core::waypoint::is_instance;
use weft_core::workload::GatewayAddr;
use weft_pki::{Peer, Usage, peer_of, server_config};
use weft_runtime::log::describe;
use weft_tunnel::accept::{AcceptError, Tunnel, accept};
use weft_tunnel::end::Refused;
use weft_tunnel::hbone::{self, Incoming};
use weft_tunnel::moment::until;
use weft_tunnel::request::ConnectRequest;
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
    #[error("the peer's identity is not that of {0}, where it comes from")]
    ForeignSource(IpAddr),
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
    let leaf = worker.leaves.wait(&worker.own).await.ok_or(SessionError::NoLeaf)?;
    let own_end = leaf.not_after();
    let config = server_config(Arc::new(leaf), worker.trust.clone(), &[hbone::ALPN])?;
    let handshake = accept(socket, Arc::new(config));
    let accepted = tokio::time::timeout(worker.limits.handshake, handshake).await;
    let accepted = accepted.map_err(|_| SessionError::Timeout)??;
    let peer =
        peer_of(Some(accepted.peer_certificates()), &worker.trust.now(), Usage::Client, SystemTime::now())?;
    let ends = own_end.min(peer.not_after());
    let Tunnel::Hbone(hbone, driver) = accepted.into_tunnel() else {
        return Ok(()); // Only HBONE was offered.
    };
    let session = Rc::new((peer, addr));
    let (ending, _alive) = (worker.ending.clone(), worker.ending.alive());
    let driven = driver.run(move |incoming| match incoming {
        Incoming::Connect(request, stream) => {
            spawn_local(serve_stream(worker.clone(), session.clone(), request, Stream::from(stream)));
        }
        Incoming::Bad(error) => tracing::info!(%addr, error = describe(&error), "refused a bad request"),
    });
    let mut driven = pin!(driven);
    let ended = tokio::select! {
        ended = &mut driven => ended,
        () = until(ends) => {
            tracing::info!(%addr, "a peer's tunnel ended with its certificate");
            Ok(())
        }
        () = ending.begun() => {
            // It opens no more streams; those that are open end with their connections.
            hbone.go_away();
            driven.await
        }
    };
    if let Err(error) = ended {
        tracing::info!(%addr, error = describe(&error), "a peer's tunnel ended");
    }
    hbone.close();
    Ok(())
}

async fn serve_stream(
    worker: Rc<Worker>,
    session: Rc<(Peer, SocketAddr)>,
    request: ConnectRequest,
    mut stream: Stream,
) {
    let (peer, addr) = &*session;
    match admit(&worker, peer.identity(), *addr, &request).await {
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
    request: &ConnectRequest,
) -> Result<Connection, StreamError> {
    let mut view = worker.view.clone();
    let deadline = tokio::time::Instant::now() + DISCOVERY_WAIT;
    loop {
        let moment = view.seen();
        let judged = judge(worker, &moment, peer, addr, request);
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
    request: &ConnectRequest,
) -> Result<Connection, StreamError> {
    let Authority::Addr(asked) = request.authority else {
        return Err(StreamError::Name);
    };
    let own = moment.mesh.workload(&worker.uid).ok_or(StreamError::UnknownSelf)?;
    let source = match moment.mesh.find_identity(&own.network, addr.ip(), peer) {
        Ok(source) => Some(source),
        Err(NoIdentity::Nobody) => None,
        Err(NoIdentity::Others) => return Err(StreamError::ForeignSource(addr.ip())),
    };
    let at = NetworkAddr { network: own.network.clone(), ip: asked.ip().to_canonical() };
    let ours = |gateway: Option<&GatewayAddr>| gateway.is_some_and(|one| is_instance(&moment.mesh, one, own));
    let target = moment.mesh.target_at(&at, asked.port(), peer.namespace());
    let destination = match target.ok_or(StreamError::Unknown(asked))? {
        Target::Service(service) => {
            ours(service.waypoint.as_ref()).then(|| Destination::service(service, asked.port()))
        }
        Target::Workload(workload) => {
            ours(workload.waypoint.as_ref()).then(|| Destination::workload(workload, asked.port()))
        }
    };
    Ok(Connection {
        // The tunnel's own port is not the client application's, which nobody tells.
        client: Client {
            addr: SocketAddr::new(addr.ip(), 0),
            identity: peer.clone(),
            name: peer.to_string().into(),
            peer: weft_l7::policy::Peer::new(peer.clone()),
            workload: source.cloned(),
        },
        destination: destination.ok_or(StreamError::NotOurs(asked))?,
        addr: asked,
        server_name: None,
        certificate: certificate(&worker.own, peer),
    })
}

/// `By` is who took the client's certificate, `URI` what it is for. Identities hold nothing that may not stand in a header.
fn certificate(own: &Identity, client: &Identity) -> HeaderValue {
    HeaderValue::try_from(format!("By={own};URI={client}")).unwrap_or(HeaderValue::from_static(""))
}
