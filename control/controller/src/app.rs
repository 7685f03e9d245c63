//! Builds the control plane, runs it, and ends it in order. The only place that starts tasks freely.

use crate::admin;
use crate::analyze::Live;
use crate::authority::{Keys, OwnCertificate};
use crate::directory::last_good::LastGood;
use crate::directory::source::{DirectorySource, Timing};
use crate::keeper::Keeper;
use crate::known::Known;
use crate::metrics::{self, Gauges};
use crate::settings::{AccountSettings, ControlSettings};
use crate::status::Status;
use crate::waypoints::Waypoints;
use anyhow::Context as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Server;
use weft_control_ca::{LocalTokens, NodeProxyAccount};
use weft_control_index::Index;
use weft_control_serve::{Auth, CertificateService, Clients, DiscoveryService, Incoming, Table};
use weft_proto::ca::IstioCertificateServiceServer;
use weft_runtime::drain::{self, Stop};
use weft_runtime::http::{self, Listen, Routes};
use weft_runtime::metrics::Metrics;
use weft_runtime::ready::Readiness;

/// Batches of news that wait for the index; the source waits beyond that.
const NEWS_QUEUE: usize = 4;
/// How often a silent client is tried, and how long its answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_WAIT: Duration = Duration::from_secs(10);
/// Requests at once on one connection: a discovery stream and certificates for the pods of a node.
const STREAMS_MAX: u32 = 256;

/// Runs until a signal says stop.
///
/// # Errors
/// What keeps it from starting, for a person.
pub async fn run(settings: ControlSettings) -> anyhow::Result<()> {
    settings.log.install()?;
    let signal = drain::signals().context("listening for signals")?;
    let (stopper, stop) = drain::channel();
    let mut tasks = start(settings.clone(), &stop).await?;
    let done = tokio::select! {
        signal = signal => {
            tracing::info!(?signal, "stopping");
            Ok(())
        }
        // None of them ends by itself; what did has logged or panicked. Whoever watches this process starts it again.
        ended = tasks.join_next() => match ended {
            Some(Err(error)) => Err(error).context("a part of the control plane ended"),
            Some(Ok(())) | None => Err(anyhow::anyhow!("a part of the control plane ended; the log says why")),
        },
    };
    stopper.stop();
    let drained = drain::drain(&mut tasks, settings.drain).await;
    tracing::info!(?drained, "stopped");
    done
}

/// Starts everything; it ends when `stop` says so, or when the tasks are dropped.
///
/// # Errors
/// What keeps it from starting, for a person.
pub async fn start(settings: ControlSettings, stop: &Stop) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    let keys = Keys::open(&settings.ca)?;
    let tokens = LocalTokens::open_or_create(&settings.ca.folder)?;
    let certificate = OwnCertificate::new(&keys, settings.listen.names.clone())?;

    let index_config = settings.index.clone();
    let table = Table::new();
    let (view, known, clients) = (table.view(), Known::new(Index::new(settings.index)), Clients::new());
    let AccountSettings { node_proxy, agent } = settings.accounts;
    let auth = Auth::new(Arc::new(tokens), Arc::new(known.clone()), Arc::new(known.clone()), agent);
    let discovery = DiscoveryService::new(view.clone(), auth.clone(), clients.clone(), stop.clone());
    let node_proxy = NodeProxyAccount { trust_domain: settings.ca.trust_domain.clone(), account: node_proxy };
    let certificates = CertificateService::new(auth, keys.authority(), node_proxy);
    let gauges = Gauges {
        known: known.clone(),
        table: view.clone(),
        clients: clients.clone(),
        certificates: certificates.counts(),
        authority: keys.authority(),
    };
    let live =
        Live { folder: settings.directory.clone(), config: index_config.clone(), known: known.clone() };
    let waypoints = Waypoints { known: known.clone(), clients: clients.clone() };
    let status = Status {
        known: known.clone(),
        table: view,
        clients,
        keys: keys.clone(),
        serving: certificate.validity(),
    };

    let manifests = readiness.condition("manifests", "not read yet");
    let keeper = Keeper::new(known, table, manifests, metrics::problems_seen(&metrics)?);
    let last_good = LastGood::open(&settings.directory, settings.state)?;
    let source = DirectorySource::open(settings.directory, Timing::default(), last_good, index_config)?;
    let (news, inbox) = mpsc::channel(NEWS_QUEUE);
    tasks.spawn(until(stop.clone(), source.run(news)));
    tasks.spawn(until(stop.clone(), keeper.keep(inbox)));

    let routes = metrics::routes(&metrics, gauges)?.merge(readiness.routes()).merge(status.routes());
    let metrics = spawn_http(&mut tasks, Listen::Tcp(settings.listen.metrics), routes.clone(), stop).await?;
    if let Some(socket) = settings.listen.admin {
        spawn_http(
            &mut tasks,
            Listen::Unix(socket),
            routes.merge(waypoints.routes()).merge(live.routes()).merge(admin::routes(&keys)),
            stop,
        )
        .await?;
    }
    let incoming = Incoming::bind(settings.listen.grpc, certificate.slot()).await?;
    tracing::info!(grpc = shown(incoming.local_addr()), metrics = shown(metrics), "serving");
    tasks.spawn(until(stop.clone(), certificate.keep()));
    tasks.spawn(until(stop.clone(), keys.follow()));
    tasks.spawn(serve(incoming, discovery, certificates, stop.clone()));
    Ok(tasks)
}

async fn serve(
    incoming: Incoming,
    discovery: DiscoveryService,
    certificates: CertificateService,
    mut stop: Stop,
) {
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_WAIT))
        .max_concurrent_streams(Some(STREAMS_MAX))
        .add_service(discovery)
        .add_service(IstioCertificateServiceServer::new(certificates))
        .serve_with_incoming_shutdown(incoming.connections(), async move { stop.requested().await })
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "serving ended");
    }
}

async fn spawn_http(
    tasks: &mut JoinSet<()>,
    listen: Listen,
    routes: Routes,
    stop: &Stop,
) -> anyhow::Result<Option<SocketAddr>> {
    let server = http::Server::bind(&listen).await?;
    let addr = server.local_addr();
    tasks.spawn(server.serve(routes, stop.clone()));
    Ok(addr)
}

fn shown(addr: Option<SocketAddr>) -> Option<String> {
    addr.map(|addr| addr.to_string())
}

/// What need not be drained ends at once.
async fn until(mut stop: Stop, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stop.requested() => {}
    }
}
