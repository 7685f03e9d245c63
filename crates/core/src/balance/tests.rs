//! Who is chosen, as distributions.

use super::*;
use crate::samples::{pod, serving, web};
use std::collections::BTreeMap;

/// A reproducible sequence (Knuth's MMIX constants).
struct Sequence(u64);

impl Chance for Sequence {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn spread(service: &Service, endpoints: &[Workload], sticky: Option<&str>) -> BTreeMap<String, usize> {
    let client = pod("client", "10.0.1.1", 1);
    let endpoints: Vec<Arc<Workload>> = endpoints.iter().cloned().map(Arc::new).collect();
    let sticky = sticky.map(|name| WorkloadUid::new(format!("Kubernetes//Pod/shop/{name}")));
    let choice = Choice { service, service_port: 80, client: &client, sticky: sticky.as_ref() };
    let mut chance = Sequence(7);
    let mut counts = BTreeMap::new();
    for _ in 0..10_000 {
        if let Some((workload, port)) = choose(&choice, endpoints.iter(), &mut chance) {
            *counts.entry(format!("{}:{port}", workload.name)).or_default() += 1;
        }
    }
    counts
}

fn shares(counts: &BTreeMap<String, usize>) -> Vec<(&str, usize)> {
    counts.iter().map(|(name, count)| (name.as_str(), (count + 250) / 500 * 5)).collect()
}

/// What is different in a case: endpoint a (node 1), endpoint b (node 2), or the service.
type Change = fn(&mut Workload, &mut Workload, &mut Service);

/// A case: its name, what is different, and the shares in percent.
type Case<'a> = (&'a str, Change, &'a [(&'a str, usize)]);

#[test]
fn who_is_chosen_in_percent() {
    fn prefer(service: &mut Service, mode: LoadBalancingMode, preference: Vec<Scope>) {
        service.load_balancing = LoadBalancing { preference, mode, health: HealthPolicy::OnlyHealthy };
    }
    let cases: [Case<'_>; 12] = [
        ("alike", |_, _, _| {}, &[("a:8080", 50), ("b:8080", 50)]),
        ("by weight", |a, _, _| a.weight = 3, &[("a:8080", 75), ("b:8080", 25)]),
        ("no weight", |a, _, _| a.weight = 0, &[("b:8080", 100)]),
        ("unhealthy", |a, _, _| a.health = Health::Unhealthy, &[("b:8080", 100)]),
        (
            "unhealthy, and all count",
            |a, _, web| {
                a.health = Health::Unhealthy;
                web.load_balancing.health = HealthPolicy::All;
            },
            &[("a:8080", 50), ("b:8080", 50)],
        ),
        ("leaving", |a, _, _| a.terminating = true, &[("b:8080", 100)]),
        (
            "all are leaving",
            |a, b, _| (a.terminating, b.terminating) = (true, true),
            &[("a:8080", 50), ("b:8080", 50)],
        ),
        ("nobody", |a, b, _| (a.weight, b.weight) = (0, 0), &[]),
        (
            "own node alone",
            |_, _, web| prefer(web, LoadBalancingMode::Strict, vec![Scope::Node]),
            &[("a:8080", 100)],
        ),
        (
            "own node alone, and nobody there",
            |a, _, web| {
                a.health = Health::Unhealthy;
                prefer(web, LoadBalancingMode::Strict, vec![Scope::Node]);
            },
            &[],
        ),
        (
            "own zone first",
            |_, _, web| prefer(web, LoadBalancingMode::Failover, vec![Scope::Region, Scope::Zone]),
            &[("a:8080", 100)],
        ),
        (
            "own zone first, and nobody there",
            |a, _, web| {
                a.health = Health::Unhealthy;
                prefer(web, LoadBalancingMode::Failover, vec![Scope::Region, Scope::Zone]);
            },
            &[("b:8080", 100)],
        ),
    ];
    for (case, change, want) in cases {
        let (mut a, mut b) = (serving(pod("a", "10.0.1.2", 1)), serving(pod("b", "10.0.2.2", 2)));
        let mut service = web();
        change(&mut a, &mut b, &mut service);
        assert_eq!(shares(&spread(&service, &[a, b], None)), want, "{case}");
    }
}

#[test]
fn a_sticky_endpoint_wins_while_it_counts() {
    let (a, b) = (serving(pod("a", "10.0.1.2", 1)), serving(pod("b", "10.0.2.2", 2)));
    let both = [a.clone(), b.clone()];
    assert_eq!(shares(&spread(&web(), &both, Some("b"))), [("b:8080", 100)]);
    let gone = [a.clone(), Workload { health: Health::Unhealthy, ..b.clone() }];
    assert_eq!(shares(&spread(&web(), &gone, Some("b"))), [("a:8080", 100)]);
    let leaving = [a, Workload { terminating: true, ..b }];
    assert_eq!(shares(&spread(&web(), &leaving, Some("b"))), [("a:8080", 100)]);
}

#[test]
fn target_ports_may_differ_from_pod_to_pod() {
    let (mut a, mut b) = (serving(pod("a", "10.0.1.2", 1)), serving(pod("b", "10.0.2.2", 2)));
    a.services[0].1[0].target_port = 9000;
    b.services[0].1.clear();
    let mut service = web();
    assert_eq!(shares(&spread(&service, &[a.clone(), b.clone()], None)), [("a:9000", 50), ("b:8080", 50)]);
    service.ports[0].target_port = 0;
    assert_eq!(shares(&spread(&service, &[a, b], None)), [("a:9000", 100)], "a named port only some have");
}
