//! The metrics, and one worker's part of a series.

use super::labels::{Kept, names_of_requests, of_metric, of_request};
use super::pair::Families;
use super::record::Record;
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{HistogramVec, IntCounterVec};
use std::time::{Duration, Instant, SystemTime};
use weft_l7::telemetry::Metric;
use weft_runtime::metrics::{self, Exemplar, Exemplars, Family, MetricError};

/// What is counted, shared by all workers.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    requests: Family<IntCounterVec>,
    duration: Family<HistogramVec>,
    request_bytes: Family<HistogramVec>,
    response_bytes: Family<HistogramVec>,
    pub(super) connections: Families,
    all: weft_runtime::metrics::Metrics,
}

/// What one worker has counted under one set of labels and not yet added.
pub(super) struct Series {
    // What a Telemetry says is not counted is not there.
    requests: Option<Local<LocalIntCounter, IntCounterVec>>,
    duration: Option<Local<LocalHistogram, HistogramVec>>,
    request_bytes: Option<Local<LocalHistogram, HistogramVec>>,
    response_bytes: Option<Local<LocalHistogram, HistogramVec>>,
    /// Of the histograms, once a request had a trace.
    exemplars: Option<[Option<Exemplars>; 3]>,
    used: Instant,
    is_used: bool,
    _kept: Kept,
}

/// What is not yet added, before what it is added to: it is dropped first, and adds the rest then.
struct Local<L, V: metrics::Vector> {
    own: L,
    _all: metrics::Series<V>,
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
        let histograms = |name, help, buckets| metrics.histogram_family(name, help, &names, buckets);
        Ok(Self {
            requests: metrics.counter_family("istio_requests_total", "Requests.", &names)?,
            duration: histograms(
                DURATION,
                "Milliseconds from a request's head to the end of its response.",
                MILLISECONDS,
            )?,
            request_bytes: histograms(REQUEST_BYTES, "Bytes of requests' bodies.", BYTES)?,
            response_bytes: histograms(RESPONSE_BYTES, "Bytes of responses' bodies.", BYTES)?,
            connections: Families::register(metrics)?,
            all: metrics.clone(),
        })
    }

    pub(super) fn series(&self, record: &Record) -> Series {
        let (names, values) = (names_of_requests(), of_request(record));
        let of = |metric| of_metric(&names, &values, record.told(), metric);
        let histogram = |family: &Family<HistogramVec>, metric| {
            let all = family.series(&of(metric)?);
            Some(Local { own: all.local(), _all: all })
        };
        let requests = of(Metric::Requests).map(|values| self.requests.series(&values));
        Series {
            requests: requests.map(|all| Local { own: all.local(), _all: all }),
            duration: histogram(&self.duration, Metric::Duration),
            request_bytes: histogram(&self.request_bytes, Metric::RequestBytes),
            response_bytes: histogram(&self.response_bytes, Metric::ResponseBytes),
            exemplars: None,
            used: Instant::now(),
            is_used: true,
            _kept: Kept::of(record.connection(), record.endpoint(), record.told()),
        }
    }
}

impl Metrics {
    /// Where exemplars of the histograms are put.
    fn exemplars(&self, record: &Record) -> [Option<Exemplars>; 3] {
        let (names, values) = (names_of_requests(), of_request(record));
        let of = |(name, metric): (&str, Metric)| {
            let values = of_metric(&names, &values, record.told(), metric)?;
            Some(self.all.exemplars(name, names.iter().copied().zip(values)))
        };
        [
            (DURATION, Metric::Duration),
            (REQUEST_BYTES, Metric::RequestBytes),
            (RESPONSE_BYTES, Metric::ResponseBytes),
        ]
        .map(of)
    }
}

impl All {
    /// What is observed, in the order of the histograms.
    fn observed(&self) -> [f64; 3] {
        [self.took.as_secs_f64() * 1000.0, self.request_bytes as f64, self.response_bytes as f64]
    }
}

impl Series {
    pub(super) fn count(&mut self, all: &All) {
        if let Some(requests) = &mut self.requests {
            requests.own.inc();
        }
        let histograms = [&mut self.duration, &mut self.request_bytes, &mut self.response_bytes];
        for (histogram, value) in histograms.into_iter().zip(all.observed()) {
            if let Some(histogram) = histogram {
                histogram.own.observe(value);
            }
        }
        self.is_used = true;
    }

    /// The request has a trace, by which it can be found from the buckets that it fell into.
    pub(super) fn exemplify(&mut self, metrics: &Metrics, record: &Record, all: &All, trace: u128) {
        let exemplars = self.exemplars.get_or_insert_with(|| metrics.exemplars(record));
        for ((exemplars, value), ends) in
            exemplars.iter().zip(all.observed()).zip([MILLISECONDS, BYTES, BYTES])
        {
            if let Some(exemplars) = exemplars {
                let bucket = ends.partition_point(|end| *end < value);
                exemplars.put(bucket, Exemplar { trace, value, at: SystemTime::now() });
            }
        }
    }

    /// Adds what was counted. Gives for how long nothing was.
    pub(super) fn flush(&mut self, now: Instant) -> Duration {
        if std::mem::take(&mut self.is_used) {
            self.used = now;
            if let Some(requests) = &mut self.requests {
                requests.own.flush();
            }
            let histograms = [&mut self.duration, &mut self.request_bytes, &mut self.response_bytes];
            histograms.into_iter().flatten().for_each(|one| one.own.flush());
        }
        now.saturating_duration_since(self.used)
    }
}

const DURATION: &str = "istio_request_duration_milliseconds";
const REQUEST_BYTES: &str = "istio_request_bytes";
const RESPONSE_BYTES: &str = "istio_response_bytes";

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
