//! Objects and the services that each is about, found from both sides.

use crate::name::Name;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

/// Objects of one kind, and the services that each is about.
#[derive(Debug)]
pub(super) struct ByService<T, K = Name> {
    objects: HashMap<K, (Arc<T>, BTreeSet<Name>)>,
    of: HashMap<Name, BTreeSet<K>>,
}

impl<T, K> Default for ByService<T, K> {
    fn default() -> Self {
        Self { objects: HashMap::new(), of: HashMap::new() }
    }
}

impl<T, K: Clone + Ord + Hash> ByService<T, K> {
    /// Takes an object or forgets it. Gives the services that it was or is about.
    pub(super) fn set(&mut self, key: &K, now: Option<(Arc<T>, BTreeSet<Name>)>) -> BTreeSet<Name> {
        let old = self.objects.remove(key).map(|(_, services)| services).unwrap_or_default();
        for service in &old {
            if let Some(objects) = self.of.get_mut(service) {
                objects.remove(key);
                if objects.is_empty() {
                    self.of.remove(service);
                }
            }
        }
        let mut touched = old;
        if let Some((object, services)) = now {
            for service in &services {
                self.of.entry(service.clone()).or_default().insert(key.clone());
            }
            touched.extend(services.iter().cloned());
            self.objects.insert(key.clone(), (object, services));
        }
        touched
    }

    /// All objects, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&K, &Arc<T>)> {
        self.objects.iter().map(|(key, (object, _))| (key, object))
    }

    pub(super) fn get(&self, key: &K) -> Option<&Arc<T>> {
        self.objects.get(key).map(|(object, _)| object)
    }

    /// The services that an object is about.
    pub(super) fn about(&self, key: &K) -> impl Iterator<Item = &Name> {
        self.objects.get(key).into_iter().flat_map(|(_, services)| services)
    }

    /// The objects that are about a service, by their keys.
    pub(super) fn of(&self, service: &Name) -> impl Iterator<Item = (&K, &Arc<T>)> {
        let keys = self.of.get(service).into_iter().flatten();
        keys.filter_map(|key| self.objects.get_key_value(key)).map(|(key, (object, _))| (key, object))
    }

    /// All services about which there is an object.
    pub(super) fn services(&self) -> impl Iterator<Item = &Name> {
        self.of.keys()
    }
}
