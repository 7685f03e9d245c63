//! The servers that know no protocol: TCP echo, with or without a banner, and UDP echo.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::Server;
use crate::socket::{accept, listen};

/// Echoes every connection until its client closes its side, then closes its own.
pub(crate) async fn echo(server: &Server, banner: Option<String>) -> Result<()> {
    let listener = listen(server)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _peer) = accept(&listener).await;
        let banner = banner.clone();
        // A connection that breaks is its client's business.
        connections.spawn(async move { echo_one(stream, banner).await.ok() });
        while connections.try_join_next().is_some() {}
    }
}

async fn echo_one(mut stream: TcpStream, banner: Option<String>) -> Result<()> {
    if let Some(banner) = banner {
        stream.write_all(format!("{banner}\n").as_bytes()).await?;
    }
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            stream.shutdown().await?;
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

/// Sends every datagram back.
pub(crate) async fn udp_echo(server: &Server) -> Result<()> {
    let addr = SocketAddr::new(server.bind, server.port);
    let socket = UdpSocket::bind(addr).await.with_context(|| format!("binding to {addr}"))?;
    eprintln!("{} is listening on {addr}", server.name);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.context("receiving")?;
        socket.send_to(&buffer[..length], peer).await.context("sending")?;
    }
}
