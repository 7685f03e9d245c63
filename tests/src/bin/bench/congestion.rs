//! The same congestion control everywhere, whatever the machine's default is.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use weft_testkit::{Node, Pod};

/// What every kernel has.
const WANTED: &str = "cubic";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
const KEY: &str = "net.ipv4.tcp_congestion_control";

/// A namespace may only choose what the machine allows to everybody. While this lives, it is allowed.
#[derive(Debug)]
pub(crate) struct Allowed {
    before: Option<String>,
}

impl Allowed {
    /// Allows it, if it is not.
    pub(crate) fn declare() -> Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("reading {path}"));
        let (allowed, available) = (read(ALLOWED)?, read(AVAILABLE)?);
        let has = |list: &str| list.split_whitespace().any(|name| name == WANTED);
        ensure!(has(&available), "the kernel has no {WANTED}; it has {}", available.trim());
        if has(&allowed) {
            return Ok(Self { before: None });
        }
        write(&format!("{} {WANTED}", allowed.trim()))?;
        Ok(Self { before: Some(allowed.trim().to_owned()) })
    }

    /// What a signal has to undo, because nothing is dropped then.
    pub(crate) fn undo(&self) -> impl FnOnce() + Send + 'static {
        let before = self.before.clone();
        move || restore(before.as_deref())
    }

    /// Makes a node use it.
    pub(crate) fn set_node(&self, node: &Node) -> Result<()> {
        node.sysctl(KEY, WANTED)
    }

    /// Makes a pod use it.
    pub(crate) fn set_pod(&self, pod: &Pod) -> Result<()> {
        pod.sysctl(KEY, WANTED)
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        restore(self.before.as_deref());
    }
}

fn restore(before: Option<&str>) {
    if let Some(Err(error)) = before.map(write) {
        eprintln!("{error:#}");
    }
}

fn write(list: &str) -> Result<()> {
    std::fs::write(Path::new(ALLOWED), list).with_context(|| format!("writing {list:?} to {ALLOWED}"))
}
