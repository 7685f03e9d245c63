//! Which endpoint a request goes to.

use crate::knowledge::Moment;
use std::net::SocketAddr;
use std::sync::Arc;
use weft_core::balance::{Chance, Choice, choose};
use weft_core::ports::{TUNNEL, is_mesh_port};
use weft_core::workload::{TunnelProtocol, Workload};
use weft_l7::target::ServiceTarget;

/// An endpoint, and how it is reached.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// The workload.
    pub(crate) workload: Arc<Workload>,
    /// Its address and the application's port.
    pub(crate) addr: SocketAddr,
    /// Where its tunnel is; none is plain text, for what is not in the mesh.
    pub(crate) tunnel: Option<SocketAddr>,
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
    /// None may take it.
    #[error("no endpoint takes connections")]
    None,
    /// The one that was chosen speaks no tunnel of ours, or has no address.
    #[error("the endpoint cannot be reached through a tunnel of this mesh")]
    Unreachable,
}

/// Chooses an endpoint of a service for whoever `near` is.
///
/// # Errors
/// As [`NoEndpoint`] says.
pub(crate) fn endpoint_of(
    moment: &Moment,
    near: &Workload,
    target: &ServiceTarget,
    chance: &mut impl Chance,
) -> Result<Endpoint, NoEndpoint> {
    let service = moment.mesh.service(&target.service);
    let service = service.ok_or_else(|| NoEndpoint::NoService(target.service.clone()))?;
    if service.port(target.port).is_none() {
        return Err(NoEndpoint::NoPort(target.port));
    }
    let labels = match &target.subset {
        None => None,
        Some(name) => {
            let said = moment.traffic(&target.service).map(|traffic| &traffic.said().destination);
            let subset = said.and_then(|said| said.subsets.get(name));
            Some(&subset.ok_or_else(|| NoEndpoint::NoSubset(name.clone()))?.labels)
        }
    };
    let carries = |workload: &&Arc<Workload>| {
        let wanted = labels.into_iter().flatten();
        wanted.into_iter().all(|(name, value)| workload.labels.get(name) == Some(value))
    };
    let choice = Choice { service, service_port: target.port, client: near, sticky: None };
    let endpoints = moment.mesh.endpoints(&target.service).filter(carries);
    let (workload, port) = choose(&choice, endpoints, chance).ok_or(NoEndpoint::None)?;
    reach(workload, port)
}

/// A workload's own port.
///
/// # Errors
/// [`NoEndpoint::Unreachable`].
pub(crate) fn reach(workload: &Arc<Workload>, port: u16) -> Result<Endpoint, NoEndpoint> {
    let ip = *workload.addresses.first().ok_or(NoEndpoint::Unreachable)?;
    let tunnel = match workload.protocol {
        TunnelProtocol::Hbone => Some(SocketAddr::new(ip, TUNNEL)),
        TunnelProtocol::Plain => None,
        TunnelProtocol::LegacyMtls => return Err(NoEndpoint::Unreachable),
    };
    if is_mesh_port(port) {
        return Err(NoEndpoint::Unreachable);
    }
    Ok(Endpoint { workload: workload.clone(), addr: SocketAddr::new(ip, port), tunnel })
}
