//! Whose connection it is, and what it asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::service::{AppProtocol, Service};
use weft_core::workload::Workload;

/// A connection of a client, as its node's proxy brought it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The client.
    pub(crate) client: Client,
    /// What it asked for.
    pub(crate) destination: Destination,
    /// The address and port that it asked for.
    pub(crate) addr: SocketAddr,
    /// This waypoint's own workload: endpoints should be near it.
    pub(crate) near: Arc<Workload>,
}

/// Who it is.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Its address; port zero if nobody told it.
    pub(crate) addr: SocketAddr,
    /// What its tunnel has proven.
    pub(crate) identity: Identity,
    /// What discovery knows of it.
    pub(crate) workload: Option<Arc<Workload>>,
}

impl Client {
    /// Its namespace.
    pub(crate) fn namespace(&self) -> &str {
        self.identity.namespace()
    }
}

/// What a client asked for.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    /// A service.
    Service(Arc<Service>),
    /// A workload by its own address: routes of services are not for it.
    Workload(Arc<Workload>),
}

impl Connection {
    /// What the application speaks, as far as it is written.
    pub(crate) fn protocol(&self) -> AppProtocol {
        match &self.destination {
            Destination::Service(service) => {
                service.port(self.addr.port()).map_or(AppProtocol::Unknown, |port| port.app_protocol)
            }
            Destination::Workload(_) => AppProtocol::Unknown,
        }
    }
}
