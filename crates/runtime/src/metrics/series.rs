//! Series whose labels come and go with workloads. Each is there for as long as somebody counts under its labels, and for a
//! while longer: Prometheus takes what a scrape lacks for ended, and a counter that is back and begins at zero for one that
//! was reset, so rates stay true.

use super::exemplar::Book;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A series that nobody has counted under for so long is dropped, where nothing else is set. Half an hour is far beyond what
/// lies between two scrapes, and a workload that comes back within it goes on counting where it was.
pub const UNUSED: Duration = Duration::from_secs(1_800);
/// New labels make room at most so often; every scrape does too.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Metrics of one kind and name, by labels.
pub trait Vector: Collector + Clone + Send + Sync + 'static {
    /// One of them.
    type Metric;

    /// The one with these labels, which is made if it is not there.
    fn metric(&self, values: &[&str]) -> Self::Metric;

    /// Drops the one with these labels.
    fn drop_metric(&self, values: &[&str]);
}

impl Vector for IntCounterVec {
    type Metric = IntCounter;

    fn metric(&self, values: &[&str]) -> IntCounter {
        self.with_label_values(values)
    }

    fn drop_metric(&self, values: &[&str]) {
        // One that is not there is dropped.
        let _ = self.remove_label_values(values);
    }
}

impl Vector for HistogramVec {
    type Metric = Histogram;

    fn metric(&self, values: &[&str]) -> Histogram {
        self.with_label_values(values)
    }

    fn drop_metric(&self, values: &[&str]) {
        // One that is not there is dropped.
        let _ = self.remove_label_values(values);
    }
}

/// A family of metrics whose labels come and go. Clones are the same.
pub struct Family<V: Vector>(Arc<Inner<V>>);

struct Inner<V> {
    vector: V,
    name: String,
    labels: Vec<String>,
    /// After so long without anybody a series goes; never if it is not there.
    unused: Option<Duration>,
    exemplars: Book,
    uses: Mutex<Uses>,
}

struct Uses {
    all: HashMap<Arc<[String]>, Use>,
    swept: Instant,
}

/// Who counts under some labels.
struct Use {
    holders: usize,
    /// Since when nobody does.
    since: Instant,
}

/// A series that somebody counts under: it stays for as long as this lives. What is flushed when it is dropped has to be
/// dropped before this.
pub struct Series<V: Vector> {
    metric: V::Metric,
    values: Arc<[String]>,
    family: Family<V>,
}

impl<V: Vector> Family<V> {
    pub(super) fn new(
        vector: V,
        (name, labels): (&str, &[&str]),
        unused: Option<Duration>,
        exemplars: Book,
    ) -> Self {
        let uses = Mutex::new(Uses { all: HashMap::new(), swept: Instant::now() });
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        Self(Arc::new(Inner { vector, name: name.to_owned(), labels, unused, exemplars, uses }))
    }

    /// The series with these labels, as many as the family has names. What is rarely asked for, and kept.
    pub fn series(&self, values: &[&str]) -> Series<V> {
        let now = Instant::now();
        let key: Arc<[String]> = values.iter().map(|value| (*value).to_owned()).collect();
        let mut uses = self.0.uses.lock();
        if now.saturating_duration_since(uses.swept) >= SWEEP_EVERY {
            self.sweep(&mut uses, now);
        }
        uses.all.entry(key.clone()).or_insert(Use { holders: 0, since: now }).holders += 1;
        // Under the lock, so that nothing is dropped that is just being asked for.
        Series { metric: self.0.vector.metric(values), values: key, family: self.clone() }
    }

    fn sweep(&self, uses: &mut Uses, now: Instant) {
        uses.swept = now;
        let Inner { vector, name, labels, unused, exemplars, .. } = &*self.0;
        let Some(unused) = unused else { return };
        uses.all.retain(|values, one| {
            let stays = one.holders > 0 || now.saturating_duration_since(one.since) < *unused;
            if !stays {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                vector.drop_metric(&values);
                exemplars.forget(name, labels.iter().map(String::as_str).zip(values));
            }
            stays
        });
    }
}

impl<V: Vector> Clone for Family<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V: Vector> fmt::Debug for Family<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl<V: Vector> Collector for Family<V> {
    fn desc(&self) -> Vec<&Desc> {
        self.0.vector.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.sweep(&mut self.0.uses.lock(), Instant::now());
        self.0.vector.collect()
    }
}

impl<V: Vector> Deref for Series<V> {
    type Target = V::Metric;

    fn deref(&self) -> &V::Metric {
        &self.metric
    }
}

impl<V: Vector> fmt::Debug for Series<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("name", &self.family.0.name).finish_non_exhaustive()
    }
}

impl<V: Vector> Drop for Series<V> {
    fn drop(&mut self) {
        let mut uses = self.family.0.uses.lock();
        if let Some(one) = uses.all.get_mut(&self.values) {
            one.holders = one.holders.saturating_sub(1);
            one.since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Exemplar, Metrics};
    use super::*;
    use std::time::SystemTime;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.answer("application/openmetrics-text").body.to_vec()).expect("text")
    }

    #[test]
    fn a_series_stays_as_long_as_somebody_counts_and_a_while_longer() {
        let metrics = Metrics::new();
        let family = metrics.counter_family("weft_test_total", "Test.", &["pod"]).expect("registered");
        let (held, gone) = (family.series(&["a"]), family.series(&["b"]));
        let again = family.series(&["b"]);
        held.inc();
        gone.inc_by(7);
        again.inc();
        drop(gone);
        let sweep = |after: Duration| {
            let now = Instant::now() + after;
            family.sweep(&mut family.0.uses.lock(), now);
            ["a", "b"].map(|pod| text(&metrics).contains(&format!("{{pod=\"{pod}\"}}")))
        };
        assert_eq!(sweep(UNUSED * 2), [true, true], "somebody else counts there still");
        drop(again);
        assert_eq!(sweep(UNUSED / 2), [true, true]);
        let back = family.series(&["b"]);
        assert_eq!(back.get(), 8, "it has not been away");
        drop(back);
        assert_eq!(sweep(UNUSED * 2), [true, false]);
        let anew = family.series(&["b"]);
        anew.inc();
        assert_eq!((anew.get(), held.get()), (1, 1), "it begins at zero");
        assert!(text(&metrics).contains("{pod=\"b\"} 1\n"));
    }

    #[test]
    fn exemplars_go_with_their_series() {
        let metrics = Metrics::new();
        let family = metrics.histogram_family("weft_test_took", "Test.", &["pod"], &[1.0]);
        let family = family.expect("registered");
        let count = || {
            let series = family.series(&["a"]);
            series.observe(0.5);
        };
        count();
        let exemplar = Exemplar { trace: 0xabc, value: 0.5, at: SystemTime::UNIX_EPOCH };
        metrics.exemplars("weft_test_took", [("pod", "a")]).put(0, exemplar);
        assert!(text(&metrics).contains("trace_id"));
        family.sweep(&mut family.0.uses.lock(), Instant::now() + UNUSED * 2);
        count();
        assert!(!text(&metrics).contains("trace_id"), "{}", text(&metrics));
    }

    #[test]
    fn nothing_is_dropped_where_that_is_set() {
        let metrics = Metrics::keeping(None);
        let family = metrics.counter_family("weft_test_total", "Test.", &["pod"]).expect("registered");
        family.series(&["a"]).inc();
        family.sweep(&mut family.0.uses.lock(), Instant::now() + UNUSED * 100);
        assert!(text(&metrics).contains("{pod=\"a\"} 1\n"));
    }
}
