//! Tables of ejections: each cause, growth and return, and how many may be left alone.

use super::*;

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

fn share(percent: u32) -> Share {
    Share::fraction(percent, 100).expect("a part")
}

fn words(change: impl FnOnce(&mut Outlier)) -> Outlier {
    let mut words = Outlier {
        consecutive_5xx: None,
        consecutive_gateway: None,
        consecutive_local: None,
        success_rate: None,
        failure_share: None,
        interval: SECONDS(10),
        base: SECONDS(30),
        max: SECONDS(100),
        ejected_max: Share::ALL,
        healthy_min: Share::NONE,
    };
    change(&mut words);
    words
}

fn id(number: usize) -> WorkloadUid {
    WorkloadUid::new(format!("pod-{number}"))
}

fn watch(words: Outlier, count: usize, now: Instant) -> Watch {
    let mut watch = Watch::new(words, now);
    watch.update((0..count).map(|number| (id(number), true)));
    watch
}

/// What a core does with how a request went.
fn heard(watch: &mut Watch, id: &WorkloadUid, outcome: Outcome, now: Instant) -> Option<Change> {
    let cause = watch.fare(id)?.take_in(outcome, &watch.words)?;
    watch.eject(id, cause, now)
}

/// What results make of an endpoint: `.` is 200, `5` is 500, `3` is 503, `!` is no response.
fn causes(words: &Outlier, results: &str) -> Vec<(usize, Cause)> {
    let now = Instant::now();
    let mut watch = watch(words.clone(), 10, now);
    let result = |one| match one {
        '.' => Outcome::Status(200),
        '5' => Outcome::Status(500),
        '3' => Outcome::Status(503),
        _ => Outcome::Local,
    };
    let changes = results.chars().enumerate().filter_map(|(at, one)| {
        let change = heard(&mut watch, &id(0), result(one), now)?;
        let State::Ejected(cause, _) = change.now else { panic!("{change:?}") };
        Some((at, cause))
    });
    changes.collect()
}

#[test]
fn rows_of_failures() {
    use Cause::{Consecutive5xx, ConsecutiveGateway, ConsecutiveLocal};
    let server = words(|words| words.consecutive_5xx = Some(3));
    let gateway = words(|words| words.consecutive_gateway = Some(2));
    let apart = words(|words| (words.consecutive_5xx, words.consecutive_local) = (Some(3), Some(2)));
    let both = words(|words| (words.consecutive_5xx, words.consecutive_gateway) = (Some(3), Some(3)));
    for (case, words, results, want) in [
        ("three in a row", &server, "555", &[(2, Consecutive5xx)][..]),
        ("not in a row", &server, "55.55.5", &[]),
        ("any of them", &server, "53!", &[(2, Consecutive5xx)]),
        ("once", &server, "55555555", &[(2, Consecutive5xx)]),
        ("gateway", &gateway, "33", &[(1, ConsecutiveGateway)]),
        ("gateway, without a response", &gateway, "3!", &[(1, ConsecutiveGateway)]),
        ("500 is none of a gateway's", &gateway, "535353", &[]),
        ("both: the narrower is named", &both, "333", &[(2, ConsecutiveGateway)]),
        ("local ones apart", &apart, "55!!", &[(3, ConsecutiveLocal)]),
        ("local ones neither add to the others nor end them", &apart, "55!5", &[(3, Consecutive5xx)]),
        ("a response ends them", &apart, "!.!.!", &[]),
        ("none of it is asked for", &self::words(|_| {}), "5555333!!!", &[]),
        ("zero is never", &self::words(|words| words.consecutive_5xx = Some(0)), "5555", &[]),
    ] {
        assert_eq!(causes(words, results), want, "{case}: {results}");
    }
}

#[test]
fn each_time_takes_longer_and_good_behaviour_is_remembered() {
    let start = Instant::now();
    let mut watch = watch(words(|words| words.consecutive_5xx = Some(1)), 3, start);
    let mut now = start;
    let eject = |watch: &mut Watch, now| match heard(watch, &id(0), Outcome::Status(500), now) {
        Some(Change { now: State::Ejected(_, duration), .. }) => duration.as_secs(),
        other => panic!("{other:?}"),
    };
    // It fails again as soon as it is back: 30, 60, 90, and then the most.
    for want in [30, 60, 90, 100, 100, 100] {
        assert_eq!(eject(&mut watch, now), want);
        now += SECONDS(want);
        assert_eq!(watch.tick(now), [Change { endpoint: id(0), now: State::Back }], "after {want} s");
        assert_eq!(watch.tick(now), [], "looked at already");
    }
    // Each interval without an ejection takes one off: of four, two are left.
    for _ in 0..2 {
        now += SECONDS(10);
        assert_eq!(watch.tick(now), []);
    }
    assert_eq!(eject(&mut watch, now), 90);
    now += SECONDS(90);
    for _ in 0..10 {
        watch.tick(now);
        now += SECONDS(10);
    }
    assert_eq!(eject(&mut watch, now), 30, "all is forgotten");
}

#[test]
fn it_comes_back_with_the_first_look_after_its_time() {
    let start = Instant::now();
    let mut watch = watch(words(|words| words.consecutive_5xx = Some(1)), 3, start);
    let late = start + SECONDS(5);
    assert!(heard(&mut watch, &id(0), Outcome::Status(500), late).is_some());
    for (seconds, back) in [(10, 0), (20, 0), (30, 0), (40, 1), (50, 0)] {
        assert_eq!(watch.tick(start + SECONDS(seconds)).len(), back, "{seconds} s");
    }
}

#[test]
fn how_many_may_be_left_alone() {
    for (case, ejected_max, healthy_min, count, ill, want) in [
        ("all", 100, 0, 4, 0, 4),
        ("a half", 50, 0, 4, 0, 2),
        ("a tenth of five", 10, 0, 5, 0, 0),
        ("a tenth of ten", 10, 0, 10, 0, 1),
        ("a tenth of thirty", 10, 0, 30, 0, 3),
        ("what no fraction of two's is", 29, 0, 100, 0, 29),
        ("less than one of one", 99, 0, 1, 0, 0),
        ("the only one", 100, 0, 1, 0, 1),
        ("none", 0, 0, 5, 0, 0),
        ("until less than a half are healthy", 100, 50, 4, 0, 3),
        ("those that are ill anyway count", 100, 50, 4, 2, 1),
        ("too few are healthy from the start", 100, 80, 4, 1, 0),
    ] {
        let now = Instant::now();
        let words = words(|words| {
            words.consecutive_5xx = Some(1);
            (words.ejected_max, words.healthy_min) = (share(ejected_max), share(healthy_min));
        });
        let mut watch = watch(words, count, now);
        watch.update((0..count).map(|number| (id(number), number >= ill)));
        let healthy = (0..count).rev();
        let got =
            healthy.filter(|one| heard(&mut watch, &id(*one), Outcome::Status(500), now).is_some()).count();
        assert_eq!(got, want, "{case}");
    }
}

/// Who is left alone after an interval in which each endpoint had so many requests, of which so many failed.
fn left_alone(words: Outlier, endpoints: &[(u32, u32)]) -> Vec<(WorkloadUid, Cause)> {
    let start = Instant::now();
    let mut watch = watch(words, endpoints.len(), start);
    for (number, (requests, failures)) in endpoints.iter().enumerate() {
        for one in 0..*requests {
            let status = if one < *failures { 500 } else { 200 };
            assert_eq!(heard(&mut watch, &id(number), Outcome::Status(status), start), None);
        }
    }
    let changes = watch.tick(start + SECONDS(10));
    assert_eq!(watch.tick(start + SECONDS(20)), [], "an interval without requests says nothing");
    let cause = |change: Change| match change.now {
        State::Ejected(cause, _) => (change.endpoint, cause),
        State::Back => panic!("nobody was away"),
    };
    changes.into_iter().map(cause).collect()
}

#[test]
fn success_rates() {
    let rate = |deviations_thousandths| {
        words(|words| {
            words.success_rate =
                Some(SuccessRate { endpoints_min: 5, requests_min: 100, deviations_thousandths });
        })
    };
    let [good, bad, awful] = [(100, 1), (100, 50), (100, 90)];
    for (case, words, endpoints, want) in [
        ("one of six", rate(1900), &[good, good, bad, good, good, good][..], &[2][..]),
        ("all alike", rate(1900), &[bad; 6], &[]),
        ("too few endpoints", rate(1900), &[good, good, bad, good], &[]),
        ("too few with enough requests", rate(1900), &[good, good, bad, good, (99, 0), (5, 5)], &[]),
        ("too few requests of its own", rate(1900), &[good, good, (99, 99), good, good, good], &[]),
        ("wider", rate(3000), &[good, good, bad, good, good, good], &[]),
        ("worst first", rate(500), &[good, bad, good, awful, good, good, good], &[3, 1]),
    ] {
        let want: Vec<_> = want.iter().map(|number| (id(*number), Cause::SuccessRate)).collect();
        assert_eq!(left_alone(words, endpoints), want, "{case}");
    }
}

#[test]
fn shares_of_failures() {
    let above = |percent| {
        words(|words| {
            words.failure_share =
                Some(FailureShare { endpoints_min: 3, requests_min: 50, above: share(percent) });
        })
    };
    for (case, words, endpoints, want) in [
        ("above", above(85), &[(100, 86), (100, 0), (100, 0)][..], &[0][..]),
        ("as much is not above", above(85), &[(100, 85), (100, 0), (100, 0)], &[]),
        ("all of them", above(50), &[(100, 100), (100, 60), (100, 70)], &[0, 2, 1]),
        ("too few endpoints", above(50), &[(100, 100), (100, 100), (49, 49)], &[]),
    ] {
        let want: Vec<_> = want.iter().map(|number| (id(*number), Cause::FailureShare)).collect();
        assert_eq!(left_alone(words, endpoints), want, "{case}");
    }
}

#[test]
fn a_change_of_the_list_forgets_only_who_is_gone() {
    let now = Instant::now();
    let mut watch =
        watch(words(|words| (words.consecutive_5xx, words.ejected_max) = (Some(1), share(50))), 4, now);
    let fails = |watch: &mut Watch, number| heard(watch, &id(number), Outcome::Local, now).is_some();
    assert!(fails(&mut watch, 0) && fails(&mut watch, 1) && !fails(&mut watch, 2), "a half");
    watch.update([0, 2, 3, 4].map(|number| (id(number), true)));
    assert!(!fails(&mut watch, 0), "it still is left alone");
    assert!(fails(&mut watch, 2), "there is room for the one that is gone");
    assert!(!fails(&mut watch, 9), "nobody knows it");
}

#[test]
fn cores_count_together() {
    let now = Instant::now();
    let words = words(|words| words.consecutive_5xx = Some(100));
    let mut watch = watch(words.clone(), 3, now);
    let fare = watch.fare(&id(0)).expect("an endpoint").clone();
    let results = |outcomes: &'static [Outcome]| {
        let core = || outcomes.iter().filter_map(|outcome| fare.take_in(*outcome, &words)).count();
        std::thread::scope(|scope| {
            let cores: Vec<_> = (0..4).map(|_| scope.spawn(core)).collect();
            cores.into_iter().map(|core| core.join().expect("it counts")).sum::<usize>()
        })
    };
    assert_eq!(results(&[Outcome::Status(500); 24]), 0, "96 in a row");
    assert_eq!(results(&[Outcome::Status(500); 1]), 1, "the hundredth");
    assert!(watch.eject(&id(0), Cause::Consecutive5xx, now).is_some());
    assert_eq!(watch.eject(&id(0), Cause::Consecutive5xx, now), None, "another core was first");
    assert_eq!(watch.ejected().collect::<Vec<_>>(), [&id(0)]);
    assert_eq!(results(&[Outcome::Status(500); 24]), 0, "the row was forgotten");
    assert_eq!(results(&[Outcome::Status(200); 1]), 0);
    assert_eq!(results(&[Outcome::Status(500); 24]), 0, "a success of any core ends it");
}
