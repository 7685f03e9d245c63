//! The handshake of a TLS session, over rustls' unbuffered interface: this side owns every buffer, and rustls never
//! sees what comes behind the handshake.

use crate::record::{RecordError, whole};
use crate::scratch::ReadBuffer;
use crate::socket::Socket;
use crate::tls::{HANDSHAKE_BYTES_MAX, Secrets, Session, TlsError};
use rustls::client::UnbufferedClientConnection;
use rustls::server::{Acceptor, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use std::sync::Arc;

enum Connection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
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
    /// Opens a session as the client. The configuration allows extraction of secrets.
    ///
    /// # Errors
    /// As [`TlsError`] says; among them a server whose identity is not the expected one.
    pub async fn connect(
        stream: &Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<(Self, ReadBuffer), TlsError> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(TlsError::Tls)?;
        handshake(stream, Connection::Client(connection), ReadBuffer::default()).await
    }

    /// Accepts a session as the server. The configuration allows extraction of secrets.
    ///
    /// # Errors
    /// As [`TlsError`] says; among them a client whose certificate proves nothing.
    pub async fn accept(stream: &Socket, config: Arc<ServerConfig>) -> Result<(Self, ReadBuffer), TlsError> {
        let connection = UnbufferedServerConnection::new(config).map_err(TlsError::Tls)?;
        handshake(stream, Connection::Server(connection), ReadBuffer::default()).await
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
        let hello = loop {
            receive(stream, &mut incoming).await?;
            if let Some(bytes) = whole(incoming.filled()) {
                break bytes;
            }
        };
        ready(name_asked_for(&incoming.filled()[..hello])).await;
        let connection = UnbufferedServerConnection::new(config).map_err(TlsError::Tls)?;
        handshake(stream, Connection::Server(connection), incoming).await
    }
}

/// The returned buffer holds what the peer sent right after its handshake.
async fn handshake(
    stream: &Socket,
    mut connection: Connection,
    mut incoming: ReadBuffer,
) -> Result<(Session, ReadBuffer), TlsError> {
    let mut outgoing = Vec::new();
    // Bytes that rustls is shown: whole records, one more at a time, so that it never sees what comes behind the
    // handshake.
    let mut shown = 0;
    loop {
        let step = handshake_step(&mut connection, &mut incoming, &mut shown, &mut outgoing);
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
            Ok(Step::Done) if shown == 0 => return Ok((take_over(connection)?, incoming)),
            Ok(Step::Done) => return Err(TlsError::Malformed("a handshake that goes on behind its end")),
            Ok(Step::Closed) => return Err(TlsError::Closed),
            Ok(Step::Receive) => match whole(&incoming.filled()[shown..]) {
                Some(bytes) => shown += bytes,
                None => receive(stream, &mut incoming).await?,
            },
        }
    }
}

fn take_over(connection: Connection) -> Result<Session, TlsError> {
    let (alpn, certificates) = match &connection {
        Connection::Client(connection) => (connection.alpn_protocol(), connection.peer_certificates()),
        Connection::Server(connection) => (connection.alpn_protocol(), connection.peer_certificates()),
    };
    let (alpn, certificates) = (alpn.map(<[u8]>::to_vec), certificates.unwrap_or_default().to_vec());
    let (keys, secrets) = match connection {
        Connection::Client(connection) => {
            let (keys, rest) = connection.dangerous_into_kernel_connection().map_err(TlsError::Tls)?;
            (keys, Secrets::Client(rest))
        }
        Connection::Server(connection) => {
            let (keys, rest) = connection.dangerous_into_kernel_connection().map_err(TlsError::Tls)?;
            (keys, Secrets::Server(rest))
        }
    };
    Session::new(keys, secrets, certificates, alpn)
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

/// The name that a client asks for in its first record. What cannot be read, or goes on in a second one, asks for
/// none: the handshake finds out, and tells the client.
fn name_asked_for(mut record: &[u8]) -> Option<String> {
    let mut hello = Acceptor::default();
    while !record.is_empty() {
        hello.read_tls(&mut record).ok()?;
    }
    let accepted = hello.accept().ok()??;
    accepted.client_hello().server_name().map(str::to_owned)
}

fn handshake_step(
    connection: &mut Connection,
    incoming: &mut ReadBuffer,
    shown: &mut usize,
    outgoing: &mut Vec<u8>,
) -> Result<Step, TlsError> {
    let used;
    let step = advance!(connection, &mut incoming.filled_mut()[..*shown], |discard, state| {
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
            Ok(_) => Ok(Step::Closed),
        }
    });
    incoming.consume(used);
    *shown -= used;
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
        Err(EncodeError::AlreadyEncoded) => return Err(RecordError::Exhausted.into()),
    };
    out.resize(start + needed, 0);
    let written = encode(&mut out[start..]).map_err(|_| RecordError::Exhausted)?;
    out.truncate(start + written);
    Ok(())
}
