//! Namespaces, nodes and pods.

use crate::cluster::Cluster;
use crate::cluster::pods::own_addresses;
use crate::dirty::Dirty;
use crate::facts::gateway::GATEWAY_NAME;
use crate::facts::namespace::NamespaceFacts;
use crate::facts::node::NodeFacts;
use crate::facts::pod::PodFacts;
use crate::facts::service::Author;
use crate::name::Name;
use std::sync::Arc;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_core::names::NodeName;

impl Cluster {
    pub(crate) fn set_namespace(&mut self, name: &Arc<str>, now: Option<NamespaceFacts>, dirty: &mut Dirty) {
        let old = match now {
            Some(now) => self.namespaces.insert(name.clone(), now),
            None => self.namespaces.remove(name),
        };
        // One that says nothing is as good as none.
        let old = old.unwrap_or_default();
        let now = self.namespaces.get(name).cloned().unwrap_or_default();
        if old == now {
            return;
        }
        let key = ObjectKey::new(Kind::Namespace, "", name.clone());
        self.askers.set(&key, old.waypoint.as_ref(), now.waypoint.as_ref());
        dirty.askers.insert(key);
        dirty.services(self.services_in(name));
        dirty.pods(self.pods.in_namespace(name));
        if old.labels != now.labels {
            dirty.askers.extend(self.asking_in(name));
        }
    }

    /// Objects of a namespace whose own labels ask for a waypoint: Gateways may select the namespace by its labels.
    fn asking_in(&self, namespace: &Arc<str>) -> Vec<ObjectKey> {
        let key = |kind, name: &Name| ObjectKey::new(kind, name.namespace.clone(), name.name.clone());
        let services = self.services_in(namespace);
        let services = services.filter(|name| {
            let facts = &self.services[*name];
            facts.author != Author::Entry && facts.waypoint.is_some()
        });
        let pods = self.pods.in_namespace(namespace);
        let pods = pods.filter(|name| self.pods.get(name).is_some_and(|pod| pod.waypoint.is_some()));
        let accounts = self.accounts.keys().filter(|name| name.namespace == *namespace);
        let services = services.map(|name| key(Kind::Service, name));
        let accounts = accounts.map(|name| key(Kind::ServiceAccount, name));
        let entries = self.entries.services.iter();
        let entries = entries.filter(|(name, one)| name.namespace == *namespace && one.waypoint.is_some());
        let entries = entries.map(|(name, _)| key(Kind::ServiceEntry, name));
        services.chain(pods.map(|name| key(Kind::Pod, name))).chain(accounts).chain(entries).collect()
    }

    pub(crate) fn set_node(&mut self, name: &NodeName, now: Option<NodeFacts>, dirty: &mut Dirty) {
        let old = match now {
            Some(now) => self.nodes.insert(name.clone(), now),
            None => self.nodes.remove(name),
        };
        let now = self.nodes.get(name);
        if old.as_ref() != now {
            dirty.pods(self.pods.on_node(name));
            dirty.slices(self.slices.on_node(name));
        }
        dirty.ranges |= old.map(|old| old.pod_ranges).unwrap_or_default()
            != now.map(|now| &*now.pod_ranges).unwrap_or_default();
    }

    pub(crate) fn set_pod(&mut self, name: &Name, now: Option<PodFacts>, dirty: &mut Dirty) {
        if self.pods.get(name).map(|old| &**old) == now.as_ref() {
            return;
        }
        let now = now.map(Arc::new);
        // Who has had an address until now may lose it.
        for ip in
            now.iter().flat_map(|pod| own_addresses(pod)).filter(|ip| self.slices.at(ip).next().is_some())
        {
            dirty.pods(self.pods.at(ip));
        }
        let old = self.pods.set(name, now.clone());
        dirty.pods.insert(name.clone());
        let said = |pod: &Option<Arc<PodFacts>>| pod.as_ref().and_then(|pod| pod.waypoint.clone());
        let key = ObjectKey::new(Kind::Pod, name.namespace.clone(), name.name.clone());
        self.askers.set(&key, said(&old).as_ref(), said(&now).as_ref());
        dirty.askers.insert(key);
        for pod in old.iter().chain(&now) {
            // It may be an instance of a waypoint, which is ready or not because of it.
            let gateway = pod.labels.get(GATEWAY_NAME);
            let key =
                |gateway: &String| ObjectKey::new(Kind::Gateway, name.namespace.clone(), gateway.as_str());
            dirty.reports.extend(gateway.map(key));
        }
        // An endpoint without a pod may turn out to be one, or to be none any more. Of two pods that claim an
        // address one has it: the other may have to take over.
        for ip in old.iter().chain(&now).flat_map(|pod| own_addresses(pod)) {
            dirty.slices(self.slices.at(ip));
            self.mark_entries_at(ip, dirty);
            if self.slices.at(ip).next().is_some() {
                dirty.pods(self.pods.at(ip));
            }
        }
    }
}
