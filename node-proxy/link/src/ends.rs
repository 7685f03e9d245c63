//! The two ends of the link: the handshake with its checks, and typed sending and receiving.

use crate::codec::{self, Decoded, Encoded};
use crate::messages::{FromAgent, FromProxy, Workers};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;
use weft_core::names::NodeName;
use weft_runtime::fds::{self, Packet, SeqPacket};

pub use crate::codec::DecodeError;

/// The versions that this code speaks. The newest and the one before it, so that agent and proxy can be
/// upgraded one after the other; 1 is the first.
const VERSIONS: &[u16] = &[1];

/// For each step of the handshake: the other end is a local process, and one that hangs must not hold up
/// the next that comes.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// Versions that a peer may offer; more are not read.
const VERSIONS_MAX: usize = 16;

/// The user whose word counts at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedUid(pub u32);

impl TrustedUid {
    /// Root; an agent is nobody else.
    pub const ROOT: Self = Self(0);
}

/// What the agent knows of a proxy after the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// The version that both speak.
    pub version: u16,
    /// How many workers it runs: so many listeners of each kind it wants.
    pub workers: Workers,
    /// Its process, as the kernel says.
    pub pid: u32,
}

/// What the proxy knows of the agent after the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The version that both speak.
    pub version: u16,
    /// The node that the agent serves.
    pub node: NodeName,
}

/// The two did not come together.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Nobody listens.
    #[error("connecting to the agent")]
    Connect(#[source] io::Error),
    /// The kernel does not say who the other end is.
    #[error("asking who the other end is")]
    Peer(#[source] io::Error),
    /// The other end is run by a user whom this one does not trust.
    #[error("the other end is run by user {found}, not by {wanted}")]
    WrongUser {
        /// Who it is.
        found: u32,
        /// Who it should be.
        wanted: u32,
    },
    /// Neither speaks a version of the other.
    #[error("no common version: offered {offered:?}, spoken {spoken:?}")]
    NoCommonVersion {
        /// By the other end.
        offered: Vec<u16>,
        /// Here.
        spoken: Vec<u16>,
    },
    /// The agent said no.
    #[error("the agent refuses: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The other end took too long.
    #[error("no answer within {HANDSHAKE_WAIT:?}")]
    Timeout,
    /// It went away.
    #[error("the other end closed during the handshake")]
    Closed,
    /// It said something else than it should.
    #[error("an unexpected message of the kind {kind:?} during the handshake")]
    Unexpected {
        /// The kind.
        kind: String,
    },
    /// What it said cannot be read.
    #[error("reading a message of the handshake")]
    Decode(#[from] DecodeError),
    /// The kernel refused to receive.
    #[error("receiving during the handshake")]
    Receive(#[source] fds::RecvError),
    /// Sending failed.
    #[error("sending during the handshake")]
    Send(#[source] SendError),
}

/// A message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// It cannot be written as JSON; nothing was sent, and the link goes on.
    #[error("writing a message")]
    Encode(#[source] serde_json::Error),
    /// It was not taken.
    #[error("handing a message to the kernel")]
    Packet(#[source] fds::SendError),
}

/// The link is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// The kernel refused, or a packet was mutilated.
    #[error("receiving a message")]
    Packet(#[source] fds::RecvError),
    /// The peer does not speak the protocol.
    #[error("reading a message")]
    Decode(#[source] DecodeError),
}

#[derive(Serialize, Deserialize)]
struct HelloBody {
    versions: Vec<u16>,
    workers: Workers,
}

#[derive(Serialize, Deserialize)]
struct WelcomeBody {
    version: u16,
    node: String,
}

#[derive(Serialize, Deserialize)]
struct RefusedBody {
    reason: String,
}

/// The agent's end.
#[derive(Debug)]
pub struct AgentEnd(SeqPacket);

impl AgentEnd {
    /// Takes a connection that was accepted: checks the user, hears the proxy's greeting and answers it.
    ///
    /// # Errors
    /// As [`HandshakeError`] says; a proxy whom it can answer is told why.
    pub async fn handshake(
        socket: SeqPacket,
        proxy: TrustedUid,
        node: &NodeName,
    ) -> Result<(Self, Greeting), HandshakeError> {
        let peer = socket.peer().map_err(HandshakeError::Peer)?;
        if peer.uid != proxy.0 && peer.uid != TrustedUid::ROOT.0 {
            return Err(HandshakeError::WrongUser { found: peer.uid, wanted: proxy.0 });
        }
        let envelope = codec::open(&answer(&socket).await?)?;
        if envelope.kind != "hello" {
            return Err(HandshakeError::Unexpected { kind: envelope.kind });
        }
        let hello: HelloBody = envelope.fields("hello")?;
        let Some(version) = common_version(VERSIONS, &hello.versions) else {
            let body = RefusedBody { reason: format!("no common version; spoken here: {VERSIONS:?}") };
            say(&socket, codec::write("refused", body, Vec::new())).await?;
            let offered = hello.versions.into_iter().take(VERSIONS_MAX).collect();
            return Err(HandshakeError::NoCommonVersion { offered, spoken: VERSIONS.to_vec() });
        };
        let body = WelcomeBody { version, node: node.to_string() };
        say(&socket, codec::write("welcome", body, Vec::new())).await?;
        Ok((Self(socket), Greeting { version, workers: hello.workers, pid: peer.pid }))
    }

    /// Sends one message. Cancel-safe.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub async fn send<F: AsFd>(&self, message: &FromAgent<F>) -> Result<(), SendError> {
        send(&self.0, codec::encode_from_agent(message)).await
    }

    /// The next message; nothing when the proxy is gone. Cancel-safe.
    ///
    /// # Errors
    /// As [`RecvError`] says: close the link then.
    pub async fn recv(&self) -> Result<Option<FromProxy>, RecvError> {
        recv(&self.0, codec::decode_from_proxy).await
    }
}

/// The proxy's end.
#[derive(Debug)]
pub struct ProxyEnd(SeqPacket);

impl ProxyEnd {
    /// Connects to the agent, who must be root, and greets it.
    ///
    /// # Errors
    /// As [`HandshakeError`] says.
    pub async fn connect(path: &Path, workers: Workers) -> Result<(Self, Welcome), HandshakeError> {
        let socket = SeqPacket::connect(path).map_err(HandshakeError::Connect)?;
        Self::handshake(socket, TrustedUid::ROOT, workers).await
    }

    /// Greets whoever is at the other end, if `agent` runs it.
    ///
    /// # Errors
    /// As [`HandshakeError`] says.
    pub async fn handshake(
        socket: SeqPacket,
        agent: TrustedUid,
        workers: Workers,
    ) -> Result<(Self, Welcome), HandshakeError> {
        let peer = socket.peer().map_err(HandshakeError::Peer)?;
        if peer.uid != agent.0 {
            return Err(HandshakeError::WrongUser { found: peer.uid, wanted: agent.0 });
        }
        let hello = HelloBody { versions: VERSIONS.to_vec(), workers };
        say(&socket, codec::write("hello", hello, Vec::new())).await?;
        let envelope = codec::open(&answer(&socket).await?)?;
        match envelope.kind.as_str() {
            "welcome" => {
                let body: WelcomeBody = envelope.fields("welcome")?;
                if !VERSIONS.contains(&body.version) {
                    let offered = vec![body.version];
                    return Err(HandshakeError::NoCommonVersion { offered, spoken: VERSIONS.to_vec() });
                }
                let welcome = Welcome { version: body.version, node: NodeName::new(body.node) };
                Ok((Self(socket), welcome))
            }
            "refused" => {
                let body: RefusedBody = envelope.fields("refused")?;
                Err(HandshakeError::Refused { reason: body.reason })
            }
            _ => Err(HandshakeError::Unexpected { kind: envelope.kind }),
        }
    }

    /// Sends one message. Cancel-safe.
    ///
    /// # Errors
    /// As [`SendError`] says.
    pub async fn send<F: AsFd>(&self, message: &FromProxy<F>) -> Result<(), SendError> {
        send(&self.0, codec::encode_from_proxy(message)).await
    }

    /// The next message; nothing when the agent is gone. Cancel-safe.
    ///
    /// # Errors
    /// As [`RecvError`] says: close the link then.
    pub async fn recv(&self) -> Result<Option<FromAgent>, RecvError> {
        recv(&self.0, codec::decode_from_agent).await
    }
}

/// The newest version that both speak.
fn common_version(ours: &[u16], theirs: &[u16]) -> Option<u16> {
    ours.iter()
        .copied()
        .filter(|version| theirs.iter().take(VERSIONS_MAX).any(|other| other == version))
        .max()
}

async fn answer(socket: &SeqPacket) -> Result<Packet, HandshakeError> {
    let received = tokio::time::timeout(HANDSHAKE_WAIT, socket.recv()).await;
    let packet = received.map_err(|_| HandshakeError::Timeout)?.map_err(HandshakeError::Receive)?;
    packet.ok_or(HandshakeError::Closed)
}

async fn say(
    socket: &SeqPacket,
    encoded: Result<Encoded<'_>, serde_json::Error>,
) -> Result<(), HandshakeError> {
    let sent = tokio::time::timeout(HANDSHAKE_WAIT, send(socket, encoded)).await;
    sent.map_err(|_| HandshakeError::Timeout)?.map_err(HandshakeError::Send)
}

async fn send(socket: &SeqPacket, encoded: Result<Encoded<'_>, serde_json::Error>) -> Result<(), SendError> {
    let encoded = encoded.map_err(SendError::Encode)?;
    socket.send(&encoded.body, &encoded.fds).await.map_err(SendError::Packet)
}

async fn recv<M>(
    socket: &SeqPacket,
    decode: impl Fn(Packet) -> Result<Decoded<M>, DecodeError>,
) -> Result<Option<M>, RecvError> {
    loop {
        let Some(packet) = socket.recv().await.map_err(RecvError::Packet)? else {
            return Ok(None);
        };
        match decode(packet).map_err(RecvError::Decode)? {
            Decoded::Message(message) => return Ok(Some(message)),
            Decoded::Ignored { kind } => tracing::info!(kind, "message of an unknown kind ignored"),
        }
    }
}

#[cfg(test)]
mod tests;
