//! Readiness: named conditions, each met or not for a reason that a person can read.

use crate::http::{Answer, Routes, StatusCode};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::sync::watch;

/// All conditions of a process. It is ready when every one is met.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    unmet: Mutex<BTreeMap<&'static str, Option<String>>>,
    all: watch::Sender<bool>,
}

/// One condition; whoever can tell whether it is met holds it.
#[derive(Debug, Clone)]
pub struct Condition {
    name: &'static str,
    readiness: Readiness,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// No conditions: ready.
    pub fn new() -> Self {
        Self(Arc::new(Shared { unmet: Mutex::default(), all: watch::Sender::new(true) }))
    }

    /// Adds a condition, unmet for `reason` until its holder says otherwise.
    pub fn condition(&self, name: &'static str, reason: &str) -> Condition {
        self.set(name, Some(reason.to_owned()));
        Condition { name, readiness: self.clone() }
    }

    /// True if every condition is met.
    pub fn is_ready(&self) -> bool {
        *self.0.all.borrow()
    }

    /// Ends when every condition is met. Cancel-safe.
    pub async fn ready(&self) {
        // The sender lives as long as `self`.
        drop(self.0.all.subscribe().wait_for(|all| *all).await);
    }

    /// `/readyz`: each condition and its reason, 503 while one is unmet. `/livez`: the process answers.
    pub fn routes(&self) -> Routes {
        let readiness = self.clone();
        Routes::new()
            .get("/readyz", move |_| readiness.answer())
            .get("/livez", |_| Answer::text(StatusCode::OK, "ok\n"))
    }

    fn answer(&self) -> Answer {
        let mut body = String::new();
        let unmet = self.0.unmet.lock();
        for (name, reason) in &*unmet {
            let state =
                reason.as_deref().map_or_else(|| "ok".to_owned(), |reason| format!("not ready: {reason}"));
            // Writing to a string cannot fail.
            let _ = writeln!(body, "{name}: {state}");
        }
        let ready = unmet.values().all(Option::is_none);
        Answer::text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
    }

    fn set(&self, name: &'static str, reason: Option<String>) {
        let mut unmet = self.0.unmet.lock();
        let before = unmet.insert(name, reason.clone());
        let all = unmet.values().all(Option::is_none);
        // Under the lock, so that the last word is the last state.
        self.0.all.send_if_modified(|known| std::mem::replace(known, all) != all);
        drop(unmet);
        match (before, reason) {
            (Some(Some(_)) | None, None) => tracing::info!(condition = name, "ready"),
            (Some(None), Some(reason)) => tracing::warn!(condition = name, reason, "not ready"),
            _ => {}
        }
    }
}

impl Condition {
    /// The condition is met.
    pub fn met(&self) {
        self.readiness.set(self.name, None);
    }

    /// The condition is not met, and why.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.readiness.set(self.name, Some(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_every_condition_is_met() {
        let readiness = Readiness::new();
        let discovery = readiness.condition("discovery", "not connected yet");
        let listeners = readiness.condition("listeners", "not there yet");
        listeners.met();
        let answer = readiness.answer();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.body, "discovery: not ready: not connected yet\nlisteners: ok\n");

        discovery.met();
        readiness.ready().await;
        assert_eq!(readiness.answer().status, StatusCode::OK);

        listeners.unmet("draining");
        assert!(!readiness.is_ready());
        assert_eq!(readiness.answer().body, "discovery: ok\nlisteners: not ready: draining\n");
    }
}
