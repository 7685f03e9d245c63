//! The connections that a worker carries: to judge them again when policy changes, to end them when their pod
//! leaves, to count what they carry, and to show them.

use crate::telemetry::Parties;
use crate::telemetry::metrics::Pair;
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;
use weft_core::admit::judge;
use weft_core::names::WorkloadUid;
use weft_core::policy::{Connection, Verdict};
use weft_core::snapshot::Snapshot;
use weft_tunnel::end::{Carried, Stop};

/// Where a connection crosses this proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From a pod of this node into a tunnel or out of the mesh.
    Outbound,
    /// From a tunnel, or in plain text, to a pod of this node.
    Inbound,
    /// From a pod of this node to another one.
    SameNode,
}

/// An open connection.
#[derive(Debug)]
pub struct OpenConnection {
    /// Where it crosses the proxy.
    pub direction: Direction,
    /// The client application's address.
    pub client: SocketAddr,
    /// What the client asked for, or the application's address.
    pub target: SocketAddr,
    /// Who is at its ends.
    pub parties: Parties,
    /// The pods of this node that it touches.
    pub pods: Vec<WorkloadUid>,
    /// What it is judged by; `None` where the other side judges.
    pub judged: Option<Judged>,
    /// When it began.
    pub begun: Instant,
    /// What it carries.
    pub carried: Carried,
    /// How much that was when it was last looked at, and since when.
    pub quiet: Cell<(u64, Instant)>,
    /// Whose metrics it counts for.
    pub pairs: Vec<Rc<Pair>>,
    /// What of it the metrics have: bytes to and from the server.
    pub counted: Cell<(u64, u64)>,
}

/// What a connection is judged by.
#[derive(Debug)]
pub struct Judged {
    /// The facts.
    pub connection: Connection,
    /// Who connects, where that is proven: a waypoint may come where others may not.
    pub source: Option<WorkloadUid>,
    /// Whose policies apply.
    pub workload: WorkloadUid,
}

/// An open connection as `weft connections` shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// Where it crosses the proxy.
    pub direction: Direction,
    /// The client application's address.
    pub client: SocketAddr,
    /// What the client asked for.
    pub target: SocketAddr,
    /// The client, `<namespace>/<name>`.
    pub source: String,
    /// The server, `<namespace>/<name>`.
    pub destination: String,
    /// The client's identity, if proven.
    pub source_identity: Option<String>,
    /// The service that was asked for, or the only one at the server's port.
    pub service: Option<String>,
    /// Bytes from the client.
    pub bytes_sent: u64,
    /// Bytes to the client.
    pub bytes_received: u64,
    /// Its age in seconds.
    pub age_seconds: f64,
}

/// A worker's open connections.
#[derive(Debug, Default)]
pub struct Registry {
    next: Cell<u64>,
    open: RefCell<HashMap<u64, Rc<OpenConnection>>>,
    /// The policies that the open connections were judged by last.
    generation: Cell<u64>,
}

/// A connection's place in the registry; dropped, it is out.
pub struct Entry {
    registry: Rc<Registry>,
    key: u64,
    connection: Rc<OpenConnection>,
}

impl std::ops::Deref for Entry {
    type Target = OpenConnection;

    fn deref(&self) -> &OpenConnection {
        &self.connection
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.open.borrow_mut().remove(&self.key);
    }
}

impl Registry {
    /// Puts a connection in.
    pub fn enter(self: &Rc<Self>, connection: OpenConnection) -> Entry {
        let key = self.next.get();
        self.next.set(key + 1);
        let connection = Rc::new(connection);
        self.open.borrow_mut().insert(key, connection.clone());
        Entry { registry: self.clone(), key, connection }
    }

    /// True if nothing is open.
    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Judges every open connection again if policy has changed, and stops those that are denied now.
    pub fn judge_again(&self, snapshot: &Snapshot) {
        if self.generation.replace(snapshot.policy_generation()) == snapshot.policy_generation() {
            return;
        }
        for connection in self.open.borrow().values() {
            connection.judge(snapshot);
        }
    }

    /// Judges a connection that has just come in, if the policies that let it in are not those of now.
    pub fn judge_late(&self, entry: &Entry, judged_by: u64, snapshot: &Snapshot) {
        if judged_by != snapshot.policy_generation() {
            entry.judge(snapshot);
        }
    }

    /// Stops every connection of a pod.
    pub fn stop_pod(&self, pod: &WorkloadUid, why: Stop) {
        for connection in self.open.borrow().values().filter(|open| open.pods.contains(pod)) {
            connection.carried.stop(why);
        }
    }

    /// True if a pod has an open connection.
    pub fn has_pod(&self, pod: &WorkloadUid) -> bool {
        self.open.borrow().values().any(|open| open.pods.contains(pod))
    }

    /// Stops everything.
    pub fn stop_all(&self, why: Stop) {
        for connection in self.open.borrow().values() {
            connection.carried.stop(why);
        }
    }

    /// Stops what has carried nothing for so long. It is found by looking now and then: a timer for each connection
    /// would have to be set anew with each of its packets.
    pub fn stop_idle(&self, now: Instant, limit: Duration) {
        for connection in self.open.borrow().values() {
            let bytes = connection.request_bytes() + connection.response_bytes();
            let (before, since) = connection.quiet.get();
            if bytes != before {
                connection.quiet.set((bytes, now));
            } else if now.duration_since(since) >= limit {
                connection.carried.stop(Stop::Idle);
            }
        }
    }

    /// Adds to the metrics what has been carried since the last time: some connections stay open for months.
    pub fn count_bytes(&self) {
        for connection in self.open.borrow().values() {
            connection.count_bytes();
        }
    }

    /// Describes everything.
    pub fn describe(&self) -> Vec<Description> {
        self.open.borrow().values().map(|open| open.describe()).collect()
    }
}

impl OpenConnection {
    /// Bytes from the client to the server.
    pub fn request_bytes(&self) -> u64 {
        match self.direction {
            Direction::Outbound | Direction::SameNode => self.carried.from_app(),
            Direction::Inbound => self.carried.to_app(),
        }
    }

    /// Bytes from the server to the client.
    pub fn response_bytes(&self) -> u64 {
        match self.direction {
            Direction::Outbound | Direction::SameNode => self.carried.to_app(),
            Direction::Inbound => self.carried.from_app(),
        }
    }

    /// Adds to the metrics what has been carried since the last time.
    pub fn count_bytes(&self) {
        let (requests, responses) = (self.request_bytes(), self.response_bytes());
        let before = self.counted.replace((requests, responses));
        if before == (requests, responses) {
            return;
        }
        for pair in &self.pairs {
            // Istio's names: "received" is what the server received.
            pair.received.inc_by(requests - before.0);
            pair.sent.inc_by(responses - before.1);
        }
    }

    fn judge(&self, snapshot: &Snapshot) {
        let Some(judged) = &self.judged else {
            return;
        };
        // A workload that discovery has taken back is the business of the pod's release.
        let Some(workload) = snapshot.workload(&judged.workload) else {
            return;
        };
        let source = judged.source.as_ref().and_then(|uid| snapshot.workload(uid));
        let judgement = judge(snapshot, source.map(|one| &**one), workload, &judged.connection);
        if !judgement.is_ok_and(|judgement| matches!(judgement.verdict, Verdict::Allowed(_))) {
            self.carried.stop(Stop::Policy);
        }
    }

    fn describe(&self) -> Description {
        let name = |workload: &Option<std::sync::Arc<weft_core::workload::Workload>>| match workload {
            Some(workload) => format!("{}/{}", workload.namespace, workload.name),
            None => "unknown".to_owned(),
        };
        Description {
            direction: self.direction,
            client: self.client,
            target: self.target,
            source: name(&self.parties.source),
            destination: name(&self.parties.destination),
            source_identity: self.parties.source_identity.as_ref().map(ToString::to_string),
            service: self.parties.service_at_server().map(|service| service.name.to_string()),
            bytes_sent: self.request_bytes(),
            bytes_received: self.response_bytes(),
            age_seconds: self.begun.elapsed().as_secs_f64(),
        }
    }
}
