//! What the CNI plugin asks of the agent: enrol a pod before it starts, release it when it ends.
//!
//! One request and one answer a connection, on a socket of its own that only root may enter.

use crate::codec::{self, DecodeError};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use weft_runtime::fds::{self, Packet, SeqPacket};

/// A request, with the network namespace it is about.
#[derive(Debug)]
pub enum Request<F = OwnedFd> {
    /// Enrol this pod and answer when its traffic is captured and a proxy has its listeners.
    Add {
        /// Which.
        pod: CniPod,
        /// Its network namespace: a path means different things to different processes.
        netns: F,
    },
    /// The pod is gone, or going.
    Del {
        /// Its Kubernetes namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its `metadata.uid`, if the runtime said: a newer pod of the same name stays.
        pod_uid: Option<String>,
    },
}

/// A pod as the container runtime tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniPod {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `metadata.uid`; empty if the runtime does not say.
    #[serde(default)]
    pub pod_uid: String,
    /// The path of its network namespace, so that a restarted agent finds it again.
    pub netns_path: String,
    /// The addresses that it was given.
    pub addresses: Vec<IpAddr>,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Answer {
    /// Captured, and a proxy has its listeners: it may start.
    Enrolled,
    /// Nothing of it is left.
    Released,
    /// It did not work; trying again may.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A request or an answer did not come across.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// No agent listens.
    #[error("connecting to the agent")]
    Connect(#[source] io::Error),
    /// The kernel does not say who asks.
    #[error("asking who asks")]
    Peer(#[source] io::Error),
    /// Only root may ask.
    #[error("user {uid} asks; only root may")]
    NotRoot {
        /// Who asked.
        uid: u32,
    },
    /// It cannot be written.
    #[error("writing a message")]
    Encode(#[source] serde_json::Error),
    /// It was not taken.
    #[error("sending a message")]
    Send(#[source] fds::SendError),
    /// It did not arrive.
    #[error("receiving a message")]
    Receive(#[source] fds::RecvError),
    /// It cannot be read.
    #[error("reading a message")]
    Decode(#[source] DecodeError),
    /// The other end closed before it said anything.
    #[error("the other end closed")]
    Closed,
}

#[derive(Serialize, Deserialize)]
struct DelBody {
    namespace: String,
    name: String,
    pod_uid: Option<String>,
}

/// Asks the agent at `path` and waits for its answer; the caller sets the deadline.
///
/// # Errors
/// As [`CniError`] says.
pub async fn ask<F: AsFd>(path: &Path, request: &Request<F>) -> Result<Answer, CniError> {
    let socket = SeqPacket::connect(path).map_err(CniError::Connect)?;
    ask_over(&socket, request).await
}

async fn ask_over<F: AsFd>(socket: &SeqPacket, request: &Request<F>) -> Result<Answer, CniError> {
    let encoded = match request {
        Request::Add { pod, netns } => codec::write("cni_add", pod, vec![netns.as_fd()]),
        Request::Del { namespace, name, pod_uid } => {
            let body = DelBody { namespace: namespace.clone(), name: name.clone(), pod_uid: pod_uid.clone() };
            codec::write("cni_del", body, Vec::new())
        }
    }
    .map_err(CniError::Encode)?;
    socket.send(&encoded.body, &encoded.fds).await.map_err(CniError::Send)?;
    let packet = receive(socket).await?;
    let envelope = codec::open(&packet).map_err(CniError::Decode)?;
    envelope.fields("cni_answer").map_err(CniError::Decode)
}

/// One request, to be answered once.
#[derive(Debug)]
pub struct Asked {
    pending: Pending,
    request: Request,
}

/// Whoever waits for an answer.
#[derive(Debug)]
#[must_use = "the plugin waits for an answer"]
pub struct Pending(SeqPacket);

impl Asked {
    /// Reads the request of a connection that was accepted.
    ///
    /// # Errors
    /// As [`CniError`] says.
    pub async fn read(socket: SeqPacket) -> Result<Self, CniError> {
        let peer = socket.peer().map_err(CniError::Peer)?;
        if peer.uid != 0 {
            return Err(CniError::NotRoot { uid: peer.uid });
        }
        let packet = receive(&socket).await?;
        let request = decode(packet).map_err(CniError::Decode)?;
        Ok(Self { pending: Pending(socket), request })
    }

    /// What is asked, and who waits for the answer.
    pub fn split(self) -> (Pending, Request) {
        (self.pending, self.request)
    }
}

impl Pending {
    /// Answers.
    ///
    /// # Errors
    /// As [`CniError`] says.
    pub async fn answer(self, answer: &Answer) -> Result<(), CniError> {
        let encoded = codec::write("cni_answer", answer, Vec::new()).map_err(CniError::Encode)?;
        self.0.send(&encoded.body, &encoded.fds).await.map_err(CniError::Send)
    }
}

fn decode(packet: Packet) -> Result<Request, DecodeError> {
    let envelope = codec::open(&packet)?;
    match envelope.kind.as_str() {
        "cni_add" => {
            let pod = envelope.fields("cni_add")?;
            Ok(Request::Add { pod, netns: codec::one("cni_add", packet.fds)? })
        }
        "cni_del" => {
            let DelBody { namespace, name, pod_uid } = envelope.fields("cni_del")?;
            Ok(Request::Del { namespace, name, pod_uid })
        }
        _ => Err(DecodeError::UnknownKind { kind: envelope.kind.chars().take(64).collect() }),
    }
}

async fn receive(socket: &SeqPacket) -> Result<Packet, CniError> {
    socket.recv().await.map_err(CniError::Receive)?.ok_or(CniError::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_answered() {
        let pod = CniPod {
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
            pod_uid: String::new(),
            netns_path: "/run/netns/a".to_owned(),
            addresses: vec![IpAddr::from([10, 0, 0, 1])],
        };
        let netns = std::io::pipe().expect("pipe").0;
        let requests = [
            (Request::Add { pod: pod.clone(), netns }, Answer::Enrolled),
            (
                Request::Del { namespace: "shop".to_owned(), name: "web-1".to_owned(), pod_uid: None },
                Answer::Failed { reason: "away".to_owned() },
            ),
        ];
        for (request, wanted) in requests {
            let (plugin, agent) = SeqPacket::pair().expect("pair");
            let serve = async {
                let packet = receive(&agent).await.expect("request");
                let decoded = decode(packet).expect("decoded");
                if let Request::Add { pod: found, .. } = &decoded {
                    assert_eq!(*found, pod);
                }
                Pending(agent).answer(&wanted).await.expect("answered");
            };
            let (answer, ()) = tokio::join!(ask_over(&plugin, &request), serve);
            assert_eq!(answer.expect("an answer"), wanted);
        }
    }
}
