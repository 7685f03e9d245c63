//! How a message becomes bytes and descriptors, and back.
//!
//! The bytes are one JSON object: `kind` names the message, `body` holds its fields. A receiver ignores
//! fields that it does not know; a kind that it does not know ends the connection, unless the sender has
//! said `"optional": true`. Descriptors stand in the order in which the body lists what they are, and
//! there are exactly as many.

use crate::messages::{BATCH_MAX, FromAgent, FromProxy, Held, Listener, ListenerKind, Pod, SocketKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use weft_core::names::WorkloadUid;
use weft_runtime::fds::Packet;

/// Bytes of a workload's key; Kubernetes names are at most 253 long, and a key has five parts.
const UID_BYTES_MAX: usize = 2048;

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) body: Vec<u8>,
    pub(crate) fds: Vec<BorrowedFd<'a>>,
}

/// A packet that is no message of this protocol. The peer is broken or hostile: the connection ends.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the envelope that every message has.
    #[error("a message that is not the protocol's JSON")]
    Envelope(#[source] serde_json::Error),
    /// A kind from a version that was not agreed on.
    #[error("a message of the unknown kind {kind:?}")]
    UnknownKind {
        /// As it came.
        kind: String,
    },
    /// The fields of a known kind do not fit.
    #[error("the fields of a message of the kind {kind}")]
    Fields {
        /// The kind.
        kind: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// There are more or fewer descriptors than the fields say.
    #[error("{found} descriptors with a message of the kind {kind} that lists {listed}")]
    Descriptors {
        /// The kind.
        kind: &'static str,
        /// As the fields say.
        listed: usize,
        /// As they came.
        found: usize,
    },
    /// A number or a name is out of its bounds.
    #[error("{what} in a message of the kind {kind} is out of bounds")]
    Bounds {
        /// The kind.
        kind: &'static str,
        /// What is too large or too small.
        what: &'static str,
    },
}

/// A message that came, or one of a kind that may be ignored.
#[derive(Debug)]
pub(crate) enum Decoded<M> {
    Message(M),
    Ignored { kind: String },
}

#[derive(Serialize)]
struct EnvelopeOut<'a, B> {
    kind: &'a str,
    body: B,
}

#[derive(Deserialize)]
pub(crate) struct Envelope {
    pub(crate) kind: String,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    body: Value,
}

#[derive(Serialize, Deserialize)]
struct PodBody {
    uid: String,
    namespace: String,
    name: String,
    netns_cookie: u64,
    addresses: Vec<IpAddr>,
    listeners: Vec<ListenerKind>,
}

#[derive(Serialize, Deserialize)]
struct HeldBody {
    uid: String,
    netns_cookie: u64,
    listeners: Vec<ListenerKind>,
}

#[derive(Serialize, Deserialize)]
struct UidBody {
    uid: String,
}

#[derive(Serialize, Deserialize)]
struct AddressesBody {
    uid: String,
    addresses: Vec<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct SocketsBody {
    uid: String,
    kind: SocketKind,
    count: u16,
}

#[derive(Serialize, Deserialize)]
struct NoSocketsBody {
    uid: String,
    kind: SocketKind,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct CountBody {
    count: usize,
}

#[derive(Serialize, Deserialize)]
struct NoBody {}

/// Writes any body under a kind. The error names what cannot be written: a bug, not the peer's doing.
pub(crate) fn write<'a>(
    kind: &str,
    body: impl Serialize,
    fds: Vec<BorrowedFd<'a>>,
) -> Result<Encoded<'a>, serde_json::Error> {
    Ok(Encoded { body: serde_json::to_vec(&EnvelopeOut { kind, body })?, fds })
}

/// Reads the envelope.
pub(crate) fn open(packet: &Packet) -> Result<Envelope, DecodeError> {
    serde_json::from_slice(&packet.body).map_err(DecodeError::Envelope)
}

impl Envelope {
    /// Reads the fields of a known kind.
    pub(crate) fn fields<B: DeserializeOwned>(self, kind: &'static str) -> Result<B, DecodeError> {
        serde_json::from_value(self.body).map_err(|source| DecodeError::Fields { kind, source })
    }

    /// What becomes of a kind that is not known.
    pub(crate) fn unknown<M>(self) -> Result<Decoded<M>, DecodeError> {
        let kind = self.kind.chars().take(64).collect();
        if self.optional { Ok(Decoded::Ignored { kind }) } else { Err(DecodeError::UnknownKind { kind }) }
    }
}

fn borrow<F: AsFd>(fds: &[F]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

fn kinds<F>(listeners: &[Listener<F>]) -> Vec<ListenerKind> {
    listeners.iter().map(|listener| listener.kind).collect()
}

fn sockets<F: AsFd>(listeners: &[Listener<F>]) -> Vec<BorrowedFd<'_>> {
    listeners.iter().map(|listener| listener.socket.as_fd()).collect()
}

pub(crate) fn encode_from_proxy<F: AsFd>(message: &FromProxy<F>) -> Result<Encoded<'_>, serde_json::Error> {
    match message {
        FromProxy::Held(Held { uid, netns_cookie, listeners }) => {
            let body =
                HeldBody { uid: uid.to_string(), netns_cookie: *netns_cookie, listeners: kinds(listeners) };
            write("held", body, sockets(listeners))
        }
        FromProxy::HeldNode { listeners } => {
            write("held_node", CountBody { count: listeners.len() }, borrow(listeners))
        }
        FromProxy::HeldEnd => write("held_end", NoBody {}, Vec::new()),
        FromProxy::NeedSockets { uid, kind, count } => {
            let body = SocketsBody { uid: uid.to_string(), kind: *kind, count: *count };
            write("need_sockets", body, Vec::new())
        }
        FromProxy::PodReleased { uid } => write("pod_released", UidBody { uid: uid.to_string() }, Vec::new()),
        FromProxy::Keep { state } => write("keep", CountBody { count: 1 }, vec![state.as_fd()]),
        FromProxy::Ready => write("ready", NoBody {}, Vec::new()),
        FromProxy::Draining => write("draining", NoBody {}, Vec::new()),
    }
}

pub(crate) fn encode_from_agent<F: AsFd>(message: &FromAgent<F>) -> Result<Encoded<'_>, serde_json::Error> {
    match message {
        FromAgent::State { state } => write("state", CountBody { count: 1 }, vec![state.as_fd()]),
        FromAgent::Pod(pod) => {
            let body = PodBody {
                uid: pod.uid.to_string(),
                namespace: pod.namespace.to_string(),
                name: pod.name.to_string(),
                netns_cookie: pod.netns_cookie,
                addresses: pod.addresses.clone(),
                listeners: kinds(&pod.listeners),
            };
            write("pod", body, sockets(&pod.listeners))
        }
        FromAgent::Addresses { uid, addresses } => {
            let body = AddressesBody { uid: uid.to_string(), addresses: addresses.clone() };
            write("addresses", body, Vec::new())
        }
        FromAgent::PodGone { uid } => write("pod_gone", UidBody { uid: uid.to_string() }, Vec::new()),
        FromAgent::NodeTunnel { listeners } => {
            write("node_tunnel", CountBody { count: listeners.len() }, borrow(listeners))
        }
        FromAgent::Sockets { uid, kind, sockets } => {
            let count = u16::try_from(sockets.len()).unwrap_or(u16::MAX);
            let body = SocketsBody { uid: uid.to_string(), kind: *kind, count };
            write("sockets", body, borrow(sockets))
        }
        FromAgent::NoSockets { uid, kind, reason } => {
            let body = NoSocketsBody { uid: uid.to_string(), kind: *kind, reason: reason.clone() };
            write("no_sockets", body, Vec::new())
        }
        FromAgent::Synced => write("synced", NoBody {}, Vec::new()),
        FromAgent::Superseded => write("superseded", NoBody {}, Vec::new()),
    }
}

pub(crate) fn decode_from_proxy(packet: Packet) -> Result<Decoded<FromProxy>, DecodeError> {
    let envelope = open(&packet)?;
    let fds = packet.fds;
    let message = match envelope.kind.as_str() {
        "held" => {
            let body: HeldBody = envelope.fields("held")?;
            FromProxy::Held(Held {
                uid: uid("held", body.uid)?,
                netns_cookie: body.netns_cookie,
                listeners: listeners("held", body.listeners, fds)?,
            })
        }
        "held_node" => {
            let body: CountBody = envelope.fields("held_node")?;
            FromProxy::HeldNode { listeners: exactly("held_node", body.count, fds)? }
        }
        "held_end" => FromProxy::HeldEnd,
        "need_sockets" => {
            let body: SocketsBody = envelope.fields("need_sockets")?;
            if !(1..=BATCH_MAX).contains(&body.count) {
                return Err(DecodeError::Bounds { kind: "need_sockets", what: "the count" });
            }
            let uid = uid("need_sockets", body.uid)?;
            FromProxy::NeedSockets { uid, kind: body.kind, count: body.count }
        }
        "pod_released" => {
            let body: UidBody = envelope.fields("pod_released")?;
            FromProxy::PodReleased { uid: uid("pod_released", body.uid)? }
        }
        "keep" => FromProxy::Keep { state: one("keep", fds)? },
        "ready" => FromProxy::Ready,
        "draining" => FromProxy::Draining,
        _ => return envelope.unknown(),
    };
    Ok(Decoded::Message(message))
}

pub(crate) fn decode_from_agent(packet: Packet) -> Result<Decoded<FromAgent>, DecodeError> {
    let envelope = open(&packet)?;
    let fds = packet.fds;
    let message = match envelope.kind.as_str() {
        "state" => FromAgent::State { state: one("state", fds)? },
        "pod" => FromAgent::Pod(pod(envelope.fields("pod")?, fds)?),
        "addresses" => {
            let body: AddressesBody = envelope.fields("addresses")?;
            FromAgent::Addresses { uid: uid("addresses", body.uid)?, addresses: body.addresses }
        }
        "pod_gone" => {
            let body: UidBody = envelope.fields("pod_gone")?;
            FromAgent::PodGone { uid: uid("pod_gone", body.uid)? }
        }
        "node_tunnel" => {
            let body: CountBody = envelope.fields("node_tunnel")?;
            FromAgent::NodeTunnel { listeners: exactly("node_tunnel", body.count, fds)? }
        }
        "sockets" => {
            let body: SocketsBody = envelope.fields("sockets")?;
            let sockets = exactly("sockets", usize::from(body.count), fds)?;
            FromAgent::Sockets { uid: uid("sockets", body.uid)?, kind: body.kind, sockets }
        }
        "no_sockets" => {
            let body: NoSocketsBody = envelope.fields("no_sockets")?;
            let uid = uid("no_sockets", body.uid)?;
            FromAgent::NoSockets { uid, kind: body.kind, reason: body.reason }
        }
        "synced" => FromAgent::Synced,
        "superseded" => FromAgent::Superseded,
        _ => return envelope.unknown(),
    };
    Ok(Decoded::Message(message))
}

fn pod(body: PodBody, fds: Vec<OwnedFd>) -> Result<Pod, DecodeError> {
    Ok(Pod {
        uid: uid("pod", body.uid)?,
        namespace: body.namespace.into(),
        name: body.name.into(),
        netns_cookie: body.netns_cookie,
        addresses: body.addresses,
        listeners: listeners("pod", body.listeners, fds)?,
    })
}

fn uid(kind: &'static str, text: String) -> Result<WorkloadUid, DecodeError> {
    if text.is_empty() || text.len() > UID_BYTES_MAX {
        return Err(DecodeError::Bounds { kind, what: "the pod's key" });
    }
    Ok(WorkloadUid::new(text))
}

/// All descriptors, if there are as many as listed.
pub(crate) fn exactly(
    kind: &'static str,
    listed: usize,
    fds: Vec<OwnedFd>,
) -> Result<Vec<OwnedFd>, DecodeError> {
    if fds.len() == listed {
        Ok(fds)
    } else {
        Err(DecodeError::Descriptors { kind, listed, found: fds.len() })
    }
}

/// The one descriptor of a message that has one.
pub(crate) fn one(kind: &'static str, fds: Vec<OwnedFd>) -> Result<OwnedFd, DecodeError> {
    let found = fds.len();
    let [fd] =
        <[OwnedFd; 1]>::try_from(fds).map_err(|_| DecodeError::Descriptors { kind, listed: 1, found })?;
    Ok(fd)
}

fn listeners(
    kind: &'static str,
    kinds: Vec<ListenerKind>,
    fds: Vec<OwnedFd>,
) -> Result<Vec<Listener>, DecodeError> {
    let sockets = exactly(kind, kinds.len(), fds)?;
    Ok(kinds.into_iter().zip(sockets).map(|(kind, socket)| Listener { kind, socket }).collect())
}

#[cfg(test)]
mod tests;
