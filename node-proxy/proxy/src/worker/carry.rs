//! Carries one connection from its beginning to its access line.

use super::Worker;
use super::places::Place;
use super::pods::HasLeft;
use super::registry::{Direction, Entry, Judged, OpenConnection};
use crate::telemetry::Parties;
use crate::telemetry::access::Line;
use crate::telemetry::metrics::{Pair, Reporter};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::time::Instant;
use weft_core::admit::NotPermitted;
use weft_core::names::WorkloadUid;
use weft_tunnel::end::{Carried, End};

/// A connection that is about to be carried, or refused.
pub(super) struct Attempt {
    pub direction: Direction,
    /// The client application's address.
    pub client: SocketAddr,
    /// What was asked for.
    pub target: SocketAddr,
    /// Where the tunnel goes, if there is one.
    pub tunnel: Option<SocketAddr>,
    pub parties: Parties,
    /// What dry-run policies would have done.
    pub dry_run: String,
    /// The policies that it was judged by ([`Snapshot::policy_generation`]); `None` if it was not.
    ///
    /// [`Snapshot::policy_generation`]: weft_core::snapshot::Snapshot::policy_generation
    pub judged_by: Option<u64>,
    pub begun: Instant,
    /// A worker that drains waits for it.
    _under_way: Place,
}

/// Why a connection could not be opened, in so many kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A policy.
    Denied,
    /// Nobody knows where to, from whom, or for whom.
    Unknown,
    /// The other end did not answer in time.
    ConnectTimeout,
    /// The other end cannot be reached.
    ConnectFailed,
    /// No certificate, or the peer's is not good.
    Handshake,
    /// The agent, or a tunnel that does not last.
    Mesh,
    /// The pod has left the mesh.
    Released,
}

impl Cause {
    /// As the metric has it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Unknown => "unknown_party",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectFailed => "connect_failed",
            Self::Handshake => "handshake_failed",
            Self::Mesh => "mesh_failed",
            Self::Released => "pod_released",
        }
    }

    /// Of a connect that failed so.
    pub(super) fn of_connect(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::TimedOut { Self::ConnectTimeout } else { Self::ConnectFailed }
    }
}

/// An error that keeps a connection from being opened.
pub(super) trait Failure: std::fmt::Display {
    /// Of which kind it is.
    fn cause(&self) -> Cause;
}

impl Failure for NotPermitted {
    fn cause(&self) -> Cause {
        match self {
            Self::PastWaypoint(_) => Cause::Unknown,
            Self::Denied(_) => Cause::Denied,
        }
    }
}

impl Failure for HasLeft {
    fn cause(&self) -> Cause {
        Cause::Released
    }
}

/// A connection that is being carried. Its access line is written when it ends, whatever ends it.
pub(super) struct Ongoing {
    worker: Rc<Worker>,
    entry: Entry,
    tunnel: Option<SocketAddr>,
    dry_run: String,
    end: Option<End>,
}

impl Attempt {
    /// An attempt that begins now.
    pub(super) fn new(worker: &Worker, direction: Direction, client: SocketAddr, target: SocketAddr) -> Self {
        Self {
            _under_way: worker.attempts.hold(),
            direction,
            client,
            target,
            tunnel: None,
            parties: Parties::default(),
            dry_run: String::new(),
            judged_by: None,
            begun: Instant::now(),
        }
    }

    /// It will be carried.
    pub(super) fn open(self, worker: &Rc<Worker>, pods: Vec<WorkloadUid>, judged: Option<Judged>) -> Ongoing {
        let pairs = self.pairs(worker);
        for pair in &pairs {
            pair.opened.inc();
        }
        let entry = worker.open.enter(OpenConnection {
            direction: self.direction,
            client: self.client,
            target: self.target,
            parties: self.parties,
            pods,
            judged,
            begun: self.begun,
            carried: Carried::default(),
            quiet: Cell::new((0, self.begun)),
            pairs,
            counted: Cell::default(),
        });
        // Policy may have changed while the application was dialled, before the registry knew of this one.
        if let Some(generation) = self.judged_by {
            worker.open.judge_late(&entry, generation, &worker.knowledge.view.now());
        }
        let (tunnel, dry_run) = (self.tunnel, self.dry_run);
        Ongoing { worker: worker.clone(), entry, tunnel, dry_run, end: None }
    }

    /// It will not be: counts it, and says why in one line.
    pub(super) fn refuse(self, worker: &Worker, why: &impl Failure) {
        worker.metrics.ended(why.cause().as_str());
        for pair in self.pairs(worker) {
            pair.failed.inc();
        }
        let line = Line {
            direction: direction_word(self.direction),
            client: self.client,
            target: self.target,
            tunnel: self.tunnel,
            parties: &self.parties,
            bytes_sent: 0,
            bytes_received: 0,
            duration: self.begun.elapsed(),
            end: "refused",
            error: &why.to_string(),
            dry_run: &self.dry_run,
        };
        worker.access.add(|out| line.write(out));
    }

    fn pairs(&self, worker: &Worker) -> Vec<Rc<Pair>> {
        let pair = |reporter| worker.metrics.pair(reporter, &self.parties);
        match self.direction {
            Direction::Outbound => vec![pair(Reporter::Source)],
            Direction::Inbound => vec![pair(Reporter::Destination)],
            Direction::SameNode => vec![pair(Reporter::Source), pair(Reporter::Destination)],
        }
    }
}

impl Ongoing {
    /// What the relay and its owner share.
    pub(super) fn carried(&self) -> &Carried {
        &self.entry.carried
    }

    /// True once [`Ongoing::set_end`] was called.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// It has ended so; the line is written when it is dropped.
    pub(super) fn set_end(&mut self, end: End) {
        self.end = Some(end);
    }

    /// It has ended.
    pub(super) fn finish(mut self, end: End) {
        self.end = Some(end);
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.entry.count_bytes();
        for pair in &self.entry.pairs {
            pair.closed.inc();
        }
        let end = match self.end {
            Some(end) => end.to_string(),
            // Its task was dropped with the worker.
            None => "aborted".to_owned(),
        };
        self.worker.metrics.ended(&end);
        let line = Line {
            direction: direction_word(self.entry.direction),
            client: self.entry.client,
            target: self.entry.target,
            tunnel: self.tunnel,
            parties: &self.entry.parties,
            bytes_sent: self.entry.request_bytes(),
            bytes_received: self.entry.response_bytes(),
            duration: self.entry.begun.elapsed(),
            end: &end,
            error: "",
            dry_run: &self.dry_run,
        };
        self.worker.access.add(|out| line.write(out));
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "outbound",
        Direction::Inbound => "inbound",
        Direction::SameNode => "same_node",
    }
}
