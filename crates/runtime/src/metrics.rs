//! Metrics in Prometheus' text format.

use crate::http::{Answer, Routes, StatusCode};
use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The metrics of one process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Registry);

/// A metric could not be registered: its name is taken or is no name.
#[derive(Debug, thiserror::Error)]
#[error("registering the metric {name}")]
pub struct MetricError {
    name: String,
    source: prometheus::Error,
}

impl Metrics {
    /// No metrics.
    pub fn new() -> Self {
        Self::default()
    }

    /// For collectors of other kinds than the ones below.
    pub fn registry(&self) -> &Registry {
        &self.0
    }

    /// A number that only grows.
    ///
    /// # Errors
    /// The name is taken or is no name; so for all of these.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricError> {
        self.register(name, IntCounter::new(name, help))
    }

    /// Numbers that only grow, by labels whose values come from enums.
    ///
    /// # Errors
    /// See [`Metrics::counter`].
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricError> {
        self.register(name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Distributions, by labels whose values come from enums; `buckets` are their upper ends.
    ///
    /// # Errors
    /// See [`Metrics::counter`].
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricError> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(name, HistogramVec::new(opts, labels))
    }

    /// A number that goes up and down.
    ///
    /// # Errors
    /// See [`Metrics::counter`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricError> {
        self.register(name, IntGauge::new(name, help))
    }

    /// Numbers that go up and down, by labels whose values come from enums.
    ///
    /// # Errors
    /// See [`Metrics::counter`].
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricError> {
        self.register(name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// `/metrics`.
    pub fn routes(&self) -> Routes {
        let metrics = self.clone();
        Routes::new().get("/metrics", move |_| metrics.answer())
    }

    fn register<C>(&self, name: &str, made: prometheus::Result<C>) -> Result<C, MetricError>
    where
        C: Collector + Clone + 'static,
    {
        let registered = made.and_then(|collector| {
            self.0.register(Box::new(collector.clone()))?;
            Ok(collector)
        });
        registered.map_err(|source| MetricError { name: name.to_owned(), source })
    }

    fn answer(&self) -> Answer {
        let mut body = Vec::new();
        match TextEncoder::new().encode(&self.0.gather(), &mut body) {
            Ok(()) => Answer {
                status: StatusCode::OK,
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                body: body.into(),
            },
            Err(error) => {
                tracing::error!(%error, "cannot encode metrics");
                Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be encoded\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_served_and_names_are_unique() {
        let metrics = Metrics::new();
        let opened = metrics.counters("weft_test_opened_total", "Opened.", &["kind"]).expect("registered");
        opened.with_label_values(&["tcp"]).inc_by(3);
        metrics.gauge("weft_test_open", "Open now.").expect("registered").set(2);
        let text = String::from_utf8(metrics.answer().body.to_vec()).expect("text");
        assert!(text.contains("weft_test_opened_total{kind=\"tcp\"} 3\n"), "{text}");
        assert!(text.contains("weft_test_open 2\n"), "{text}");
        assert!(metrics.counter("weft_test_open", "Again.").is_err());
    }
}
