//! What a node knows of the mesh at one moment: immutable to its readers, cheap to change for its one
//! writer (the tables are persistent maps, so a copy shares all that did not change).

mod target;

use crate::identity::Identity;
use crate::names::{Network, NetworkAddr, PolicyName, ServiceName, WorkloadUid};
use crate::policy::{Applicable, Policy, PolicyScope};
use crate::service::{Service, VipKind};
use crate::workload::{NetworkMode, PortPair, TunnelProtocol, Workload};
use imbl::{HashMap, HashSet, OrdMap};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
pub use target::Target;
use target::preferred;

/// Labels of a name that are looked through for a wildcard: more than any host name of use has.
const WILDCARD_LABELS_MAX: usize = 16;

/// Everything that discovery has told, indexed.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    workloads: HashMap<WorkloadUid, Arc<Workload>>,
    by_addr: HashMap<NetworkAddr, Vec<Arc<Workload>>>,
    by_hostname: HashMap<Arc<str>, HashSet<WorkloadUid>>,
    /// Those that are known by name only: few, and asked for whenever something changes.
    without_address: OrdMap<WorkloadUid, Arc<Workload>>,
    services: HashMap<ServiceName, Arc<Service>>,
    by_vip: HashMap<NetworkAddr, Vec<ServiceName>>,
    /// Services with address ranges (ServiceEntry CIDR): few, so they are looked through.
    ranges: Vec<(Network, IpNet, ServiceName)>,
    /// Where nodes give their pods addresses from.
    pod_ranges: Vec<(Network, IpNet, ServiceName)>,
    service_hosts: HashMap<Arc<str>, HashSet<ServiceName>>,
    endpoints: HashMap<ServiceName, OrdMap<WorkloadUid, Arc<Workload>>>,
    policies: HashMap<PolicyName, Arc<Policy>>,
    global: Vec<Arc<Policy>>,
    by_namespace: HashMap<Arc<str>, Vec<Arc<Policy>>>,
    policy_generation: u64,
}

/// Why no workload of an identity is at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoIdentity {
    /// Discovery knows no workload there.
    Nobody,
    /// Those that it knows there are of other identities.
    Others,
}

impl Snapshot {
    /// The workload with this key.
    pub fn workload(&self, uid: &WorkloadUid) -> Option<&Arc<Workload>> {
        self.workloads.get(uid)
    }

    /// The workload that has this address. Of several (host network, a pod that is over and its successor), one with a
    /// network namespace of its own comes first, then one of the mesh, then the one with the smallest key, so that the
    /// answer does not depend on order.
    pub fn workload_at(&self, addr: &NetworkAddr) -> Option<&Arc<Workload>> {
        self.by_addr.get(addr)?.first()
    }

    /// All workloads that share this address.
    pub fn workloads_at(&self, addr: &NetworkAddr) -> &[Arc<Workload>] {
        self.by_addr.get(addr).map_or(&[], |all| all.as_slice())
    }

    /// The workloads whose own DNS name this is (pods of a StatefulSet, WorkloadEntries).
    pub fn workloads_named<'a>(&'a self, hostname: &str) -> impl Iterator<Item = &'a Arc<Workload>> {
        let uids = self.by_hostname.get(hostname);
        uids.into_iter().flatten().filter_map(|uid| self.workloads.get(uid))
    }

    /// The workloads that have no address: somebody has to look their names up. In the order of their keys.
    pub fn workloads_without_address(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.without_address.values()
    }

    /// All workloads, in no order.
    pub fn workloads(&self) -> impl ExactSizeIterator<Item = &Arc<Workload>> {
        self.workloads.values()
    }

    /// The service with this key.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The service that a host name stands for; of several, the one of `near`'s namespace, then the canonical one, then
    /// the first by key.
    pub fn service_named(&self, hostname: &str, near: &str) -> Option<&Arc<Service>> {
        let names = self.service_hosts.get(hostname).into_iter().flatten();
        preferred(names.filter_map(|name| self.services.get(name)), near)
    }

    /// The service for all names below a domain (`*.example.com`; Istio's ServiceEntry, `hosts`) that a host name is one
    /// of: of several domains the nearest, chosen as in [`Snapshot::service_named`].
    pub fn wildcard_service(&self, hostname: &str, near: &str) -> Option<&Arc<Service>> {
        let mut rest = hostname;
        for _ in 0..WILDCARD_LABELS_MAX {
            (_, rest) = rest.split_once('.')?;
            if let Some(service) = self.service_named(&format!("*.{rest}"), near) {
                return Some(service);
            }
        }
        None
    }

    /// All services, in no order.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The service that a workload serves at this port of the application's. None if it serves several there: which one
    /// a client asked for, the port does not tell.
    pub fn only_service(&self, workload: &Workload, target_port: u16) -> Option<&Arc<Service>> {
        let is_there = |ports: &[PortPair]| ports.iter().any(|pair| pair.target_port == target_port);
        let mut names = workload.services.iter().filter(|(_, ports)| is_there(ports)).map(|(name, _)| name);
        let only = names.next()?;
        names.next().is_none().then(|| self.services.get(only))?
    }

    /// The workloads that serve a service, in the order of their keys.
    pub fn endpoints(&self, service: &ServiceName) -> impl Iterator<Item = &Arc<Workload>> {
        self.endpoints.get(service).into_iter().flat_map(|all| all.values())
    }

    /// Whether a service has the very same endpoints in both, by looking at nothing but the tables: true only if it has,
    /// and true for whatever a change did not touch. O(1).
    pub fn shares_endpoints(&self, other: &Self, service: &ServiceName) -> bool {
        match (self.endpoints.get(service), other.endpoints.get(service)) {
            (Some(one), Some(another)) => one.ptr_eq(another),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// All policies, in no order.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// The policies that apply to a workload.
    pub fn policies_of(&self, workload: &Workload) -> Vec<Applicable> {
        let wide = self.global.iter().chain(self.by_namespace.get(&workload.namespace).into_iter().flatten());
        let selected = workload.policies.iter().map(|name| match self.policies.get(name) {
            Some(policy) => Applicable::Known(policy.clone()),
            None => Applicable::Missing(name.clone()),
        });
        wide.cloned().map(Applicable::Known).chain(selected).collect()
    }

    /// Grows whenever a verdict may have changed: a policy, a workload's identity or list of policies, or what has to come
    /// through a waypoint.
    pub fn policy_generation(&self) -> u64 {
        self.policy_generation
    }

    /// Adds or replaces a workload.
    pub fn insert_workload(&mut self, workload: Arc<Workload>) {
        let old = self.unlink_workload(&workload.uid);
        if old.is_none_or(|old| self.verdicts_differ(&old, &workload)) {
            self.policy_generation += 1;
        }
        for ip in &workload.addresses {
            let addr = NetworkAddr { network: workload.network.clone(), ip: *ip };
            let all = self.by_addr.entry(addr).or_default();
            all.push(workload.clone());
            all.sort_by_key(|one| {
                let shared = one.network_mode == NetworkMode::HostNetwork;
                (shared, one.protocol == TunnelProtocol::Plain, one.uid.clone())
            });
        }
        if !workload.hostname.is_empty() {
            self.by_hostname.entry(workload.hostname.clone()).or_default().insert(workload.uid.clone());
        }
        if workload.addresses.is_empty() {
            self.without_address.insert(workload.uid.clone(), workload.clone());
        }
        self.insert_endpoint(workload);
    }

    /// Adds an endpoint that was found out about elsewhere than in discovery, such as an address that a name stands for. It
    /// serves its services and has a key like every workload, but nobody finds it by its address or name: these may be
    /// another's.
    pub fn insert_endpoint(&mut self, workload: Arc<Workload>) {
        for (service, _) in &workload.services {
            let all = self.endpoints.entry(service.clone()).or_default();
            all.insert(workload.uid.clone(), workload.clone());
        }
        self.workloads.insert(workload.uid.clone(), workload);
    }

    /// Removes a workload; nothing happens if there is none.
    pub fn remove_workload(&mut self, uid: &WorkloadUid) {
        if self.unlink_workload(uid).is_some() {
            self.policy_generation += 1;
        }
    }

    fn verdicts_differ(&self, old: &Workload, new: &Workload) -> bool {
        let guarded = |one: &Workload| {
            one.services
                .iter()
                .any(|(name, _)| self.services.get(name).is_some_and(|service| service.guarded))
        };
        old.policies != new.policies
            || old.identity != new.identity
            || old.services != new.services && (guarded(old) || guarded(new))
    }

    fn unlink_workload(&mut self, uid: &WorkloadUid) -> Option<Arc<Workload>> {
        let old = self.workloads.remove(uid)?;
        for ip in &old.addresses {
            let addr = NetworkAddr { network: old.network.clone(), ip: *ip };
            if let Some(all) = self.by_addr.get_mut(&addr) {
                all.retain(|one| one.uid != *uid);
                if all.is_empty() {
                    self.by_addr.remove(&addr);
                }
            }
        }
        unlink_set(&mut self.by_hostname, &old.hostname, uid);
        self.without_address.remove(uid);
        for (service, _) in &old.services {
            if let Some(all) = self.endpoints.get_mut(service) {
                all.remove(uid);
                if all.is_empty() {
                    self.endpoints.remove(service);
                }
            }
        }
        Some(old)
    }

    /// Whether an address lies where nodes give their pods addresses from, as far as discovery says.
    pub fn is_for_pods(&self, addr: &NetworkAddr) -> bool {
        let around = |(network, range, _): &(Network, IpNet, ServiceName)| {
            *network == addr.network && range.contains(&addr.ip)
        };
        self.pod_ranges.iter().any(around)
    }

    /// Adds or replaces a service.
    pub fn insert_service(&mut self, service: Arc<Service>) {
        let guard = |service: &Service| service.guarded.then(|| service.waypoint.clone());
        let old = self.unlink_service(&service.name);
        if old.and_then(|old| guard(&old)) != guard(&service) {
            self.policy_generation += 1;
        }
        for vip in &service.vips {
            if let Some(ip) = vip.ip() {
                let addr = NetworkAddr { network: vip.network.clone(), ip };
                self.by_vip.entry(addr).or_default().push(service.name.clone());
                continue;
            }
            let range = (vip.network.clone(), vip.range, service.name.clone());
            match vip.kind {
                VipKind::Cluster => self.pod_ranges.push(range),
                VipKind::External => self.ranges.push(range),
            }
        }
        let names = self.service_hosts.entry(service.name.hostname.clone()).or_default();
        names.insert(service.name.clone());
        self.services.insert(service.name.clone(), service);
    }

    /// Removes a service; nothing happens if there is none.
    pub fn remove_service(&mut self, name: &ServiceName) {
        if self.unlink_service(name).is_some_and(|old| old.guarded) {
            self.policy_generation += 1;
        }
    }

    fn unlink_service(&mut self, name: &ServiceName) -> Option<Arc<Service>> {
        let old = self.services.remove(name)?;
        for vip in &old.vips {
            let addr = NetworkAddr { network: vip.network.clone(), ip: vip.range.addr() };
            if let Some(all) = self.by_vip.get_mut(&addr) {
                all.retain(|one| one != name);
                if all.is_empty() {
                    self.by_vip.remove(&addr);
                }
            }
        }
        self.ranges.retain(|(_, _, one)| one != name);
        self.pod_ranges.retain(|(_, _, one)| one != name);
        unlink_set(&mut self.service_hosts, &old.name.hostname, name);
        Some(old)
    }

    /// Adds or replaces a policy.
    pub fn insert_policy(&mut self, policy: Arc<Policy>) {
        self.remove_policy(&policy.name);
        match policy.scope {
            PolicyScope::Global => self.global.push(policy.clone()),
            PolicyScope::Namespace => {
                self.by_namespace.entry(policy.name.namespace.clone()).or_default().push(policy.clone());
            }
            PolicyScope::Selector => {}
        }
        self.policies.insert(policy.name.clone(), policy);
        self.policy_generation += 1;
    }

    /// Removes a policy; nothing happens if there is none.
    pub fn remove_policy(&mut self, name: &PolicyName) {
        if self.policies.remove(name).is_none() {
            return;
        }
        self.global.retain(|one| one.name != *name);
        if let Some(all) = self.by_namespace.get_mut(&name.namespace) {
            all.retain(|one| one.name != *name);
        }
        self.policy_generation += 1;
    }

    /// The workload with this address in any of the families that a client of `network` can name.
    pub fn find_workload(&self, network: &Network, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.workload_at(&NetworkAddr { network: network.clone(), ip: ip.to_canonical() })
    }

    /// Of the workloads at an address (pods of the host's network share the node's) the one of this identity.
    ///
    /// # Errors
    /// Whether somebody else has the address, or nobody that is known.
    pub fn find_identity(
        &self,
        network: &Network,
        ip: IpAddr,
        identity: &Identity,
    ) -> Result<&Arc<Workload>, NoIdentity> {
        let all = self.workloads_at(&NetworkAddr { network: network.clone(), ip: ip.to_canonical() });
        let nobody = if all.is_empty() { NoIdentity::Nobody } else { NoIdentity::Others };
        all.iter().find(|one| one.identity == *identity).ok_or(nobody)
    }
}

fn unlink_set<K, V>(map: &mut HashMap<K, HashSet<V>>, key: &K, value: &V)
where
    K: Clone + Eq + std::hash::Hash,
    V: Clone + Eq + std::hash::Hash,
{
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
