//! Which waypoints need to know what is said of which services: of those that they stand before, and of those to which
//! these' routes lead.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use weft_core::names::{GatewayName, ServiceName};

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    /// The waypoint before each service, and what it needs to know because of that.
    because: HashMap<ServiceName, (GatewayName, BTreeSet<ServiceName>)>,
    /// How many services make each waypoint need to know of one.
    needed: HashMap<ServiceName, BTreeMap<GatewayName, usize>>,
}

impl Audience {
    /// Takes the waypoint that stands before a service now, and what it needs to know because of that. Gives the
    /// services whose audience may be another one.
    pub(crate) fn set(
        &mut self,
        service: &ServiceName,
        now: Option<(GatewayName, BTreeSet<ServiceName>)>,
    ) -> BTreeSet<ServiceName> {
        let old = self.because.remove(service);
        if old == now {
            self.because.extend(old.map(|old| (service.clone(), old)));
            return BTreeSet::new();
        }
        let mut touched = BTreeSet::new();
        if let Some((gateway, services)) = old {
            services.iter().for_each(|one| self.less(one, &gateway));
            touched.extend(services);
        }
        if let Some((gateway, services)) = now {
            for one in &services {
                *self.needed.entry(one.clone()).or_default().entry(gateway.clone()).or_default() += 1;
            }
            touched.extend(services.iter().cloned());
            self.because.insert(service.clone(), (gateway, services));
        }
        touched
    }

    fn less(&mut self, service: &ServiceName, gateway: &GatewayName) {
        let Some(gateways) = self.needed.get_mut(service) else {
            return;
        };
        if let Some(count) = gateways.get_mut(gateway) {
            *count -= 1;
            if *count == 0 {
                gateways.remove(gateway);
            }
        }
        if gateways.is_empty() {
            self.needed.remove(service);
        }
    }

    /// The waypoints that need to know of a service.
    pub(crate) fn of(&self, service: &ServiceName) -> impl Iterator<Item = &GatewayName> {
        self.needed.get(service).into_iter().flat_map(BTreeMap::keys)
    }
}
