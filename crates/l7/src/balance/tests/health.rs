//! Health: ejections, panic, endpoints that leave, sessions, and tries elsewhere.

use super::*;

/// A case: its name, what is different, how many have to be healthy in percent, and the shares in percent.
type Case<'a> = (&'a str, fn(&mut Vec<Endpoint<&'static str>>), u32, &'a [(&'static str, f64)]);

#[test]
fn who_is_asked() {
    use EndpointState::{Leaving, Unhealthy};
    let cases: [Case<'_>; 9] = [
        ("all serve", |_| {}, 0, &[("a", 25.0), ("b", 25.0), ("c", 25.0), ("d", 25.0)]),
        ("one is ill", |list| list[0].state = Unhealthy, 50, &[("b", 33.3), ("c", 33.3), ("d", 33.3)]),
        (
            "half are ill, that is not fewer than half",
            |list| list[..2].iter_mut().for_each(|one| one.state = Unhealthy),
            50,
            &[("c", 50.0), ("d", 50.0)],
        ),
        (
            "three are ill: panic",
            |list| list[..3].iter_mut().for_each(|one| one.state = Unhealthy),
            50,
            &[("a", 25.0), ("b", 25.0), ("c", 25.0), ("d", 25.0)],
        ),
        (
            "three are ill, and nobody panics",
            |list| list[..3].iter_mut().for_each(|one| one.state = Unhealthy),
            0,
            &[("d", 100.0)],
        ),
        ("all are ill", |list| list.iter_mut().for_each(|one| one.state = Unhealthy), 0, &[]),
        ("one leaves", |list| list[0].state = Leaving, 50, &[("b", 33.3), ("c", 33.3), ("d", 33.3)]),
        (
            "all leave",
            |list| list.iter_mut().for_each(|one| one.state = Leaving),
            50,
            &[("a", 25.0), ("b", 25.0), ("c", 25.0), ("d", 25.0)],
        ),
        (
            "one leaves, and the others are ill",
            |list| {
                list.iter_mut().for_each(|one| one.state = Unhealthy);
                list[0].state = Leaving;
            },
            0,
            &[("a", 100.0)],
        ),
    ];
    for (case, change, healthy_min, want) in cases {
        let mut list = endpoints(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
        change(&mut list);
        for balancer in [Balancer::PeakEwma, Balancer::RoundRobin, Balancer::Random] {
            let mut settings = settings(balancer);
            settings.locality.healthy_min = Share::fraction(healthy_min, 100);
            let got = percent(&mut balance(&settings, list.clone()), &Ask::default(), Instant::now());
            assert_near(&got, want, 1.2, &format!("{case}, {:?}", settings.balancer));
        }
    }
}

#[test]
fn ejected_ones_count_as_ill_until_they_are_back() {
    let mut settings = settings(Balancer::LeastRequest);
    settings.locality.healthy_min = Share::fraction(30, 100);
    let mut balance = balance(&settings, endpoints(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]));
    let now = Instant::now();
    let all = [("a", 25.0), ("b", 25.0), ("c", 25.0), ("d", 25.0)];
    balance.leave_alone(|one| *one == id("a"));
    let three = [("b", 33.3), ("c", 33.3), ("d", 33.3)];
    assert_near(&percent(&mut balance, &Ask::default(), now), &three, 1.2, "one");
    balance.update(endpoints(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]), now, &mut Sequence(3));
    assert_near(
        &percent(&mut balance, &Ask::default(), now),
        &three,
        1.2,
        "it outlives a change of the list",
    );
    balance.leave_alone(|one| *one != id("d"));
    assert_near(&percent(&mut balance, &Ask::default(), now), &all, 1.2, "a quarter is left: panic");
    balance.leave_alone(|_| false);
    assert_near(&percent(&mut balance, &Ask::default(), now), &all, 1.2, "all are back");
}

#[test]
fn near_levels_first_and_what_spills_over() {
    let mut list = endpoints(&[("near1", 1), ("near2", 1), ("far1", 1), ("far2", 1)]);
    list[2..].iter_mut().for_each(|one| one.spot.level = 7);
    let mut balance = balance(&settings(Balancer::PeakEwma), list);
    let now = Instant::now();
    assert_near(
        &percent(&mut balance, &Ask::default(), now),
        &[("near1", 50.0), ("near2", 50.0)],
        1.2,
        "all near",
    );
    balance.leave_alone(|one| *one == id("near1"));
    let spilled = [("near2", 70.0), ("far1", 15.0), ("far2", 15.0)];
    assert_near(&percent(&mut balance, &Ask::default(), now), &spilled, 1.2, "half of the near ones: 70 %");
    balance.leave_alone(|one| *one == id("near1") || *one == id("near2"));
    assert_near(
        &percent(&mut balance, &Ask::default(), now),
        &[("far1", 50.0), ("far2", 50.0)],
        1.2,
        "none near",
    );
}

#[test]
fn tries_go_elsewhere_first() {
    let mut list = endpoints(&[("near1", 1), ("near2", 1), ("far", 1)]);
    list[2].spot.level = 1;
    for balancer in [Balancer::PeakEwma, Balancer::RoundRobin, ring(), maglev()] {
        let mut balance = balance(&settings(balancer.clone()), list.clone());
        let one = [id("near1")];
        let both = [id("near1"), id("near2")];
        for (case, exclude, reach, want) in [
            ("the other one", &one[..], Reach::OneLevel, &["near2"][..]),
            ("no other: one of them again", &both, Reach::OneLevel, &["near1", "near2"]),
            ("no other near: far", &both, Reach::AllLevels, &["far"]),
        ] {
            let ask = Ask { exclude, reach, ..Ask::default() };
            let got = percent(&mut balance, &ask, Instant::now());
            assert_eq!(got.keys().copied().collect::<Vec<_>>(), want, "{case}, {balancer:?}");
        }
    }
}

#[test]
fn sessions() {
    use EndpointState::{Leaving, Serving, Unhealthy};
    let cases: [(&str, EndpointState, bool, &[WorkloadUid], bool); 5] = [
        ("it serves", Serving, false, &[], true),
        ("it leaves, and keeps its sessions", Leaving, false, &[], true),
        ("it is ill", Unhealthy, false, &[], false),
        ("it is ejected", Serving, true, &[], false),
        ("it has failed this request", Serving, false, &[id("a")], false),
    ];
    for (case, state, ejected, exclude, want) in cases {
        let mut list = endpoints(&[("a", 1), ("b", 1)]);
        list[0].state = state;
        let mut balance = balance(&settings(Balancer::RoundRobin), list);
        balance.leave_alone(|one| ejected && *one == id("a"));
        let ask = Ask { session: Some(session::mark(&id("a"))), exclude, ..Ask::default() };
        let got = percent(&mut balance, &ask, Instant::now());
        let sticks = got.get("a").copied().unwrap_or_default() > 99.0;
        assert_eq!(sticks, want, "{case}: {got:?}");
        let belongs = balance.has_session(session::mark(&id("a")));
        assert_eq!(belongs, want || !exclude.is_empty(), "{case}: whatever a request has failed");
        assert!(!balance.has_session(session::mark(&id("gone"))));
    }
}
