//! Builds the agent and runs it: the only place where its parts meet.

use crate::actor::{Actor, Parts};
use crate::capture::Capture;
use crate::capture::kernel::Kernel;
use crate::config::{AccelerationMax, CaptureConfig, Config};
use crate::enrol::{Enroller, chain};
use crate::memory::{Memory, Remembered};
use crate::metrics::{AgentMetrics, CaptureCounters};
use crate::reconcile::Key;
use crate::{control, serve};
use anyhow::Context;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::chown;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weft_ebpf_host::{Acceleration, Host, HostConfig, Words};
use weft_runtime::drain::{self, Stop};
use weft_runtime::fds::{SeqListener, raise_open_files_limit};
use weft_runtime::http::{Listen, Routes, Server};
use weft_runtime::metrics::Metrics;
use weft_runtime::ready::Readiness;
use weft_xds::{AgentPods, Client, ClientConfig, Node, Role, Subscribe, View};

/// Events that wait for the actor; who has more waits.
const INPUTS: usize = 256;
/// For what still runs when the agent ends: it has nothing to finish but its file.
const END_WAIT: Duration = Duration::from_secs(2);
/// Only root asks the agent for pods or for its status.
const ROOT_ONLY: u32 = 0o600;

/// Runs the agent until it is told to end. Pods stay captured.
///
/// # Errors
/// It could not begin.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let limit = raise_open_files_limit().context("raising the limit of open files")?;
    tracing::info!(node = %config.node, open_files_max = limit, "agent starts");
    let signals = drain::signals().context("listening for signals")?;
    let (kernel, adopted) = open_kernel(&config.capture)?;
    let words = kernel.words();
    let kernel: Arc<dyn Capture> = Arc::new(kernel);
    let (metrics, readiness) = (Metrics::new(), Readiness::new());
    let counters = CaptureCounters::new(kernel.clone()).context("making the counters")?;
    metrics.registry().register(Box::new(counters)).context("registering the counters")?;
    let (actor, discovery) = build(&config, kernel, adopted, &metrics, &readiness)?;

    let (stopper, stop) = drain::channel();
    let (inputs, inbox) = mpsc::channel(INPUTS);
    let mut tasks = JoinSet::new();
    let (client, view) = discovery;
    tasks.spawn(client.run());
    if let Some(words) = words {
        tasks.spawn(forward(words));
    }
    let told = readiness.condition("discovery", "the control plane has not told yet");
    tasks.spawn(control::follow(view, config.node.clone(), inputs.clone(), told));
    spawn_servers(&config, &inputs, &stop, &mut tasks)?;
    spawn_admin(&config, &inputs, metrics.routes().merge(readiness.routes()), &stop, &mut tasks).await?;

    let mut actor = tokio::spawn(actor.run(inbox, stop));
    tokio::select! {
        signal = signals => tracing::info!(?signal, "agent ends; pods stay captured"),
        ended = &mut actor => ended.context("the agent's loop ended")?,
    }
    stopper.stop();
    if tokio::time::timeout(END_WAIT, actor).await.is_err() {
        tracing::warn!("the agent's loop did not end in time");
    }
    tasks.shutdown().await;
    Ok(())
}

/// Releases every pod and removes everything that is pinned. The agent must not be running.
///
/// # Errors
/// It is running, or the programs cannot be opened.
pub fn uninstall(config: &CaptureConfig, memory: &Memory, agent: &std::path::Path) -> anyhow::Result<()> {
    if std::os::unix::net::UnixStream::connect(agent).is_ok() {
        anyhow::bail!("an agent is running and would enrol its pods again: stop it first");
    }
    let remembered = remembered(memory);
    let (kernel, adopted) = open_kernel(config)?;
    let kernel = Arc::new(kernel);
    let enroller = Enroller::new(kernel.clone()).context("asking which namespace is the node's own")?;
    let mut left = 0;
    for key in adopted {
        let known = remembered.pods.iter().find(|(known, _)| *known == key).map(|(_, wanted)| wanted);
        let released = match known {
            Some(wanted) => enroller.release(&wanted.uid, &key, wanted.netns.as_deref()),
            None => enroller.release_orphan(&key),
        };
        match released {
            Ok(()) => println!("released {}", known.map_or(key.as_str(), |wanted| wanted.uid.as_str())),
            Err(error) => {
                left += 1;
                eprintln!("not released: {}: {}", key.as_str(), chain(&error));
            }
        }
    }
    kernel.close_all();
    memory.clear().context("forgetting the pods")?;
    anyhow::ensure!(left == 0, "{left} pods were not released exactly");
    Ok(())
}

/// What a debug build of the kernel's programs says.
#[expect(deprecated, reason = "they own their descriptor and report no other; the successor is unsafe")]
async fn forward(words: Words) {
    let mut words = match AsyncFd::with_interest(words, Interest::READABLE) {
        Ok(words) => words,
        Err(error) => return tracing::warn!(%error, "the words of the programs are not heard"),
    };
    while let Ok(mut ready) = words.readable_mut().await {
        ready.get_inner_mut().forward();
        ready.clear_ready();
    }
}

fn open_kernel(config: &CaptureConfig) -> anyhow::Result<(Kernel, Vec<Key>)> {
    let host = Host::open(HostConfig {
        bpffs_dir: config.bpffs.clone(),
        probe_cgroup: config.probe_cgroup.clone(),
        max_pods: config.pods_max,
        other_protocols: config.other_protocols,
        acceleration: match config.acceleration {
            AccelerationMax::Off => Acceleration::Off,
            AccelerationMax::Proxy => Acceleration::Proxy,
            AccelerationMax::Full => Acceleration::Full,
        },
    });
    let host = host.context("opening the kernel's programs")?;
    let adopted = host.adopted().iter().filter_map(|pod| Key::parse(pod.key.as_str())).collect();
    Ok((Kernel::new(host).context("opening the kernel's maps")?, adopted))
}

fn remembered(memory: &Memory) -> Remembered {
    memory.read().unwrap_or_else(|error| {
        // The control plane knows the pods as well; what is captured stays so until it has spoken.
        tracing::error!(error = chain(&error), "the pods of the agent before are not known");
        Remembered { pods: Vec::new(), workers: None }
    })
}

type Discovery = (Client<AgentPods>, View<AgentPods>);

fn build(
    config: &Config,
    kernel: Arc<dyn Capture>,
    adopted: Vec<Key>,
    metrics: &Metrics,
    readiness: &Readiness,
) -> anyhow::Result<(Actor, Discovery)> {
    let memory = Memory::new(&config.paths.state);
    let remembered = remembered(&memory);
    tracing::info!(adopted = adopted.len(), remembered = remembered.pods.len(), "taking over");
    let enroller = Enroller::new(kernel).context("asking which namespace is the node's own")?;
    let parts = Parts {
        node: config.node.clone(),
        enroller: Arc::new(enroller),
        memory,
        node_addresses: config.node_ips.clone(),
        metrics: AgentMetrics::new(metrics)?,
        node_tunnel: readiness.condition("node tunnel", "no node proxy has connected yet"),
    };
    let node = Node {
        role: Role::Agent,
        ip: config.node_ips.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        pod: config.pod.name.clone(),
        namespace: config.pod.namespace.clone(),
        node: config.node.clone(),
    };
    let discovery = Client::new(ClientConfig {
        control: config.control.clone(),
        node,
        subscribe: Subscribe::All,
        // The agent's own file knows more: what is in the kernel under which key.
        state_file: None,
    });
    Ok((Actor::new(parts, adopted, remembered), discovery))
}

fn spawn_servers(
    config: &Config,
    inputs: &mpsc::Sender<crate::actor::Input>,
    stop: &Stop,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let paths = &config.paths;
    let proxies = SeqListener::bind(&paths.proxy, ROOT_ONLY).context("listening for node proxies")?;
    chown(&paths.proxy, Some(config.proxy.0), None).context("letting the node proxy in")?;
    let cni = SeqListener::bind(&paths.cni, ROOT_ONLY).context("listening for the CNI plugin")?;
    tasks.spawn(serve::proxies(proxies, config.proxy, config.node.clone(), inputs.clone(), stop.clone()));
    tasks.spawn(serve::cni(cni, config.control.cluster.clone(), inputs.clone(), stop.clone()));
    Ok(())
}

async fn spawn_admin(
    config: &Config,
    inputs: &mpsc::Sender<crate::actor::Input>,
    public: Routes,
    stop: &Stop,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    let metrics = Server::bind(&config.metrics).await.context("serving metrics")?;
    let admin = Listen::Unix(config.paths.admin.clone());
    let admin = Server::bind(&admin).await.context("serving the administrative socket")?;
    tasks.spawn(admin.serve(serve::routes(inputs.clone()).merge(public.clone()), stop.clone()));
    tasks.spawn(metrics.serve(public, stop.clone()));
    Ok(())
}
