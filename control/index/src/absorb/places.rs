//! Namespaces, nodes and pods.

use crate::absorb::Dirty;
use crate::cluster::Cluster;
use crate::cluster::pods::own_addresses;
use crate::facts::namespace::NamespaceFacts;
use crate::facts::node::NodeFacts;
use crate::facts::pod::PodFacts;
use crate::name::Name;
use std::sync::Arc;
use weft_core::names::NodeName;

impl Cluster {
    pub(crate) fn set_namespace(&mut self, name: &Arc<str>, now: Option<NamespaceFacts>, dirty: &mut Dirty) {
        let old = match now {
            Some(now) => self.namespaces.insert(name.clone(), now),
            None => self.namespaces.remove(name),
        };
        // One without wishes is as good as none.
        if old.unwrap_or_default() != self.namespaces.get(name).cloned().unwrap_or_default() {
            dirty.pods(self.pods.in_namespace(name));
        }
    }

    pub(crate) fn set_node(&mut self, name: &NodeName, now: Option<NodeFacts>, dirty: &mut Dirty) {
        let old = match now {
            Some(now) => self.nodes.insert(name.clone(), now),
            None => self.nodes.remove(name),
        };
        if old.as_ref() != self.nodes.get(name) {
            dirty.pods(self.pods.on_node(name));
            dirty.slices(self.slices.on_node(name));
        }
    }

    pub(crate) fn set_pod(&mut self, name: &Name, now: Option<PodFacts>, dirty: &mut Dirty) {
        if self.pods.get(name).map(|old| &**old) == now.as_ref() {
            return;
        }
        let now = now.map(Arc::new);
        let old = self.pods.set(name, now.clone());
        dirty.pods.insert(name.clone());
        // An endpoint without a pod may turn out to be one, or to be none any more. Of two pods that claim an
        // address one has it: the other may have to take over.
        for ip in old.iter().chain(&now).flat_map(|pod| own_addresses(pod)) {
            dirty.slices(self.slices.at(ip));
            if self.slices.at(ip).next().is_some() {
                dirty.pods(self.pods.at(ip));
            }
        }
    }
}
