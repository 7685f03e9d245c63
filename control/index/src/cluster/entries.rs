//! ServiceEntries and WorkloadEntries: who has which host, and which of their workloads has which address.

use crate::cluster::pods::{link, unlink};
use crate::facts::service_entry::ServiceEntryFacts;
use crate::facts::workload_entry::EntryFacts;
use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) services: HashMap<Name, ServiceEntryFacts>,
    pub(crate) workloads: BTreeMap<Name, EntryFacts>,
    /// Who wants each host, the oldest first.
    claims: HashMap<Name, BTreeSet<(i64, Name)>>,
    services_at: HashMap<IpAddr, BTreeSet<Name>>,
    workloads_at: HashMap<IpAddr, BTreeSet<Name>>,
    made_up: MadeUp,
}

impl Entries {
    /// Takes a ServiceEntry, or forgets it. Gives the hosts that may be others' now.
    pub(crate) fn set_service(&mut self, name: &Name, now: Option<ServiceEntryFacts>) -> BTreeSet<Name> {
        let mut touched = BTreeSet::new();
        if let Some(old) = self.services.remove(name) {
            for (host, _) in &old.services {
                if let Some(claims) = self.claims.get_mut(host) {
                    claims.remove(&(old.created, name.clone()));
                    if claims.is_empty() {
                        self.claims.remove(host);
                    }
                }
                touched.insert(host.clone());
            }
            let places = old.endpoints.iter().filter_map(|one| one.place.addr());
            places.for_each(|ip| unlink(&mut self.services_at, ip, name));
        }
        if let Some(now) = now {
            for (host, _) in &now.services {
                self.claims.entry(host.clone()).or_default().insert((now.created, name.clone()));
                touched.insert(host.clone());
            }
            let places = now.endpoints.iter().filter_map(|one| one.place.addr());
            places.for_each(|ip| link(&mut self.services_at, *ip, name));
            self.services.insert(name.clone(), now);
        }
        for host in touched.iter().filter(|host| !self.claims.contains_key(*host)) {
            self.made_up.release(host);
        }
        touched
    }

    /// Takes a WorkloadEntry, or forgets it.
    pub(crate) fn set_workload(&mut self, name: &Name, now: Option<EntryFacts>) {
        if let Some(ip) = self.workloads.remove(name).and_then(|old| old.place.addr().copied()) {
            unlink(&mut self.workloads_at, &ip, name);
        }
        if let Some(now) = now {
            now.place.addr().into_iter().for_each(|ip| link(&mut self.workloads_at, *ip, name));
            self.workloads.insert(name.clone(), now);
        }
    }

    /// The ServiceEntry whose host it is.
    pub(crate) fn owner(&self, host: &Name) -> Option<&Name> {
        self.claims.get(host)?.first().map(|(_, name)| name)
    }

    /// The hosts that a ServiceEntry has: of those that it names the ones that no older one does.
    pub(crate) fn had_by<'a>(&'a self, entry: &'a Name) -> impl Iterator<Item = &'a Name> {
        let named = self.services.get(entry).into_iter().flat_map(|facts| &facts.services);
        named.map(|(host, _)| host).filter(move |host| self.owner(host) == Some(entry))
    }

    /// All ServiceEntries that want a host.
    pub(crate) fn claimants(&self, host: &Name) -> impl Iterator<Item = &Name> {
        self.claims.get(host).into_iter().flatten().map(|(_, name)| name)
    }

    pub(crate) fn services_at(&self, ip: &IpAddr) -> impl Iterator<Item = &Name> {
        self.services_at.get(ip).into_iter().flatten()
    }

    pub(crate) fn workloads_at(&self, ip: &IpAddr) -> impl Iterator<Item = &Name> {
        self.workloads_at.get(ip).into_iter().flatten()
    }

    pub(crate) fn workloads_in<'a>(
        &'a self,
        namespace: &'a std::sync::Arc<str>,
    ) -> impl Iterator<Item = &'a Name> {
        let from = self.workloads.range(Name::first_of(namespace)..);
        from.map(|(name, _)| name).take_while(|name| name.namespace == *namespace)
    }

    /// An address for a host that has none, so that clients can ask for it.
    pub(crate) fn made_up(&mut self, host: &Name) -> Option<Ipv4Addr> {
        self.made_up.of(host)
    }
}

/// Addresses that are nobody's (240.240.0.0/16, within the reserved 240.0.0.0/4 of RFC 1112 §4), as Istio makes them up.
#[derive(Debug, Default)]
struct MadeUp {
    by_host: HashMap<Name, Ipv4Addr>,
    used: HashSet<Ipv4Addr>,
}

/// How many there are: not the first and the last one of the range.
const MADE_UP_MAX: u32 = (1 << 16) - 2;

impl MadeUp {
    /// The address of a host. It follows from its name, so it is the same after a restart unless two names meet. `None`
    /// when there are no more.
    fn of(&mut self, host: &Name) -> Option<Ipv4Addr> {
        if let Some(known) = self.by_host.get(host) {
            return Some(*known);
        }
        let start = hash(host) % MADE_UP_MAX;
        let all = (0..MADE_UP_MAX).map(|step| (start + step) % MADE_UP_MAX);
        let base = u32::from(Ipv4Addr::new(240, 240, 0, 1));
        let free = all.map(|place| Ipv4Addr::from(base + place)).find(|ip| !self.used.contains(ip))?;
        self.used.insert(free);
        self.by_host.insert(host.clone(), free);
        Some(free)
    }

    fn release(&mut self, host: &Name) {
        if let Some(ip) = self.by_host.remove(host) {
            self.used.remove(&ip);
        }
    }
}

/// FNV-1a, 32 bits (draft-eastlake-fnv §2).
fn hash(host: &Name) -> u32 {
    let bytes = host.namespace.bytes().chain([b'/']).chain(host.name.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
