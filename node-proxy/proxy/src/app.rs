//! Builds the proxy: reads the settings, confines the process, and wires the parts.

use crate::admin::Admin;
use crate::config::{Config, MeshConfig};
use crate::link::{Link, LinkParts};
use crate::sandbox;
use crate::telemetry::metrics::Families;
use crate::worker::request::{COMMANDS_MAX, Command, REQUESTS_MAX, Request};
use crate::worker::{self, Knowledge, WorkerParts};
use anyhow::Context as _;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use weft_core::identity::Identity;
use weft_core::names::{NodeName, WorkloadUid};
use weft_pki::{Leaf, TrustBundle, TrustView, TrustWriter, live_trust};
use weft_runtime::Settings;
use weft_runtime::access;
use weft_runtime::drain::{self, Stop, Stopper};
use weft_runtime::http::Server;
use weft_runtime::metrics::Metrics;
use weft_runtime::outlet::Outlet;
use weft_runtime::ready::{Condition, Readiness};
use weft_xds::keeper::{Inherited, Keeper, KeeperParts, Wanted, follow_roots};
use weft_xds::leaves::{LeafWriter, Leaves, leaves};
use weft_xds::{CaClient, Client, ClientConfig, Mesh, Node, Role, Subscribe, View};

/// How long the roots may take to be read before the agent is asked for listeners without them.
const ROOTS_WAIT: Duration = Duration::from_secs(2);
/// The same for discovery, if it is not known from before: some seconds of a large cluster.
const DISCOVERY_WAIT: Duration = Duration::from_secs(5);

/// Runs the proxy until it is told to stop and has drained.
///
/// # Errors
/// What keeps it from starting.
pub fn run() -> anyhow::Result<()> {
    let mut settings = Settings::from_env();
    let config = Config::read(&mut settings);
    let mut config = settings.finish(config).context("these settings cannot be used")?;
    config.log.install()?;
    let files = weft_runtime::fds::raise_open_files_limit().context("raising the limit of open files")?;
    // Three quarters of them for any one pod, which meets all workers about equally: it has some thousands even where
    // the limit is low.
    config.limits.connections = usize::try_from(files / 4 * 3).unwrap_or(usize::MAX) / config.workers;
    std::fs::create_dir_all(&config.mesh.state_dir)
        .with_context(|| format!("making the state folder {}", config.mesh.state_dir.display()))?;
    // Before the first thread: all of them are bound by it.
    sandbox::confine(&config.sandbox).context("the proxy does not run with privileges")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(config))
}

/// Queues and tables between the parts.
struct Wires {
    view: View<Mesh>,
    leaf_writer: LeafWriter,
    leaves: Leaves,
    trust_writer: TrustWriter,
    trust: TrustView,
    keep: watch::Sender<Vec<Leaf>>,
    enrolled: watch::Sender<Vec<WorkloadUid>>,
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let (stopper, stop) = drain::channel();
    let metrics = Metrics::keeping(config.series_unused);
    let (lines, _rest) = access::detach(&metrics)?;
    let readiness = Readiness::new();
    let (client, view) = Client::<Mesh>::new(client_config(&config));
    let (leaf_writer, leaves) = leaves();
    let (trust_writer, trust) = live_trust(TrustBundle::default());
    let (keep, _) = watch::channel(Vec::new());
    let (enrolled, _) = watch::channel(Vec::new());
    let wires = Wires { view, leaf_writer, leaves, trust_writer, trust, keep, enrolled };
    let mut tasks = JoinSet::new();
    serve_http(&mut tasks, &config, &metrics, &readiness, &stop).await?;
    let (requests, request_inbox) = mpsc::channel(REQUESTS_MAX);
    let (workers, threads) = start_workers(&config, &wires, (&metrics, &lines), &requests)?;
    let admin = Admin {
        node: config.node.as_str().into(),
        view: wires.view.clone(),
        leaves: wires.leaves.clone(),
        workers: workers.clone(),
    };
    let server = Server::bind(&config.admin).await.context("opening the administrative socket")?;
    tasks.spawn(server.serve(admin.routes(), stop.clone()));
    tasks.spawn(client.run());
    tasks.spawn(await_discovery(wires.view.clone(), readiness.condition("discovery", "nothing heard yet")));
    let mut told = wires.view.clone();
    let signal_stopper = Arc::new(stopper);
    stop_on_signal(&mut tasks, signal_stopper.clone())?;
    let keeping = start_keeping(&mut tasks, config.mesh, wires, &readiness, |inherited, keep, enrolled| {
        Link::new(LinkParts {
            path: config.agent_socket,
            workers,
            requests: request_inbox,
            inherited,
            keep,
            enrolled,
            condition: readiness.condition("agent", "not linked yet"),
            stopper: signal_stopper,
        })
    });
    let (link, mut roots) = keeping;
    // With the link come listeners, and a proxy that runs already goes. Whoever waits in their queues waits a little longer,
    // rather than to be sent away because it is not known yet who vouches for peers, or who anybody is; late or not, the
    // proxy says on its readiness what is missing.
    let roots = tokio::time::timeout(ROOTS_WAIT, roots.changed());
    let told = tokio::time::timeout(DISCOVERY_WAIT, told.usable());
    let mut stopped = stop.clone();
    tokio::select! {
        _ = async { tokio::join!(roots, told) } => {}
        () = stopped.requested() => {}
    }
    link.run(stop).await;
    drop(tasks);
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a worker panicked");
        }
    }
    Ok(())
}

fn client_config(config: &Config) -> ClientConfig {
    let MeshConfig { control, state_dir, pod, namespace, ip, .. } = &config.mesh;
    ClientConfig {
        control: control.clone(),
        node: Node {
            role: Role::NodeProxy,
            ip: *ip,
            pod: pod.clone(),
            namespace: namespace.clone(),
            node: NodeName::new(config.node.as_str()),
        },
        subscribe: Subscribe::All,
        state_file: Some(state_dir.join("discovery")),
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

type Threads = Vec<std::thread::JoinHandle<()>>;

fn start_workers(
    config: &Config,
    wires: &Wires,
    (metrics, lines): (&Metrics, &Outlet),
    requests: &mpsc::Sender<Request>,
) -> anyhow::Result<(Vec<mpsc::Sender<Command>>, Threads)> {
    let families = Families::register(metrics)?;
    let knowledge = Knowledge {
        view: wires.view.clone(),
        leaves: wires.leaves.clone(),
        trust: wires.trust.clone(),
        rules: Arc::new(config.rules.clone()),
        dns: config.dns.clone(),
        affinity: Arc::default(),
        asked_for: Arc::default(),
        limits: config.limits,
    };
    let (mut workers, mut threads) = (Vec::new(), Vec::new());
    for index in 0..config.workers {
        let (tx, rx) = mpsc::channel(COMMANDS_MAX);
        let parts = WorkerParts {
            index,
            knowledge: knowledge.clone(),
            requests: requests.clone(),
            families: families.clone(),
            access: config.access,
            lines: lines.clone(),
        };
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            if let Err(error) = worker::run(parts, rx) {
                tracing::error!(%error, worker = index, "a worker cannot run");
                // Without a worker its listeners would accept and never answer: the agent's next process is better.
                std::process::abort();
            }
        })?;
        workers.push(tx);
        threads.push(thread);
    }
    Ok((workers, threads))
}

/// Starts what keeps certificates and roots, and makes the link that they hang on.
fn start_keeping(
    tasks: &mut JoinSet<()>,
    mesh: MeshConfig,
    wires: Wires,
    readiness: &Readiness,
    link: impl FnOnce(
        mpsc::Sender<Inherited>,
        watch::Receiver<Vec<Leaf>>,
        watch::Sender<Vec<WorkloadUid>>,
    ) -> Link,
) -> (Link, watch::Receiver<Arc<TrustBundle>>) {
    let (inherited, inherited_inbox) = mpsc::channel(4);
    let (wanted_writer, wanted) = watch::channel(Arc::default());
    tasks.spawn(want_identities(wires.view, wires.enrolled.subscribe(), wanted_writer));
    let roots = readiness.condition("trust", "no trust bundle read yet");
    let path = mesh.control.roots.clone();
    let (read, roots_read) = watch::channel(Arc::default());
    tasks.spawn(follow_roots(path, mesh.trust_domain, (wires.trust_writer, read), roots));
    let link = link(inherited, wires.keep.subscribe(), wires.enrolled);
    let keeper = Keeper::new(KeeperParts {
        ca: Arc::new(CaClient::new(mesh.control)),
        lifetime: mesh.leaf_lifetime,
        writer: wires.leaf_writer,
        wanted: Wanted::from(wanted),
        inherited: inherited_inbox,
        roots: roots_read.clone(),
        keep: wires.keep,
        condition: readiness.condition("certificates", "none needed yet"),
    });
    tasks.spawn(keeper.run());
    (link, roots_read)
}

/// Follows which identities the pods of this node have: those that are enrolled and that discovery knows.
async fn want_identities(
    mut view: View<Mesh>,
    mut enrolled: watch::Receiver<Vec<WorkloadUid>>,
    wanted: watch::Sender<Arc<HashSet<Identity>>>,
) {
    loop {
        let snapshot = view.now();
        let identities: HashSet<Identity> = enrolled
            .borrow_and_update()
            .iter()
            .filter_map(|uid| snapshot.workload(uid))
            .map(|workload| workload.identity.clone())
            .collect();
        wanted.send_if_modified(|old| {
            let changed = **old != identities;
            if changed {
                *old = Arc::new(identities);
            }
            changed
        });
        tokio::select! {
            changed = view.changed() => if changed.is_none() { return },
            changed = enrolled.changed() => if changed.is_err() { return },
        }
    }
}

/// The proxy can serve as soon as everything was told once, if only by the last known configuration.
async fn await_discovery(mut view: View<Mesh>, condition: Condition) {
    if view.usable().await.is_some() {
        condition.met();
    }
}

fn stop_on_signal(tasks: &mut JoinSet<()>, stopper: Arc<Stopper>) -> anyhow::Result<()> {
    let signal = drain::signals().context("listening for signals")?;
    tasks.spawn(async move {
        let signal = signal.await;
        tracing::info!(?signal, "draining");
        stopper.stop();
    });
    Ok(())
}
