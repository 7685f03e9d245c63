//! Places: failover by the Service, by region, zone and subzone, by labels, and distribution by weight.

use super::*;
use crate::balance::place::{Arrangement, Labels, Place, subset};
use crate::destination::{Distribute, EmptySubset, Failover, Locality as Words, Subset};
use std::sync::Arc;
use weft_core::names::NodeName;
use weft_core::service::{LoadBalancing, LoadBalancingMode, Scope};
use weft_core::workload::{Locality, Workload};

/// A pod at `region/zone/subzone`, on the node `node`.
fn pod(place: &str, node: &str) -> Workload {
    let mut parts = place.split('/').map(Arc::from);
    let mut part = || parts.next().unwrap_or_else(|| Arc::from(""));
    Workload {
        uid: id(place),
        node: NodeName::new(node),
        locality: Locality { region: part(), zone: part(), subzone: part() },
        ..weft_samples::workload("shop", "web")
    }
}

fn labels(of: &[(&str, &str)]) -> Labels {
    of.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
}

/// The levels of endpoints at these places for a client on node n at eu/a/1; -1 where none of its requests go.
fn levels(words: &Words, service: &LoadBalancing, places: &[&str]) -> Vec<i64> {
    let (client, none) = (pod("eu/a/1", "n"), Labels::new());
    let arrangement = Arrangement::new(words, service, Place { workload: &client, labels: &none });
    let level = |place: &&str| {
        let node = if *place == "eu/a/1" { "n" } else { "m" };
        let spot = arrangement.spot(Place { workload: &pod(place, node), labels: &none });
        spot.map_or(-1, |spot| i64::from(spot.level))
    };
    places.iter().map(level).collect()
}

const PLACES: [&str; 6] = ["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "asia/a/1", ""];

#[test]
fn failover() {
    use LoadBalancingMode::{Any, Failover as Prefer, Passthrough, Strict};
    let service = |mode, preference: &[Scope]| LoadBalancing {
        mode,
        preference: preference.to_vec(),
        ..Default::default()
    };
    let words = |failover| Words { failover, ..Words::default() };
    let near = |regions: &[(&str, &str)]| Failover::Near {
        regions: regions.iter().map(|(from, to)| (Arc::from(*from), Arc::from(*to))).collect(),
    };
    let topology = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];
    for (case, failover, service, want) in [
        ("any", Failover::AsService, service(Any, &[Scope::Zone]), [0, 0, 0, 0, 0, 0]),
        ("as dialled", Failover::AsService, service(Passthrough, &[Scope::Zone]), [0, 0, 0, 0, 0, 0]),
        ("own node alone", Failover::AsService, service(Strict, &[Scope::Node]), [0, -1, -1, -1, -1, -1]),
        (
            "zone first",
            Failover::AsService,
            service(Prefer, &[Scope::Region, Scope::Zone]),
            [0, 0, 1, 2, 2, 2],
        ),
        ("off", Failover::Off, service(Strict, &[Scope::Node]), [0, 0, 0, 0, 0, 0]),
        ("near", near(&[]), service(Any, &[]), [0, 1, 2, 3, 3, 3]),
        ("near, then us", near(&[("asia", "eu"), ("eu", "us")]), service(Any, &[]), [0, 1, 2, 3, 4, 4]),
        ("labels", Failover::Labels(topology.map(Arc::from).to_vec()), service(Any, &[]), [0, 0, 1, 2, 2, 2]),
        (
            "a label with a value",
            Failover::Labels(vec!["topology.kubernetes.io/region=us".into()]),
            service(Any, &[]),
            [1, 1, 1, 0, 1, 1],
        ),
    ] {
        assert_eq!(levels(&words(failover), &service, &PLACES), want, "{case}");
    }
}

#[test]
fn labels_of_the_workload_count_in_their_order() {
    let words = Words { failover: Failover::Labels(vec!["a".into(), "b".into()]), ..Words::default() };
    let (pod, service) = (pod("eu", "n"), LoadBalancing::default());
    let client = labels(&[("a", "1"), ("b", "1")]);
    let arrangement = Arrangement::new(&words, &service, Place { workload: &pod, labels: &client });
    for (has, want) in [
        (&[("a", "1"), ("b", "1")][..], 0),
        (&[("a", "1"), ("b", "2")], 1),
        (&[("a", "2"), ("b", "1")], 2),
        (&[], 2),
    ] {
        let spot = arrangement.spot(Place { workload: &pod, labels: &labels(has) });
        assert_eq!(spot.map(|spot| spot.level), Some(want), "{has:?}");
    }
}

#[test]
fn distribution() {
    let to = |weights: &[(&str, u32)]| weights.iter().map(|(to, weight)| (Arc::from(*to), *weight)).collect();
    let words = Words {
        distribute: vec![
            Distribute { from: "us/*".into(), to: to(&[("us/*", 100)]) },
            Distribute {
                from: "eu/a/*".into(),
                to: to(&[("eu/a/*", 70), ("eu/*", 20), ("us/*", 10), ("asia/*", 0)]),
            },
            Distribute { from: "eu/*".into(), to: to(&[("asia/*", 100)]) },
        ],
        ..Words::default()
    };
    let service = LoadBalancing::default();
    assert_eq!(levels(&words, &service, &PLACES), [0, 0, 0, 0, -1, -1]);
    let (client, none) = (pod("eu/a/1", "n"), Labels::new());
    let arrangement = Arrangement::new(&words, &service, Place { workload: &client, labels: &none });
    let list = [("own", "eu/a/1"), ("zone", "eu/a/2"), ("region", "eu/b/1"), ("us", "us/a/1")];
    let list: Vec<_> = list
        .into_iter()
        .map(|(name, place)| {
            let spot = arrangement.spot(Place { workload: &pod(place, "m"), labels: &none }).expect("a spot");
            Endpoint { spot, ..endpoint(name, 1) }
        })
        .collect();
    let mut balance = balance(&settings(Balancer::RoundRobin), list);
    let now = Instant::now();
    let want = [("own", 35.0), ("zone", 35.0), ("region", 20.0), ("us", 10.0)];
    assert_near(&percent(&mut balance, &Ask::default(), now), &want, 1.2, "by weight");
    balance.leave_alone(|one| *one == id("own"));
    // Half of the group counts as 70 %: 49 beside 20 and 10.
    let want = [("zone", 62.0), ("region", 25.3), ("us", 12.7)];
    assert_near(&percent(&mut balance, &Ask::default(), now), &want, 1.2, "one is ejected");
}

#[test]
fn subsets() {
    use EmptySubset::{Everybody, Nobody};
    let has = [labels(&[("version", "v1"), ("app", "web")]), labels(&[("version", "v2")]), labels(&[])];
    for (wanted, empty, want) in [
        (&[("version", "v1")][..], Nobody, &[0][..]),
        (&[("version", "v1")], Everybody, &[0]),
        (&[], Nobody, &[0, 1, 2]),
        (&[("version", "v3")], Nobody, &[]),
        (&[("version", "v3")], Everybody, &[0, 1, 2]),
    ] {
        let words = Subset {
            labels: labels(wanted),
            empty,
            settings: Settings::default(),
            ports: std::collections::BTreeMap::new(),
        };
        let all: Vec<(usize, &Labels)> = has.iter().enumerate().collect();
        let got: Vec<usize> = subset(all, |one| one.1, &words).into_iter().map(|(place, _)| place).collect();
        assert_eq!(got, want, "{wanted:?}, else {empty:?}");
    }
}
