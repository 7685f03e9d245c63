//! The connection metrics. Their labels come from discovery and are many, so each worker keeps the counters of
//! the pairs that it has seen.

use super::{Parties, Security};
use prometheus::IntCounterVec;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weft_core::identity::Identity;
use weft_core::labels::{self, Ends};
use weft_core::names::{ServiceName, WorkloadUid};
use weft_core::service::Service;
use weft_core::workload::Workload;
use weft_runtime::metrics::{Family, MetricError, Metrics, Series};

/// Who reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reporter {
    /// The client's proxy.
    Source,
    /// The server's proxy.
    Destination,
}

/// The families, shared by all workers.
#[derive(Debug, Clone)]
pub struct Families {
    opened: Family<IntCounterVec>,
    closed: Family<IntCounterVec>,
    failed: Family<IntCounterVec>,
    received: Family<IntCounterVec>,
    sent: Family<IntCounterVec>,
    ended: IntCounterVec,
}

impl Families {
    /// Registers them.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        let names = [&labels::OF_ENDS[..], &labels::OF_CONNECTIONS].concat();
        let family = |name: &str, help: &str| metrics.counter_family(name, help, &names);
        Ok(Self {
            opened: family("istio_tcp_connections_opened_total", "Connections that were opened.")?,
            closed: family("istio_tcp_connections_closed_total", "Connections that were closed.")?,
            failed: family("istio_tcp_connections_failed_total", "Connections that could not be opened.")?,
            received: family("istio_tcp_received_bytes_total", "Bytes from clients to servers.")?,
            sent: family("istio_tcp_sent_bytes_total", "Bytes from servers to clients.")?,
            ended: metrics.counters(
                "weft_proxy_connections_ended_total",
                "Connections that have ended, by how: as in the access log, or why they could not be opened.",
                &["end"],
            )?,
        })
    }
}

/// The counters of one pair.
#[derive(Debug)]
pub struct Pair {
    /// The workloads whose labels these are: another version of them has other labels.
    source: Option<Arc<Workload>>,
    destination: Option<Arc<Workload>>,
    /// Whether a connection has asked for it since the last look.
    is_used: Cell<bool>,
    /// Connections opened.
    pub opened: Series<IntCounterVec>,
    /// Connections closed.
    pub closed: Series<IntCounterVec>,
    /// Connections that could not be opened.
    pub failed: Series<IntCounterVec>,
    /// Bytes from the client.
    pub received: Series<IntCounterVec>,
    /// Bytes from the server.
    pub sent: Series<IntCounterVec>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    reporter: Reporter,
    source: Option<WorkloadUid>,
    destination: Option<WorkloadUid>,
    service: Option<ServiceName>,
    security: Security,
    proven: bool,
}

/// A worker's counters.
#[derive(Debug)]
pub struct WorkerMetrics {
    families: Families,
    pairs: RefCell<HashMap<Key, Rc<Pair>>>,
    looked: Cell<Instant>,
}

/// Pairs that a worker remembers. Beyond, it forgets all and looks them up again: that costs time, not truth.
const PAIRS_MAX: usize = 10_000;
/// A pair that no connection has and that none has asked for in so long is forgotten too: its series may go then
/// ([`weft_runtime::metrics::UNUSED`]).
const IDLE: Duration = Duration::from_secs(60);

impl WorkerMetrics {
    /// Counters of one worker.
    pub fn new(families: Families) -> Self {
        Self { families, pairs: RefCell::default(), looked: Cell::new(Instant::now()) }
    }

    /// Counts the end of a connection.
    pub fn ended(&self, end: &str) {
        self.families.ended.with_label_values(&[end]).inc();
    }

    /// The counters for a connection.
    pub fn pair(&self, reporter: Reporter, parties: &Parties) -> Rc<Pair> {
        let key = Key {
            reporter,
            source: parties.source.as_ref().map(|one| one.uid.clone()),
            destination: parties.destination.as_ref().map(|one| one.uid.clone()),
            service: service(reporter, parties).map(|one| one.name.clone()),
            security: parties.security,
            proven: parties.source_identity.is_some(),
        };
        let mut pairs = self.pairs.borrow_mut();
        if let Some(pair) = pairs.get(&key).filter(|pair| pair.is_of(parties)) {
            pair.is_used.set(true);
            return pair.clone();
        }
        if pairs.len() >= PAIRS_MAX {
            pairs.clear();
        }
        let pair = Rc::new(self.look_up(reporter, parties));
        pairs.insert(key, pair.clone());
        pair
    }

    /// Forgets pairs that nobody uses, from time to time.
    pub fn tick(&self, now: Instant) {
        if now.saturating_duration_since(self.looked.get()) >= IDLE {
            self.looked.set(now);
            self.pairs.borrow_mut().retain(|_, pair| pair.is_used.take() || Rc::strong_count(pair) > 1);
        }
    }

    fn look_up(&self, reporter: Reporter, parties: &Parties) -> Pair {
        let values = values(reporter, parties);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let counter = |family: &Family<IntCounterVec>| family.series(&values);
        Pair {
            source: parties.source.clone(),
            destination: parties.destination.clone(),
            is_used: Cell::new(true),
            opened: counter(&self.families.opened),
            closed: counter(&self.families.closed),
            failed: counter(&self.families.failed),
            received: counter(&self.families.received),
            sent: counter(&self.families.sent),
        }
    }
}

impl Pair {
    fn is_of(&self, parties: &Parties) -> bool {
        let same = |a: &Option<Arc<Workload>>, b: &Option<Arc<Workload>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        same(&self.source, &parties.source) && same(&self.destination, &parties.destination)
    }
}

/// The service that a report names.
fn service(reporter: Reporter, parties: &Parties) -> Option<&Arc<Service>> {
    match reporter {
        Reporter::Source => parties.service.as_ref(),
        Reporter::Destination => parties.service_at_server(),
    }
}

/// The label values: of the ends, then the connection's own.
fn values(reporter: Reporter, parties: &Parties) -> Vec<String> {
    let principal = |identity: Option<&Identity>| identity.map(ToString::to_string);
    let source = principal(parties.source_identity.as_ref());
    let destination = match parties.security {
        Security::MutualTls => principal(parties.destination.as_ref().map(|one| &one.identity)),
        Security::None => None,
    };
    let ends = Ends {
        reporter: match reporter {
            Reporter::Source => "source",
            Reporter::Destination => "destination",
        },
        source: parties.source.as_deref(),
        source_principal: source.as_deref(),
        destination: parties.destination.as_deref(),
        destination_principal: destination.as_deref(),
        service: service(reporter, parties).map(|one| &**one),
        security: parties.security.as_str(),
    };
    ends.values().into_iter().chain(["tcp", "-"].map(str::to_owned)).collect()
}
