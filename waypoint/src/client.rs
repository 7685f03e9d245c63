//! Whose connection it is, and what it asked for.

use http::HeaderValue;
use std::net::SocketAddr;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::names::WorkloadUid;
use weft_core::service::{AppProtocol, Service};
use weft_core::workload::Workload;
use weft_l7::policy::Peer;
use weft_l7::target::ServiceTarget;

/// A connection of a client, as its node's proxy brought it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The client.
    pub(crate) client: Client,
    /// What it asked for.
    pub(crate) destination: Destination,
    /// The address and port that it asked for.
    pub(crate) addr: SocketAddr,
    /// The name that its TLS asks for, in lower case, where routes look at it.
    pub(crate) server_name: Option<String>,
    /// Who the client is, in `x-forwarded-client-cert` (Envoy's syntax).
    pub(crate) certificate: HeaderValue,
}

/// Who it is.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Its address; port zero if nobody told it.
    pub(crate) addr: SocketAddr,
    /// What its tunnel has proven.
    pub(crate) identity: Identity,
    /// The same, as logs and metrics write it: made once, and not for each request.
    pub(crate) name: Arc<str>,
    /// The same, as policies compare it.
    pub(crate) peer: Peer,
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
    Service {
        /// As it was when the connection came.
        service: Arc<Service>,
        /// All of its endpoints, at the port that was asked for: where requests go that no route takes elsewhere.
        own: ServiceTarget,
    },
    /// A workload by its own address: routes of services are not for it.
    Workload {
        /// Where requests go.
        own: (WorkloadUid, u16),
    },
}

impl Connection {
    /// The service that was asked for, if it was one.
    pub(crate) fn service(&self) -> Option<&Arc<Service>> {
        self.destination.of_service()
    }

    /// What the application speaks, as far as it is written.
    pub(crate) fn protocol(&self) -> AppProtocol {
        let port = self.service().and_then(|service| service.port(self.addr.port()));
        port.map_or(AppProtocol::Unknown, |port| port.app_protocol)
    }
}

impl Destination {
    /// A service, at a port.
    pub(crate) fn service(service: &Arc<Service>, port: u16) -> Self {
        let own = ServiceTarget { service: service.name.clone(), port, subset: None };
        Self::Service { service: service.clone(), own }
    }

    /// The service, if it is one.
    pub(crate) fn of_service(&self) -> Option<&Arc<Service>> {
        match self {
            Self::Service { service, .. } => Some(service),
            Self::Workload { .. } => None,
        }
    }

    /// A workload, at a port.
    pub(crate) fn workload(workload: &Arc<Workload>, port: u16) -> Self {
        Self::Workload { own: (workload.uid.clone(), port) }
    }
}
