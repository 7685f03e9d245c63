//! ServiceEntries and WorkloadEntries.

use crate::cluster::Cluster;
use crate::dirty::Dirty;
use crate::facts::service::ServiceFacts;
use crate::facts::service_entry::{ServiceEntryFacts, key as service_entry};
use crate::facts::workload_entry::EntryFacts;
use crate::name::Name;
use crate::policy::Target;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_core::service::{LoadBalancingMode, Vip, VipKind};

impl Cluster {
    pub(crate) fn set_service_entry(
        &mut self,
        name: &Name,
        now: Option<ServiceEntryFacts>,
        dirty: &mut Dirty,
    ) {
        if self.entries.services.get(name) == now.as_ref() {
            return;
        }
        let old = self.entries.services.get(name).and_then(|old| old.waypoint.clone());
        let new = now.as_ref().and_then(|now| now.waypoint.clone());
        self.askers.set(&service_entry(name), old.as_ref(), new.as_ref());
        let before: Vec<Name> = self.claimants_of(now.as_ref(), name);
        let hosts = self.entries.set_service(name, now);
        for host in &hosts {
            let facts = self.owned(host);
            self.put_service(host, facts, dirty);
        }
        let after = hosts.iter().flat_map(|host| self.entries.claimants(host).cloned()).collect::<Vec<_>>();
        // Who wants a host and has it not is told so.
        for claimant in before.iter().chain(&after).chain([name]) {
            dirty.askers.insert(service_entry(claimant));
            dirty.entries.insert(service_entry(claimant));
            self.mark_aimed(claimant, &hosts, dirty);
        }
    }

    /// Marks what names a ServiceEntry, and the hosts of which it speaks now, or spoke.
    fn mark_aimed(&self, entry: &Name, hosts: &BTreeSet<Name>, dirty: &mut Dirty) {
        let target = Target::Entry(entry.clone());
        dirty.telemetries.extend(self.telemetries.aimed_at(&target).cloned());
        let policies: Vec<Name> = self.authorizations.aimed_at(&target).cloned().collect();
        if !policies.is_empty() {
            // Whether anybody may come past their waypoint follows from policy.
            dirty.services(hosts);
        }
        dirty.requests.extend(policies);
    }

    fn claimants_of(&self, now: Option<&ServiceEntryFacts>, name: &Name) -> Vec<Name> {
        let old = self.entries.services.get(name);
        let hosts = old.into_iter().chain(now).flat_map(|entry| &entry.services).map(|(host, _)| host);
        hosts.flat_map(|host| self.entries.claimants(host).cloned()).collect()
    }

    /// The service of a host, with an address that is made up if nobody gave it one.
    fn owned(&mut self, host: &Name) -> Option<ServiceFacts> {
        let owner = self.entries.owner(host)?;
        let entry = self.entries.services.get(owner)?;
        let (_, facts) = entry.services.iter().find(|(own, _)| own == host)?;
        let mut facts = facts.clone();
        if facts.told.vips.is_empty() && facts.told.load_balancing.mode != LoadBalancingMode::Passthrough {
            let network = self.config.network.clone();
            let ip = self.entries.made_up(host).map(IpAddr::from);
            facts.told.vips.extend(ip.map(|ip| Vip {
                network,
                range: IpNet::from(ip),
                kind: VipKind::Cluster,
            }));
        }
        Some(facts)
    }

    pub(crate) fn set_workload_entry(&mut self, name: &Name, now: Option<EntryFacts>, dirty: &mut Dirty) {
        if self.entries.workloads.get(name) != now.as_ref() {
            self.entries.set_workload(name, now);
            dirty.entries.insert(workload_entry(name));
        }
    }

    /// Marks the workloads of entries that may serve a service.
    pub(crate) fn mark_entries(&self, service: &Name, dirty: &mut Dirty) {
        dirty.entries.extend(self.entries.claimants(service).map(service_entry));
        dirty.entries.extend(self.entries.workloads_in(&service.namespace).map(workload_entry));
    }

    /// Marks the workloads of entries at an address: a pod that has it comes before them.
    pub(super) fn mark_entries_at(&self, ip: &IpAddr, dirty: &mut Dirty) {
        dirty.entries.extend(self.entries.services_at(ip).map(service_entry));
        dirty.entries.extend(self.entries.workloads_at(ip).map(workload_entry));
    }
}

fn workload_entry(name: &Name) -> ObjectKey {
    ObjectKey::new(Kind::WorkloadEntry, name.namespace.clone(), name.name.clone())
}
