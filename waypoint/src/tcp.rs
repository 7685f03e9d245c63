//! Connections that are passed on as they are.

use crate::client::{Connection, Destination};
use crate::dial::{DialError, dial};
use crate::endpoints::NoEndpoint;
use crate::target::Target;
use crate::worker::Worker;
use std::rc::Rc;
use tokio::io::{AsyncRead, AsyncWrite};
use weft_core::policy::Denial;
use weft_l7::balance::{Ask, Member};
use weft_l7::limit::Overflow;
use weft_l7::policy::{ConnectionAsk, decide_connection};
use weft_l7::service::Found;
use weft_l7::target::{ServiceTarget, Target as Word, Weighted, choose};
use weft_l7::traffic::TcpRoute;
use weft_runtime::log::describe;

/// Why a connection is not passed on.
#[derive(Debug, thiserror::Error)]
enum TcpError {
    #[error("{0}")]
    Denied(Denial),
    #[error(transparent)]
    NoEndpoint(NoEndpoint),
    #[error(transparent)]
    Overflow(Overflow),
    #[error("reaching the endpoint")]
    Dial(#[source] DialError),
    #[error("no route takes it")]
    NoRoute,
    #[error("its route leads nowhere: {0}")]
    Nowhere(std::sync::Arc<str>),
}

/// Carries bytes both ways until both are done.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    connection: Connection,
    io: impl AsyncRead + AsyncWrite + Unpin,
) {
    let _alive = worker.ending.alive();
    if let Err(error) = carry(&worker, &connection, io).await {
        let (client, to) = (&connection.client, connection.addr);
        tracing::info!(client = %client.addr, identity = %client.identity, %to, error = describe(&error), "refused a connection");
    }
}

async fn carry(
    worker: &Worker,
    connection: &Connection,
    mut io: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), TcpError> {
    authorise(worker, connection)?;
    let target = target(worker, connection)?;
    let _room = target.room.connection().map_err(TcpError::Overflow)?;
    let member = target.choose(&Ask::default(), connection.addr, &mut worker.chance());
    let member: Rc<Member<_>> = member.map_err(TcpError::NoEndpoint)?;
    let _in_flight = member.begin(std::time::Instant::now());
    let limit = target.settings().limits.connect;
    let backend = dial(&member.endpoint.to.endpoint, &connection.client, &worker.tunnels, limit).await;
    let mut backend = backend.map_err(TcpError::Dial)?;
    // However it ends, dropping what is left tells both sides.
    let _ = tokio::io::copy_bidirectional(&mut io, &mut backend).await;
    Ok(())
}

fn authorise(worker: &Worker, connection: &Connection) -> Result<(), TcpError> {
    let moment = worker.now();
    let policies = moment.applying(connection.service().map(|service| &service.name));
    let Connection { client, addr, .. } = connection;
    let ask = ConnectionAsk { peer: Some(&client.peer), source_ip: client.addr.ip(), port: addr.port() };
    decide_connection(policies, &ask).permit().map(|_| ()).map_err(TcpError::Denied)
}

fn target(worker: &Worker, connection: &Connection) -> Result<Rc<Target>, TcpError> {
    let moment = worker.now();
    let found = match &connection.destination {
        Destination::Workload { .. } => None,
        Destination::Service { service, own } => {
            let traffic = moment.traffic(&service.name);
            traffic.and_then(|traffic| traffic.routes(own.port, connection.client.namespace()))
        }
    };
    let takes = |route: &&TcpRoute| takes(route, connection);
    let route = match found {
        None | Some(Found::Http(_)) => {
            return worker.destination(&connection.destination, &moment).map_err(TcpError::NoEndpoint);
        }
        Some(Found::Tls(routes)) => {
            let name = connection.server_name.as_deref();
            let named = routes.iter().filter(|route| route.is_for(name));
            named.map(|route| &route.connection).find(takes)
        }
        Some(Found::Tcp(routes)) => routes.iter().find(takes),
    };
    let word = target_of(&route.ok_or(TcpError::NoRoute)?.backends, worker)?;
    worker.service(word, &moment).map_err(TcpError::NoEndpoint)
}

/// Whether a route takes a connection.
fn takes(route: &TcpRoute, connection: &Connection) -> bool {
    let client = &connection.client;
    let label = |name: &str| client.workload.as_ref().and_then(|one| one.labels.get(name));
    (route.destinations.is_empty()
        || route.destinations.iter().any(|net| net.contains(&connection.addr.ip())))
        && route.source_namespace.as_ref().is_none_or(|namespace| **namespace == *client.namespace())
        && route.source_labels.iter().all(|(name, value)| label(name) == Some(value))
}

fn target_of<'a>(backends: &'a [Weighted<Word>], worker: &Worker) -> Result<&'a ServiceTarget, TcpError> {
    match choose(backends, &mut worker.chance()) {
        Some(Word::Service(target)) => Ok(target),
        Some(Word::Nowhere(why)) => Err(TcpError::Nowhere(why.clone())),
        None => Err(TcpError::NoRoute),
    }
}
