//! Ready sockets that wait on the agent's shelf: what a pod has asked for lately is made ahead once more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use weft_agent_link::SocketKind;
use weft_core::names::WorkloadUid;

/// Sockets on all shelves together; with those that proxies hold, a node stays near 4096 (design §1).
pub const SHELVED_MAX: usize = 2048;
/// A shelf that nobody asked for in this time is emptied: its pod has become quiet.
pub const IDLE_MAX: Duration = Duration::from_secs(30);

/// The shelves, by pod and kind. `S` is a socket; tests use a number.
#[derive(Debug)]
pub struct Supply<S> {
    shelves: BTreeMap<(WorkloadUid, SocketKind), Shelf<S>>,
}

#[derive(Debug)]
struct Shelf<S> {
    sockets: Vec<S>,
    /// As many as were asked for last.
    target: usize,
    asked: Instant,
}

/// What a question leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct Served<S> {
    /// From the shelf.
    pub sockets: Vec<S>,
    /// To be made and sent.
    pub missing: u16,
    /// To be made for the shelf.
    pub ahead: u16,
}

impl<S> Default for Supply<S> {
    fn default() -> Self {
        Self { shelves: BTreeMap::new() }
    }
}

impl<S> Supply<S> {
    /// Takes what there is of `count`, and says what is to be made.
    pub fn ask(&mut self, uid: &WorkloadUid, kind: SocketKind, count: u16, now: Instant) -> Served<S> {
        let elsewhere = self.count_but(uid, kind);
        let empty = || Shelf { sockets: Vec::new(), target: 0, asked: now };
        let shelf = self.shelves.entry((uid.clone(), kind)).or_insert_with(empty);
        shelf.asked = now;
        shelf.target = usize::from(count);
        let taken = shelf.sockets.len().min(shelf.target);
        let sockets = shelf.sockets.split_off(shelf.sockets.len() - taken);
        let room = SHELVED_MAX.saturating_sub(elsewhere + shelf.sockets.len());
        let ahead = shelf.target.saturating_sub(shelf.sockets.len()).min(room);
        let narrow = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        Served { sockets, missing: count - narrow(taken), ahead: narrow(ahead) }
    }

    /// Puts sockets on a shelf; what has no place any more is given back, to be closed.
    pub fn put(&mut self, uid: &WorkloadUid, kind: SocketKind, mut sockets: Vec<S>) -> Vec<S> {
        let elsewhere = self.count_but(uid, kind);
        let Some(shelf) = self.shelves.get_mut(&(uid.clone(), kind)) else {
            return sockets;
        };
        let room = shelf.target.saturating_sub(shelf.sockets.len());
        let room = room.min(SHELVED_MAX.saturating_sub(elsewhere + shelf.sockets.len()));
        let rest = sockets.split_off(room.min(sockets.len()));
        shelf.sockets.append(&mut sockets);
        rest
    }

    /// Empties the shelves of a pod that leaves.
    pub fn forget(&mut self, uid: &WorkloadUid) {
        self.shelves.retain(|(known, _), _| known != uid);
    }

    /// Empties the shelves of pods that have become quiet.
    pub fn expire(&mut self, now: Instant) {
        self.shelves.retain(|_, shelf| now.saturating_duration_since(shelf.asked) < IDLE_MAX);
    }

    /// Sockets on all shelves.
    pub fn count(&self) -> usize {
        self.shelves.values().map(|shelf| shelf.sockets.len()).sum()
    }

    fn count_but(&self, uid: &WorkloadUid, kind: SocketKind) -> usize {
        let others = self.shelves.iter().filter(|((known, other), _)| known != uid || *other != kind);
        others.map(|(_, shelf)| shelf.sockets.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> WorkloadUid {
        WorkloadUid::new(name)
    }

    #[test]
    fn the_second_question_is_answered_from_the_shelf() {
        let (mut supply, now) = (Supply::default(), Instant::now());
        let served = supply.ask(&pod("a"), SocketKind::TcpV4, 4, now);
        assert_eq!(served, Served { sockets: vec![], missing: 4, ahead: 4 });
        assert!(supply.put(&pod("a"), SocketKind::TcpV4, vec![1, 2, 3, 4]).is_empty());
        let served = supply.ask(&pod("a"), SocketKind::TcpV4, 3, now);
        assert_eq!(served, Served { sockets: vec![2, 3, 4], missing: 0, ahead: 2 });
        let served = supply.ask(&pod("a"), SocketKind::TcpV6, 1, now);
        assert_eq!(served, Served { sockets: vec![], missing: 1, ahead: 1 }, "kinds are apart");
    }

    #[test]
    fn shelves_have_bounds() {
        let (mut supply, now) = (Supply::default(), Instant::now());
        for index in 0..20 {
            let name = format!("pod-{index}");
            let served = supply.ask(&pod(&name), SocketKind::TcpV4, 253, now);
            let made = vec![0; usize::from(served.ahead)];
            assert!(supply.put(&pod(&name), SocketKind::TcpV4, made).is_empty());
        }
        assert_eq!(supply.count(), SHELVED_MAX);
        assert_eq!(supply.put(&pod("pod-0"), SocketKind::TcpV4, vec![1, 2]), [1, 2], "full");
        assert_eq!(supply.put(&pod("gone"), SocketKind::TcpV4, vec![1]), [1], "a shelf that is gone");
    }

    #[test]
    fn quiet_pods_give_their_place_back() {
        let (mut supply, now) = (Supply::default(), Instant::now());
        supply.ask(&pod("quiet"), SocketKind::TcpV4, 2, now);
        supply.put(&pod("quiet"), SocketKind::TcpV4, vec![1, 2]);
        supply.ask(&pod("busy"), SocketKind::TcpV4, 1, now + IDLE_MAX);
        supply.put(&pod("busy"), SocketKind::TcpV4, vec![3]);
        supply.expire(now + IDLE_MAX);
        assert_eq!(supply.count(), 1);
        supply.forget(&pod("busy"));
        assert_eq!(supply.count(), 0);
    }
}
