//! The demo as its user meets it: told to its end, kept and looked around in, stopped with Ctrl-C, and left alone by a
//! terminal that is closed. Whatever happens, nothing of it stays on the machine but what was to be kept.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use weft_testkit::{find_binary, leftovers};

/// What each fact of the story begins with or has in it, in this order.
const STORY: [&str; 30] = [
    "two nodes, four pods and a Service",
    "three pods enrolled after",
    "40 requests to http://reviews/:",
    "IPv4: both servers see the true client",
    "IPv6: both servers see the true client",
    "bytes of TLS, 0 bytes of anything else",
    "a client outside the mesh is accepted",
    "PeerAuthentication STRICT written: it is refused after",
    "clients in the mesh go on as before",
    "the client's open connection is closed after",
    "a new one is refused",
    "removed: it may again after",
    "killed with SIGKILL 3 times under 200 new connections a second",
    "connections: 0 refused, 0 timed out",
    "the one that waited longest",
    "0 plain-text packets among the",
    "node1's metrics count them",
    "one line for each connection",
    "Gateway gate runs on node2",
    "VirtualService, 90 to v1 and 10 to v2: of 1000 requests",
    "VirtualService, Chrome's users to v2: 200 of 200",
    "weft routes explain says so",
    "HTTPRoute, 80 to reviews-v1 and 20 to reviews-v2: of 1000 requests",
    "v2 answers every third request with 503",
    "0 of 300 fail, and all are still v2's",
    "the circuit is open",
    "the circuit is closed",
    "a fault for user ripley alone",
    "client asks a, a asks b, b asks c",
    "everything is removed",
];
/// How a fact is marked.
const FACT: &str = "  ✓ ";
/// Said when a world of a run before is removed.
const SWEPT: &str = "removed what an earlier run left: ";

/// A demo that runs. Its temporary files are in a folder of its own.
struct Demo {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
    said: Vec<String>,
    temporary: PathBuf,
}

/// What it was, once it has ended.
struct Told {
    status: ExitStatus,
    lines: Vec<String>,
    stderr: String,
}

impl Demo {
    fn start(args: &[&str]) -> Result<Self> {
        let temporary = std::env::temp_dir().join(format!("weft-demo-test-{}", std::process::id()));
        std::fs::create_dir_all(&temporary).context("making a folder for its temporary files")?;
        let mut child = Command::new(find_binary("weft-demo")?)
            .args(args)
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting weft-demo")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let stderr = child.stderr.take().context("stderr is piped")?;
        Ok(Self { child, stdout, stderr, said: Vec::new(), temporary })
    }

    /// Reads until it says this.
    fn hears(&mut self, wanted: &str) -> Result<()> {
        while !self.said.last().is_some_and(|line| line.contains(wanted)) {
            let mut line = String::new();
            let length = self.stdout.read_line(&mut line).context("reading what it says")?;
            if length == 0 {
                let mut stderr = String::new();
                self.stderr.read_to_string(&mut stderr).context("reading its errors")?;
                anyhow::bail!("it never says {wanted:?}\n{}\n{stderr}", self.said.join("\n"));
            }
            self.said.push(line.trim_end().to_owned());
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), signal).with_context(|| signal.to_string())
    }

    /// Listens until it ends.
    fn ends(mut self) -> Result<Told> {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).context("reading what it says")?;
        self.said.extend(rest.lines().map(str::to_owned));
        let mut stderr = String::new();
        self.stderr.read_to_string(&mut stderr).context("reading its errors")?;
        let status = self.child.wait().context("waiting for its end")?;
        left_no_file(&self.temporary)?;
        Ok(Told { status, lines: self.said, stderr })
    }

    /// Closes its terminal, and tells it so.
    fn hangs_up(self) -> Result<ExitStatus> {
        let Self { mut child, stdout, stderr, temporary, .. } = self;
        drop((stdout, stderr));
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGHUP).context("SIGHUP")?;
        let status = child.wait().context("waiting for its end")?;
        left_no_file(&temporary)?;
        Ok(status)
    }
}

impl Told {
    fn facts(&self) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix(FACT)).collect()
    }

    /// It ended well, and told the first so many facts of the story and no others.
    fn assert_told(&self, facts: usize) -> Result<()> {
        let all = self.lines.join("\n");
        ensure!(self.status.success(), "{}\n{all}\n{}", self.status, self.stderr);
        let told = self.facts();
        for (index, wanted) in STORY[..facts].iter().enumerate() {
            let fact = told.get(index).copied().unwrap_or("nothing");
            ensure!(fact.contains(wanted), "not {wanted:?} but {fact:?}\n{all}");
        }
        ensure!(told.len() == facts, "{} facts instead of {facts}\n{all}", told.len());
        Ok(())
    }

    /// The command below "Look around" for this.
    fn command(&self, what: &str) -> Result<&str> {
        let line = self.lines.iter().find_map(|line| line.strip_prefix(&format!("  {what:<14} ")));
        line.with_context(|| format!("no way to look at {what}\n{}", self.lines.join("\n")))
    }

    /// Does what it says, as somebody at a shell would.
    fn try_out(&self, what: &str) -> Result<String> {
        let command = self.command(what)?;
        let output = Command::new("sh").args(["-c", command]).output().context("starting a shell")?;
        let (text, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{command}: {}\n{errors}", output.status);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The one world that stands on this machine.
fn the_world() -> Result<String> {
    let mut worlds = Vec::new();
    for entry in std::fs::read_dir("/run").context("listing /run")?.flatten() {
        if entry.path().join("world.processes").is_file() {
            worlds.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    ensure!(worlds.len() == 1, "one world at a time, and these stand: {worlds:?}");
    worlds.pop().context("there is one")
}

fn assert_nothing_left(prefix: &str) -> Result<()> {
    let left = leftovers(prefix)?;
    ensure!(left.is_empty(), "left: {}", left.join(", "));
    Ok(())
}

/// What a demo might change outside its own namespaces and folders: devices, and how the kernel waits.
fn machine() -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir("/sys/class/net").context("listing devices")? {
        all.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let hurry = std::fs::read_to_string("/sys/kernel/rcu_expedited").unwrap_or_default();
    all.insert(format!("rcu_expedited {}", hurry.trim()));
    Ok(all)
}

fn left_no_file(folder: &Path) -> Result<()> {
    // It must be empty for that.
    std::fs::remove_dir(folder).with_context(|| format!("temporary files are left in {}", folder.display()))
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn it_is_told_kept_and_stopped_and_leaves_nothing() -> Result<()> {
    let before = machine()?;
    // Kept: everything but the removal is told, and every way to look around leads somewhere.
    let mut demo = Demo::start(&["--keep"])?;
    demo.hears(STORY[1])?;
    let kept = the_world()?;
    let told = demo.ends()?;
    told.assert_told(STORY.len() - 1)?;
    look_around(&told, &kept)?;

    // The next one removes it, and itself at its end.
    let mut demo = Demo::start(&[])?;
    demo.hears(STORY[1])?;
    assert_nothing_left(&kept).context("a kept world is swept by the next run")?;
    let own = the_world()?;
    let told = demo.ends()?;
    ensure!(told.stderr.contains(&format!("{SWEPT}{kept}")), "{}", told.stderr);
    told.assert_told(STORY.len())?;
    assert_nothing_left(&own)?;

    // Ctrl-C while proxies die and come back.
    let mut demo = Demo::start(&[])?;
    demo.hears("A proxy dies under load")?;
    let own = the_world()?;
    demo.signal(Signal::SIGINT)?;
    let told = demo.ends()?;
    ensure!(told.status.code() == Some(130), "{}\n{}", told.status, told.stderr);
    ensure!(told.lines.iter().any(|line| line.contains("interrupted")), "{}", told.lines.join("\n"));
    ensure!(!told.stderr.contains("cleaning up"), "{}", told.stderr);
    assert_nothing_left(&own).context("after SIGINT")?;

    // The terminal is closed while the mesh is up: nobody reads any more what is printed.
    let mut demo = Demo::start(&[])?;
    demo.hears(STORY[1])?;
    let own = the_world()?;
    let status = demo.hangs_up()?;
    ensure!(!status.success(), "it was not told to its end");
    assert_nothing_left(&own).context("after SIGHUP")?;
    assert_eq!(machine()?, before);
    Ok(())
}

fn look_around(told: &Told, world: &str) -> Result<()> {
    for (what, expected) in [
        ("a request", &["\"name\":\"reviews-v", "GET /"][..]),
        ("the mesh", &["node1", "node2", "control"]),
        ("who may", &["allowed"]),
        ("waypoints", &["shop/gate", "in sync", "reviews.shop.svc"]),
        ("its routes", &["end-user = ripley", "VirtualService shop/reviews rule 0", "with 500, on purpose"]),
        ("metrics", &["istio_tcp_connections_opened_total{"]),
        ("namespaces", &["-fabric", "-node1", "-node2", "-shop.client"]),
    ] {
        let answer = told.try_out(what)?;
        for part in expected {
            ensure!(answer.contains(part), "{what}: no {part:?} in\n{answer}");
        }
    }
    for (what, holds) in [("manifests", "pod.shop.client.yaml"), ("logs", "weft-agent.node1.log")] {
        let folder = told.command(what)?.split(' ').next().unwrap_or_default();
        ensure!(folder.contains(world), "{what} of another world: {folder}");
        ensure!(Path::new(folder).join(holds).is_file(), "no {holds} in {folder}");
    }
    Ok(())
}
