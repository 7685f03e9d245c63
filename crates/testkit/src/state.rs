//! What a world writes down about itself, so that it can be removed when the process that built it is gone: a folder
//! under `/run` with a list of processes. Also the lock that keeps two worlds apart.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns;
use crate::network;
use crate::process::start_time;

/// Held while a world stands; its content is the running number of the last world.
const LOCK: &str = "/run/weft-testkit.lock";
/// Worlds have their folders here, and only folders with [`PROCESSES`] in them are worlds.
const RUN: &str = "/run";
/// One line for each process: pid and start time.
const PROCESSES: &str = "world.processes";
/// Where eBPF objects are pinned.
pub(crate) const BPF: &str = "/sys/fs/bpf";
/// How long processes that were killed may take to be gone.
const DYING: Duration = Duration::from_secs(10);

/// The machine belongs to one world as long as this lives.
#[derive(Debug)]
pub(crate) struct MachineLock {
    _file: File,
    /// How many worlds there were before.
    pub(crate) number: u64,
}

impl MachineLock {
    /// Waits for its turn.
    pub(crate) fn take(patience: Duration) -> Result<Self> {
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(LOCK);
        let mut file = opened.with_context(|| format!("opening {LOCK} (a world needs root)"))?;
        let (until, mut told) = (Instant::now() + patience, false);
        while let Err(error) = file.try_lock() {
            match error {
                std::fs::TryLockError::WouldBlock if Instant::now() < until => {
                    if !told {
                        eprintln!("another world stands on this machine; waiting for it to end");
                        told = true;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                std::fs::TryLockError::WouldBlock => bail!("another world held {LOCK} for {patience:?}"),
                std::fs::TryLockError::Error(error) => return Err(error).context("locking"),
            }
        }
        let mut text = String::new();
        file.read_to_string(&mut text).context("reading the last world's number")?;
        let number = text.trim().parse::<u64>().unwrap_or(0).wrapping_add(1);
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{number}"))
            .context("counting worlds")?;
        Ok(Self { _file: file, number })
    }
}

/// Everything on this machine that belongs to one world, by name.
#[derive(Clone, Debug)]
pub(crate) struct Remains {
    /// `weft-<world>`: the folder, the cgroup, and with a dash behind it the prefix of namespaces and pins.
    pub(crate) prefix: String,
}

impl Remains {
    /// The world's folder.
    pub(crate) fn folder(&self) -> PathBuf {
        Path::new(RUN).join(&self.prefix)
    }

    /// The world's cgroup.
    pub(crate) fn cgroup(&self) -> Result<PathBuf> {
        Ok(cgroup_mount()?.join(&self.prefix))
    }

    /// Makes the folder, and the list that says it is a world.
    pub(crate) fn declare(&self) -> Result<()> {
        let folder = self.folder();
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        File::create(folder.join(PROCESSES)).context("making the list of processes").map(drop)
    }

    /// Adds a process to the list.
    pub(crate) fn record(&self, pid: i32, start_time: u64) -> Result<()> {
        let path = self.folder().join(PROCESSES);
        let mut file = File::options().append(true).open(path).context("opening the list of processes")?;
        // One write, so that threads do not mix their lines.
        file.write_all(format!("{pid} {start_time}\n").as_bytes()).context("recording a process")
    }

    /// Removes all of it, in the order in which nothing is in use any more. Goes on after a failure and reports the
    /// first one.
    pub(crate) fn remove(&self) -> Result<()> {
        self.end_processes();
        let results =
            [self.remove_namespaces(), self.remove_cgroups(), self.remove_pins(), self.remove_folder()];
        results.into_iter().collect()
    }

    /// What of it is there, in words.
    fn found(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for (what, folder) in [
            ("folder", Path::new(RUN)),
            ("namespace", Path::new(netns::FOLDER)),
            ("cgroup", &cgroup_mount()?),
            ("pinned objects", Path::new(BPF)),
        ] {
            // A folder that nobody has made holds nothing.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let ours = entry.file_name().to_str().is_some_and(|name| self.owns(name));
                found.extend(ours.then(|| format!("{what} {}", entry.path().display())));
            }
        }
        for entry in std::fs::read_dir("/proc").context("reading /proc")?.flatten() {
            let group = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
            // One that is dead and waits for its parent to take note has no program any more.
            let runs = || std::fs::read_link(entry.path().join("exe")).ok();
            let program = group.split(['/', '\n']).any(|part| part == self.prefix).then(runs).flatten();
            let pid = entry.file_name().to_string_lossy().into_owned();
            found.extend(program.map(|program| format!("process {pid} ({})", program.display())));
        }
        Ok(found)
    }

    /// Whether a name is its own: another world's may begin with the same letters.
    fn owns(&self, name: &str) -> bool {
        name.strip_prefix(&self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    fn end_processes(&self) {
        let text = std::fs::read_to_string(self.folder().join(PROCESSES)).unwrap_or_default();
        let recorded: Vec<(i32, u64)> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(pid, start)| Some((pid.parse().ok()?, start.parse().ok()?)))
            .collect();
        for (pid, start) in &recorded {
            if start_time(*pid) == Some(*start) {
                // It may end by itself at this moment, which is as good.
                let _gone = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
        }
        // Children of those were born in the world's own cgroups, and nobody else is in there.
        for group in self.cgroup().map(|root| folders(&root)).unwrap_or_default() {
            let _gone = std::fs::write(group.join("cgroup.kill"), "1");
        }
    }

    fn remove_namespaces(&self) -> Result<()> {
        network::delete_namespaces(&network::namespaces(&format!("{}-", self.prefix)))
    }

    fn remove_cgroups(&self) -> Result<()> {
        // Deepest first.
        folders(&self.cgroup()?).iter().try_for_each(|group| remove_cgroup(group))
    }

    fn remove_pins(&self) -> Result<()> {
        let Ok(entries) = std::fs::read_dir(BPF) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(|name| self.owns(name)) {
                calm(&entry.path());
                std::fs::remove_dir_all(entry.path()).context("removing pinned eBPF objects")?;
            }
        }
        Ok(())
    }

    /// Last, because it is what a sweep looks for.
    fn remove_folder(&self) -> Result<()> {
        match std::fs::remove_dir_all(self.folder()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("removing the world's folder")
            }
            _ => Ok(()),
        }
    }
}

/// Removes what killed runs left, and worlds that were kept: namespaces, processes, cgroups, pinned eBPF objects and
/// folders. Waits for a world that still stands. Returns the names of what was removed.
pub fn sweep() -> Result<Vec<String>> {
    let _machine = MachineLock::take(Duration::from_secs(600))?;
    sweep_locked()
}

/// What is there of the world with this prefix ([`crate::World::prefix`]): its folder, namespaces, cgroups, pinned
/// eBPF objects and processes. Nothing, once it has been removed.
pub fn leftovers(prefix: &str) -> Result<Vec<String>> {
    Remains { prefix: prefix.to_owned() }.found()
}

/// [`sweep`] for who already holds the lock: no world that is found can be alive.
pub(crate) fn sweep_locked() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for entry in std::fs::read_dir(RUN).context("reading /run")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("weft-") && entry.path().join(PROCESSES).is_file() {
            Remains { prefix: name.clone() }.remove().with_context(|| format!("sweeping {name}"))?;
            swept.push(name);
        }
    }
    Ok(swept)
}

/// An agent that is killed while it enrols many pods at once leaves the kernel's grace periods expedited, and a mark
/// among its pins for the next agent to turn that back. There will be none.
fn calm(pins: &Path) {
    for layout in std::fs::read_dir(pins).into_iter().flatten().flatten() {
        if layout.path().join("expedited").is_dir() {
            // Where the knob cannot be written, nobody has turned it either.
            let _as_it_was = std::fs::write("/sys/kernel/rcu_expedited", "0");
        }
    }
}

/// Removes a group. It is busy until the last process in it has been reaped.
pub(crate) fn remove_cgroup(group: &Path) -> Result<()> {
    let until = Instant::now() + DYING;
    while let Err(error) = std::fs::remove_dir(group) {
        if error.kind() == std::io::ErrorKind::NotFound {
            break;
        }
        if Instant::now() > until {
            return Err(error).with_context(|| format!("removing {}", group.display()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Where cgroup v2 is mounted.
pub(crate) fn cgroup_mount() -> Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words.get(2) == Some(&"cgroup2")).then(|| PathBuf::from(words[1]))
    });
    found.context("no cgroup2 is mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)")
}

/// CPU time used by everything that ever ran in a group.
pub(crate) fn cpu_time(group: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(group.join("cpu.stat")).context("reading cpu.stat")?;
    let used = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(Duration::from_micros(
        used.and_then(|text| text.parse().ok()).context("a cpu.stat without usage_usec")?,
    ))
}

/// A folder and all folders in it, deepest first.
fn folders(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(folders(&entry.path()));
        }
    }
    if root.is_dir() {
        found.push(root.to_owned());
    }
    found
}
