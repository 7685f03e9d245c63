//! Opens connections to applications: through a tunnel, or straight to what is not in the mesh; with TLS of the
//! application's own where that is asked for.

use crate::client::Client;
use crate::endpoints::Endpoint;
use crate::io::Io;
use crate::origin::Within;
use crate::tunnels::{TunnelError, Tunnels};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weft_l7::destination::KeepAlive;
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
    /// There is one, but its TLS does not stand.
    #[error("TLS with {to}")]
    Tls {
        /// Where to.
        to: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its server speaks another version of HTTP, or does not say.
    #[error("{0} has not agreed to HTTP/2 (ALPN h2)")]
    NotHttp2(SocketAddr),
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
    (within, limit): (Within, Option<Duration>),
) -> Result<Io, DialError> {
    let connected = secured(endpoint, client, tunnels, within);
    let Some(limit) = limit else { return connected.await };
    tokio::time::timeout(limit, connected).await.map_err(|_| DialError::Late(endpoint.addr))?
}

/// With TLS of the application's own, where that is asked for.
async fn secured(
    endpoint: &Endpoint,
    client: &Client,
    tunnels: &Tunnels,
    within: Within,
) -> Result<Io, DialError> {
    let io = connect(endpoint, seen(client, within), tunnels).await?;
    let Some(origin) = &endpoint.origin else { return Ok(io) };
    let to = endpoint.addr;
    let connector = TlsConnector::from(origin.config(within).clone());
    // Boxed: else every request would keep the space of a handshake for as long as it lives.
    let shaking = Box::pin(connector.connect(origin.server_name.clone(), io));
    let shaken = tokio::time::timeout(tunnels.handshake_limit(), shaking).await;
    let stream = shaken.map_err(|_| DialError::Late(to))?.map_err(|source| DialError::Tls { to, source })?;
    let agreed = stream.get_ref().1.alpn_protocol();
    if within == Within::Http2 && agreed != within.alpn() {
        return Err(DialError::NotHttp2(to));
    }
    Ok(Io::Tls(Box::new(stream)))
}

/// The client as the application shall see it. A connection of HTTP is for requests of all of a client's connections, so
/// none of their ports is its own.
fn seen(client: &Client, within: Within) -> SocketAddr {
    match within {
        Within::Bytes => client.addr,
        Within::Http1 | Within::Http2 => SocketAddr::new(client.addr.ip(), 0),
    }
}

async fn connect(endpoint: &Endpoint, client: SocketAddr, tunnels: &Tunnels) -> Result<Io, DialError> {
    let to = endpoint.addr;
    let Some(tunnel) = endpoint.tunnel else {
        let unreachable = |source| DialError::Connect { to, source };
        let connected = tokio::time::timeout(tunnels.connect_limit(), TcpStream::connect(to)).await;
        let stream = connected.map_err(|_| DialError::Late(to))?.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        if let Some(words) = &endpoint.keep_alive {
            SockRef::from(&stream).set_tcp_keepalive(&probes(words)).map_err(unreachable)?;
        }
        return Ok(Io::Plain(stream));
    };
    let request = ConnectRequest {
        authority: Authority::Addr(to),
        baggage: None,
        forwarded: Some(Forwarded { client: Some(client), host: None }),
        traceparent: None,
    };
    let stream = tunnels.open(&endpoint.workload.identity, tunnel, request).await;
    Ok(Io::Tunnel(Box::new(stream.map_err(DialError::Tunnel)?.into_io())))
}

/// What is not said is as the kernel has it.
fn probes(words: &KeepAlive) -> TcpKeepalive {
    let mut probes = TcpKeepalive::new();
    if let Some(idle) = words.idle {
        probes = probes.with_time(idle);
    }
    if let Some(interval) = words.interval {
        probes = probes.with_interval(interval);
    }
    if let Some(count) = words.probes {
        probes = probes.with_retries(count);
    }
    probes
}
