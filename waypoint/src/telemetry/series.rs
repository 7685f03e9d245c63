//! The metrics, and one worker's part of a series.

use super::labels::{Kept, names_of_requests, of_request};
use super::pair::Families;
use super::record::Record;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{HistogramVec, IntCounterVec};
use std::time::{Duration, Instant};
use weft_runtime::metrics::MetricError;

/// What is counted, shared by all workers.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    request_bytes: HistogramVec,
    response_bytes: HistogramVec,
    pub(super) connections: Families,
}

/// What one worker has counted under one set of labels and not yet added.
pub(super) struct Series {
    requests: LocalIntCounter,
    duration: LocalHistogram,
    request_bytes: LocalHistogram,
    response_bytes: LocalHistogram,
    used: Instant,
    is_used: bool,
    _kept: Kept,
}

/// What is counted of a request.
pub(super) struct All {
    pub(super) took: Duration,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
}

impl Metrics {
    /// Registers what is counted.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub(crate) fn register(metrics: &weft_runtime::metrics::Metrics) -> Result<Self, MetricError> {
        let names = names_of_requests();
        let histograms = |name, help, buckets| metrics.histograms(name, help, &names, buckets);
        Ok(Self {
            requests: metrics.counters("istio_requests_total", "Requests.", &names)?,
            duration: histograms(
                "istio_request_duration_milliseconds",
                "Milliseconds from a request's head to the end of its response.",
                MILLISECONDS,
            )?,
            request_bytes: histograms("istio_request_bytes", "Bytes of requests' bodies.", BYTES)?,
            response_bytes: histograms("istio_response_bytes", "Bytes of responses' bodies.", BYTES)?,
            connections: Families::register(metrics)?,
        })
    }

    pub(super) fn series(&self, record: &Record) -> Series {
        let values = of_request(record);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        Series {
            requests: self.requests.with_label_values(&values).local(),
            duration: self.duration.with_label_values(&values).local(),
            request_bytes: self.request_bytes.with_label_values(&values).local(),
            response_bytes: self.response_bytes.with_label_values(&values).local(),
            used: Instant::now(),
            is_used: true,
            _kept: Kept::of(record.connection(), record.endpoint()),
        }
    }
}

impl Series {
    pub(super) fn count(&mut self, all: &All) {
        self.requests.inc();
        self.duration.observe(all.took.as_secs_f64() * 1000.0);
        self.request_bytes.observe(all.request_bytes as f64);
        self.response_bytes.observe(all.response_bytes as f64);
        self.is_used = true;
    }

    /// Adds what was counted. Gives for how long nothing was.
    pub(super) fn flush(&mut self, now: Instant) -> Duration {
        if std::mem::take(&mut self.is_used) {
            self.used = now;
            self.requests.flush();
            self.duration.flush();
            self.request_bytes.flush();
            self.response_bytes.flush();
        }
        now.saturating_duration_since(self.used)
    }
}

/// Upper ends of the buckets that Istio's dashboards expect.
const MILLISECONDS: &[f64] = &[
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];
/// The same for sizes.
const BYTES: &[f64] = MILLISECONDS;

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::core::Collector;

    #[test]
    fn the_names_of_istios_dashboards() {
        let metrics = Metrics::register(&weft_runtime::metrics::Metrics::new()).expect("names of their own");
        let all: [&dyn Collector; 4] =
            [&metrics.requests, &metrics.duration, &metrics.request_bytes, &metrics.response_bytes];
        let names: Vec<_> = all.iter().flat_map(|one| one.desc()).map(|desc| &*desc.fq_name).collect();
        assert_eq!(
            names,
            [
                "istio_requests_total",
                "istio_request_duration_milliseconds",
                "istio_request_bytes",
                "istio_response_bytes"
            ]
        );
    }
}
