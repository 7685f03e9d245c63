//! What the agent and the node proxy say to each other, and what the CNI plugin says to the agent.
//!
//! Both ends are typed; the bytes in between are JSON with descriptors attached, one packet a message
//! (`codec` says how). Rates are low: nothing here is on the path of a connection. Modules stand from the
//! top layer to the bottom; imports point down the list.
#![forbid(unsafe_code)]

pub mod ends;
pub mod cni;
mod codec;
pub mod messages;

pub use ends::{AgentEnd, Greeting, HandshakeError, ProxyEnd, RecvError, SendError, TrustedUid, Welcome};
pub use messages::{
    BATCH_MAX, FromAgent, FromProxy, Held, Listener, ListenerKind, Pod, SocketKind, WORKERS_MAX, Workers,
};
