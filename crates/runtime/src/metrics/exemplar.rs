//! Exemplars: of each bucket of a histogram the last request that fell into it and has a trace.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

/// A request that fell into a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// Its trace.
    pub trace: u128,
    /// What was observed, in the histogram's unit.
    pub value: f64,
    /// When.
    pub at: SystemTime,
}

/// Those of one histogram under one set of labels. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Exemplars(Arc<Mutex<Vec<Option<Exemplar>>>>);

impl Exemplars {
    /// A request fell into the bucket of this number, from the lowest; behind the last one is that without an upper end.
    pub fn put(&self, bucket: usize, exemplar: Exemplar) {
        let mut all = self.0.lock();
        if all.len() <= bucket {
            all.resize(bucket + 1, None);
        }
        all[bucket] = Some(exemplar);
    }

    pub(super) fn get(&self, bucket: usize) -> Option<Exemplar> {
        self.0.lock().get(bucket).copied().flatten()
    }
}

/// By the histogram's name and its labels, in the order of their names.
type Key = (String, Vec<(String, String)>);

/// Those of all histograms: as many as there are series of which a request had a trace.
#[derive(Debug, Clone, Default)]
pub(super) struct Book(Arc<Mutex<HashMap<Key, Exemplars>>>);

impl Book {
    pub(super) fn of<'a>(
        &self,
        name: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Exemplars {
        self.0.lock().entry(key(name, labels)).or_default().clone()
    }

    pub(super) fn forget<'a>(&self, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.0.lock().remove(&key(name, labels));
    }

    pub(super) fn find<'a>(
        &self,
        name: &str,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Option<Exemplars> {
        self.0.lock().get(&key(name, labels)).cloned()
    }
}

fn key<'a>(name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Key {
    let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut labels: Vec<_> = labels.collect();
    labels.sort_unstable();
    (name.to_owned(), labels)
}
