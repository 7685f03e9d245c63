//! What all handles of one world share, and the gate that ends it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use crate::cluster::Cluster;
use crate::manifests::Manifests;
use crate::netns;
use crate::plan::Plan;
use crate::process::{Process, Spawn, log_tail};
use crate::state::{MachineLock, Remains, remove_cgroup};

/// One world.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) nodes: usize,
    pub(crate) manifests: Manifests,
    pub(crate) cluster: Mutex<Cluster>,
    remains: Remains,
    cgroup: PathBuf,
    processes: Mutex<Vec<Arc<Process>>>,
    gate: RwLock<Gate>,
    runs: AtomicU64,
    machine: Mutex<Option<MachineLock>>,
}

/// Whether the world may still grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Closed,
}

/// Where a process runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) netns: PathBuf,
    pub(crate) cgroup: PathBuf,
    pub(crate) resolv: Option<PathBuf>,
}

impl Shared {
    pub(crate) fn new(remains: Remains, machine: MachineLock, nodes: usize) -> Result<Self> {
        let cgroup = remains.cgroup()?;
        remains.declare()?;
        let manifests = Manifests::create(&remains.folder())?;
        let plan = Plan::new(machine.number);
        for folder in ["logs", "runs", "resolv", "tokens", "control"] {
            std::fs::create_dir_all(remains.folder().join(folder)).context("making the world's folders")?;
        }
        Ok(Self {
            plan,
            nodes,
            cluster: Mutex::new(Cluster::new(plan, manifests.clone())),
            manifests,
            remains,
            cgroup,
            processes: Mutex::default(),
            gate: RwLock::new(Gate::Open),
            runs: AtomicU64::new(0),
            machine: Mutex::new(Some(machine)),
        })
    }

    /// `weft-<world>`.
    pub(crate) fn prefix(&self) -> &str {
        &self.remains.prefix
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.remains.folder()
    }

    /// The name of one of the world's namespaces.
    pub(crate) fn netns_name(&self, rest: &str) -> String {
        format!("{}-{rest}", self.prefix())
    }

    pub(crate) fn netns(&self, rest: &str) -> PathBuf {
        netns::path(&self.netns_name(rest))
    }

    /// One of the world's cgroups; made if it is not there.
    pub(crate) fn cgroup(&self, rest: &str) -> Result<PathBuf> {
        let path = self.cgroup.join(rest);
        std::fs::create_dir_all(&path).with_context(|| format!("making the cgroup {}", path.display()))?;
        Ok(path)
    }

    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.folder().join("logs").join(format!("{name}.log"))
    }

    /// Held while something is added to the world, so that tearing down waits for it and then finds it.
    pub(crate) fn grow(&self) -> Result<RwLockReadGuard<'_, Gate>> {
        // Recursive, because making a pod starts a process, and a waiting writer must not come in between.
        let gate = self.gate.read_recursive();
        ensure!(*gate == Gate::Open, "the world has been torn down");
        Ok(gate)
    }

    /// Starts a process that logs under its own name for as long as the world stands.
    pub(crate) fn start(
        &self,
        name: &str,
        place: &Place,
        command: Vec<OsString>,
        env: Vec<(String, String)>,
    ) -> Result<Arc<Process>> {
        self.spawn(&Spawn {
            name: name.to_owned(),
            netns: place.netns.clone(),
            cgroup: place.cgroup.clone(),
            resolv: place.resolv.clone(),
            command,
            env,
            log: self.log_path(name),
            stdout: None,
        })
    }

    /// Starts a process whose output the caller will want.
    pub(crate) fn start_run(
        &self,
        name: &str,
        place: &Place,
        command: Vec<OsString>,
    ) -> Result<Arc<Process>> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let base = self.folder().join("runs").join(format!("{run}-{name}"));
        self.spawn(&Spawn {
            name: name.to_owned(),
            netns: place.netns.clone(),
            cgroup: place.cgroup.clone(),
            resolv: place.resolv.clone(),
            command,
            env: Vec::new(),
            log: base.with_extension("err"),
            stdout: Some(base.with_extension("out")),
        })
    }

    fn spawn(&self, spawn: &Spawn) -> Result<Arc<Process>> {
        let _growing = self.grow()?;
        let process = Arc::new(Process::start(spawn)?);
        self.remains.record(process.pid(), process.start_time())?;
        let mut processes = self.processes.lock();
        processes.retain(|process| process.is_running());
        processes.push(Arc::clone(&process));
        Ok(process)
    }

    /// Removes a pod's cgroup, once the last of its processes has been reaped.
    pub(crate) fn remove_cgroup(&self, path: &Path) -> Result<()> {
        self.processes.lock().retain(|process| process.is_running());
        remove_cgroup(path)
    }

    /// Removes everything. The second call finds nothing to do.
    pub(crate) fn tear_down(&self) -> Result<()> {
        let mut gate = self.gate.write();
        if *gate == Gate::Closed {
            return Ok(());
        }
        *gate = Gate::Closed;
        let processes = std::mem::take(&mut *self.processes.lock());
        for process in &processes {
            // Whoever does not die here is found by pid below, and waited for as long as its cgroup is busy.
            let _dead = process.signal(nix::sys::signal::Signal::SIGKILL);
        }
        for process in &processes {
            let _reaped = process.wait(std::time::Duration::from_secs(5));
        }
        let removed = self.remains.remove();
        self.machine.lock().take();
        removed
    }

    /// Lets the world stand when this process ends. The next world, or a sweep, removes it.
    pub(crate) fn keep(&self) {
        *self.gate.write() = Gate::Closed;
        self.machine.lock().take();
    }

    /// The ends of all logs that are not empty, for a test that fails.
    pub(crate) fn log_tails(&self) -> String {
        let mut tails = String::new();
        for entry in std::fs::read_dir(self.folder().join("logs")).into_iter().flatten().flatten() {
            if entry.metadata().is_ok_and(|facts| facts.len() > 0) {
                tails += &log_tail(&entry.path());
                tails.push('\n');
            }
        }
        tails
    }

    /// The resolv.conf of pods in a namespace, as a kubelet writes it.
    pub(crate) fn resolv(&self, namespace: &str) -> Result<PathBuf> {
        let path = self.folder().join("resolv").join(namespace);
        if !path.exists() {
            let domain = "svc.cluster.local";
            let text = format!(
                "nameserver {}\nsearch {namespace}.{domain} {domain} cluster.local\noptions ndots:5\n",
                self.plan.dns()
            );
            write_whole(&path, &text)?;
        }
        Ok(path)
    }
}

fn write_whole(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
