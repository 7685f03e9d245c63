//! Who is chosen, as distributions: by balancer, by weight, by load, by age, by health and by place.

mod hashed;
mod health;
mod places;

use super::load::Answer;
use super::*;
use crate::destination::HashKey;
use std::time::Duration;

/// A reproducible sequence (Knuth's MMIX constants).
pub(super) struct Sequence(pub(super) u64);

impl Chance for Sequence {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(self.0) * u128::from(bound)) >> 64) as u64
    }
}

pub(super) fn id(name: &str) -> WorkloadUid {
    WorkloadUid::new(format!("Kubernetes//Pod/shop/{name}"))
}

pub(super) fn endpoint(name: &'static str, weight: u32) -> Endpoint<&'static str> {
    let spot = Spot { group_weight: 1, ..Spot::default() };
    Endpoint { id: id(name), weight, state: EndpointState::Serving, spot, to: name }
}

pub(super) fn endpoints(weights: &[(&'static str, u32)]) -> Vec<Endpoint<&'static str>> {
    weights.iter().map(|(name, weight)| endpoint(name, *weight)).collect()
}

pub(super) fn settings(balancer: Balancer) -> Settings {
    Settings { balancer, ..Settings::default() }
}

pub(super) fn balance(settings: &Settings, endpoints: Vec<Endpoint<&'static str>>) -> Balance<&'static str> {
    let mut balance = Balance::new(settings);
    balance.update(endpoints, Instant::now(), &mut Sequence(1));
    balance
}

pub(super) fn ring() -> Balancer {
    Balancer::RingHash { key: HashKey::Source, points_min: 1024 }
}

pub(super) fn maglev() -> Balancer {
    Balancer::Maglev { key: HashKey::Source, entries: 65_537 }
}

const ROUNDS: u32 = 20_000;

/// In percent of many choices, each answered at once; requests that nobody takes are not counted.
pub(super) fn percent(
    balance: &mut Balance<&'static str>,
    ask: &Ask<'_>,
    now: Instant,
) -> BTreeMap<&'static str, f64> {
    let mut chance = Sequence(7);
    let mut counts = BTreeMap::new();
    for _ in 0..ROUNDS {
        if let Some(member) = balance.choose(ask, now, &mut chance) {
            *counts.entry(member.endpoint.to).or_insert(0.0) += 100.0 / f64::from(ROUNDS);
        }
    }
    counts
}

pub(super) fn assert_near(
    got: &BTreeMap<&'static str, f64>,
    want: &[(&'static str, f64)],
    within: f64,
    case: &str,
) {
    for (name, want) in want {
        let got = got.get(name).copied().unwrap_or_default();
        assert!((got - want).abs() <= within, "{case}: {name} gets {got:.1} %, not {want}");
    }
    let wanted = |name| want.iter().any(|(one, _)| *one == name);
    assert!(got.keys().all(|name| wanted(*name)), "{case}: {got:?}");
}

#[test]
fn by_weight_with_every_balancer() {
    let all = [
        Balancer::PeakEwma,
        Balancer::LeastRequest,
        Balancer::RoundRobin,
        Balancer::Random,
        Balancer::Passthrough,
        ring(),
        maglev(),
    ];
    for balancer in all {
        // Points of a ring are scattered: a member's share is off by about one part in the root of its points.
        let within = if matches!(balancer, Balancer::RingHash { .. }) { 5.0 } else { 1.0 };
        for (weights, want) in [
            (&[("a", 1), ("b", 1)][..], &[("a", 50.0), ("b", 50.0)][..]),
            (&[("a", 90), ("b", 10)], &[("a", 90.0), ("b", 10.0)]),
            (&[("a", 1), ("b", 2), ("c", 1)], &[("a", 25.0), ("b", 50.0), ("c", 25.0)]),
            (&[("a", 0), ("b", 3)], &[("b", 100.0)]),
            (&[], &[]),
        ] {
            let mut balance = balance(&settings(balancer.clone()), endpoints(weights));
            let got = percent(&mut balance, &Ask::default(), Instant::now());
            assert_near(&got, want, within, &format!("{balancer:?} {weights:?}"));
        }
    }
}

#[test]
fn round_robin_is_exact() {
    let mut balance = balance(&settings(Balancer::RoundRobin), endpoints(&[("a", 1), ("b", 1), ("c", 2)]));
    let mut chance = Sequence(3);
    let mut names =
        || balance.choose(&Ask::default(), Instant::now(), &mut chance).map(|one| one.endpoint.to);
    for round in 0..100 {
        let mut four: Vec<_> = (0..4).filter_map(|_| names()).collect();
        four.sort_unstable();
        assert_eq!(four, ["a", "b", "c", "c"], "round {round}");
    }
}

/// Every millisecond a request comes; endpoints take their time, and one of them takes ten times as long or fails.
fn served(
    balancer: Balancer,
    weights: &[(&'static str, u32)],
    time_of: fn(&str) -> (u64, Answer),
) -> BTreeMap<&'static str, f64> {
    let mut balance = balance(&settings(balancer), endpoints(weights));
    let start = Instant::now();
    let mut chance = Sequence(11);
    let mut counts = BTreeMap::new();
    let mut open: Vec<(u64, InFlight, Answer)> = Vec::new();
    for milli in 0..u64::from(ROUNDS) {
        let now = start + Duration::from_millis(milli);
        open.retain(|(ends, request, answer)| {
            if *ends <= milli {
                request.answered(*answer, now);
            }
            *ends > milli
        });
        let member = balance.choose(&Ask::default(), now, &mut chance).expect("somebody serves");
        *counts.entry(member.endpoint.to).or_insert(0.0) += 100.0 / f64::from(ROUNDS);
        let (takes, answer) = time_of(member.endpoint.to);
        // Some spread, as there always is.
        open.push((milli + takes + chance.below(takes / 4 + 1), member.begin(now), answer));
    }
    counts
}

#[test]
fn a_slow_endpoint_gets_less() {
    let slow = |name: &str| (if name == "slow" { 200 } else { 20 }, Answer::Fine);
    let weights = [("a", 1), ("b", 1), ("c", 1), ("slow", 1)];
    let by_latency = served(Balancer::PeakEwma, &weights, slow)["slow"];
    let by_busyness = served(Balancer::LeastRequest, &weights, slow)["slow"];
    assert!(by_latency < 2.0, "{by_latency}");
    assert!((2.0..10.0).contains(&by_busyness), "{by_busyness}");
    let two = served(Balancer::PeakEwma, &[("a", 1), ("slow", 1)], slow)["slow"];
    assert!(two < 10.0, "{two}");
}

#[test]
fn an_endpoint_that_fails_at_once_does_not_attract() {
    let failing = |name: &str| if name == "bad" { (1, Answer::Failed) } else { (20, Answer::Fine) };
    let weights = [("a", 1), ("b", 1), ("c", 1), ("bad", 1)];
    let bad = served(Balancer::PeakEwma, &weights, failing)["bad"];
    assert!(bad < 1.0, "{bad}");
    let by_busyness = served(Balancer::LeastRequest, &weights, failing)["bad"];
    assert!(by_busyness > 30.0, "nothing in flight looks like no load: {by_busyness}");
}

#[test]
fn weights_hold_under_load() {
    let alike = |_: &str| (50, Answer::Fine);
    for balancer in [Balancer::PeakEwma, Balancer::LeastRequest] {
        let got = served(balancer.clone(), &[("a", 90), ("b", 10)], alike);
        assert_near(&got, &[("a", 90.0), ("b", 10.0)], 4.0, &format!("{balancer:?}"));
    }
}

#[test]
fn a_new_endpoint_gets_less_at_first() {
    let floor = Share::fraction(10, 100).expect("a part");
    let warm_up = WarmUp { window: Duration::from_secs(60), floor, aggression_thousandths: 1000 };
    for balancer in [Balancer::Random, Balancer::RoundRobin, Balancer::LeastRequest, Balancer::PeakEwma] {
        let settings = Settings { warm_up: Some(warm_up), ..settings(balancer.clone()) };
        let mut balance = balance(&settings, endpoints(&[("a", 1), ("b", 1), ("c", 1)]));
        let first = percent(&mut balance, &Ask::default(), Instant::now());
        assert_near(&first, &[("a", 33.3), ("b", 33.3), ("c", 33.3)], 1.5, "nobody is new at first");
        let start = Instant::now();
        balance.update(endpoints(&[("a", 1), ("b", 1), ("c", 1), ("new", 1)]), start, &mut Sequence(2));
        let two = matches!(balancer, Balancer::LeastRequest | Balancer::PeakEwma);
        for (seconds, part) in [(0, 0.1), (30, 0.5), (60, 1.0)] {
            let got = percent(&mut balance, &Ask::default(), start + Duration::from_secs(seconds));
            let want = 100.0 * part / (3.0 + part);
            let got = got["new"];
            // Of two, the second may be new by chance too; with nothing in flight the first is taken.
            let within = if two { 1.5 } else { 0.8 };
            assert!((got - want).abs() < within, "{balancer:?} after {seconds} s: {got:.1}, not {want:.1}");
        }
    }
}

#[test]
fn where_all_are_new_all_get_the_same() {
    let warm_up =
        WarmUp { window: Duration::from_secs(60), floor: Share::NONE, aggression_thousandths: 1000 };
    let settings = Settings { warm_up: Some(warm_up), ..settings(Balancer::RoundRobin) };
    let mut balance = balance(&settings, endpoints(&[("old", 1)]));
    let now = Instant::now();
    balance.update(endpoints(&[("a", 1), ("b", 1)]), now, &mut Sequence(2));
    let got = percent(&mut balance, &Ask::default(), now);
    assert_near(&got, &[("a", 50.0), ("b", 50.0)], 1.5, "at the first moment");
}

#[test]
fn load_outlives_a_change_of_the_list() {
    let mut balance = balance(&settings(Balancer::LeastRequest), endpoints(&[("a", 1), ("b", 1)]));
    let now = Instant::now();
    let busy = balance.members().find(|member| member.endpoint.to == "a").expect("a").begin(now);
    balance.update(endpoints(&[("a", 1), ("b", 1), ("c", 0)]), now, &mut Sequence(2));
    assert_near(&percent(&mut balance, &Ask::default(), now), &[("b", 100.0)], 0.1, "a is busy");
    drop(busy);
    assert_near(&percent(&mut balance, &Ask::default(), now), &[("a", 50.0), ("b", 50.0)], 1.5, "a is not");
}
