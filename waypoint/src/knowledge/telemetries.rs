//! Telemetries, and what they come to for each service.

use imbl::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_core::names::{PolicyName, ServiceName};
use weft_l7::telemetry::Telemetry;
use weft_l7::telemetry::effective::Effective;

/// All of them. A change makes anew what they come to, which is few objects; what comes to the same stays where it lies in
/// memory, so that what is counted by it is not looked up anew.
#[derive(Debug, Clone, Default)]
pub(super) struct Telemetries {
    all: HashMap<PolicyName, Arc<Telemetry>>,
    /// For services that some of them name.
    named: HashMap<ServiceName, Arc<Effective>>,
    /// For all others.
    wide: Option<Arc<Effective>>,
}

impl Telemetries {
    pub(super) fn of(&self, service: Option<&ServiceName>) -> Option<&Arc<Effective>> {
        if self.named.is_empty() {
            return self.wide.as_ref();
        }
        service.and_then(|service| self.named.get(service)).or(self.wide.as_ref())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Telemetry>> {
        self.all.values()
    }

    pub(super) fn insert(&mut self, one: Telemetry) {
        self.all.insert(one.name.clone(), Arc::new(one));
        self.settle();
    }

    pub(super) fn remove(&mut self, name: &PolicyName) {
        if self.all.remove(name).is_some() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let services: BTreeSet<&ServiceName> = self.all.values().flat_map(|one| one.services()).collect();
        let come_to = |service: Option<&ServiceName>, old: Option<&Arc<Effective>>| {
            let now = Effective::of(service, self.all.values().map(|one| &**one))?;
            Some(old.filter(|old| ***old == now).cloned().unwrap_or_else(|| Arc::new(now)))
        };
        let wide = come_to(None, self.wide.as_ref());
        let named = services
            .into_iter()
            .filter_map(|service| Some((service.clone(), come_to(Some(service), self.named.get(service))?)));
        (self.named, self.wide) = (named.collect(), wide);
    }
}
