//! A DNS server that plays the cluster's own: a fixed list of names, A and AAAA, over UDP and TCP. It logs every
//! question, so that a test sees what was forwarded.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::Server;
use crate::socket::{accept, listen};

const A: u16 = 1;
const AAAA: u16 = 28;
const TTL_SECONDS: u32 = 5;
const HEADER_BYTES: usize = 12;

type Records = Arc<Vec<(String, IpAddr)>>;

/// Serves until killed.
pub(crate) async fn serve(server: &Server, records: &[String]) -> Result<()> {
    let parse = |text: &String| {
        let (name, ip) = text.split_once('=').context("a record is name=address")?;
        Ok((name.trim_end_matches('.').to_ascii_lowercase(), ip.parse().context("reading an address")?))
    };
    let records: Records = Arc::new(records.iter().map(parse).collect::<Result<_>>()?);
    let socket =
        UdpSocket::bind(SocketAddr::new(server.bind, server.port)).await.context("binding for UDP")?;
    let listener = listen(server)?;
    tokio::try_join!(over_udp(&socket, &records), over_tcp(&listener, &records)).map(drop)
}

async fn over_udp(socket: &UdpSocket, records: &Records) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.context("receiving")?;
        if let Some(answer) = answer(&buffer[..length], records, "udp") {
            socket.send_to(&answer, peer).await.context("sending")?;
        }
    }
}

async fn over_tcp(listener: &TcpListener, records: &Records) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _peer) = accept(listener).await;
        let records = Arc::clone(records);
        // A connection that breaks is its client's business.
        connections.spawn(async move { one_connection(stream, &records).await.ok() });
        while connections.try_join_next().is_some() {}
    }
}

async fn one_connection(mut stream: TcpStream, records: &Records) -> Result<()> {
    loop {
        let mut query = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut query).await?;
        if let Some(answer) = answer(&query, records, "tcp") {
            stream.write_u16(u16::try_from(answer.len())?).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// The answer to a query with one question; nothing if it cannot be read.
fn answer(query: &[u8], records: &Records, over: &str) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let kind = u16::from_be_bytes(query.get(end..end + 2)?.try_into().ok()?);
    eprintln!("{over} question: {name} type {kind}");
    let named: Vec<IpAddr> = records.iter().filter(|(known, _)| *known == name).map(|(_, ip)| *ip).collect();
    let fitting = |ip: &&IpAddr| kind == if ip.is_ipv4() { A } else { AAAA };
    let found: Vec<&IpAddr> = named.iter().filter(fitting).collect();
    // Authoritative, recursion desired and available; NXDOMAIN only if the name has no record of any type.
    let flags: u16 = if named.is_empty() { 0x8583 } else { 0x8580 };
    let mut out = query.get(..2)?.to_vec();
    out.extend(flags.to_be_bytes());
    for count in [1, u16::try_from(found.len()).ok()?, 0, 0] {
        out.extend(count.to_be_bytes());
    }
    out.extend(query.get(HEADER_BYTES..end + 4)?);
    for ip in found {
        let bytes = match ip {
            IpAddr::V4(four) => four.octets().to_vec(),
            IpAddr::V6(six) => six.octets().to_vec(),
        };
        // The name is the question's, by a pointer to its place behind the header.
        out.extend([0xc0, HEADER_BYTES as u8]);
        out.extend(kind.to_be_bytes());
        out.extend(1_u16.to_be_bytes());
        out.extend(TTL_SECONDS.to_be_bytes());
        out.extend(u16::try_from(bytes.len()).ok()?.to_be_bytes());
        out.extend(bytes);
    }
    Some(out)
}

/// The question's name, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), HEADER_BYTES);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        // Pointers have no place in a question that stands alone.
        let label = query.get(at..at + length).filter(|_| length < 64)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}
