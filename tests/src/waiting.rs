//! Waiting for something to become true, and for access lines; nothing here sleeps for a fixed time.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weft_testkit::{Component, MeshProcess, MeshSettings};

use crate::talk::Flow;

/// How often a wait looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long an access line may take to be written: proxies gather them for a moment.
const LINE_PATIENCE: Duration = Duration::from_secs(15);
/// The times of access lines are cut off to it.
const TICK: Duration = Duration::from_millis(1);

/// Tries until it succeeds; gives what it found.
///
/// # Errors
/// The last failure, if none succeeded in time.
pub fn eventually<T>(what: &str, deadline: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let until = Instant::now() + deadline;
    loop {
        match attempt() {
            Err(_) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            done => return done.with_context(|| format!("{what}: not within {deadline:?}")),
        }
    }
}

/// The default mesh, with access lines that [`access_lines`] can read.
pub fn with_json_lines() -> MeshSettings {
    MeshSettings::default().env(Component::NodeProxy, "WEFT_ACCESS_LOG", "json")
}

/// The access lines that a proxy has written so far (under [`with_json_lines`]) and that hold this text anywhere.
pub fn access_lines(proxy: &MeshProcess, text: &str) -> Vec<Value> {
    let log = proxy.log();
    let lines = log.lines().filter(|line| line.contains(text));
    let objects = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects.filter(|line| line["log"] == "access").collect()
}

/// Waits for the access line of a connection, told by a proxy about what goes in one of these directions.
///
/// # Errors
/// If there is none in time.
pub fn await_line(proxy: &MeshProcess, flow: Flow, directions: &[&str]) -> Result<Value> {
    let Flow { client, target, begun } = flow;
    let wanted = |line: &Value| {
        line["src.addr"] == client.to_string()
            && line["dst.addr"] == target.to_string()
            && directions.iter().any(|one| line["direction"] == *one)
            && ended(line).is_some_and(|ended| ended + TICK > begun)
    };
    let what = format!("a line of {} on {client} to {target} ({})", proxy.name(), directions.join(" or "));
    eventually(&what, LINE_PATIENCE, || {
        let lines = access_lines(proxy, &client.to_string());
        lines.into_iter().find(wanted).context("there is none")
    })
}

/// When the connection of an access line ended.
fn ended(line: &Value) -> Option<SystemTime> {
    let time = line["time"].as_str()?;
    OffsetDateTime::parse(time, &Rfc3339).ok().map(SystemTime::from)
}

/// Waits until `found` is what is wanted.
///
/// # Errors
/// If it is something else all the time.
pub fn settles<T: PartialEq + std::fmt::Debug>(
    what: &str,
    deadline: Duration,
    want: &T,
    mut found: impl FnMut() -> Result<T>,
) -> Result<()> {
    eventually(what, deadline, || {
        let found = found()?;
        ensure!(found == *want, "wanted {want:?}, found {found:?}");
        Ok(())
    })
}
