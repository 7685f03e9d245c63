//! One TLS session over rustls' unbuffered interface: this side owns every buffer, reads as much as the
//! kernel has in one call, and keeps none while nothing happens.

use crate::scratch::ReadBuffer;
use crate::socket::Socket;
use rustls::client::UnbufferedClientConnection;
use rustls::server::{Acceptor, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use std::io;
use std::sync::Arc;

/// Why a session cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// TLS itself: a bad certificate, a bad record, an alert.
    #[error("in the TLS session")]
    Tls(#[source] rustls::Error),
    /// The socket failed during the handshake.
    #[error("exchanging the handshake")]
    Handshake(#[source] io::Error),
    /// The peer closed before the handshake was done.
    #[error("the peer closed during the handshake")]
    Closed,
    /// The handshake is larger than any of the mesh's can be.
    #[error("the peer's handshake exceeds {HANDSHAKE_BYTES_MAX} bytes")]
    HandshakeTooLarge,
    /// A record could not be sealed.
    #[error("the session cannot seal any more")]
    Exhausted,
}

/// A certificate chain of a few kilobytes fits well; a peer cannot make this side keep more.
const HANDSHAKE_BYTES_MAX: usize = 65_536;
/// What a TLS 1.3 record costs beyond its payload: header, content type, tag.
const RECORD_OVERHEAD: usize = 22;
/// Most payload bytes in a record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 16_384;

/// Most bytes that sealing so many takes: the records' overhead, and a key update that rustls may put in front.
pub const fn sealed_bytes_max(plain: usize) -> usize {
    plain + (plain.div_ceil(RECORD_BYTES) + 1) * (RECORD_OVERHEAD + 64)
}

enum Connection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// A TLS session whose handshake is done.
pub struct Session {
    connection: Connection,
}

/// Runs a block with the session's state, whichever side it is; rustls gives the two sides distinct types.
macro_rules! advance {
    ($connection:expr, $incoming:expr, |$discard:ident, $state:ident| $body:expr) => {
        match $connection {
            Connection::Client(connection) => {
                let status = connection.process_tls_records($incoming);
                let ($discard, $state) = (status.discard, status.state);
                $body
            }
            Connection::Server(connection) => {
                let status = connection.process_tls_records($incoming);
                let ($discard, $state) = (status.discard, status.state);
                $body
            }
        }
    };
}

/// What one step of the handshake asks for.
enum Step {
    Again,
    Send,
    Receive,
    Done,
    Closed,
}

impl Session {
    /// Opens a session as the client.
    ///
    /// # Errors
    /// As [`TlsError`] says; among them a server whose identity is not the expected one.
    pub async fn connect(
        stream: &Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<(Self, ReadBuffer), TlsError> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(TlsError::Tls)?;
        Self::handshake(stream, Connection::Client(connection), ReadBuffer::default()).await
    }

    /// Accepts a session as the server.
    ///
    /// # Errors
    /// As [`TlsError`] says; among them a client whose certificate proves nothing.
    pub async fn accept(stream: &Socket, config: Arc<ServerConfig>) -> Result<(Self, ReadBuffer), TlsError> {
        let connection = UnbufferedServerConnection::new(config).map_err(TlsError::Tls)?;
        Self::handshake(stream, Connection::Server(connection), ReadBuffer::default()).await
    }

    /// The same for a server that may have to get ready for the name that the client asks for: the certificate is
    /// chosen when `ready` has returned.
    ///
    /// # Errors
    /// As [`Session::accept`].
    pub async fn accept_when<F: Future<Output = ()>>(
        stream: &Socket,
        config: Arc<ServerConfig>,
        ready: impl FnOnce(Option<String>) -> F,
    ) -> Result<(Self, ReadBuffer), TlsError> {
        let mut incoming = ReadBuffer::default();
        let name = loop {
            receive(stream, &mut incoming).await?;
            match name_asked_for(incoming.filled()) {
                Asked::Unclear => {}
                Asked::For(name) => break name,
            }
        };
        ready(name).await;
        let connection = UnbufferedServerConnection::new(config).map_err(TlsError::Tls)?;
        Self::handshake(stream, Connection::Server(connection), incoming).await
    }

    /// The returned buffer holds what the peer sent right after its handshake.
    async fn handshake(
        stream: &Socket,
        mut connection: Connection,
        mut incoming: ReadBuffer,
    ) -> Result<(Self, ReadBuffer), TlsError> {
        let mut outgoing = Vec::new();
        loop {
            let step = handshake_step(&mut connection, &mut incoming, &mut outgoing);
            match step {
                Err(error) => {
                    // The alert tells the peer why; whether it arrives changes nothing here.
                    drain_alert(&mut connection, &mut outgoing);
                    let _ = stream.write_all(&outgoing).await;
                    return Err(error);
                }
                Ok(Step::Again) => {}
                Ok(Step::Send) => {
                    stream.write_all(&outgoing).await.map_err(TlsError::Handshake)?;
                    outgoing.clear();
                }
                Ok(Step::Done) => return Ok((Self { connection }, incoming)),
                Ok(Step::Closed) => return Err(TlsError::Closed),
                Ok(Step::Receive) => receive(stream, &mut incoming).await?,
            }
        }
    }

    /// The peer's certificates, leaf first, as the handshake verified them.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        let certificates = match &self.connection {
            Connection::Client(connection) => connection.peer_certificates(),
            Connection::Server(connection) => connection.peer_certificates(),
        };
        certificates.unwrap_or_default()
    }

    /// The protocol that both sides chose, if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        match &self.connection {
            Connection::Client(connection) => connection.alpn_protocol(),
            Connection::Server(connection) => connection.alpn_protocol(),
        }
    }

    /// Seals `plain` into records at the end of `out`.
    ///
    /// # Errors
    /// [`TlsError::Exhausted`] if the keys are used up; the connection has to be replaced.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let start = out.len();
        out.resize(start + sealed_bytes_max(plain.len()), 0);
        let written = self.seal_into(plain, &mut out[start..])?;
        out.truncate(start + written);
        Ok(())
    }

    /// Seals `plain` into records at the beginning of `out`, which holds at least [`sealed_bytes_max`], and returns
    /// how many bytes they take.
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub fn seal_into(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, TlsError> {
        let mut written = 0;
        loop {
            let done = advance!(&mut self.connection, &mut [], |_discard, state| {
                match state.map_err(TlsError::Tls)? {
                    ConnectionState::WriteTraffic(mut traffic) => {
                        written +=
                            traffic.encrypt(plain, &mut out[written..]).map_err(|error| match error {
                                EncryptError::InsufficientSize(_) | EncryptError::EncryptExhausted => {
                                    TlsError::Exhausted
                                }
                            })?;
                        true
                    }
                    ConnectionState::EncodeTlsData(mut data) => {
                        written += data.encode(&mut out[written..]).map_err(|_| TlsError::Exhausted)?;
                        false
                    }
                    ConnectionState::TransmitTlsData(data) => {
                        data.done();
                        false
                    }
                    _ => return Err(TlsError::Closed),
                }
            });
            if done {
                return Ok(written);
            }
        }
    }

    /// Opens the records that `incoming` holds and hands their payloads to `on_plain`. What rustls itself wants
    /// to say (key updates, alerts) is appended to `out`. Returns whether the peer has closed.
    ///
    /// # Errors
    /// [`TlsError::Tls`], or what `on_plain` returns.
    pub fn open<E: From<TlsError>>(
        &mut self,
        incoming: &mut ReadBuffer,
        out: &mut Vec<u8>,
        mut on_plain: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<PeerState, E> {
        loop {
            let mut used = 0;
            let step = advance!(&mut self.connection, incoming.filled_mut(), |discard, state| {
                used += discard;
                match state {
                    Err(error) => Err(TlsError::Tls(error).into()),
                    Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                        let mut result = Ok(Step::Again);
                        while let Some(record) = traffic.next_record() {
                            match record {
                                Ok(record) => {
                                    used += record.discard;
                                    if let Err(error) = on_plain(record.payload) {
                                        result = Err(error);
                                        break;
                                    }
                                }
                                Err(error) => {
                                    result = Err(TlsError::Tls(error).into());
                                    break;
                                }
                            }
                        }
                        result
                    }
                    Ok(ConnectionState::EncodeTlsData(mut data)) => {
                        encode(|space| data.encode(space), out)?;
                        Ok(Step::Again)
                    }
                    Ok(ConnectionState::TransmitTlsData(data)) => {
                        data.done();
                        Ok(Step::Again)
                    }
                    Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Step::Closed),
                    Ok(_) => Ok(Step::Receive),
                }
            });
            incoming.consume(used);
            match step? {
                Step::Again => {}
                Step::Closed => return Ok(PeerState::Closed),
                _ => return Ok(PeerState::Open),
            }
        }
    }

    /// Appends the alert that ends the session cleanly.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + 128, 0);
        let written = advance!(&mut self.connection, &mut [], |_discard, state| match state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) =>
                traffic.queue_close_notify(&mut out[start..]).unwrap_or(0),
            _ => 0,
        });
        out.truncate(start + written);
    }
}

/// Some bytes more of the handshake.
async fn receive(stream: &Socket, incoming: &mut ReadBuffer) -> Result<(), TlsError> {
    if incoming.filled().len() > HANDSHAKE_BYTES_MAX {
        return Err(TlsError::HandshakeTooLarge);
    }
    let space = incoming.space(4_096);
    let count = stream.read(space).await.map_err(TlsError::Handshake)?;
    if count == 0 {
        return Err(TlsError::Closed);
    }
    incoming.advance(count);
    Ok(())
}

/// What a client's first words say of the name.
enum Asked {
    /// There is more to come.
    Unclear,
    /// This one, or none. What cannot be read asks for none: the handshake finds out, and tells the client.
    For(Option<String>),
}

fn name_asked_for(mut bytes: &[u8]) -> Asked {
    let mut hello = Acceptor::default();
    while !bytes.is_empty() {
        if hello.read_tls(&mut bytes).is_err() {
            return Asked::For(None);
        }
    }
    match hello.accept() {
        Ok(None) => Asked::Unclear,
        Ok(Some(accepted)) => Asked::For(accepted.client_hello().server_name().map(str::to_owned)),
        Err(_) => Asked::For(None),
    }
}

/// Whether the peer may still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It may.
    Open,
    /// It has closed the session cleanly.
    Closed,
}

fn handshake_step(
    connection: &mut Connection,
    incoming: &mut ReadBuffer,
    outgoing: &mut Vec<u8>,
) -> Result<Step, TlsError> {
    let used;
    let step = advance!(connection, incoming.filled_mut(), |discard, state| {
        used = discard;
        match state {
            Err(error) => Err(TlsError::Tls(error)),
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(|space| data.encode(space), outgoing).map(|()| Step::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Step::Send)
            }
            Ok(ConnectionState::BlockedHandshake) => Ok(Step::Receive),
            Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Done),
            // Early data is off, and application data cannot come before the handshake is done for us.
            Ok(ConnectionState::ReadTraffic(_)) => Ok(Step::Done),
            Ok(_) => Ok(Step::Closed),
        }
    });
    incoming.consume(used);
    step
}

fn drain_alert(connection: &mut Connection, outgoing: &mut Vec<u8>) {
    // A failed connection offers its alert once, then repeats its error.
    let _ = advance!(connection, &mut [], |_discard, state| match state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => encode(|space| data.encode(space), outgoing),
        _ => Ok(()),
    });
}

fn encode(
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
    out: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let start = out.len();
    let needed = match encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => required_size,
        Err(EncodeError::AlreadyEncoded) => return Err(TlsError::Exhausted),
    };
    out.resize(start + needed, 0);
    let written = encode(&mut out[start..]).map_err(|_| TlsError::Exhausted)?;
    out.truncate(start + written);
    Ok(())
}
