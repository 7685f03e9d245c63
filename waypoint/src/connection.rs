//! A client's connection: finds out what is spoken on it, and hands it on.

use crate::client::Connection;
use crate::outside::pattern;
use crate::rewind::Rewind;
use crate::worker::Worker;
use crate::{serving, tcp};
use bytes::BytesMut;
use std::rc::Rc;
use tokio::io::AsyncReadExt as _;
use weft_core::service::AppProtocol;
use weft_l7::service::Found;
use weft_tunnel::io::TunnelIo;

/// What begins a connection of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest method that is taken for one of HTTP.
const METHOD_BYTES_MAX: usize = 32;

/// Longest hello of TLS that is looked into: with the keys of the day it is some two thousand bytes.
const HELLO_BYTES_MAX: usize = 32 * 1024;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
    Bytes,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, mut connection: Connection, mut io: TunnelIo) {
    let mut first = BytesMut::new();
    let looks_at = by_route(&worker, &connection);
    if looks_at == LooksAt::ServerName {
        connection.server_name = server_name(&worker, &mut io, &mut first).await;
    }
    let spoken = match connection.protocol() {
        _ if looks_at != LooksAt::Requests => Spoken::Bytes,
        AppProtocol::Tcp | AppProtocol::Tls => Spoken::Bytes,
        written => match tokio::time::timeout(worker.limits.detection, detect(&mut io, &mut first)).await {
            Ok(None) => return, // It ended before it said anything.
            Ok(Some(heard @ (Spoken::Http1 | Spoken::Http2))) => heard,
            // Where HTTP is written, what is none of it gets HTTP's refusal: a backend might find a request in it after all.
            Ok(Some(Spoken::Bytes)) | Err(_) => match written {
                AppProtocol::Http11 => Spoken::Http1,
                AppProtocol::Http2 | AppProtocol::Grpc => Spoken::Http2,
                // Perhaps a server that speaks first.
                AppProtocol::Unknown | AppProtocol::Tcp | AppProtocol::Tls => Spoken::Bytes,
            },
        },
    };
    if spoken == Spoken::Bytes && looks_at != LooksAt::ServerName && stands_for_many(&worker, &connection) {
        // Nothing else of it says which one is meant.
        connection.server_name = server_name(&worker, &mut io, &mut first).await;
    }
    let io = Rewind::new(first.freeze(), io);
    match spoken {
        Spoken::Bytes => tcp::serve(worker, connection, io).await,
        Spoken::Http1 => serving::serve_one(worker, connection, io).await,
        Spoken::Http2 => serving::serve_two(worker, connection, io).await,
    }
}

/// What routes look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LooksAt {
    Requests,
    ServerName,
    Nothing,
}

fn by_route(worker: &Worker, connection: &Connection) -> LooksAt {
    let Some(service) = connection.service() else {
        return LooksAt::Requests;
    };
    let moment = worker.now();
    let traffic = moment.traffic(&service.name);
    let found =
        traffic.and_then(|traffic| traffic.routes(connection.addr.port(), connection.client.namespace()));
    match found {
        None | Some(Found::Http(_)) => LooksAt::Requests,
        Some(Found::Tls(_)) => LooksAt::ServerName,
        Some(Found::Tcp(_)) => LooksAt::Nothing,
    }
}

/// Whether the service that was asked for has as its endpoints whatever the name stands for that a client says.
fn stands_for_many(worker: &Worker, connection: &Connection) -> bool {
    connection.service().is_some_and(|service| pattern(&worker.now().mesh, &service.name).is_some())
}

/// The name that the client's TLS asks for, in which the client speaks first. Who says no name in time says none.
async fn server_name(worker: &Worker, io: &mut TunnelIo, first: &mut BytesMut) -> Option<String> {
    tokio::time::timeout(worker.limits.handshake, read_server_name(io, first)).await.ok().flatten()
}

/// The name that the client's TLS asks for (RFC 6066 §3), in lower case; `None` if it asks for none, or speaks no TLS.
/// Cancel-safe: what came is in `first`.
async fn read_server_name(io: &mut TunnelIo, first: &mut BytesMut) -> Option<String> {
    let mut acceptor = rustls::server::Acceptor::default();
    let mut fed = 0;
    loop {
        let mut fresh = &first[fed..];
        while !fresh.is_empty() {
            // It takes what it can; what it cannot is no hello.
            if acceptor.read_tls(&mut fresh).ok()? == 0 {
                return None;
            }
            if let Some(accepted) = acceptor.accept().ok()? {
                return accepted.client_hello().server_name().map(str::to_ascii_lowercase);
            }
        }
        fed = first.len();
        if fed > HELLO_BYTES_MAX || io.read_buf(first).await.ok()? == 0 {
            return None;
        }
    }
}

/// Reads until it is clear. `None` if it ends before. Cancel-safe: what came is in `first`.
async fn detect(io: &mut TunnelIo, first: &mut BytesMut) -> Option<Spoken> {
    loop {
        if let Some(spoken) = judge(first) {
            return Some(spoken);
        }
        if io.read_buf(first).await.ok()? == 0 {
            return (!first.is_empty()).then_some(Spoken::Bytes);
        }
    }
}

/// What the first bytes are of; `None` if it is not clear yet.
fn judge(first: &[u8]) -> Option<Spoken> {
    let length = first.len().min(PREFACE.len());
    if first[..length] == PREFACE[..length] {
        return (length == PREFACE.len()).then_some(Spoken::Http2);
    }
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    match first.iter().position(|byte| !is_token(byte)) {
        Some(0) => Some(Spoken::Bytes),
        Some(end) if first[end] == b' ' && end <= METHOD_BYTES_MAX => Some(Spoken::Http1),
        Some(_) => Some(Spoken::Bytes),
        None => (first.len() > METHOD_BYTES_MAX).then_some(Spoken::Bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_first_bytes_are_of() {
        for (first, want) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Spoken::Http1)),
            (b"GET ", Some(Spoken::Http1)),
            (b"", None),
            (b"GE", None),
            (b"PRI", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(Spoken::Http2)),
            (b"PRI * HTTP/1.1\r\n\r\n........", Some(Spoken::Http1)),
            (b"PRINT / HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"\x16\x03\x01\x02\x00\x01", Some(Spoken::Bytes)),
            (b"SELECT\n", Some(Spoken::Bytes)),
            (b"EHLO\r\n", Some(Spoken::Bytes)),
            (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Some(Spoken::Bytes)),
        ] {
            assert_eq!(judge(first), want, "{:?}", String::from_utf8_lossy(first));
        }
    }
}
