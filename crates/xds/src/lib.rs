//! The client side of the control plane: discovery (delta ADS) and certificates.
//!
//! A [`Client`] is the one writer of what it learns; everybody else reads through its [`View`]: a whole
//! [`Snapshot`](Model::Snapshot) at a time, which changes only as a whole. What is learned depends on the
//! [`Model`]: [`Mesh`] for proxies, [`AgentPods`] for a node's agent. The last known configuration is kept on
//! disk and is there at once at the next start.
//!
//! Nothing here decides anything about traffic. Modules stand from the top layer to the bottom; imports point
//! down the list.
#![forbid(unsafe_code)]

mod client;
pub mod describe;
pub mod keeper;
pub mod leaves;
mod certificates;
mod channel;
mod saver;
mod asks;
mod store;
mod view;
mod mesh;
mod agent_pods;
mod model;
mod settings;
mod backoff;
mod chain;

pub use agent_pods::AgentPods;
pub use certificates::{CaClient, SignError};
pub use channel::ConnectError;
pub use client::{Client, ClientConfig};
pub use mesh::{Mesh, Subscribe};
pub use model::{Effect, Model, Rejected, Resource};
pub use settings::{ControlSettings, ControlUrl, Node, Role};
pub use view::{Answer, Sync, TypeState, TypeSync, View};
