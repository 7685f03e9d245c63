//! Balancers that hash: who moves when somebody leaves, and how even they are.

use super::*;

const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
const KEYS: u64 = 20_000;

fn placed(balance: &mut Balance<&'static str>, keys: u64) -> Vec<&'static str> {
    let ask = |key| Ask { key: Some(hash::mix(key)), ..Ask::default() };
    (0..keys)
        .filter_map(|key| balance.choose(&ask(key), Instant::now(), &mut Sequence(key)))
        .map(|member| member.endpoint.to)
        .collect()
}

fn ten() -> Vec<Endpoint<&'static str>> {
    NAMES.iter().map(|name| endpoint(name, 1)).collect()
}

/// How many of a thousand keys that were not at `gone` are elsewhere now.
fn moved(before: &[&str], after: &[&str], gone: &str) -> usize {
    let pairs = before.iter().zip(after).filter(|(was, _)| **was != gone);
    let moved = pairs.filter(|(was, is)| was != is).count();
    moved * 1000 / before.len()
}

#[test]
fn when_one_leaves_the_others_keep_their_keys() {
    // A ring moves only the keys of who leaves (and what rounding of points does); Maglev a few more (its §3.4).
    for (balancer, moved_max) in [(ring(), 10), (maglev(), 60)] {
        let mut balance = balance(&settings(balancer.clone()), ten());
        let before = placed(&mut balance, KEYS);
        balance.update(
            ten().into_iter().filter(|one| one.to != "d").collect(),
            Instant::now(),
            &mut Sequence(5),
        );
        let after = placed(&mut balance, KEYS);
        let left = moved(&before, &after, "d");
        assert!(left <= moved_max, "{balancer:?}: {left} of a thousand moved");
        balance.update(ten(), Instant::now(), &mut Sequence(6));
        assert_eq!(placed(&mut balance, KEYS), before, "{balancer:?}: and back");
    }
}

#[test]
fn what_is_ejected_or_excluded_gives_its_keys_away_and_gets_them_back() {
    for balancer in [ring(), maglev()] {
        let mut balance = balance(&settings(balancer.clone()), ten());
        let before = placed(&mut balance, KEYS);
        balance.leave_alone(|one| *one == id("d"));
        let after = placed(&mut balance, KEYS);
        assert_eq!(moved(&before, &after, "d"), 0, "{balancer:?}");
        let heirs: std::collections::BTreeSet<_> =
            before.iter().zip(&after).filter(|(was, _)| **was == "d").map(|(_, is)| is).collect();
        assert!(heirs.len() > 5 && !heirs.contains(&"d"), "{balancer:?}: all to {heirs:?}");
        balance.leave_alone(|_| false);
        assert_eq!(placed(&mut balance, KEYS), before, "{balancer:?}");
    }
}

#[test]
fn evenness() {
    for (balancer, within) in [(ring(), 5.0), (maglev(), 0.5)] {
        let mut balance = balance(&settings(balancer.clone()), ten());
        let mut counts = BTreeMap::new();
        for name in placed(&mut balance, KEYS) {
            *counts.entry(name).or_insert(0.0) += 100.0 / KEYS as f64;
        }
        assert_near(&counts, &NAMES.map(|name| (name, 10.0)), within, &format!("{balancer:?}"));
    }
}

#[test]
fn a_key_has_one_place_whatever_chance_says_even_across_levels() {
    for balancer in [ring(), maglev()] {
        let mut list = ten();
        // Half of the first level is ill: its requests spill over, but each key always the same way.
        list.iter_mut().skip(5).for_each(|one| one.spot.level = 1);
        list.iter_mut().take(3).for_each(|one| one.state = EndpointState::Unhealthy);
        let mut balance = balance(&settings(balancer), list);
        let mut seen = std::collections::BTreeSet::new();
        for key in 0..200 {
            let ask = Ask { key: Some(hash::mix(key)), ..Ask::default() };
            let mut at =
                |seed| balance.choose(&ask, Instant::now(), &mut Sequence(seed)).map(|one| one.endpoint.to);
            let first = at(1);
            assert!((2..9).all(|seed| at(seed) == first), "key {key}");
            seen.extend(first);
        }
        assert!(seen.len() == 7, "both levels are used: {seen:?}");
    }
}

#[test]
fn a_request_without_a_key_goes_anywhere() {
    let mut balance = balance(&settings(maglev()), ten());
    let got = percent(&mut balance, &Ask::default(), Instant::now());
    assert_near(&got, &NAMES.map(|name| (name, 10.0)), 1.0, "no key");
}
