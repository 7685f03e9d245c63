//! Names of labels that rules and routes ask workloads for. Waypoints are told of these labels, and of no others.

use std::collections::{BTreeMap, BTreeSet};
use weft_control_api::istio::destination_rule::balancer::LocalityLoadBalancerSetting;
use weft_control_api::istio::destination_rule::{DestinationRuleSpec, TrafficPolicy};
use weft_control_api::istio::virtual_service::VirtualService;

/// What a DestinationRule asks its endpoints for: its subsets are made of them, and some are preferred by them.
pub(super) fn of_endpoints(rule: &DestinationRuleSpec) -> BTreeSet<String> {
    let subsets = &rule.subsets;
    let own = subsets.iter().flat_map(|subset| subset.labels.keys().cloned());
    let policies = subsets.iter().map(|subset| &subset.traffic_policy).chain([&rule.traffic_policy]);
    let preferred = policies.flatten().flat_map(of_policy);
    own.chain(preferred).collect()
}

fn of_policy(policy: &TrafficPolicy) -> impl Iterator<Item = String> {
    let ports = policy.port_level_settings.iter().map(|port| &port.load_balancer);
    let all = ports.chain([&policy.load_balancer]).flatten();
    let localities = all.filter_map(|balancer| balancer.locality_lb_setting.as_ref());
    localities.flat_map(of_locality)
}

fn of_locality(setting: &LocalityLoadBalancerSetting) -> impl Iterator<Item = String> {
    // `name=value` asks for that value.
    setting
        .failover_priority
        .iter()
        .map(|one| one.split_once('=').map_or(&**one, |(name, _)| name).to_owned())
}

/// What the routes of a VirtualService ask their clients for.
pub(super) fn of_sources(one: &VirtualService) -> BTreeSet<String> {
    let spec = &one.spec;
    let http = spec.http.iter().flat_map(|route| &route.matches).flat_map(|one| one.source_labels.keys());
    let tls = spec.tls.iter().flat_map(|route| &route.matches).flat_map(|one| one.source_labels.keys());
    let tcp = spec.tcp.iter().flat_map(|route| &route.matches).flat_map(|one| one.source_labels.keys());
    http.chain(tls).chain(tcp).cloned().collect()
}

/// How many objects ask clients for each label.
#[derive(Debug, Default)]
pub(super) struct AskedOfClients(BTreeMap<String, usize>);

/// Whether other labels are asked for than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    Same,
    Differently,
}

impl AskedOfClients {
    /// Takes what one object asks for now, instead of what it asked for before.
    pub(super) fn replace(&mut self, old: &BTreeSet<String>, new: &BTreeSet<String>) -> Asking {
        let mut asking = Asking::Same;
        for name in new.difference(old) {
            let count = self.0.entry(name.clone()).or_default();
            *count += 1;
            if *count == 1 {
                asking = Asking::Differently;
            }
        }
        for name in old.difference(new) {
            if let Some(count) = self.0.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(name);
                    asking = Asking::Differently;
                }
            }
        }
        asking
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}
