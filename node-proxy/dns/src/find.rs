//! Which service or workload a name stands for.

use crate::Context;
use crate::name::HostName;
use std::net::IpAddr;
use std::sync::Arc;
use weft_core::service::{HealthPolicy, IpFamilies, Service, Vip, VipKind};
use weft_core::workload::{Health, Workload};

/// Names that may follow one another. A chain in a cluster has one link, two at most.
const CHAIN_MAX: usize = 8;

/// What a name stands for.
pub(crate) struct Found<'a> {
    /// The names on the way, the first one that which was asked for.
    pub(crate) chain: Vec<HostName>,
    /// What stands at the end.
    pub(crate) end: End<'a>,
}

/// What stands at the end of a chain of names.
pub(crate) enum End<'a> {
    /// A service or workload of the mesh: these are its addresses, of any family.
    Addresses(Vec<IpAddr>),
    /// A name that the mesh does not know.
    Outside(&'a Arc<str>),
}

impl Found<'_> {
    /// True if the answer ends with a name that somebody else has to resolve.
    pub(crate) fn leads_outside(&self) -> bool {
        matches!(self.end, End::Outside(_))
    }

    /// True if the name that was asked for is one of the cluster's own.
    pub(crate) fn is_below(&self, domain: &str) -> bool {
        self.chain.first().is_some_and(|name| name.is_below(domain))
    }
}

/// Finds what `name` stands for, if the mesh knows.
pub(crate) fn find<'a>(name: &HostName, context: &Context<'a>) -> Option<Found<'a>> {
    let mut chain = vec![name.clone()];
    let mut thing = look_up(name.as_str(), context).or_else(|| {
        let (rest, thing) = searched(name, context)?;
        chain.push(rest);
        Some(thing)
    })?;
    loop {
        let target = match thing {
            Thing::Workloads(addresses) => return Some(Found { chain, end: End::Addresses(addresses) }),
            Thing::Service(service) => match &service.external_name {
                Some(target) => target,
                None => {
                    let addresses = addresses_of(service, context)?;
                    return Some(Found { chain, end: End::Addresses(addresses) });
                }
            },
        };
        let next = HostName::from_table(target);
        let known = look_up(next.as_str(), context);
        match known {
            Some(known) if chain.len() < CHAIN_MAX && !chain.contains(&next) => {
                thing = known;
                chain.push(next);
            }
            // A circle leads nowhere; whoever is asked next says so.
            Some(_) | None => return Some(Found { chain, end: End::Outside(target) }),
        }
    }
}

enum Thing<'a> {
    Service(&'a Arc<Service>),
    Workloads(Vec<IpAddr>),
}

/// The forms in which pods name things: whole, and as the search path of a pod would complete them.
fn look_up<'a>(name: &str, context: &Context<'a>) -> Option<Thing<'a>> {
    let (domain, namespace) = (context.cluster_domain, &context.client.namespace);
    if let Some(thing) = look_up_whole(name, context) {
        return Some(thing);
    }
    let labels: Vec<&str> = name.split('.').take(4).collect();
    let whole = match labels.as_slice() {
        [service] => format!("{service}.{namespace}.svc.{domain}"),
        [service, namespace] => format!("{service}.{namespace}.svc.{domain}"),
        [service, namespace, "svc"] => format!("{service}.{namespace}.svc.{domain}"),
        _ => return wildcard(name, context),
    };
    look_up_whole(&whole, context).or_else(|| wildcard(name, context))
}

fn look_up_whole<'a>(name: &str, context: &Context<'a>) -> Option<Thing<'a>> {
    if let Some(service) = context.snapshot.service_named(name, &context.client.namespace) {
        return Some(Thing::Service(service));
    }
    // What is known by its name alone, others look up: the name is one of the world outside.
    let named = context.snapshot.workloads_named(name).filter(|workload| !workload.addresses.is_empty());
    let mut named = named.peekable();
    named.peek()?;
    let ready = named.filter(|workload| is_published(workload, context));
    let addresses = ready.filter(|workload| workload.network == context.client.network);
    Some(Thing::Workloads(addresses.flat_map(|workload| workload.addresses.iter().copied()).collect()))
}

/// A service for all names below a domain.
fn wildcard<'a>(name: &str, context: &Context<'a>) -> Option<Thing<'a>> {
    context.snapshot.wildcard_service(name, &context.client.namespace).map(Thing::Service)
}

/// A name of the mesh to which the client's resolver has appended one of its search domains. Names of the cluster
/// itself need no such help: the resolver completes them.
fn searched<'a>(name: &HostName, context: &Context<'a>) -> Option<(HostName, Thing<'a>)> {
    context.search_domains.iter().find_map(|domain| {
        let rest = name.without(domain).filter(|rest| rest.contains('.'))?;
        let rest = HostName::from_table(rest);
        let thing = look_up_whole(rest.as_str(), context)?;
        let Thing::Service(service) = thing else {
            return None;
        };
        // A name that ends up with nothing to say is left to the server that may know it.
        (service.external_name.is_some() || addresses_of(service, context).is_some_and(|all| !all.is_empty()))
            .then_some((rest, thing))
    })
}

/// True if a workload's own name may be told: it is ready, or a service publishes it all the same.
fn is_published(workload: &Workload, context: &Context<'_>) -> bool {
    let ready = workload.health == Health::Healthy && !workload.terminating;
    ready
        || workload.services.iter().any(|(name, _)| {
            let service = context.snapshot.service(name);
            service.is_some_and(|service| service.load_balancing.health == HealthPolicy::All)
        })
}

/// The addresses of a service: its virtual ones, else those of its endpoints. `None` if it says nothing about a
/// name of the world, which the world's own servers then answer.
fn addresses_of(service: &Service, context: &Context<'_>) -> Option<Vec<IpAddr>> {
    let in_cluster = HostName::from_table(&service.name.hostname).is_below(context.cluster_domain);
    let network = &context.client.network;
    let vips = service.vips.iter().filter(|vip| vip.network == *network);
    // External and load balancers' addresses are for clients outside. Who says of no address that it is the cluster's (istiod
    // does not) names those first.
    let own = service.vips.iter().any(|vip| vip.kind == VipKind::Cluster);
    let told = vips.filter(|vip| !in_cluster || !own || vip.kind == VipKind::Cluster);
    let mut addresses: Vec<IpAddr> = told.filter_map(Vip::ip).collect();
    if in_cluster {
        let first = |is: fn(&IpAddr) -> bool| addresses.iter().copied().find(is);
        addresses = [first(IpAddr::is_ipv4), first(IpAddr::is_ipv6)].into_iter().flatten().collect();
    }
    if service.vips.is_empty() {
        addresses = endpoint_addresses(service, context);
        addresses.sort_unstable();
        addresses.dedup();
    }
    let nothing = addresses.is_empty();
    addresses.retain(|ip| match service.ip_families {
        IpFamilies::Automatic | IpFamilies::Dual => true,
        IpFamilies::V4 => ip.is_ipv4(),
        IpFamilies::V6 => ip.is_ipv6(),
    });
    (in_cluster || !nothing).then_some(addresses)
}

fn endpoint_addresses(service: &Service, context: &Context<'_>) -> Vec<IpAddr> {
    let all = service.load_balancing.health == HealthPolicy::All;
    let endpoints = context.snapshot.endpoints(&service.name);
    let ready = endpoints.filter(|one| all || (one.health == Health::Healthy && !one.terminating));
    let near = ready.filter(|one| one.network == context.client.network);
    near.flat_map(|one| one.addresses.iter().copied()).collect()
}
