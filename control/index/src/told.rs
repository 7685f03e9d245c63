//! What readers of the index have been told: the last value of each kind, and what a new one changes.

use crate::change::Changed;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// The values of one kind, as they were told last.
#[derive(Debug)]
pub(crate) struct Told<K, V>(HashMap<K, Arc<V>>);

impl<K, V> Default for Told<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone, V: PartialEq> Told<K, V> {
    /// Takes what holds now. Tells only what is different. The old value comes back if there was a change.
    pub(crate) fn set(&mut self, key: &K, now: Option<V>, changed: &mut Changed<K, V>) -> Option<Arc<V>> {
        match now {
            Some(now) => {
                if self.0.get(key).is_some_and(|old| **old == now) {
                    return None;
                }
                let now = Arc::new(now);
                changed.upserted.push(now.clone());
                self.0.insert(key.clone(), now)
            }
            None => {
                let old = self.0.remove(key)?;
                changed.removed.push(key.clone());
                Some(old)
            }
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&Arc<V>> {
        self.0.get(key)
    }

    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = &Arc<V>> {
        self.0.values()
    }
}
