//! Chooses one of a service's endpoints: healthy, near, by weight.

use crate::names::{ServiceName, WorkloadUid};
use crate::service::{HealthPolicy, LoadBalancing, LoadBalancingMode, Scope, Service};
use crate::workload::{Health, Workload};
use std::sync::Arc;

/// Chance, from outside: pure functions take it as an argument.
pub trait Chance {
    /// A number below `bound`, each as likely as any other. `bound` is not zero.
    fn below(&mut self, bound: u64) -> u64;
}

impl<F: FnMut(u64) -> u64> Chance for F {
    fn below(&mut self, bound: u64) -> u64 {
        self(bound)
    }
}

/// What a choice starts from.
pub struct Choice<'a> {
    /// The service asked for.
    pub service: &'a Service,
    /// The port asked for.
    pub service_port: u16,
    /// Who asks.
    pub client: &'a Workload,
    /// Where session affinity sends this client, if it has been here before.
    pub sticky: Option<&'a WorkloadUid>,
}

/// An endpoint and the port that it serves.
pub type Chosen<'a> = (&'a Arc<Workload>, u16);

/// Chooses an endpoint. `None` if no endpoint may take the connection.
///
/// An endpoint counts if it serves the port, is healthy (or the service says that all are) and is not on its
/// way out (unless all are). Of those, the nearest by the service's preference, at random by weight; a sticky
/// one wins while it counts.
pub fn choose<'a>(
    choice: &Choice<'_>,
    endpoints: impl Iterator<Item = &'a Arc<Workload>>,
    chance: &mut impl Chance,
) -> Option<Chosen<'a>> {
    let mut best = None;
    let mut total = 0u64;
    let mut chosen = None;
    for endpoint in endpoints {
        let Some(port) = endpoint_port(&choice.service.name, choice.service, choice.service_port, endpoint)
        else {
            continue;
        };
        let Some(rank) = rank(&choice.service.load_balancing, choice.client, endpoint) else {
            continue;
        };
        if rank.serving && choice.sticky == Some(&endpoint.uid) {
            return Some((endpoint, port));
        }
        let weight = u64::from(endpoint.weight);
        if weight == 0 {
            continue;
        }
        if best.is_none_or(|best| rank > best) {
            best = Some(rank);
            total = 0;
        }
        if best == Some(rank) {
            // One pass, no list: each candidate replaces the last with its share of the weight so far.
            total += weight;
            if chance.below(total) < weight {
                chosen = Some((endpoint, port));
            }
        }
    }
    chosen
}

/// Better is greater: first what serves, then what is near.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    serving: bool,
    nearness: usize,
}

fn rank(load_balancing: &LoadBalancing, client: &Workload, endpoint: &Workload) -> Option<Rank> {
    let ready = endpoint.health == Health::Healthy || load_balancing.health == HealthPolicy::All;
    if !ready {
        return None;
    }
    let preference = &load_balancing.preference;
    let shared = preference.iter().take_while(|scope| share(**scope, client, endpoint)).count();
    let nearness = match load_balancing.mode {
        LoadBalancingMode::Any | LoadBalancingMode::Passthrough => 0,
        LoadBalancingMode::Strict if shared < preference.len() => return None,
        LoadBalancingMode::Strict => 0,
        LoadBalancingMode::Failover => shared,
    };
    Some(Rank { serving: !endpoint.terminating, nearness })
}

fn share(scope: Scope, client: &Workload, endpoint: &Workload) -> bool {
    let (a, b) = (&client.locality, &endpoint.locality);
    match scope {
        Scope::Region => a.region == b.region,
        Scope::Zone => a.region == b.region && a.zone == b.zone,
        Scope::Subzone => a.region == b.region && a.zone == b.zone && a.subzone == b.subzone,
        Scope::Node => client.node == endpoint.node,
        Scope::Cluster => client.cluster == endpoint.cluster,
        Scope::Network => client.network == endpoint.network,
    }
}

/// The port at which an endpoint serves a service's port: its own word for it first, then the service's. `None` if it
/// does not.
pub fn endpoint_port(
    name: &ServiceName,
    service: &Service,
    service_port: u16,
    endpoint: &Workload,
) -> Option<u16> {
    let own = endpoint.target_port(name, service_port).filter(|port| *port != 0);
    own.or_else(|| service.port(service_port).map(|port| port.target_port).filter(|port| *port != 0))
}

#[cfg(test)]
mod tests;
