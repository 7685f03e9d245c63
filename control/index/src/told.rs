//! What readers of the index have been told: the last value of each kind, and what a new one changes.

use crate::change::{AtWaypoint, Changed};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;
use weft_core::names::GatewayName;

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

/// What waypoints were told last: each value to some of them, and not the same to all.
#[derive(Debug)]
pub(crate) struct AtWaypoints<K, V>(HashMap<K, BTreeMap<GatewayName, Arc<AtWaypoint<V>>>>);

impl<K, V> Default for AtWaypoints<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone, V: PartialEq> AtWaypoints<K, V> {
    /// Takes what holds now of one key, for all waypoints that it concerns. Tells only what is different.
    pub(crate) fn set(
        &mut self,
        key: &K,
        now: BTreeMap<GatewayName, V>,
        changed: &mut Changed<AtWaypoint<K>, AtWaypoint<V>>,
    ) {
        let mut old = self.0.remove(key).unwrap_or_default();
        let mut told = BTreeMap::new();
        for (gateway, said) in now {
            let known = old.remove(&gateway).filter(|old| old.said == said);
            let value = known.unwrap_or_else(|| {
                let new = Arc::new(AtWaypoint { gateway: gateway.clone(), said });
                changed.upserted.push(new.clone());
                new
            });
            told.insert(gateway, value);
        }
        let gone = old.into_keys().filter(|gateway| !told.contains_key(gateway));
        changed.removed.extend(gone.map(|gateway| AtWaypoint { gateway, said: key.clone() }));
        if !told.is_empty() {
            self.0.insert(key.clone(), told);
        }
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<AtWaypoint<V>>> {
        self.0.values().flat_map(BTreeMap::values)
    }
}
