//! Opens connections to applications: through a tunnel, or in plain text to what is not in the mesh.

use crate::client::Client;
use crate::endpoints::Endpoint;
use crate::io::Io;
use crate::tunnels::{TunnelError, Tunnels};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::words::{Authority, Forwarded};

/// Why there is no connection to an application.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// There is no tunnel.
    #[error(transparent)]
    Tunnel(TunnelError),
    /// Nobody listens there.
    #[error("cannot reach {to}")]
    Connect {
        /// Where to.
        to: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There was none in time.
    #[error("cannot reach {0} in time")]
    Late(SocketAddr),
}

/// A connection to an application. `limit` is for all of it; without one, what the waypoint's settings say holds for each
/// of its steps.
///
/// # Errors
/// As [`DialError`] says.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    client: &Client,
    tunnels: &Tunnels,
    limit: Option<Duration>,
) -> Result<Io, DialError> {
    let connected = connect(endpoint, client, tunnels);
    let Some(limit) = limit else { return connected.await };
    tokio::time::timeout(limit, connected).await.map_err(|_| DialError::Late(endpoint.addr))?
}

async fn connect(endpoint: &Endpoint, client: &Client, tunnels: &Tunnels) -> Result<Io, DialError> {
    let to = endpoint.addr;
    let Some(tunnel) = endpoint.tunnel else {
        let unreachable = |source| DialError::Connect { to, source };
        let connected = tokio::time::timeout(tunnels.connect_limit(), TcpStream::connect(to)).await;
        let stream = connected.map_err(|_| DialError::Late(to))?.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        return Ok(Io::Plain(stream));
    };
    let request = ConnectRequest {
        authority: Authority::Addr(to),
        baggage: None,
        forwarded: Some(Forwarded { client: Some(client.addr), host: None }),
        traceparent: None,
    };
    let stream = tunnels.open(&endpoint.workload.identity, tunnel, &request).await;
    Ok(Io::Tunnel(Box::new(stream.map_err(DialError::Tunnel)?.into_io())))
}
