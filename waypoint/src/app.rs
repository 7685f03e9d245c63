//! Builds the waypoint: reads the settings and wires the parts.

use crate::admin::{Admin, Teller};
use crate::commons::Commons;
use crate::config::{Config, Own};
use crate::dynamic::dynamic_names;
use crate::export;
use crate::knowledge::WaypointMesh;
use crate::names::Names;
use crate::run;
use crate::telemetry;
use crate::trace::Tracer;
use crate::worker::Knowledge;
use anyhow::Context as _;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use weft_core::identity::Identity;
use weft_core::names::{NodeName, WorkloadUid};
use weft_pki::{TrustBundle, live_trust};
use weft_runtime::Settings;
use weft_runtime::access;
use weft_runtime::drain::{self, Stop};
use weft_runtime::http::{Listen, Server};
use weft_runtime::metrics::Metrics;
use weft_runtime::ready::{Condition, Readiness};
use weft_xds::keeper::{Keeper, KeeperParts, follow_roots};
use weft_xds::leaves::leaves;
use weft_xds::{CaClient, Client, ClientConfig, Node, Role, Subscribe, View};

/// Runs the waypoint until it is told to stop and has drained.
///
/// # Errors
/// What keeps it from starting.
pub fn run() -> anyhow::Result<()> {
    let mut settings = Settings::from_env();
    let config = Config::read(&mut settings);
    let config = settings.finish(config).context("these settings cannot be used")?;
    config.log.install()?;
    weft_runtime::fds::raise_open_files_limit().context("raising the limit of open files")?;
    std::fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("making the state folder {}", config.state_dir.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let (stopper, stop) = drain::channel();
    let (metrics, readiness) = (Metrics::keeping(config.series_unused), Readiness::new());
    let (lines, _rest) = access::detach(&metrics)?;
    let mut tasks = JoinSet::new();
    serve_http(&mut tasks, &config, &metrics, &readiness, &stop).await?;
    let Own { trust_domain, namespace, service_account, pod, .. } = &config.own;
    let own = Identity::new(trust_domain.as_str(), namespace.as_str(), service_account.as_str())
        .context("this waypoint's own identity")?;
    let uid = WorkloadUid::new(format!("{}//Pod/{namespace}/{pod}", config.control.cluster));
    let (client, view) = Client::<WaypointMesh>::new(client_config(&config));
    tasks.spawn(client.run());
    let (names, view) = Names::new(view, config.dns.clone());
    tasks.spawn(names.run());
    let (names, lookups) = dynamic_names(config.dns.clone());
    tasks.spawn(lookups.run());
    let known = readiness.condition("discovery", "nothing heard yet");
    tasks.spawn(await_discovery(view.clone(), uid.clone(), known));
    let (leaf_writer, leaves) = leaves();
    let (trust_writer, trust) = live_trust(TrustBundle::default());
    let (read, roots) = watch::channel(Arc::default());
    let condition = readiness.condition("trust", "no trust bundle read yet");
    let path = config.control.roots.clone();
    tasks.spawn(follow_roots(path, trust_domain.clone(), (trust_writer, read), condition));
    let (_wanted_writer, wanted) = watch::channel(Arc::new(HashSet::from([own.clone()])));
    let (_, inherited) = mpsc::channel(1);
    let keeper = Keeper::new(KeeperParts {
        ca: Arc::new(CaClient::new(config.control.clone())),
        lifetime: config.leaf_lifetime,
        writer: leaf_writer,
        wanted,
        inherited,
        roots,
        keep: watch::channel(Vec::new()).0,
        condition: readiness.condition("certificates", "none yet"),
    });
    tasks.spawn(keeper.run());
    let service = format!("{service_account}.{namespace}");
    let mut exporting = JoinSet::new();
    let (tracer, exporter) = Tracer::new(&config.tracing, service.clone(), &metrics)?.unzip();
    exporter.into_iter().for_each(|exporter| drop(exporting.spawn(exporter.run())));
    let (logs, exporter) = export::way(&config.logs, service, &metrics, telemetry::LINES)?.unzip();
    exporter.into_iter().for_each(|exporter| drop(exporting.spawn(exporter.run())));
    let knowledge = Knowledge {
        view,
        leaves,
        trust,
        own,
        uid,
        limits: config.limits,
        commons: Commons::default(),
        names,
        adaptive: config.adaptive,
        metrics: telemetry::Metrics::register(&metrics)?,
        access: config.access,
        lines,
        logs,
        tracer,
    };
    let (threads, asks) = start_workers(&config, &knowledge, &stop)?;
    if let Some(socket) = &config.admin {
        let server =
            Server::bind(&Listen::Unix(socket.clone())).await.context("opening the administrative socket")?;
        tasks.spawn(server.serve(admin(&config, &knowledge, asks).routes(), stop.clone()));
    }
    // Once the workers have ended nobody makes spans and lines any more, and the exporters end too.
    drop(knowledge);
    let signal = drain::signals().context("listening for signals")?.await;
    tracing::info!(?signal, "draining");
    stopper.stop();
    tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    })
    .await?;
    // Spans and lines of the last requests are worth a moment, and no more.
    let _ = tokio::time::timeout(EXPORT_MAX, exporting.join_all()).await;
    Ok(())
}

/// What exporters get at the end.
const EXPORT_MAX: Duration = Duration::from_secs(2);

fn client_config(config: &Config) -> ClientConfig {
    let Own { namespace, pod, node, ip, .. } = &config.own;
    ClientConfig {
        control: config.control.clone(),
        node: Node {
            role: Role::Waypoint,
            ip: *ip,
            pod: pod.clone(),
            namespace: namespace.clone(),
            node: NodeName::new(node.as_str()),
        },
        subscribe: Subscribe::All,
        state_file: Some(config.state_dir.join("discovery")),
    }
}

async fn serve_http(
    tasks: &mut JoinSet<()>,
    config: &Config,
    metrics: &Metrics,
    readiness: &Readiness,
    stop: &Stop,
) -> anyhow::Result<()> {
    let server = Server::bind(&config.metrics).await.context("opening the metrics port")?;
    tasks.spawn(server.serve(metrics.routes(), stop.clone()));
    let server = Server::bind(&config.ready).await.context("opening the readiness port")?;
    tasks.spawn(server.serve(readiness.routes(), stop.clone()));
    Ok(())
}

fn admin(config: &Config, knowledge: &Knowledge, workers: Vec<Teller>) -> Admin {
    let Own { namespace, pod, .. } = &config.own;
    Admin {
        pod: format!("{namespace}/{pod}").into(),
        uid: knowledge.uid.clone(),
        view: knowledge.view.clone(),
        leaves: knowledge.leaves.clone(),
        workers,
    }
}

/// Questions to a worker that may wait.
const ASKS_QUEUE: usize = 4;

type Threads = Vec<std::thread::JoinHandle<()>>;

fn start_workers(
    config: &Config,
    knowledge: &Knowledge,
    stop: &Stop,
) -> anyhow::Result<(Threads, Vec<Teller>)> {
    let start = |index: usize| {
        let (teller, asks) = mpsc::channel(ASKS_QUEUE);
        let (knowledge, stop, listen) = (knowledge.clone(), stop.clone(), config.tunnel);
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            if let Err(error) = run::run(knowledge, index, listen, asks, stop) {
                tracing::error!(%error, worker = index, "a worker cannot run");
                // Without a worker its share of the connections would wait for ever.
                std::process::abort();
            }
        })?;
        Ok((thread, teller))
    };
    (0..config.workers).map(start).collect()
}

/// It can serve as soon as everything was told once, and its own pod with it.
async fn await_discovery(mut view: View<WaypointMesh>, uid: WorkloadUid, condition: Condition) {
    if view.usable().await.is_none() {
        return;
    }
    let mut moment = view.seen();
    while moment.mesh.workload(&uid).is_none() {
        condition.unmet(format!("discovery does not know this waypoint's own pod ({uid})"));
        match view.changed().await {
            Some(next) => moment = next,
            None => return,
        }
    }
    condition.met();
}
