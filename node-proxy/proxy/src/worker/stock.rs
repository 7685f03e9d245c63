//! Fresh sockets of one pod's namespace, made by the agent ahead of need: a new connection takes one without a
//! round trip to the agent.

use super::request::{Request, Requests};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::sync::Notify;
use weft_agent_link::SocketKind;
use weft_core::names::WorkloadUid;

/// Sockets asked for at first. A quiet pod needs few.
const TARGET_MIN: usize = 4;
/// Most sockets of one kind kept by one worker for one pod; the agent's own limit is per node.
const TARGET_MAX: usize = 128;
/// How long a connection waits for the agent to make a socket: it may be restarting.
const WAIT: Duration = Duration::from_secs(5);

/// The agent made no socket in time.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the agent made no socket in the pod's namespace within {} s; is weft-agent running?", WAIT.as_secs())]
pub(super) struct NoSocket;

/// The stock of one pod at one worker.
#[derive(Debug)]
pub(super) struct Stock {
    worker: usize,
    pod: WorkloadUid,
    requests: Requests,
    shelves: [Shelf; 4],
}

/// One kind of sockets.
#[derive(Debug)]
struct Shelf {
    ready: RefCell<VecDeque<OwnedFd>>,
    arrived: Notify,
    /// Asked for and not here yet.
    ordered: Cell<usize>,
    /// How many to keep: grows with the pod's rate.
    target: Cell<usize>,
}

impl Stock {
    /// An empty stock; nothing is asked for before the first need.
    pub(super) fn new(worker: usize, pod: WorkloadUid, requests: Requests) -> Self {
        let shelf = || Shelf {
            ready: RefCell::default(),
            arrived: Notify::new(),
            ordered: Cell::new(0),
            target: Cell::new(TARGET_MIN),
        };
        Self { worker, pod, requests, shelves: [shelf(), shelf(), shelf(), shelf()] }
    }

    /// Takes a socket.
    ///
    /// # Errors
    /// [`NoSocket`] if there is none and none comes.
    pub(super) async fn take(&self, kind: SocketKind) -> Result<OwnedFd, NoSocket> {
        let shelf = self.shelf(kind);
        let deadline = tokio::time::Instant::now() + WAIT;
        let mut emptied = false;
        loop {
            let socket = shelf.ready.borrow_mut().pop_front();
            if socket.is_none() && !emptied {
                // The rate has outgrown the stock.
                emptied = true;
                shelf.target.set((shelf.target.get() * 2).min(TARGET_MAX));
            }
            self.reorder(kind);
            if let Some(socket) = socket {
                return Ok(socket);
            }
            if tokio::time::timeout_at(deadline, shelf.arrived.notified()).await.is_err() {
                // The order may have been lost with the agent: the next need asks again.
                shelf.ordered.set(0);
                return Err(NoSocket);
            }
        }
    }

    /// Takes in what the agent has made, as far as it is kept: each agent that comes back sends some unasked.
    pub(super) fn put(&self, kind: SocketKind, sockets: Vec<OwnedFd>) {
        let shelf = self.shelf(kind);
        shelf.ordered.set(shelf.ordered.get().saturating_sub(sockets.len()));
        let room = shelf.target.get().saturating_sub(shelf.ready.borrow().len());
        for socket in sockets.into_iter().take(room) {
            shelf.ready.borrow_mut().push_back(socket);
            shelf.arrived.notify_one();
        }
    }

    /// The agent has restarted and forgotten what was asked for.
    pub(super) fn forget_orders(&self) {
        for (shelf, kind) in self.shelves.iter().zip(KINDS) {
            if shelf.ordered.replace(0) > 0 {
                self.reorder(kind);
            }
        }
    }

    /// Drops all sockets: an open socket keeps the namespace alive.
    pub(super) fn clear(&self) {
        for shelf in &self.shelves {
            shelf.ready.borrow_mut().clear();
        }
    }

    fn reorder(&self, kind: SocketKind) {
        let shelf = self.shelf(kind);
        let (have, target) = (shelf.ready.borrow().len() + shelf.ordered.get(), shelf.target.get());
        if have > target / 2 {
            return;
        }
        let count = target - have;
        let request = Request::Sockets { worker: self.worker, pod: self.pod.clone(), kind, count };
        // A full queue means that the agent is behind; the next need asks again.
        if self.requests.try_send(request).is_ok() {
            shelf.ordered.set(shelf.ordered.get() + count);
        }
    }

    fn shelf(&self, kind: SocketKind) -> &Shelf {
        match kind {
            SocketKind::TcpV4 => &self.shelves[0],
            SocketKind::TcpV6 => &self.shelves[1],
            SocketKind::UdpV4 => &self.shelves[2],
            SocketKind::UdpV6 => &self.shelves[3],
        }
    }
}

const KINDS: [SocketKind; 4] = [SocketKind::TcpV4, SocketKind::TcpV6, SocketKind::UdpV4, SocketKind::UdpV6];

/// The kind of stream socket that reaches an address.
pub(super) fn tcp_kind(target: SocketAddr) -> SocketKind {
    if target.is_ipv4() { SocketKind::TcpV4 } else { SocketKind::TcpV6 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_unasked_never_makes_a_heap() {
        let (requests, _asked) = tokio::sync::mpsc::channel(1);
        let stock = Stock::new(0, WorkloadUid::new("pod"), requests);
        for _ in 0..100 {
            let socket = || std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
            stock.put(SocketKind::UdpV4, vec![socket().into(), socket().into()]);
        }
        let kept = stock.shelf(SocketKind::UdpV4).ready.borrow().len();
        assert_eq!(kept, TARGET_MIN);
        assert!(stock.take(SocketKind::UdpV4).await.is_ok());
    }
}
