//! Connections that are passed on as they are.

use crate::client::{Connection, Destination};
use crate::endpoints::{Endpoint, NoEndpoint, endpoint_of, reach};
use crate::upstream::UpstreamError;
use crate::worker::Worker;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};
use weft_l7::service::Found;
use weft_l7::target::{ServiceTarget, Target, choose};
use weft_runtime::log::describe;

/// Why a connection is not passed on.
#[derive(Debug, thiserror::Error)]
enum TcpError {
    #[error(transparent)]
    NoEndpoint(#[from] NoEndpoint),
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("no route takes it")]
    NoRoute,
    #[error("its route leads nowhere: {0}")]
    Nowhere(std::sync::Arc<str>),
}

/// Carries bytes both ways until both are done.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    connection: Connection,
    mut io: impl AsyncRead + AsyncWrite + Unpin,
) {
    let opened = async {
        let endpoint = choose_endpoint(&worker, &connection)?;
        Ok::<_, TcpError>(worker.upstreams.connect(&endpoint, &connection.client).await?)
    };
    match opened.await {
        Ok(mut backend) => {
            // However it ends, dropping what is left tells both sides.
            let _ = tokio::io::copy_bidirectional(&mut io, &mut backend).await;
        }
        Err(error) => {
            tracing::info!(client = %connection.client.addr, to = %connection.addr, error = describe(&error), "refused a connection");
        }
    }
}

fn choose_endpoint(worker: &Worker, connection: &Connection) -> Result<Endpoint, TcpError> {
    let moment = worker.view.now();
    let port = connection.addr.port();
    let service = match &connection.destination {
        Destination::Workload(workload) => return Ok(reach(workload, port)?),
        Destination::Service(service) => service,
    };
    let own = ServiceTarget { service: service.name.clone(), port, subset: None };
    let traffic = moment.traffic(&service.name);
    let found = traffic.and_then(|traffic| traffic.routes(port, connection.client.namespace()));
    let mut chance = |bound| worker.below(bound);
    let target = match found {
        None | Some(Found::Http(_)) => own,
        Some(Found::Tls(routes)) => {
            let route =
                routes.iter().map(|route| &route.connection).find(|route| worker.takes(route, connection));
            target_of(&route.ok_or(TcpError::NoRoute)?.backends, &mut chance)?
        }
        Some(Found::Tcp(routes)) => {
            let route = routes.iter().find(|route| worker.takes(route, connection));
            target_of(&route.ok_or(TcpError::NoRoute)?.backends, &mut chance)?
        }
    };
    Ok(endpoint_of(&moment, &connection.near, &target, &mut chance)?)
}

fn target_of(
    backends: &[weft_l7::target::Weighted<Target>],
    chance: &mut impl weft_core::balance::Chance,
) -> Result<ServiceTarget, TcpError> {
    match choose(backends, chance) {
        Some(Target::Service(target)) => Ok(target.clone()),
        Some(Target::Nowhere(why)) => Err(TcpError::Nowhere(why.clone())),
        None => Err(TcpError::NoRoute),
    }
}
