//! Services, EndpointSlices and NetworkPolicies.

use crate::cluster::Cluster;
use crate::dirty::Dirty;
use crate::facts::endpoint_slice::SliceFacts;
use crate::facts::service::{self, Backend, ServiceFacts};
use crate::name::Name;
use crate::selector::{Selector, Within};
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_control_api::kind::{Kind, ObjectKey};

impl Cluster {
    /// Takes a service that was written. Without one, a waypoint of that name has one all the same.
    pub(crate) fn set_service(&mut self, name: &Name, written: Option<ServiceFacts>, dirty: &mut Dirty) {
        let made = || self.waypoint(name).map(|_| service::of_waypoint(name, &self.config));
        let now = written.or_else(made);
        if self.services.get(name) == now.as_ref() {
            return;
        }
        let said = |facts: Option<&ServiceFacts>| facts.and_then(|facts| facts.waypoint.clone());
        let key = ObjectKey::new(Kind::Service, name.namespace.clone(), name.name.clone());
        let (old, new) = (said(self.services.get(name)), said(now.as_ref()));
        self.askers.set(&key, old.as_ref(), new.as_ref());
        dirty.askers.insert(key);
        dirty.askers.insert(ObjectKey::new(Kind::Gateway, name.namespace.clone(), name.name.clone()));
        self.put_service(name, now, dirty);
    }

    /// Takes a service, whoever speaks of it.
    pub(super) fn put_service(&mut self, name: &Name, now: Option<ServiceFacts>, dirty: &mut Dirty) {
        if self.services.get(name) == now.as_ref() {
            return;
        }
        dirty.services.insert(name.clone());
        self.mark_entries(name, dirty);
        let backend = now.as_ref().map(|facts| facts.backend.clone());
        let old = match now {
            Some(now) => self.services.insert(name.clone(), now),
            None => self.services.remove(name),
        };
        let old = old.map(|old| old.backend);
        if old == backend {
            return;
        }
        match backend.as_ref().and_then(|backend| backend.selector.clone()) {
            Some(selector) => self.service_selectors.insert(name, within(name), selector),
            None => {
                self.service_selectors.remove(name);
            }
        }
        self.mark_endpoints(name, old.as_ref(), dirty);
        self.mark_endpoints(name, backend.as_ref(), dirty);
        if old.is_some_and(|old| old.headless) || backend.is_some_and(|backend| backend.headless) {
            dirty.pods(self.pods.named_by(name));
        }
    }

    /// Marks all that serves a service.
    fn mark_endpoints(&self, name: &Name, backend: Option<&Backend>, dirty: &mut Dirty) {
        if self.slices.serve(name) {
            for slice_name in self.slices.of_service(name) {
                dirty.slices.insert(slice_name.clone());
                if let Some(slice) = self.slices.get(slice_name) {
                    self.mark_slice_pods(slice, dirty);
                }
            }
        } else if let Some(selector) = backend.and_then(|backend| backend.selector.as_ref()) {
            dirty.pods.extend(self.pods.select(&within(name), selector));
        }
    }

    /// The pods that may serve a service.
    pub(crate) fn endpoints_of(&self, service: &Name) -> BTreeSet<Name> {
        let mut dirty = Dirty::default();
        let backend = self.services.get(service).map(|facts| &facts.backend);
        self.mark_endpoints(service, backend, &mut dirty);
        dirty.pods
    }

    fn mark_slice_pods(&self, slice: &SliceFacts, dirty: &mut Dirty) {
        dirty.pods(slice.pods());
        dirty.pods(slice.loose_addresses().filter_map(|ip| self.pods.at(ip)));
    }

    pub(crate) fn set_slice(&mut self, name: &Name, now: Option<SliceFacts>, dirty: &mut Dirty) {
        if self.slices.get(name).map(|old| &**old) == now.as_ref() {
            return;
        }
        let now = now.map(Arc::new);
        let mut services: Vec<_> = now.iter().filter_map(|slice| slice.service.clone()).collect();
        services.extend(self.slices.get(name).and_then(|old| old.service.clone()));
        let served: Vec<_> = services.iter().map(|service| self.slices.serve(service)).collect();
        let old = self.slices.set(name, now.clone());
        dirty.slices.insert(name.clone());
        for slice in old.iter().chain(&now) {
            self.mark_slice_pods(slice, dirty);
        }
        // The first slice of a service takes its endpoints over from the selector, the last gives them back.
        for (service, served) in services.iter().zip(served) {
            let selector = self.services.get(service).and_then(|facts| facts.backend.selector.as_ref());
            if let Some(selector) = selector.filter(|_| served != self.slices.serve(service)) {
                dirty.pods.extend(self.pods.select(&within(service), selector));
                self.mark_entries(service, dirty);
            }
        }
    }

    pub(crate) fn set_network_policy(&mut self, name: &Name, now: Option<Selector>, dirty: &mut Dirty) {
        let old = self.network_policies.get(name).map(|(_, selector)| selector.clone());
        if old == now {
            return;
        }
        for selector in old.iter().chain(&now) {
            dirty.pods.extend(self.pods.select(&within(name), selector));
        }
        match now {
            Some(now) => self.network_policies.insert(name, within(name), now),
            None => {
                self.network_policies.remove(name);
            }
        }
    }
}

fn within(name: &Name) -> Within {
    Within::Namespace(name.namespace.clone())
}
