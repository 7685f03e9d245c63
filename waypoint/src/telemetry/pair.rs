//! The metrics of connections of bytes.

use super::labels::{Kept, names_of_passages, of_passage};
use super::passage::Passage;
use prometheus::{IntCounter, IntCounterVec};
use weft_runtime::metrics::MetricError;

/// The families, shared by all workers.
#[derive(Debug, Clone)]
pub(super) struct Families {
    opened: IntCounterVec,
    closed: IntCounterVec,
    failed: IntCounterVec,
    received: IntCounterVec,
    sent: IntCounterVec,
}

/// The counters under one set of labels.
pub(super) struct Pair {
    pub(super) opened: IntCounter,
    pub(super) closed: IntCounter,
    pub(super) failed: IntCounter,
    /// Bytes from the client.
    pub(super) received: IntCounter,
    /// Bytes to it.
    pub(super) sent: IntCounter,
    _kept: Kept,
}

impl Families {
    /// Registers them.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub(super) fn register(metrics: &weft_runtime::metrics::Metrics) -> Result<Self, MetricError> {
        let names = names_of_passages();
        let family = |name, help| metrics.counters(name, help, &names);
        Ok(Self {
            opened: family("istio_tcp_connections_opened_total", "Connections that were opened.")?,
            closed: family("istio_tcp_connections_closed_total", "Connections that were closed.")?,
            failed: family("istio_tcp_connections_failed_total", "Connections that could not be opened.")?,
            received: family("istio_tcp_received_bytes_total", "Bytes from clients to servers.")?,
            sent: family("istio_tcp_sent_bytes_total", "Bytes from servers to clients.")?,
        })
    }

    pub(super) fn pair(&self, passage: &Passage) -> Pair {
        let values = of_passage(passage);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let counter = |family: &IntCounterVec| family.with_label_values(&values);
        Pair {
            opened: counter(&self.opened),
            closed: counter(&self.closed),
            failed: counter(&self.failed),
            received: counter(&self.received),
            sent: counter(&self.sent),
            _kept: Kept::of(passage.connection(), passage.asked.as_ref()),
        }
    }
}
