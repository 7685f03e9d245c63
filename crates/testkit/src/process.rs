//! A process in a world: started in a namespace and a cgroup, with a log file, known by pid and start time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;

use crate::netns;

/// How often a wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 25;
/// How many files a process may open, where the machine allows it: enough for some ten thousand connections.
const FILES_MAX: u32 = 200_000;

/// What to start, and where.
#[derive(Clone, Debug)]
pub(crate) struct Spawn {
    pub(crate) name: String,
    pub(crate) netns: PathBuf,
    pub(crate) cgroup: PathBuf,
    /// Put in the place of `/etc/resolv.conf`, for this process alone.
    pub(crate) resolv: Option<PathBuf>,
    pub(crate) command: Vec<OsString>,
    pub(crate) env: Vec<(String, String)>,
    /// Standard error, and standard output if it has no file of its own.
    pub(crate) log: PathBuf,
    pub(crate) stdout: Option<PathBuf>,
}

/// A process that belongs to a world. It is killed with the world, not when this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: i32,
    start_time: u64,
    log: PathBuf,
    stdout: Option<PathBuf>,
    child: Mutex<Child>,
}

/// What a process that has ended left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Process {
    pub(crate) fn start(spawn: &Spawn) -> Result<Self> {
        let log = append(&spawn.log)?;
        let stdout = match &spawn.stdout {
            Some(path) => File::create(path).with_context(|| format!("creating {}", path.display()))?,
            None => log.try_clone().context("duplicating the log's descriptor")?,
        };
        let mut command = wrapped(spawn)?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(log).process_group(0);
        // What was said to the test is not said to its processes; the mesh's warn of settings that they do not know.
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("WEFT_") {
                command.env_remove(key);
            }
        }
        command.envs(spawn.env.iter().map(|(key, value)| (key, value)));
        // A child is born in the namespace of the thread that forks it.
        let child = netns::within(&spawn.netns, || command.spawn())?;
        let child = child.with_context(|| format!("starting {}", spawn.name))?;
        let pid = i32::try_from(child.id()).context("a pid beyond the kernel's range")?;
        let start_time = start_time(pid).unwrap_or(0);
        Ok(Self {
            name: spawn.name.clone(),
            pid,
            start_time,
            log: spawn.log.clone(),
            stdout: spawn.stdout.clone(),
            child: Mutex::new(child),
        })
    }

    /// What it is called in errors and logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// When it was started, in the kernel's ticks: with the pid, this names it for good.
    pub(crate) fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Where it logs.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Everything logged so far; also by earlier processes of the same name.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of the log, as errors show it.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }

    /// Whether it still runs (a stopped one does).
    pub fn is_running(&self) -> bool {
        matches!(self.child.lock().try_wait(), Ok(None))
    }

    /// Sends a signal; a process that has ended is left alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Under the lock nobody reaps it in between, so the pid is still this process's.
        let mut child = self.child.lock();
        if matches!(child.try_wait(), Ok(None)) {
            kill(Pid::from_raw(self.pid), signal)
                .with_context(|| format!("sending {signal} to {}", self.name))?;
        }
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(10)).map(drop)
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// SIGSTOP: it holds its sockets and does nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT: it goes on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Waits for its end.
    pub fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.lock().try_wait().context("waiting for a process")? {
                return Ok(status);
            }
            if Instant::now() >= until {
                bail!("{} has not ended within {deadline:?}\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Waits for its end and takes what it wrote.
    pub fn output(&self, deadline: Duration) -> Result<Output> {
        let status = self.wait(deadline)?;
        let read =
            |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let stdout = self.stdout.as_deref().map(read).unwrap_or_default();
        Ok(Output { status, stdout, stderr: read(&self.log) })
    }

    /// Waits until `ready` says so. Fails when the process ends or time is up, and shows the end of its log.
    pub fn wait_until(&self, what: &str, deadline: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let until = Instant::now() + deadline;
        loop {
            if ready() {
                return Ok(());
            }
            if let Some(status) = self.child.lock().try_wait().context("waiting for a process")? {
                let how =
                    status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
                bail!("{} ended ({how}) before {what}\n{}", self.name, self.log_tail());
            }
            if Instant::now() >= until {
                bail!("{}: not {what} within {deadline:?}\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Whether a socket of its namespace listens on the port (or, for UDP, is bound to it). Nothing is sent.
    pub fn listens_on(&self, port: u16) -> bool {
        const LISTEN: &str = "0A";
        const BOUND: &str = "07";
        [("tcp", LISTEN), ("tcp6", LISTEN), ("udp", BOUND), ("udp6", BOUND)].iter().any(|(table, state)| {
            let text = std::fs::read_to_string(format!("/proc/{}/net/{table}", self.pid)).unwrap_or_default();
            text.lines().skip(1).any(|line| {
                let mut words = line.split_whitespace().skip(1);
                let ends_in_port = words.next().is_some_and(|local| local.ends_with(&format!(":{port:04X}")));
                ends_in_port && words.nth(1) == Some(*state)
            })
        })
    }

    /// Resident memory, in bytes.
    pub fn memory_bytes(&self) -> Result<u64> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid)).context("reading its status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib =
            line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|text| text.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).context("a status without VmRSS")
    }

    /// CPU time used so far, of all its threads, in user and kernel mode.
    pub fn cpu_time(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).context("reading its stat")?;
        let field = |number: usize| stat_field(&text, number).context("a stat that is too short");
        // Linux counts these in hundredths of a second on every architecture that we build for.
        Ok(Duration::from_millis((field(14)? + field(15)?) * 10))
    }
}

/// Puts the process into its cgroup and gives it its own resolv.conf before the program itself begins. The pid stays
/// the same all the way.
fn wrapped(spawn: &Spawn) -> Result<Command> {
    let mut words: Vec<&OsStr> = Vec::new();
    let mut script = format!(
        "ulimit -n {FILES_MAX} 2>/dev/null || ulimit -n $(ulimit -Hn); echo 0 > \"$1\" || exit 125; shift; "
    );
    let procs = spawn.cgroup.join("cgroup.procs");
    let target = std::fs::canonicalize("/etc/resolv.conf").ok();
    if let (Some(_), Some(_)) = (&spawn.resolv, &target) {
        words.extend(["unshare", "--mount", "--propagation", "private"].map(OsStr::new));
        script += "mount --bind \"$1\" \"$2\" || exit 125; shift 2; ";
    }
    script += "exec \"$@\"";
    words.extend(["/bin/sh", "-c", &script, "weft-world"].map(OsStr::new));
    words.push(procs.as_os_str());
    if let (Some(resolv), Some(target)) = (&spawn.resolv, &target) {
        words.extend([resolv.as_os_str(), target.as_os_str()]);
    }
    words.extend(spawn.command.iter().map(OsString::as_os_str));
    let (program, args) = words.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(args);
    Ok(command)
}

fn append(path: &Path) -> Result<File> {
    let opened = File::options().create(true).append(true).open(path);
    opened.with_context(|| format!("opening {}", path.display()))
}

/// The last lines of a log file, with its name above.
pub(crate) fn log_tail(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    let body = if lines.is_empty() { "(nothing)".to_owned() } else { lines[from..].join("\n") };
    format!("--- {}\n{body}\n---", path.display())
}

/// Says something on standard error. Unlike `eprintln!` it does not panic when the terminal is gone: those who clean up
/// still have to.
pub(crate) fn tell(what: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    // Nobody is left to hear of it.
    let _unheard = writeln!(std::io::stderr(), "{what}");
}

/// When the process with this pid was started; nothing if there is none.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    stat_field(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, 22)
}

/// A numeric field of `/proc/<pid>/stat`, counted from 1 as in proc(5). The second field may contain anything, so
/// counting begins behind its last parenthesis.
fn stat_field(text: &str, number: usize) -> Option<u64> {
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}
