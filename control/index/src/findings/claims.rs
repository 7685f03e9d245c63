//! Addresses that a Service or a ServiceEntry names and that are another's: a pod of the mesh has its own to itself, and so
//! has a Service its cluster IPs. What is left may be shared, port by port.

use super::{Held, service_entry};
use crate::facts::service::{Author, ServiceFacts};
use crate::name::Name;
use crate::traffic::Finding;
use std::collections::HashMap;
use std::net::IpAddr;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::problem::Note;
use weft_core::names::ServiceName;
use weft_core::service::{Vip, VipKind};

pub(super) fn all(held: &Held<'_>) -> Vec<Finding> {
    let (owners, first) = (owners(held), first_by_port(held));
    let mut found = Vec::new();
    for (name, facts) in &held.cluster.services {
        for ip in named(&facts.told.vips) {
            let why = owners
                .get(&ip)
                .map(|owner| format!("{ip} is {owner}: nothing that is sent there comes here"));
            let why = why.or_else(|| shared(facts, ip, &first));
            found.extend(why.and_then(|why| finding(held, name, facts, why)));
        }
    }
    found
}

/// Who has an address at every port.
fn owners(held: &Held<'_>) -> HashMap<IpAddr, String> {
    let mut owners = HashMap::new();
    for service in &held.services {
        for ip in single(&service.vips, VipKind::Cluster) {
            owners.insert(ip, format!("the cluster IP of {}", service.name));
        }
    }
    for workload in held.workloads.iter().filter(|one| one.has_its_addresses_alone()) {
        for ip in &workload.addresses {
            owners.insert(*ip, format!("the address of pod {}/{}", workload.namespace, workload.name));
        }
    }
    owners
}

/// To whom clients of other namespaces come at a port of an address.
fn first_by_port<'a>(held: &'a Held<'_>) -> HashMap<(IpAddr, u16), &'a ServiceName> {
    let mut first = HashMap::<_, &ServiceName>::new();
    for service in &held.services {
        for ip in named(&service.vips) {
            for port in &service.ports {
                let known = first.entry((ip, port.service_port)).or_insert(&service.name);
                *known = (*known).min(&service.name);
            }
        }
    }
    first
}

fn shared(facts: &ServiceFacts, ip: IpAddr, first: &HashMap<(IpAddr, u16), &ServiceName>) -> Option<String> {
    let own = &facts.told.name;
    facts.told.ports.iter().find_map(|port| {
        let port = port.service_port;
        let other = first.get(&(ip, port)).filter(|other| **other != own)?;
        let who = if other.namespace == own.namespace { "clients" } else { "clients of other namespaces" };
        Some(format!("{ip} is named by {other} too, with the same port {port}: {who} come there"))
    })
}

/// Single addresses that the cluster has given to nobody.
fn named(vips: &[Vip]) -> impl Iterator<Item = IpAddr> {
    single(vips, VipKind::External)
}

fn single(vips: &[Vip], kind: VipKind) -> impl Iterator<Item = IpAddr> {
    vips.iter().filter(move |vip| vip.kind == kind).filter_map(Vip::ip)
}

fn finding(held: &Held<'_>, name: &Name, facts: &ServiceFacts, why: String) -> Option<Finding> {
    let (key, field) = match facts.author {
        Author::Entry => (service_entry(held.cluster.entries.owner(name)?), "spec.addresses"),
        Author::Written | Author::Waypoint => {
            (ObjectKey::new(Kind::Service, name.namespace.clone(), name.name.clone()), "spec.externalIPs")
        }
    };
    Some((key, Note::warning(field, why)))
}
