//! Entering a network namespace. Only threads made for it ever enter one, so there is no way back to forget.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

/// Where namespaces have their names, as `ip netns` and `nsenter --net=` know them.
pub(crate) const FOLDER: &str = "/run/netns";

/// The path of a named namespace.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}

/// Runs `work` on a thread of its own inside the namespace and waits for it. A panic goes on in the caller, so that
/// assertions may stand inside.
pub(crate) fn within<T: Send>(netns: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    let file = open(netns)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || -> Result<T> {
            setns(&file, CloneFlags::CLONE_NEWNET).context("entering the network namespace")?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs `work` on a thread of its own inside the namespace and does not wait.
pub(crate) fn background<T: Send + 'static>(
    netns: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<Result<T>>> {
    let file = open(netns)?;
    let thread = std::thread::Builder::new().spawn(move || -> Result<T> {
        setns(&file, CloneFlags::CLONE_NEWNET).context("entering the network namespace")?;
        Ok(work())
    });
    thread.context("starting a thread")
}

fn open(netns: &Path) -> Result<File> {
    File::open(netns).with_context(|| format!("opening the network namespace {}", netns.display()))
}
