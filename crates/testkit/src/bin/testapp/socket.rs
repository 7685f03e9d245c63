//! Opening and accepting connections, and words for what goes wrong with them.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

use crate::Server;

/// Connections that wait to be accepted: a load test opens thousands in a second.
const BACKLOG: u32 = 4096;

/// Listens, and says so.
pub(crate) fn listen(server: &Server) -> Result<TcpListener> {
    let socket = if server.bind.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() };
    let socket = socket.context("making a socket")?;
    socket.set_reuseaddr(true).context("setting SO_REUSEADDR")?;
    let addr = SocketAddr::new(server.bind, server.port);
    socket.bind(addr).with_context(|| format!("binding to {addr}"))?;
    let listener = socket.listen(BACKLOG).context("listening")?;
    eprintln!("{} is listening on {addr}", server.name);
    Ok(listener)
}

/// Accepts the next connection; a connection that died in the queue, or a shortage of descriptors, ends nothing.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small answers should leave at once; where that cannot be had, they leave later.
                let _not_vital = stream.set_nodelay(true);
                return (stream, canonical(peer));
            }
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

/// The first address of `host:port`.
pub(crate) async fn resolve(target: &str) -> io::Result<SocketAddr> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "no address");
    lookup_host(target).await?.next().ok_or_else(none)
}

/// An IPv4 address in its own form, also when a socket of both families names it.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// One word for an error, if there is one.
pub(crate) fn word(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some("refused"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some("reset"),
        io::ErrorKind::TimedOut => Some("timeout"),
        io::ErrorKind::AddrNotAvailable => Some("no_port"),
        io::ErrorKind::UnexpectedEof => Some("closed"),
        _ => None,
    }
}
