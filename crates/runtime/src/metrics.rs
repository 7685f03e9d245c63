//! Metrics in Prometheus' text format, and in OpenMetrics for those who ask for it.

mod exemplar;
mod openmetrics;
mod series;

pub use exemplar::{Exemplar, Exemplars};
pub use series::{Family, Series, UNUSED, Vector};

use crate::Settings;
use crate::http::{Answer, Routes, StatusCode};
use exemplar::Book;
use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use std::time::Duration;

/// The metrics of one process. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    exemplars: Book,
    unused: Option<Duration>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::keeping(Some(UNUSED))
    }
}

/// How long series are kept that nobody counts under ([`Metrics::keeping`]), as it is set: `WEFT_METRICS_UNUSED_SECONDS`,
/// [`UNUSED`] without it, and zero for as long as the process runs.
pub fn read_unused(settings: &mut Settings<'_>) -> Option<Duration> {
    Some(settings.seconds("WEFT_METRICS_UNUSED_SECONDS", UNUSED)).filter(|unused| !unused.is_zero())
}

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

    /// No metrics; series of families whose labels come and go are dropped when nobody has counted under them for so long, or
    /// never.
    pub fn keeping(unused: Option<Duration>) -> Self {
        Self { registry: Registry::default(), exemplars: Book::default(), unused }
    }

    /// For collectors of other kinds than the ones below.
    pub fn registry(&self) -> &Registry {
        &self.registry
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

    /// Numbers that only grow, by labels that come and go with workloads.
    ///
    /// # Errors
    /// See [`Metrics::counter`].
    pub fn counter_family(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Family<IntCounterVec>, MetricError> {
        self.family((name, labels), IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// Distributions, by labels that come and go with workloads; `buckets` are their upper ends.
    ///
    /// # Errors
    /// See [`Metrics::counter`].
    pub fn histogram_family(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<Family<HistogramVec>, MetricError> {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.family((name, labels), HistogramVec::new(opts, labels))
    }

    fn family<V: Vector>(
        &self,
        named: (&str, &[&str]),
        made: prometheus::Result<V>,
    ) -> Result<Family<V>, MetricError> {
        let family = made.map(|vector| Family::new(vector, named, self.unused, self.exemplars.clone()));
        self.register(named.0, family)
    }

    /// Where exemplars of a histogram are put, under these labels.
    pub fn exemplars<'a>(
        &self,
        name: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Exemplars {
        self.exemplars.of(name, labels)
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
        Routes::new().get("/metrics", move |request| metrics.answer(&request.accept))
    }

    fn register<C>(&self, name: &str, made: prometheus::Result<C>) -> Result<C, MetricError>
    where
        C: Collector + Clone + 'static,
    {
        let registered = made.and_then(|collector| {
            self.registry.register(Box::new(collector.clone()))?;
            Ok(collector)
        });
        registered.map_err(|source| MetricError { name: name.to_owned(), source })
    }

    fn answer(&self, accept: &str) -> Answer {
        let families = self.registry.gather();
        let encoded = if openmetrics::is_wanted(accept) {
            let text = openmetrics::encode(&families, &self.exemplars).map_err(|error| error.to_string());
            text.map(|text| (openmetrics::CONTENT_TYPE, text.into_bytes()))
        } else {
            let mut body = Vec::new();
            let text = TextEncoder::new().encode(&families, &mut body).map_err(|error| error.to_string());
            text.map(|()| ("text/plain; version=0.0.4; charset=utf-8", body))
        };
        match encoded {
            Ok((content_type, body)) => Answer { status: StatusCode::OK, content_type, body: body.into() },
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
        let text = String::from_utf8(metrics.answer("").body.to_vec()).expect("text");
        assert!(text.contains("weft_test_opened_total{kind=\"tcp\"} 3\n"), "{text}");
        assert!(text.contains("weft_test_open 2\n"), "{text}");
        assert!(metrics.counter("weft_test_open", "Again.").is_err());
    }

    #[test]
    fn exemplars_stand_beside_their_buckets() {
        let metrics = Metrics::new();
        let took = metrics.histogram_family("weft_test_took", "Took \"long\".", &["kind"], &[1.0, 2.5]);
        let took = took.expect("registered");
        metrics.counter("weft_test_seen_total", "Seen.").expect("registered").inc();
        for value in [0.5, 2.0, 9.0] {
            took.series(&["a"]).observe(value);
        }
        took.series(&["b"]).observe(0.5);
        let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500);
        let exemplars = metrics.exemplars("weft_test_took", [("kind", "a")]);
        exemplars.put(1, Exemplar { trace: 1, value: 2.0, at });
        exemplars.put(2, Exemplar { trace: 0xabc, value: 9.0, at });
        let answer = metrics.answer("application/openmetrics-text;version=1.0.0");
        assert_eq!(answer.content_type, openmetrics::CONTENT_TYPE);
        let text = String::from_utf8(answer.body.to_vec()).expect("text");
        let want = r#"# TYPE weft_test_seen counter
# HELP weft_test_seen Seen.
weft_test_seen_total 1
# TYPE weft_test_took histogram
# HELP weft_test_took Took \"long\".
weft_test_took_bucket{kind="a",le="1.0"} 1
weft_test_took_bucket{kind="a",le="2.5"} 2 # {trace_id="00000000000000000000000000000001"} 2 1.500
weft_test_took_bucket{kind="a",le="+Inf"} 3 # {trace_id="00000000000000000000000000000abc"} 9 1.500
weft_test_took_sum{kind="a"} 11.5
weft_test_took_count{kind="a"} 3
weft_test_took_bucket{kind="b",le="1.0"} 1
weft_test_took_bucket{kind="b",le="2.5"} 1
weft_test_took_bucket{kind="b",le="+Inf"} 1
weft_test_took_sum{kind="b"} 0.5
weft_test_took_count{kind="b"} 1
# EOF
"#;
        assert_eq!(text, want);
        assert!(!String::from_utf8_lossy(&metrics.answer("text/plain").body).contains("trace_id"));
    }
}
