//! The messages, as both programs see them: closed enums that own or borrow their descriptors.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use weft_core::names::WorkloadUid;
use weft_runtime::fds::FDS_MAX;

/// Workers of a node proxy. All listeners of a pod, one of each kind for every worker, travel in one message.
pub const WORKERS_MAX: u16 = (FDS_MAX / ListenerKind::ALL.len()) as u16;

/// Sockets in one batch: what one message can carry.
pub const BATCH_MAX: u16 = FDS_MAX as u16;

/// How many workers a node proxy runs: at least one, at most [`WORKERS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Workers(u16);

impl Workers {
    /// As many as there are processors, within the bounds.
    pub fn clamped(count: usize) -> Self {
        Self(u16::try_from(count).unwrap_or(WORKERS_MAX).clamp(1, WORKERS_MAX))
    }

    /// The number.
    pub fn count(self) -> usize {
        usize::from(self.0)
    }
}

impl TryFrom<u16> for Workers {
    type Error = &'static str;

    fn try_from(count: u16) -> Result<Self, Self::Error> {
        if (1..=WORKERS_MAX).contains(&count) {
            Ok(Self(count))
        } else {
            Err("a number of workers out of bounds")
        }
    }
}

impl From<Workers> for u16 {
    fn from(workers: Workers) -> Self {
        workers.0
    }
}

/// What a listener in a pod's namespace takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// Captured connections of the pod to others, 15001.
    Outbound,
    /// Captured connections to the pod outside a tunnel, 15006.
    InboundPlain,
    /// Tunnels, 15008.
    Tunnel,
    /// Captured DNS over UDP, 15053: a bound datagram socket. DNS over TCP is captured like all TCP.
    Dns,
}

impl ListenerKind {
    /// Every kind; a pod has all of them.
    pub const ALL: [Self; 4] = [Self::Outbound, Self::InboundPlain, Self::Tunnel, Self::Dns];
}

/// What a ready socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketKind {
    /// A stream socket of IPv4.
    TcpV4,
    /// A stream socket of IPv6 alone.
    TcpV6,
    /// A datagram socket of IPv4.
    UdpV4,
    /// A datagram socket of IPv6 alone.
    UdpV6,
}

impl SocketKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::TcpV4, Self::TcpV6, Self::UdpV4, Self::UdpV6];

    /// The kind as metrics and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TcpV4 => "tcp_v4",
            Self::TcpV6 => "tcp_v6",
            Self::UdpV4 => "udp_v4",
            Self::UdpV6 => "udp_v6",
        }
    }
}

impl fmt::Display for SocketKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One listener of a pod. With several workers there are as many of a kind, in one `SO_REUSEPORT` group.
#[derive(Debug)]
pub struct Listener<F = OwnedFd> {
    /// What it takes.
    pub kind: ListenerKind,
    /// The socket: nonblocking, listening (or bound, for datagrams).
    pub socket: F,
}

/// An enrolled pod.
#[derive(Debug)]
pub struct Pod<F = OwnedFd> {
    /// Its key in discovery and on this link.
    pub uid: WorkloadUid,
    /// Its Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The kernel's word for its network namespace; what a socket of the pod answers to `SO_NETNS_COOKIE`.
    pub netns_cookie: u64,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its listeners. Their number per kind was fixed when they were made, and may differ from this proxy's
    /// workers if a proxy with other settings ran before.
    pub listeners: Vec<Listener<F>>,
}

/// The listeners of a pod that a proxy holds since before the agent started.
#[derive(Debug)]
pub struct Held<F = OwnedFd> {
    /// The pod's key.
    pub uid: WorkloadUid,
    /// As the proxy was told.
    pub netns_cookie: u64,
    /// What it holds.
    pub listeners: Vec<Listener<F>>,
}

/// What the proxy says to the agent, after the handshake.
#[derive(Debug)]
pub enum FromProxy<F = OwnedFd> {
    /// Listeners that it holds already; before [`FromProxy::HeldEnd`].
    Held(Held<F>),
    /// Listeners of the node's own tunnel that it holds already; before [`FromProxy::HeldEnd`].
    HeldNode {
        /// The sockets.
        listeners: Vec<F>,
    },
    /// That was all. A proxy that holds nothing says this first.
    HeldEnd,
    /// Ready sockets are running low.
    NeedSockets {
        /// The pod in whose namespace they are to be made.
        uid: WorkloadUid,
        /// What they are.
        kind: SocketKind,
        /// How many, at most [`BATCH_MAX`]; fewer may come.
        count: u16,
    },
    /// Every socket of a pod that is gone is closed.
    PodReleased {
        /// The pod's key.
        uid: WorkloadUid,
    },
    /// What the next proxy is to get: sealed memory, opaque to the agent. Replaces what was kept before.
    Keep {
        /// A sealed memory file.
        state: F,
    },
    /// It serves.
    Ready,
    /// It no longer takes new connections.
    Draining,
}

/// What the agent says to the proxy, after the handshake.
#[derive(Debug)]
pub enum FromAgent<F = OwnedFd> {
    /// What a previous proxy asked to keep; the first message, if there is anything.
    State {
        /// A sealed memory file.
        state: F,
    },
    /// A pod is enrolled. For one that is known already, this replaces what was said before.
    Pod(Pod<F>),
    /// A pod's addresses have changed.
    Addresses {
        /// The pod's key.
        uid: WorkloadUid,
        /// All of its addresses.
        addresses: Vec<IpAddr>,
    },
    /// A pod is gone: close all of its sockets and say [`FromProxy::PodReleased`].
    PodGone {
        /// The pod's key.
        uid: WorkloadUid,
    },
    /// The listeners of the node's own tunnel.
    NodeTunnel {
        /// One or more for each worker.
        listeners: Vec<F>,
    },
    /// Ready sockets: not connected, nonblocking, transparent, the mesh's own.
    Sockets {
        /// The pod in whose namespace they are.
        uid: WorkloadUid,
        /// What they are.
        kind: SocketKind,
        /// The sockets, at most [`BATCH_MAX`].
        sockets: Vec<F>,
    },
    /// Sockets that were asked for cannot be made.
    NoSockets {
        /// The pod's key.
        uid: WorkloadUid,
        /// What was asked for.
        kind: SocketKind,
        /// Why, for the log.
        reason: String,
    },
    /// Every pod that is enrolled now has been sent.
    Synced,
    /// A newer proxy has taken over: drain and end.
    Superseded,
}
