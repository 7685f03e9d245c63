//! Gateways, their classes, and service accounts: what stands before what.

use crate::cluster::Cluster;
use crate::dirty::Dirty;
use crate::facts::gateway::{GatewayFacts, Takes};
use crate::facts::service::{self, Author};
use crate::facts::waypoint::Use;
use crate::name::Name;
use crate::policy::Target;
use crate::selector::Within;
use crate::waypoint;
use std::sync::Arc;
use weft_control_api::kind::{Kind, ObjectKey};

impl Cluster {
    pub(crate) fn set_gateway(&mut self, name: &Name, now: Option<GatewayFacts>, dirty: &mut Dirty) {
        if self.gateways.get(name) == now.as_ref() {
            return;
        }
        let took_workloads = self.takes_workloads(name);
        let old = match now {
            Some(now) => self.gateways.insert(name.clone(), now),
            None => self.gateways.remove(name),
        };
        dirty.askers.insert(ObjectKey::new(Kind::Gateway, name.namespace.clone(), name.name.clone()));
        let was_waypoint = old.as_ref().is_some_and(|old| old.waypoint.is_some());
        if was_waypoint != self.waypoint(name).is_some() {
            let within = Within::Namespace(name.namespace.clone());
            dirty.pods.extend(self.pods.select(&within, &service::instances(name)));
            self.stand_in(name, dirty);
        }
        let classes = [old.map(|old| old.class), self.gateways.get(name).map(|facts| facts.class.clone())];
        for class in classes.into_iter().flatten() {
            let target = Target::Class(class);
            dirty.requests.extend(self.authorizations.aimed_at(&target).cloned());
            dirty.telemetries.extend(self.telemetries.aimed_at(&target).cloned());
        }
        let target = Target::Gateway(name.clone());
        dirty.requests.extend(self.authorizations.aimed_at(&target).cloned());
        dirty.telemetries.extend(self.telemetries.aimed_at(&target).cloned());
        dirty.telemetries.extend(self.telemetries.wide().cloned());
        self.mark_gateway(name, took_workloads || self.takes_workloads(name), dirty);
    }

    /// Makes the service of a waypoint, or takes it away; one that was written stays what it is.
    fn stand_in(&mut self, name: &Name, dirty: &mut Dirty) {
        let written = self.services.get(name).is_some_and(|facts| facts.author == Author::Written);
        if written {
            dirty.services.insert(name.clone());
        } else {
            self.set_service(name, None, dirty);
        }
    }

    pub(crate) fn set_class(&mut self, name: &Arc<str>, now: Option<Takes>, dirty: &mut Dirty) {
        let old = match now {
            Some(now) => self.classes.insert(name.clone(), now),
            None => self.classes.remove(name),
        };
        if old == now {
            return;
        }
        let of_class = self.gateways.iter().filter(|(_, facts)| facts.class == *name);
        for gateway in of_class.map(|(gateway, _)| gateway.clone()).collect::<Vec<_>>() {
            self.mark_gateway(&gateway, true, dirty);
        }
    }

    pub(crate) fn set_account(&mut self, name: &Name, now: Option<Use>, dirty: &mut Dirty) {
        let old = self.accounts.get(name).cloned();
        if old == now {
            return;
        }
        let key = ObjectKey::new(Kind::ServiceAccount, name.namespace.clone(), name.name.clone());
        self.askers.set(&key, old.as_ref(), now.as_ref());
        dirty.askers.insert(key);
        match now {
            Some(now) => self.accounts.insert(name.clone(), now),
            None => self.accounts.remove(name),
        };
        self.mark_account(name, dirty);
    }

    fn mark_account(&self, account: &Name, dirty: &mut Dirty) {
        let is_its = |pod: &&Name| {
            let pod = self.pods.get(pod);
            pod.is_some_and(|pod| *pod.identity.service_account() == *account.name)
        };
        dirty.pods(self.pods.in_namespace(&account.namespace).filter(is_its));
    }

    fn takes_workloads(&self, gateway: &Name) -> bool {
        let facts = self.gateways.get(gateway);
        facts.is_some_and(|facts| {
            let waypoint = facts.waypoint.as_ref();
            waypoint.is_some_and(|one| waypoint::takes(self, &facts.class, one).workloads())
        })
    }

    /// Marks all before which a waypoint may stand now, or may have stood.
    pub(super) fn mark_gateway(&self, gateway: &Name, workloads: bool, dirty: &mut Dirty) {
        for asker in self.askers.of(gateway) {
            dirty.askers.insert(asker.clone());
            let name = Name::new(asker.namespace.clone(), asker.name.clone());
            match asker.kind {
                Kind::Service => dirty.services([&name]),
                Kind::Pod => dirty.pods([&name]),
                Kind::ServiceAccount => self.mark_account(&name, dirty),
                Kind::Namespace => {
                    dirty.services(self.services_in(&asker.name));
                    if workloads {
                        dirty.pods(self.pods.in_namespace(&asker.name));
                    }
                }
                Kind::ServiceEntry => {
                    let entry = self.entries.services.get(&name);
                    dirty.services(entry.into_iter().flat_map(|one| &one.services).map(|(host, _)| host));
                }
                // Nothing else asks.
                _ => {}
            }
        }
    }
}
