//! One TLS session behind its handshake (`handshake.rs`). rustls keeps the secrets; the records are sealed and opened
//! where they lie (`record.rs`).

use crate::record::{Content, HEADER_BYTES, Keys, RecordError, TRAILER_BYTES};
use rustls::ExtractedSecrets;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls_pki_types::CertificateDer;
use std::io;
use std::ops::Range;

/// A certificate chain of a few kilobytes fits well; a peer cannot make this side keep more.
pub(crate) const HANDSHAKE_BYTES_MAX: usize = 65_536;

/// Why a session cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// TLS itself: a bad certificate, a bad handshake.
    #[error("in the TLS session")]
    Tls(#[source] rustls::Error),
    /// The socket failed during the handshake.
    #[error("exchanging the handshake")]
    Handshake(#[source] io::Error),
    /// The peer closed before the handshake was done.
    #[error("the peer closed during the handshake")]
    Closed,
    /// The handshake, or a message behind it, is larger than any of the mesh's can be.
    #[error("the peer's handshake exceeds {HANDSHAKE_BYTES_MAX} bytes")]
    HandshakeTooLarge,
    /// A record could not be sealed or opened.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A message that RFC 8446 does not allow.
    #[error("the peer broke TLS: {0}")]
    Malformed(&'static str),
    /// The peer gave up.
    #[error("the peer ended the TLS session with alert {0}")]
    Alert(u8),
}

/// Messages behind the handshake (RFC 8446 §4), and what a KeyUpdate asks for (§4.6.3).
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
const UPDATE_NOT_REQUESTED: u8 = 0;
const UPDATE_REQUESTED: u8 = 1;
/// Alerts (RFC 8446 §6) that are no error.
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;
const LEVEL_WARNING: u8 = 1;

/// What rustls keeps once the handshake is done: the secrets that the next keys are made of.
pub(crate) enum Secrets {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

/// A TLS session whose handshake is done.
pub struct Session {
    sending: Keys,
    receiving: Keys,
    secrets: Secrets,
    /// A message behind the handshake that is not all there yet.
    message: Vec<u8>,
    /// The peer has asked for new keys of this side.
    owes_key_update: bool,
    peer_certificates: Vec<CertificateDer<'static>>,
    alpn: Option<Vec<u8>>,
}

/// What [`Session::open`] has found at the beginning of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// The record is not all there.
    Part,
    /// A record of so many bytes, and where in it the payload lies.
    Data {
        /// Bytes of the whole record.
        bytes: usize,
        /// Where in them the payload lies, deciphered. It may be empty.
        payload: Range<usize>,
    },
    /// A record of so many bytes for the session itself.
    Control {
        /// Bytes of the whole record.
        bytes: usize,
    },
    /// The peer has closed the session in good order. What follows does not count.
    Closed,
}

impl Session {
    /// A session whose handshake has produced these keys.
    pub(crate) fn new(
        keys: ExtractedSecrets,
        secrets: Secrets,
        peer_certificates: Vec<CertificateDer<'static>>,
        alpn: Option<Vec<u8>>,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            sending: Keys::new(keys.tx)?,
            receiving: Keys::new(keys.rx)?,
            secrets,
            message: Vec::new(),
            owes_key_update: false,
            peer_certificates,
            alpn,
        })
    }

    /// The peer's certificates, leaf first, as the handshake verified them.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// The protocol that both sides chose, if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// Opens the record at the beginning of `bytes` where it lies.
    ///
    /// # Errors
    /// [`TlsError::Record`], [`TlsError::Malformed`] or [`TlsError::Alert`]: the session is over.
    pub fn open(&mut self, bytes: &mut [u8]) -> Result<Received, TlsError> {
        let Some(opened) = self.receiving.open(bytes)? else { return Ok(Received::Part) };
        if !self.message.is_empty() && opened.content != Content::Handshake {
            return Err(TlsError::Malformed("a message that another record cuts in two"));
        }
        let (payload, bytes_used) = (opened.payload, opened.bytes);
        match opened.content {
            Content::Data => Ok(Received::Data { bytes: bytes_used, payload }),
            Content::Alert => match bytes[payload] {
                [_, CLOSE_NOTIFY] => Ok(Received::Closed),
                [_, USER_CANCELED] => Ok(Received::Control { bytes: bytes_used }),
                [_, alert] => Err(TlsError::Alert(alert)),
                _ => Err(TlsError::Malformed("an alert of a wrong length")),
            },
            Content::Handshake => {
                self.on_messages(&bytes[payload])?;
                Ok(Received::Control { bytes: bytes_used })
            }
        }
    }

    fn on_messages(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if bytes.is_empty() || self.message.len() + bytes.len() > HANDSHAKE_BYTES_MAX {
            return Err(TlsError::HandshakeTooLarge);
        }
        let mut message = std::mem::take(&mut self.message);
        message.extend_from_slice(bytes);
        let mut rest = message.as_slice();
        while let [kind, a, b, c, behind @ ..] = rest {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let Some((body, behind)) = behind.split_at_checked(length) else { break };
            self.on_message(*kind, body, behind.is_empty())?;
            rest = behind;
        }
        self.message = rest.to_vec();
        Ok(())
    }

    fn on_message(&mut self, kind: u8, body: &[u8], is_last: bool) -> Result<(), TlsError> {
        match (kind, body, &mut self.secrets) {
            // Every connection proves anew who is at both ends.
            (NEW_SESSION_TICKET, _, Secrets::Client(_)) => Ok(()),
            (KEY_UPDATE, [UPDATE_NOT_REQUESTED | UPDATE_REQUESTED], _) if !is_last => {
                Err(TlsError::Malformed("a change of keys within a record"))
            }
            (KEY_UPDATE, [request @ (UPDATE_NOT_REQUESTED | UPDATE_REQUESTED)], secrets) => {
                let next = match secrets {
                    Secrets::Client(secrets) => secrets.update_rx_secret(),
                    Secrets::Server(secrets) => secrets.update_rx_secret(),
                };
                self.receiving = Keys::new(next.map_err(TlsError::Tls)?)?;
                self.owes_key_update |= *request == UPDATE_REQUESTED;
                Ok(())
            }
            _ => Err(TlsError::Malformed("a message that has no place behind the handshake")),
        }
    }

    /// Seals in place the data of so many bytes that lie behind the space for a header.
    pub(crate) fn seal(&mut self, record: &mut [u8], payload: usize) -> Result<usize, RecordError> {
        self.sending.seal(record, payload, Content::Data)
    }

    /// Whether new keys should be sent before anything else: the peer asks for it, or these have sealed enough.
    pub(crate) const fn wants_key_update(&self) -> bool {
        self.owes_key_update || self.sending.are_worn()
    }

    /// Seals what announces new keys at the end of `out`, and changes them (RFC 8446 §4.6.3).
    pub(crate) fn update_sending_keys(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        self.seal_behind(&[KEY_UPDATE, 0, 0, 1, UPDATE_NOT_REQUESTED], Content::Handshake, out)?;
        let next = match &mut self.secrets {
            Secrets::Client(secrets) => secrets.update_tx_secret(),
            Secrets::Server(secrets) => secrets.update_tx_secret(),
        };
        self.sending = Keys::new(next.map_err(TlsError::Tls)?)?;
        self.owes_key_update = false;
        Ok(())
    }

    /// The record that ends the session cleanly.
    pub(crate) fn close(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        // Keys that cannot seal any more cannot say farewell either.
        let _ = self.seal_behind(&[LEVEL_WARNING, CLOSE_NOTIFY], Content::Alert, &mut out);
        out
    }

    fn seal_behind(&mut self, payload: &[u8], content: Content, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let start = out.len();
        out.resize(start + HEADER_BYTES, 0);
        out.extend_from_slice(payload);
        out.resize(out.len() + TRAILER_BYTES, 0);
        self.sending.seal(&mut out[start..], payload.len(), content)?;
        Ok(())
    }
}
