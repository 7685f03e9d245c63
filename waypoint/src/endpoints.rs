//! Endpoints of services, and how they are reached.

use crate::origin::{BadOrigin, Origin};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use weft_core::ports::{TUNNEL, is_mesh_port};
use weft_core::route::own_dialect;
use weft_core::service::{HealthPolicy, Service};
use weft_core::workload::{Health, TunnelProtocol, Workload};
use weft_l7::balance::EndpointState;
use weft_l7::destination::KeepAlive;
use weft_tunnel::accept::Dialect;

/// An endpoint, and how it is reached.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The workload.
    pub(crate) workload: Arc<Workload>,
    /// Its address and the application's port.
    pub(crate) addr: SocketAddr,
    /// How its tunnel is reached; none is plain text, for what is not in the mesh.
    pub(crate) tunnel: Option<TunnelWay>,
    /// TLS of the application's own.
    pub(crate) origin: Option<Rc<Origin>>,
    /// Keep-alive probes, where this side has a connection of TCP there.
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// How a pod's tunnel is reached. A waypoint's own begin and end at its own address, so those to pods end at theirs
/// (docs/tunnel.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TunnelWay {
    /// Where it is.
    pub(crate) addr: SocketAddr,
    /// What is spoken there: Weft's own dialect where the pod's node speaks it, HBONE with everybody else.
    pub(crate) dialect: Dialect,
}

/// Why there is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoEndpoint {
    /// Discovery does not know the service.
    #[error("there is no service {0}")]
    NoService(weft_core::names::ServiceName),
    /// The service has no such port.
    #[error("the service has no port {0}")]
    NoPort(u16),
    /// Nothing says what the subset is.
    #[error("no DestinationRule of the service names subset {0}")]
    NoSubset(Arc<str>),
    /// The TLS that is asked for cannot be begun: sending it in plain text instead would be worse than not at all.
    #[error("TLS towards the service's endpoints (DestinationRule `tls`, BackendTLSPolicy): {0}")]
    Tls(BadOrigin),
    /// Its endpoints are whatever the name stands for that is asked for, and none is.
    #[error(
        "{pattern} stands for many names, and neither a Host nor a server name (SNI) says which one is meant"
    )]
    NoName {
        /// The service's host.
        pattern: Arc<str>,
    },
    /// The name that is asked for is not one of the service's.
    #[error("{name} is no name that {pattern} stands for, or is another service's own")]
    ForeignName {
        /// As it was asked for.
        name: Arc<str>,
        /// The service's host.
        pattern: Arc<str>,
    },
    /// Nobody knows what the name stands for.
    #[error("{name} has no address: {why}")]
    Unresolved {
        /// The name.
        name: Arc<str>,
        /// Why not.
        why: Arc<str>,
    },
    /// What the name stands for is no endpoint.
    #[error("no address of the name may be an endpoint: {0}")]
    LeftOut(Arc<str>),
    /// None may take it.
    #[error("no endpoint takes requests")]
    Nobody,
    /// The one that was asked for speaks no tunnel of ours, or has no address.
    #[error("the endpoint cannot be reached through a tunnel of this mesh")]
    Unreachable,
}

/// Where a workload's port is: the application's, and the tunnel's.
///
/// # Errors
/// [`NoEndpoint::Unreachable`].
pub(crate) fn reach(workload: &Workload, port: u16) -> Result<(SocketAddr, Option<TunnelWay>), NoEndpoint> {
    let ip = *workload.addresses.first().ok_or(NoEndpoint::Unreachable)?;
    let dialect = if own_dialect(workload).is_some() { Dialect::Mux } else { Dialect::Hbone };
    let tunnel = match workload.protocol {
        TunnelProtocol::Hbone => Some(TunnelWay { addr: SocketAddr::new(ip, TUNNEL), dialect }),
        TunnelProtocol::Plain => None,
        TunnelProtocol::LegacyMtls => return Err(NoEndpoint::Unreachable),
    };
    if is_mesh_port(port) {
        return Err(NoEndpoint::Unreachable);
    }
    Ok((SocketAddr::new(ip, port), tunnel))
}

/// Whether an endpoint of a service takes requests.
pub(crate) fn state(service: &Service, workload: &Workload) -> EndpointState {
    match (workload.health, service.load_balancing.health) {
        _ if workload.terminating => EndpointState::Leaving,
        (Health::Healthy, _) | (_, HealthPolicy::All) => EndpointState::Serving,
        (Health::Unhealthy, HealthPolicy::OnlyHealthy) => EndpointState::Unhealthy,
    }
}
