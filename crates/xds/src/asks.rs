//! Questions for single addresses: who waits for which, and what has been asked on this stream.

use crate::model::Model;
use crate::view::{Answer, Ask};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::oneshot;
use weft_core::names::NetworkAddr;

/// Addresses that are asked for at once. Each is a connection that is held; beyond this, somebody scans.
const OPEN_MAX: usize = 4096;
/// Addresses that stay subscribed in on-demand mode, per client: a node talks to far fewer.
const HELD_MAX: usize = 65_536;

/// Open questions, by the name that stands for the address in discovery.
pub(crate) struct Asks<M: Model> {
    open: BTreeMap<String, Open<M>>,
    /// Names that stay subscribed, in on-demand mode.
    held: BTreeSet<String>,
}

struct Open<M: Model> {
    addr: NetworkAddr,
    waiting: Vec<oneshot::Sender<Answer<M>>>,
    asked: bool,
}

/// Whether what has been found stays subscribed by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// All is subscribed anyway.
    No,
    /// Only what was asked for is.
    Yes,
}

impl<M: Model> Asks<M> {
    pub(crate) fn new() -> Self {
        Self { open: BTreeMap::new(), held: BTreeSet::new() }
    }

    pub(crate) fn add(&mut self, ask: Ask<M>) {
        let name = ask.addr.to_string();
        let room = self.open.len() < OPEN_MAX && self.held.len() < HELD_MAX;
        if !room && !self.open.contains_key(&name) {
            self.forget_abandoned();
            if self.open.len() >= OPEN_MAX || self.held.len() >= HELD_MAX {
                // Whoever asked may have gone meanwhile.
                let _ = ask.reply.send(Answer::NotAsked);
                return;
            }
        }
        let open = self.open.entry(name).or_insert_with(|| Open {
            addr: ask.addr,
            waiting: Vec::new(),
            asked: false,
        });
        open.waiting.retain(|reply| !reply.is_closed());
        open.waiting.push(ask.reply);
    }

    fn forget_abandoned(&mut self) {
        self.open.retain(|_, open| open.waiting.iter().any(|reply| !reply.is_closed()));
    }

    /// A new stream knows nothing of what the old one was asked. Gives the names to begin with.
    pub(crate) fn begin_stream(&mut self) -> Vec<String> {
        self.forget_abandoned();
        for open in self.open.values_mut() {
            open.asked = true;
        }
        self.held.iter().chain(self.open.keys()).cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The names that are to be asked for and have not been.
    pub(crate) fn take_unasked(&mut self) -> Vec<String> {
        let unasked = self.open.iter_mut().filter(|(_, open)| !open.asked);
        unasked
            .map(|(name, open)| {
                open.asked = true;
                name.clone()
            })
            .collect()
    }

    /// Answers what a response has made clear. Gives the names that need no subscription any more.
    pub(crate) fn answer(
        &mut self,
        removed: &[String],
        snapshot: &Arc<M::Snapshot>,
        hold: Hold,
    ) -> Vec<String> {
        let mut done = Vec::new();
        for name in removed {
            self.held.remove(name);
        }
        self.open.retain(|name, open| {
            let known = M::knows(snapshot, &open.addr);
            if !known && !removed.contains(name) {
                return true;
            }
            for reply in open.waiting.drain(..) {
                let answer = if known { Answer::Known(snapshot.clone()) } else { Answer::Unknown };
                // Whoever asked may have gone meanwhile.
                let _ = reply.send(answer);
            }
            if known && hold == Hold::Yes {
                self.held.insert(name.clone());
            } else {
                done.push(name.clone());
            }
            false
        });
        done
    }
}
