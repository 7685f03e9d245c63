//! How everybody but the writer sees what discovery has told.

use crate::model::{Model, Rejected};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use weft_core::names::NetworkAddr;

/// Reads what a [`Client`](crate::Client) has learned. Clones see the same.
pub struct View<M: Model> {
    pub(crate) snapshots: watch::Receiver<Arc<M::Snapshot>>,
    pub(crate) sync: watch::Receiver<Arc<Sync>>,
    pub(crate) asks: mpsc::Sender<Ask<M>>,
}

/// A question for an address, and where the answer goes.
pub(crate) struct Ask<M: Model> {
    pub(crate) addr: NetworkAddr,
    pub(crate) reply: oneshot::Sender<Answer<M>>,
}

/// What discovery says of an address.
pub enum Answer<M: Model> {
    /// It is known, in this snapshot and until something else is said in later ones.
    Known(Arc<M::Snapshot>),
    /// Nothing has this address.
    Unknown,
    /// Nobody was asked: too many questions are open, or the client is gone.
    NotAsked,
}

impl<M: Model> Clone for View<M> {
    fn clone(&self) -> Self {
        Self { snapshots: self.snapshots.clone(), sync: self.sync.clone(), asks: self.asks.clone() }
    }
}

impl<M: Model> View<M> {
    /// The same client's, with snapshots that somebody makes of its own.
    pub fn over(&self, snapshots: watch::Receiver<Arc<M::Snapshot>>) -> Self {
        Self { snapshots, ..self.clone() }
    }

    /// The newest snapshot.
    pub fn now(&self) -> Arc<M::Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// The newest snapshot; from here on this view has seen it.
    pub fn seen(&mut self) -> Arc<M::Snapshot> {
        self.snapshots.borrow_and_update().clone()
    }

    /// The next snapshot that this view has not seen yet; `None` once the client is gone. Cancel-safe.
    pub async fn changed(&mut self) -> Option<Arc<M::Snapshot>> {
        self.snapshots.changed().await.ok()?;
        Some(self.snapshots.borrow_and_update().clone())
    }

    /// Asks the newest snapshot, and then each new one for as long as the error may be discovery's delay: `patience` says how
    /// long that is from the beginning, and zero that it is none. The last answer counts. Cancel-safe.
    ///
    /// # Errors
    /// The last one of `ask`.
    pub async fn find<T, E>(
        &self,
        ask: impl Fn(&M::Snapshot) -> Result<T, E>,
        patience: impl Fn(&E) -> Duration,
    ) -> Result<T, E> {
        let mut answer = ask(&self.now());
        if answer.is_ok() {
            return answer;
        }
        let mut view = self.clone();
        let begun = tokio::time::Instant::now();
        while let Some(patience) = answer.as_ref().err().map(&patience) {
            match tokio::time::timeout_at(begun + patience, view.changed()).await {
                Ok(Some(snapshot)) => answer = ask(&snapshot),
                Ok(None) | Err(_) => break,
            }
        }
        answer
    }

    /// Asks the control plane for what has this address, whatever is known already. Waits for as long as it
    /// takes, also across reconnects: the deadline is the caller's. Dropping the future takes the question back.
    pub async fn ask(&self, addr: NetworkAddr) -> Answer<M> {
        let (reply, answer) = oneshot::channel();
        if self.asks.send(Ask { addr, reply }).await.is_err() {
            return Answer::NotAsked;
        }
        answer.await.unwrap_or(Answer::NotAsked)
    }

    /// How the client stands with the control plane.
    pub fn sync(&self) -> Arc<Sync> {
        self.sync.borrow().clone()
    }

    /// The next change of [`View::sync`]; `None` once the client is gone. Cancel-safe.
    pub async fn sync_changed(&mut self) -> Option<Arc<Sync>> {
        self.sync.changed().await.ok()?;
        Some(self.sync.borrow_and_update().clone())
    }

    /// Waits until everything has been told at least once, by the control plane or by the last known
    /// configuration. `None` if the client is gone. Cancel-safe.
    pub async fn usable(&mut self) -> Option<Arc<Sync>> {
        self.sync.wait_for(|sync| sync.is_usable()).await.ok().map(|sync| sync.clone())
    }
}

/// How a client stands with the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// Since when the stream is open; `None` while there is none.
    pub connected_since: Option<SystemTime>,
    /// Attempts since the last answer.
    pub failures: u32,
    /// Why the last stream ended or did not begin.
    pub last_error: Option<Arc<str>>,
    /// Each type, in the order of the model.
    pub types: Vec<TypeSync>,
}

/// How one type stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeSync {
    /// Its url.
    pub type_url: &'static str,
    /// Where what is known comes from.
    pub state: TypeState,
    /// How many resources are known.
    pub resources: usize,
    /// When the control plane last said something.
    pub updated: Option<SystemTime>,
    /// Resources that are not understood at present.
    pub rejected: Vec<Rejected>,
}

/// Where what is known of a type comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TypeState {
    /// Nothing has been told yet.
    Waiting,
    /// From the last known configuration on disk.
    Saved,
    /// From the control plane; it may be away again by now.
    InSync,
}

impl Sync {
    /// Whether every type has been told, by the control plane or by the last known configuration.
    pub fn is_usable(&self) -> bool {
        self.types.iter().all(|one| one.state != TypeState::Waiting)
    }

    /// Whether the control plane is there and has told every type.
    pub fn is_in_sync(&self) -> bool {
        self.connected_since.is_some() && self.types.iter().all(|one| one.state == TypeState::InSync)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Mesh;
    use tokio::time::Instant;
    use weft_core::snapshot::Snapshot;

    const LIMIT: Duration = Duration::from_secs(2);

    fn view() -> (watch::Sender<Arc<Snapshot>>, View<Mesh>) {
        let (writer, snapshots) = watch::channel(Arc::default());
        let sync = Sync { connected_since: None, failures: 0, last_error: None, types: Vec::new() };
        let (_, sync) = watch::channel(Arc::new(sync));
        (writer, View { snapshots, sync, asks: mpsc::channel(1).0 })
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_be_delay_is_waited_for() {
        let (_writer, view) = view();
        for (case, patience) in
            [("the peer's fault", Duration::ZERO), ("a skew", LIMIT / 10), ("delay", LIMIT)]
        {
            let begun = Instant::now();
            let found = view.find(|_| Err::<(), _>("no"), |_| patience).await;
            assert_eq!((found, begun.elapsed()), (Err("no"), patience), "{case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_meanwhile_counts() {
        let (writer, view) = view();
        let is_told = |snapshot: &Snapshot| if snapshot.policy_generation() > 0 { Ok(()) } else { Err(()) };
        let found = view.find(is_told, |()| LIMIT);
        tokio::pin!(found);
        assert!(tokio::time::timeout(LIMIT / 2, &mut found).await.is_err(), "nothing is told yet");
        writer.send_modify(|snapshot| {
            let policy = weft_core::policy::Policy {
                name: weft_core::names::PolicyName::new("shop", "p"),
                scope: weft_core::policy::PolicyScope::Global,
                action: weft_core::policy::Action::Allow,
                enforcement: weft_core::policy::Enforcement::Enforced,
                ruleset: weft_core::policy::Ruleset::Rules(Vec::new()),
            };
            Arc::make_mut(snapshot).insert_policy(Arc::new(policy));
        });
        assert_eq!(found.await, Ok(()));
    }
}
