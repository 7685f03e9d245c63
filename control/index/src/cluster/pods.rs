//! Pods by name, namespace, node, address, label and DNS name.

use crate::facts::pod::{Life, PodFacts};
use crate::name::Name;
use crate::selector::{Selector, Within};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use weft_core::names::NodeName;

/// All pods.
#[derive(Debug, Default)]
pub(crate) struct Pods {
    all: BTreeMap<Name, Arc<PodFacts>>,
    by_node: HashMap<NodeName, BTreeSet<Name>>,
    /// Only pods that have the address to themselves.
    by_addr: HashMap<IpAddr, BTreeSet<Name>>,
    by_label: HashMap<(String, String), BTreeSet<Name>>,
    /// By namespace and `subdomain`.
    by_subdomain: HashMap<Name, BTreeSet<Name>>,
}

impl Pods {
    pub(crate) fn get(&self, name: &Name) -> Option<&Arc<PodFacts>> {
        self.all.get(name)
    }

    /// Puts a pod in; `None` takes it out. The one before comes back.
    pub(crate) fn set(&mut self, name: &Name, pod: Option<Arc<PodFacts>>) -> Option<Arc<PodFacts>> {
        let old = self.all.remove(name);
        if let Some(old) = &old {
            self.each_key(old, Act::Unlink);
        }
        if let Some(pod) = pod {
            self.each_key(&pod, Act::Link);
            self.all.insert(name.clone(), pod);
        }
        old
    }

    fn each_key(&mut self, pod: &PodFacts, act: Act) {
        let name = &pod.name;
        act.apply(&mut self.by_node, pod.node.clone(), name);
        for ip in own_addresses(pod) {
            act.apply(&mut self.by_addr, *ip, name);
        }
        for (key, value) in &pod.labels {
            act.apply(&mut self.by_label, (key.clone(), value.clone()), name);
        }
        if let Some((_, subdomain)) = &pod.dns {
            act.apply(&mut self.by_subdomain, Name::new(name.namespace.clone(), subdomain.clone()), name);
        }
    }

    pub(crate) fn in_namespace<'a>(&'a self, namespace: &'a Arc<str>) -> impl Iterator<Item = &'a Name> {
        let from = self.all.range(Name::first_of(namespace)..);
        from.map(|(name, _)| name).take_while(|name| name.namespace == *namespace)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.all.keys()
    }

    pub(crate) fn on_node(&self, node: &NodeName) -> impl Iterator<Item = &Name> {
        self.by_node.get(node).into_iter().flatten()
    }

    /// The pod that has this address to itself; of several (a stale one and its successor) the first that lives.
    pub(crate) fn at(&self, ip: &IpAddr) -> Option<&Name> {
        self.by_addr.get(ip)?.first()
    }

    /// Pods of a StatefulSet or the like, by the headless service that names them.
    pub(crate) fn named_by(&self, service: &Name) -> impl Iterator<Item = &Name> {
        self.by_subdomain.get(service).into_iter().flatten()
    }

    /// Pods that a selector selects.
    pub(crate) fn select(&self, within: &Within, selector: &Selector) -> Vec<Name> {
        let sets =
            selector.equals().iter().map(|(key, value)| self.by_label.get(&(key.clone(), value.clone())));
        let sets: Option<Vec<_>> = sets.collect();
        let Some(sets) = sets else {
            return Vec::new(); // No pod at all has one of the labels.
        };
        let smallest = sets.into_iter().min_by_key(|set| set.len());
        let meets = |name: &&Name| self.all.get(*name).is_some_and(|pod| selector.matches(&pod.labels));
        match (smallest, within) {
            (Some(set), Within::Mesh) => set.iter().filter(meets).cloned().collect(),
            (Some(set), Within::Namespace(namespace)) => {
                let from = set.range(Name::first_of(namespace)..);
                from.take_while(|name| name.namespace == *namespace).filter(meets).cloned().collect()
            }
            (None, Within::Mesh) => self.names().filter(meets).cloned().collect(),
            (None, Within::Namespace(namespace)) => {
                self.in_namespace(namespace).filter(meets).cloned().collect()
            }
        }
    }
}

/// The addresses that lead to this pod and no other.
pub(crate) fn own_addresses(pod: &PodFacts) -> &[IpAddr] {
    if pod.host_network || pod.life == Life::Over { &[] } else { &pod.addresses }
}

/// What is done to each table that a pod stands in.
#[derive(Clone, Copy)]
enum Act {
    Link,
    Unlink,
}

impl Act {
    fn apply<K: Hash + Eq>(self, table: &mut HashMap<K, BTreeSet<Name>>, key: K, name: &Name) {
        match self {
            Self::Link => link(table, key, name),
            Self::Unlink => unlink(table, &key, name),
        }
    }
}

/// Adds a name under a key.
pub(crate) fn link<K: Hash + Eq>(table: &mut HashMap<K, BTreeSet<Name>>, key: K, name: &Name) {
    table.entry(key).or_default().insert(name.clone());
}

/// Takes a name from under a key.
pub(crate) fn unlink<K: Hash + Eq>(table: &mut HashMap<K, BTreeSet<Name>>, key: &K, name: &Name) {
    if let Some(names) = table.get_mut(key) {
        names.remove(name);
        if names.is_empty() {
            table.remove(key);
        }
    }
}
