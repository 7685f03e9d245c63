//! What an address and a port stand for. Several may lay claim to one, and not all claims are equal.

use super::Snapshot;
use crate::names::{NetworkAddr, ServiceName};
use crate::service::Service;
use crate::workload::Workload;
use std::cmp::Reverse;
use std::sync::Arc;

/// What an address and a port stand for.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// For a service.
    Service(&'a Arc<Service>),
    /// For this very workload.
    Workload(&'a Arc<Workload>),
}

impl Snapshot {
    /// What an address and a port stand for, asked from the namespace `near`. In this order:
    ///
    /// 1. the service that the cluster gave the address to, whether it has the port or not;
    /// 2. a workload of the mesh that has the address to itself: whoever writes that address into an object of its own
    ///    would have the traffic of everybody else otherwise (as in CVE-2020-8554), or send it out in plain text;
    /// 3. a service that names the address and has the port: Kubernetes routes by both, and several services may share
    ///    an address that is no cluster IP;
    /// 4. any other workload that has the address;
    /// 5. the service with the closest range around it that has the port, also before a workload that is its own endpoint.
    ///
    /// Of several services it is the one of `near`, then the canonical one, then the first by key.
    pub fn target_at(&self, addr: &NetworkAddr, port: u16, near: &str) -> Option<Target<'_>> {
        if let Some(owner) = preferred(self.services_exactly_at(addr).filter(|one| one.owns(addr)), near) {
            return Some(Target::Service(owner));
        }
        let workload = self.workload_at(addr);
        if let Some(workload) = workload.filter(|one| one.has_its_addresses_alone()) {
            return Some(Target::Workload(workload));
        }
        let named = self.services_exactly_at(addr).filter(|one| one.port(port).is_some());
        if let Some(service) = preferred(named, near) {
            return Some(Target::Service(service));
        }
        let around = self.service_around(addr, port, near);
        match (workload, around) {
            (Some(workload), Some(service)) if serves(workload, service) => Some(Target::Service(service)),
            (Some(workload), _) => Some(Target::Workload(workload)),
            (None, service) => service.map(Target::Service),
        }
    }

    /// All services that lay claim to an address, at whatever port, by itself or by a range.
    pub fn services_at(&self, addr: &NetworkAddr) -> impl Iterator<Item = &Arc<Service>> {
        self.services_exactly_at(addr).chain(self.services_around(addr).map(|(_, service)| service))
    }

    fn services_exactly_at(&self, addr: &NetworkAddr) -> impl Iterator<Item = &Arc<Service>> {
        self.by_vip.get(addr).into_iter().flatten().filter_map(|name| self.services.get(name))
    }

    /// With the lengths of their prefixes.
    fn services_around(&self, addr: &NetworkAddr) -> impl Iterator<Item = (u8, &Arc<Service>)> {
        let around = self
            .ranges
            .iter()
            .filter(|(network, range, _)| *network == addr.network && range.contains(&addr.ip));
        around.filter_map(|(_, range, name)| Some((range.prefix_len(), self.services.get(name)?)))
    }

    fn service_around(&self, addr: &NetworkAddr, port: u16, near: &str) -> Option<&Arc<Service>> {
        let around = self.services_around(addr).filter(|(_, service)| service.port(port).is_some());
        let closest = around.min_by_key(|(length, service)| (Reverse(*length), preference(service, near)));
        closest.map(|(_, service)| service)
    }
}

pub(super) fn preferred<'a>(
    services: impl Iterator<Item = &'a Arc<Service>>,
    near: &str,
) -> Option<&'a Arc<Service>> {
    services.min_by_key(|service| preference(service, near))
}

/// The least comes first.
fn preference(service: &Service, near: &str) -> (bool, bool, ServiceName) {
    (*service.name.namespace != *near, !service.canonical, service.name.clone())
}

fn serves(workload: &Workload, service: &Service) -> bool {
    workload.services.iter().any(|(name, _)| *name == service.name)
}
