//! Where endpoints stand, seen from a client: in which level, and in which group of it.

use crate::destination::{Distribute, EmptySubset, Failover, Locality as Words, Subset};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_core::service::{LoadBalancing, LoadBalancingMode, Scope};
use weft_core::workload::{Locality, Workload};

/// Labels of a workload.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// What is known of where a client or an endpoint is.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The workload.
    pub workload: &'a Workload,
    /// The labels that it carries.
    pub labels: &'a Labels,
}

/// Where an endpoint stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spot {
    /// The nearest is zero. Levels that nobody stands in do not matter.
    pub level: u32,
    /// Groups of a level share its requests by weight.
    pub group: u32,
    /// The group's weight.
    pub group_weight: u32,
}

/// How endpoints stand for one client.
#[derive(Debug)]
pub struct Arrangement<'a> {
    client: Place<'a>,
    rule: Rule<'a>,
}

#[derive(Debug)]
enum Rule<'a> {
    /// By the Service's own preference.
    Service(&'a LoadBalancing),
    Alike,
    /// The region that stands in for the client's.
    Near(Option<&'a str>),
    Labels(&'a [Arc<str>]),
    Distribute(&'a BTreeMap<Arc<str>, u32>),
}

impl<'a> Arrangement<'a> {
    /// What `words` (and the Service, if they leave it to it) mean for a client.
    pub fn new(words: &'a Words, service: &'a LoadBalancing, client: Place<'a>) -> Self {
        let here = &client.workload.locality;
        let fits = |distribute: &&Distribute| is_at(here, &distribute.from).is_some();
        let rule = match (words.distribute.iter().find(fits), &words.failover) {
            (Some(distribute), _) => Rule::Distribute(&distribute.to),
            (None, Failover::AsService) => Rule::Service(service),
            (None, Failover::Off) => Rule::Alike,
            (None, Failover::Near { regions }) => {
                let stand_in = regions.iter().find(|(from, _)| *from == here.region);
                Rule::Near(stand_in.map(|(_, to)| &**to))
            }
            (None, Failover::Labels(labels)) => Rule::Labels(labels),
        };
        Self { client, rule }
    }

    /// Where an endpoint stands. `None` if this client's requests never go there.
    pub fn spot(&self, endpoint: Place<'_>) -> Option<Spot> {
        let level = match &self.rule {
            Rule::Alike => 0,
            Rule::Service(service) => service_level(service, self.client.workload, endpoint.workload)?,
            Rule::Near(stand_in) => {
                near_level(&self.client.workload.locality, &endpoint.workload.locality, *stand_in)
            }
            Rule::Labels(labels) => {
                let shared = labels.iter().take_while(|label| shares_label(self.client, endpoint, label));
                labels.len() - shared.count()
            }
            Rule::Distribute(to) => return group(to, &endpoint.workload.locality),
        };
        Some(Spot { level: u32::try_from(level).unwrap_or(u32::MAX), group: 0, group_weight: 1 })
    }
}

fn service_level(service: &LoadBalancing, client: &Workload, endpoint: &Workload) -> Option<usize> {
    let preference = &service.preference;
    let shared = preference.iter().take_while(|scope| shares_scope(**scope, client, endpoint)).count();
    match service.mode {
        LoadBalancingMode::Any | LoadBalancingMode::Passthrough => Some(0),
        LoadBalancingMode::Strict => (shared == preference.len()).then_some(0),
        LoadBalancingMode::Failover => Some(preference.len() - shared),
    }
}

fn shares_scope(scope: Scope, client: &Workload, endpoint: &Workload) -> bool {
    let (a, b) = (&client.locality, &endpoint.locality);
    match scope {
        Scope::Region => a.region == b.region,
        Scope::Zone => a.region == b.region && a.zone == b.zone,
        Scope::Subzone => a == b,
        Scope::Node => client.node == endpoint.node,
        Scope::Cluster => client.cluster == endpoint.cluster,
        Scope::Network => client.network == endpoint.network,
    }
}

/// Subzone, zone, region, the region that stands in (every other one if none is named), the rest.
fn near_level(client: &Locality, endpoint: &Locality, stand_in: Option<&str>) -> usize {
    if client.region != endpoint.region {
        return if stand_in.is_none_or(|region| *region == *endpoint.region) { 3 } else { 4 };
    }
    match (client.zone == endpoint.zone, client.subzone == endpoint.subzone) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    }
}

/// Whether both carry the label with the same value, or the endpoint with the value that is written (Istio's
/// `failoverPriority`).
fn shares_label(client: Place<'_>, endpoint: Place<'_>, label: &str) -> bool {
    match label.split_once('=') {
        Some((name, value)) => endpoint.label(name) == Some(value),
        None => endpoint.label(label).is_some() && endpoint.label(label) == client.label(label),
    }
}

impl<'a> Place<'a> {
    /// Nodes carry the topology's labels, not pods; they mean where the pod is.
    fn label(self, name: &str) -> Option<&'a str> {
        if let Some(value) = self.labels.get(name) {
            return Some(value);
        }
        let Workload { locality, cluster, network, node, .. } = self.workload;
        let value = match name {
            "topology.kubernetes.io/region" => &*locality.region,
            "topology.kubernetes.io/zone" => &*locality.zone,
            "topology.istio.io/subzone" => &*locality.subzone,
            "topology.istio.io/cluster" => &**cluster,
            "topology.istio.io/network" => network.as_str(),
            "kubernetes.io/hostname" => node.as_str(),
            _ => return None,
        };
        Some(value).filter(|value| !value.is_empty())
    }
}

/// The closest description of where an endpoint is, and its weight.
fn group(to: &BTreeMap<Arc<str>, u32>, locality: &Locality) -> Option<Spot> {
    let fitting = (0..).zip(to).filter_map(|(group, (place, weight))| {
        let named = is_at(locality, place)?;
        (*weight > 0).then_some((named, Spot { level: 0, group, group_weight: *weight }))
    });
    fitting.max_by_key(|(named, _)| *named).map(|(_, spot)| spot)
}

/// How many parts of a place `region/zone/subzone` name where somebody is, of which the end may be `*` or missing.
/// `None` if it is another place.
fn is_at(locality: &Locality, place: &str) -> Option<usize> {
    let is = [&locality.region, &locality.zone, &locality.subzone];
    let mut named = 0;
    for (part, has) in place.split('/').zip(is) {
        match part {
            "*" => break,
            part if *part == **has => named += 1,
            _ => return None,
        }
    }
    Some(named)
}

/// The endpoints of a subset; if there are none, what it says for that.
pub fn subset<T>(endpoints: Vec<T>, labels: impl Fn(&T) -> &Labels, subset: &Subset) -> Vec<T> {
    let carries = |one: &T| {
        let has = labels(one);
        subset.labels.iter().all(|(name, value)| has.get(name) == Some(value))
    };
    if subset.empty == EmptySubset::Everybody && !endpoints.iter().any(carries) {
        return endpoints;
    }
    endpoints.into_iter().filter(carries).collect()
}
