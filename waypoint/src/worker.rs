//! One worker: a thread with a listener, tunnels and connections of its own. Nothing of a request is shared between
//! workers.

use crate::client::Connection;
use crate::config::Limits;
use crate::inbound;
use crate::knowledge::WaypointMesh;
use crate::telemetry::Telemetry;
use crate::tunnels::Tunnels;
use crate::upstream::Upstreams;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use weft_core::identity::Identity;
use weft_core::names::WorkloadUid;
use weft_l7::traffic::TcpRoute;
use weft_pki::TrustView;
use weft_runtime::drain::Stop;
use weft_tunnel::socket::Socket;
use weft_xds::View;
use weft_xds::leaves::Leaves;

/// What idles is looked at this often.
const TICK: Duration = Duration::from_secs(5);
/// The pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all workers know.
#[derive(Clone)]
pub(crate) struct Knowledge {
    /// What discovery has told.
    pub(crate) view: View<WaypointMesh>,
    /// Certificates.
    pub(crate) leaves: Leaves,
    /// Who vouches for peers.
    pub(crate) trust: TrustView,
    /// Who this waypoint is.
    pub(crate) own: Identity,
    /// Its own workload.
    pub(crate) uid: WorkloadUid,
    /// How long things may take.
    pub(crate) limits: Limits,
    /// What is counted.
    pub(crate) telemetry: Telemetry,
}

/// What the requests of one worker share.
pub(crate) struct Worker {
    /// What discovery has told.
    pub(crate) view: View<WaypointMesh>,
    /// Certificates.
    pub(crate) leaves: Leaves,
    /// Who vouches for peers.
    pub(crate) trust: TrustView,
    /// Who this waypoint is.
    pub(crate) own: Identity,
    /// Its own workload.
    pub(crate) uid: WorkloadUid,
    /// How long things may take.
    pub(crate) limits: Limits,
    /// Connections to backends.
    pub(crate) upstreams: Rc<Upstreams>,
    /// What is counted.
    pub(crate) telemetry: Telemetry,
    seed: Cell<u64>,
}

impl Worker {
    fn new(knowledge: Knowledge, index: usize) -> Rc<Self> {
        let Knowledge { view, leaves, trust, own, uid, limits, telemetry } = knowledge;
        let tunnels = Rc::new(Tunnels::new(own.clone(), leaves.clone(), trust.clone(), limits));
        let upstreams = Rc::new(Upstreams::new(tunnels));
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        // Only so that workers and waypoints do not choose alike.
        let seed = Cell::new(since.as_nanos() as u64 ^ (index as u64) << 48 | 1);
        Rc::new(Self { view, leaves, trust, own, uid, limits, upstreams, telemetry, seed })
    }

    /// A number below `bound` (xorshift: balancing wants speed, not secrecy).
    pub(crate) fn below(&self, bound: u64) -> u64 {
        let mut seed = self.seed.get();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        self.seed.set(seed);
        // The high half of the product is below the bound.
        ((u128::from(seed) * u128::from(bound)) >> 64) as u64
    }

    /// Whether a route takes a connection.
    pub(crate) fn takes(&self, route: &TcpRoute, connection: &Connection) -> bool {
        let client = &connection.client;
        let label = |name: &str| client.workload.as_ref().and_then(|one| one.labels.get(name));
        (route.destinations.is_empty()
            || route.destinations.iter().any(|net| net.contains(&connection.addr.ip())))
            && route.source_namespace.as_ref().is_none_or(|namespace| **namespace == *client.namespace())
            && route.source_labels.iter().all(|(name, value)| label(name) == Some(value))
    }
}

/// Runs a worker until it is told to stop and has drained.
///
/// # Errors
/// If it has no listener.
pub(crate) fn run(
    knowledge: Knowledge,
    index: usize,
    listen: SocketAddr,
    mut stop: Stop,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let drain = knowledge.limits.drain;
    runtime.block_on(local.run_until(async move {
        let listener = TcpListener::from_std(listener(listen)?)?;
        let worker = Worker::new(knowledge, index);
        let ticking = worker.clone();
        spawn_local(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                ticking.upstreams.close_idle();
            }
        });
        let accepting = accept(worker, listener);
        tokio::select! {
            () = accepting => {}
            () = stop.requested() => {}
        }
        tokio::time::sleep(drain).await;
        Ok(())
    }))
}

async fn accept(worker: Rc<Worker>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                let addr = weft_core::names::canonical(addr);
                // It is one already, and stays registered only once.
                let socket = stream
                    .set_nodelay(true)
                    .and_then(|()| stream.into_std())
                    .and_then(Socket::from_nonblocking);
                match socket {
                    Ok(socket) => drop(spawn_local(inbound::serve(worker.clone(), socket, addr))),
                    Err(error) => tracing::debug!(%addr, %error, "a peer's connection was lost at once"),
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One of several listeners on the port: the kernel spreads connections over the workers.
fn listener(addr: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}
