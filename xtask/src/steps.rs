//! Running other programs: one line before, one after with the time it took; and an orderly end on Ctrl-C.

use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;

/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// The root of the repository.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// `cargo`, at the root of the repository, as if it were called by hand. This program's own variables, which the cargo
/// that runs it has set, would let some build scripts run again, and everything above them be built anew.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace()).args(args);
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        command.env_remove(name);
    }
    command
}

/// Says what begins.
pub(crate) fn announce(what: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("\x1b[1;34m==>\x1b[0m {what}");
    } else {
        eprintln!("==> {what}");
    }
}

/// Runs a command to its end; failure is an error.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<Duration> {
    announce(what);
    let start = Instant::now();
    let status = status(command)?;
    if !status.success() {
        bail!("{what}: {status}");
    }
    eprintln!("    {}", minutes(start.elapsed()));
    Ok(start.elapsed())
}

/// Runs a command to its end.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    let mut child = start(command)?;
    finish(&mut child)
}

/// Runs a command to its end and shows each line of its standard output, which `look` sees too.
pub(crate) fn watch(command: &mut Command, mut look: impl FnMut(&str)) -> Result<ExitStatus> {
    listen(command, |line| {
        println!("{line}");
        look(line);
    })
}

/// Runs a command to its end; `look` sees each line of its standard output.
pub(crate) fn listen(command: &mut Command, mut look: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = start(command.stdout(Stdio::piped()))?;
    let output = child.stdout.take().context("standard output is piped")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("reading a child's output")?;
        look(&String::from_utf8_lossy(&line));
    }
    finish(&mut child)
}

/// Turns this process into another program, which then takes signals itself. Returns only if that fails.
pub(crate) fn turn_into(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    awaited().thread_unblock().context("unblocking signals")?;
    Err(command.exec()).with_context(|| format!("starting {name}"))
}

/// What the thread that takes signals has to know.
struct State {
    interrupt: Interrupt,
    /// The child that runs; it leads a group of its own.
    running: Option<Pid>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Interrupt {
    /// Signals end the program as always.
    Default,
    /// A thread waits for them.
    Awaited,
    /// One has come, and that thread ends the program.
    Taken,
}

static STATE: Mutex<State> = Mutex::new(State { interrupt: Interrupt::Default, running: None });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(command: &mut Command) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut state = state();
    match state.interrupt {
        Interrupt::Default => {}
        Interrupt::Awaited => {
            command.process_group(0).stdin(Stdio::null());
        }
        Interrupt::Taken => {
            drop(state);
            leave_the_end_to_the_other_thread();
        }
    }
    // A child inherits which signals are blocked, and has to be born without. A signal that comes just now ends this
    // program at once, which is as good: no child has left anything yet.
    awaited().thread_unblock().context("unblocking signals")?;
    let child = command.spawn().with_context(|| format!("starting {name}"));
    if state.interrupt == Interrupt::Awaited {
        awaited().thread_block().context("blocking signals")?;
    }
    let child = child?;
    state.running = i32::try_from(child.id()).ok().map(Pid::from_raw);
    Ok(child)
}

fn finish(child: &mut Child) -> Result<ExitStatus> {
    let status = child.wait().context("waiting for a child")?;
    let mut state = state();
    state.running = None;
    if state.interrupt == Interrupt::Taken {
        drop(state);
        leave_the_end_to_the_other_thread();
    }
    Ok(status)
}

/// From now on SIGINT, SIGTERM and SIGHUP end the running child, call `undo` and end the program with status 130.
/// Call it before any thread is made.
pub(crate) fn on_interrupt(undo: fn() -> Result<()>) -> Result<()> {
    let signals = awaited();
    signals.thread_block().context("blocking signals")?;
    state().interrupt = Interrupt::Awaited;
    let waiting = std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        if signals.wait().is_err() {
            return;
        }
        state().interrupt = Interrupt::Taken;
        tell(format_args!("\ninterrupted: cleaning up"));
        end_running();
        if let Err(error) = undo() {
            tell(format_args!("cleaning up: {error:#}"));
        }
        std::process::exit(130);
    });
    waiting.context("starting a thread for signals").map(drop)
}

/// Says something. Unlike `eprintln!` it does not panic when the terminal is gone, which SIGHUP says.
fn tell(what: std::fmt::Arguments<'_>) {
    // Nobody is left to hear of it.
    let _unheard = writeln!(std::io::stderr(), "{what}");
}

fn awaited() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

fn end_running() {
    let Some(group) = state().running else { return };
    // A group that is gone already is what is wanted.
    let _gone = killpg(group, Signal::SIGTERM);
    let until = Instant::now() + GRACE;
    while state().running.is_some() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _gone = killpg(group, Signal::SIGKILL);
}

fn leave_the_end_to_the_other_thread() -> ! {
    loop {
        std::thread::park();
    }
}

/// `3:07`.
pub(crate) fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}
