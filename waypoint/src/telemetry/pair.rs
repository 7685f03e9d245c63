//! The metrics of connections of bytes.

use super::labels::{Kept, names_of_passages, of_metric, of_passage};
use super::passage::Passage;
use prometheus::IntCounterVec;
use weft_l7::telemetry::Metric;
use weft_runtime::metrics::{Family, MetricError, Metrics, Series};

/// The families, shared by all workers.
#[derive(Debug, Clone)]
pub(super) struct Families {
    opened: Family<IntCounterVec>,
    closed: Family<IntCounterVec>,
    failed: Family<IntCounterVec>,
    received: Family<IntCounterVec>,
    sent: Family<IntCounterVec>,
}

/// A counter, unless a Telemetry says that nothing is counted.
pub(super) struct Counter(Option<Series<IntCounterVec>>);

impl Counter {
    pub(super) fn inc(&self) {
        self.inc_by(1);
    }

    pub(super) fn inc_by(&self, more: u64) {
        if let Some(counter) = &self.0 {
            counter.inc_by(more);
        }
    }
}

/// The counters under one set of labels.
pub(super) struct Pair {
    pub(super) opened: Counter,
    pub(super) closed: Counter,
    pub(super) failed: Counter,
    /// Bytes from the client.
    pub(super) received: Counter,
    /// Bytes to it.
    pub(super) sent: Counter,
    _kept: Kept,
}

impl Families {
    /// Registers them.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub(super) fn register(metrics: &Metrics) -> Result<Self, MetricError> {
        let names = names_of_passages();
        let family = |name, help| metrics.counter_family(name, help, &names);
        Ok(Self {
            opened: family("istio_tcp_connections_opened_total", "Connections that were opened.")?,
            closed: family("istio_tcp_connections_closed_total", "Connections that were closed.")?,
            failed: family("istio_tcp_connections_failed_total", "Connections that could not be opened.")?,
            received: family("istio_tcp_received_bytes_total", "Bytes from clients to servers.")?,
            sent: family("istio_tcp_sent_bytes_total", "Bytes from servers to clients.")?,
        })
    }

    pub(super) fn pair(&self, passage: &Passage) -> Pair {
        let (names, values) = (names_of_passages(), of_passage(passage));
        let counter = |family: &Family<IntCounterVec>, metric: Metric| {
            let values = of_metric(&names, &values, passage.told(), metric);
            Counter(values.map(|values| family.series(&values)))
        };
        Pair {
            opened: counter(&self.opened, Metric::Opened),
            closed: counter(&self.closed, Metric::Closed),
            failed: counter(&self.failed, Metric::Failed),
            received: counter(&self.received, Metric::Received),
            sent: counter(&self.sent, Metric::Sent),
            _kept: Kept::of(passage.connection(), passage.asked.as_ref(), passage.told()),
        }
    }
}
