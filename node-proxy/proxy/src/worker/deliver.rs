//! Connects to an application of this node, from its client's address.

use super::carry::{Cause, Failure};
use super::dial::watch_stranger;
use super::pods::{HasLeft, Pod};
use super::stock::{NoSocket, tcp_kind};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use weft_core::policy::Permit;
use weft_tunnel::socket::Socket;

/// Why an application cannot be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliverError {
    /// The agent has made no socket.
    #[error(transparent)]
    NoSocket(#[from] NoSocket),
    /// The pod is not in the mesh any more.
    #[error(transparent)]
    HasLeft(#[from] HasLeft),
    /// The client's address cannot be taken.
    #[error("cannot connect from the client's address {client}: {source}")]
    Bind { client: SocketAddr, source: io::Error },
    /// The application does not answer.
    #[error("cannot connect to {target}: {source}")]
    Connect { target: SocketAddr, source: io::Error },
}

impl Failure for DeliverError {
    fn cause(&self) -> Cause {
        match self {
            Self::NoSocket(_) | Self::Bind { .. } => Cause::Mesh,
            Self::HasLeft(error) => error.cause(),
            Self::Connect { source, .. } => Cause::of_connect(source),
        }
    }
}

/// How the client's own connection reached this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Its packets end elsewhere: in its own pod, or behind a tunnel.
    FromAfar,
    /// Its packets end at a socket of ours in the application's namespace, which has the very pair of addresses:
    /// what we sent from the client's port would go to that socket.
    IntoThePod,
}

impl Came {
    /// The client as the application shall see it. Linux clients connect from ports above 32768 (RFC 6056 allows
    /// any), so the other half is free as a rule, and no two ports of a client become one.
    fn seen(self, client: SocketAddr) -> SocketAddr {
        let other_half = client.port() ^ 0x8000;
        match self {
            Self::FromAfar => client,
            Self::IntoThePod if other_half < PRIVILEGED => SocketAddr::new(client.ip(), 0),
            Self::IntoThePod => SocketAddr::new(client.ip(), other_half),
        }
    }
}

/// Ports below are not for an unprivileged process.
const PRIVILEGED: u16 = 1024;

/// Connects to `target` in the pod's namespace, so that the application sees `client`: its address, and its port
/// too unless that one is in use there. The permit proves that policy was asked. A client of the other family than the
/// application's is to be given as [`weft_core::route::seen_by`] has it.
pub(super) async fn deliver(
    pod: &Pod,
    _permit: &Permit,
    (client, came): (SocketAddr, Came),
    target: SocketAddr,
    limit: Duration,
) -> Result<Socket, DeliverError> {
    pod.unless_left(|| connect_as(pod, came.seen(client), target, limit)).await?
}

async fn connect_as(
    pod: &Pod,
    client: SocketAddr,
    target: SocketAddr,
    limit: Duration,
) -> Result<Socket, DeliverError> {
    let fresh = pod.stock.take(tcp_kind(target)).await?;
    let bound =
        bind_client(&fresh, client, target).map_err(|source| DeliverError::Bind { client, source })?;
    let first = Socket::connect(fresh, target, limit).await;
    let refused = match first {
        Ok(socket) => return Ok(socket),
        Err(source) => source,
    };
    // The very same pair of addresses may be in use, or in TIME_WAIT: then any port of the client will do.
    if refused.kind() != io::ErrorKind::AddrNotAvailable || bound != Bound::Port {
        return Err(DeliverError::Connect { target, source: refused });
    }
    let fresh = pod.stock.take(tcp_kind(target)).await?;
    let any_port = SocketAddr::new(client.ip(), 0);
    bind(&fresh, any_port).map_err(|source| DeliverError::Bind { client, source })?;
    let second = Socket::connect(fresh, target, limit).await;
    second.map_err(|source| DeliverError::Connect { target, source })
}

/// Connects to `target`, out of the mesh, in the pod's namespace under the pod's own address.
pub(super) async fn dial(pod: &Pod, target: SocketAddr, limit: Duration) -> Result<Socket, DeliverError> {
    let connected = pod.unless_left(|| async {
        let fresh = pod.stock.take(tcp_kind(target)).await?;
        let failed = |source| DeliverError::Connect { target, source };
        watch_stranger(&socket2::SockRef::from(&fresh)).map_err(failed)?;
        Socket::connect(fresh, target, limit).await.map_err(failed)
    });
    connected.await?
}

#[derive(PartialEq, Eq)]
enum Bound {
    /// To address and port.
    Port,
    /// To the address, or to nothing: the client has no address of the application's family.
    Loosely,
}

fn bind_client(fresh: &OwnedFd, client: SocketAddr, target: SocketAddr) -> io::Result<Bound> {
    if client.is_ipv4() != target.is_ipv4() {
        return Ok(Bound::Loosely);
    }
    match bind(fresh, client) {
        Ok(()) => Ok(Bound::Port),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bind(fresh, SocketAddr::new(client.ip(), 0)).map(|()| Bound::Loosely)
        }
        Err(error) => Err(error),
    }
}

fn bind(fresh: &OwnedFd, addr: SocketAddr) -> io::Result<()> {
    socket2::SockRef::from(fresh).bind(&addr.into())
}
