//! The truth table of [`decide`].

use super::*;
use Failure::{Connect, Overload, Refused, Reset, Timeout};
use http::HeaderValue;

const MILLIS: fn(u64) -> Duration = Duration::from_millis;

fn policy(on: &str) -> Retry {
    let on = conditions::parse(on).expect("conditions");
    let backoff = Backoff { base: MILLIS(25), max: MILLIS(100), jitter: Jitter::Part };
    Retry { retries: 3, on, backoff, try_head: None, elsewhere_first: true, other_localities: false }
}

fn headers(of: &'static [(&'static str, &'static str)]) -> HeaderMap {
    of.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn first(outcome: Outcome<'_>) -> Attempt<'_> {
    Attempt { outcome, number: 0, sent: Sent::Kept, told: Told::Nothing, left: None }
}

fn decided(retry: &Retry, attempt: &Attempt<'_>) -> Result<Duration, Stop> {
    // The longest wait that chance may bring.
    decide(retry, attempt, || Ok(()), &mut |bound| bound - 1).map(|again| again.after)
}

#[test]
fn what_responses_are_worth_another_try() {
    const NONE: &[(&str, &str)] = &[];
    for (on, status, of, want) in [
        ("5xx", 500, NONE, true),
        ("5xx", 503, NONE, true),
        ("5xx", 404, NONE, false),
        ("5xx", 200, NONE, false),
        ("gateway-error", 502, NONE, true),
        ("gateway-error", 504, NONE, true),
        ("gateway-error", 500, NONE, false),
        ("retriable-4xx", 409, NONE, true),
        ("retriable-4xx", 404, NONE, false),
        ("429,503", 429, NONE, true),
        ("429,503", 500, NONE, false),
        ("reset,connect-failure,refused-stream,reset-before-request", 503, NONE, false),
        ("unavailable", 200, &[("grpc-status", "14")], true),
        ("unavailable", 200, &[("grpc-status", "13")], false),
        ("unavailable", 503, NONE, false),
        ("5xx", 503, &[("x-envoy-ratelimited", "true")], false),
        ("envoy-ratelimited", 429, &[("x-envoy-ratelimited", "true")], true),
        ("envoy-ratelimited", 429, NONE, false),
        ("", 503, NONE, false),
    ] {
        let headers = headers(of);
        let got = decided(&policy(on), &first(Outcome::Response { status, headers: &headers }));
        assert_eq!(got.is_ok(), want, "{on} and {status} {of:?}: {got:?}");
    }
    let mut by_header = policy("retriable-headers");
    by_header.on.headers.push("x-again".into());
    for (of, want) in [(&[("x-again", "")][..], true), (&[], false)] {
        let headers = headers(of);
        let got = decided(&by_header, &first(Outcome::Response { status: 200, headers: &headers }));
        assert_eq!(got.is_ok(), want, "{of:?}");
    }
}

#[test]
fn what_failures_are_worth_another_try() {
    let all = [Connect, Refused, Reset, Timeout, Overload];
    for (on, sent, want) in [
        ("5xx", Sent::Kept, &[Connect, Refused, Reset, Timeout][..]),
        ("gateway-error", Sent::Kept, &[Connect, Refused, Reset, Timeout]),
        ("reset", Sent::Kept, &[Connect, Refused, Reset, Timeout]),
        ("reset-before-request", Sent::Kept, &[]),
        ("reset-before-request", Sent::Nothing, &[Connect, Refused, Reset, Timeout]),
        ("connect-failure", Sent::Nothing, &[Connect]),
        ("refused-stream", Sent::Kept, &[Refused]),
        ("envoy-ratelimited", Sent::Nothing, &[Overload]),
        ("retriable-4xx,503,unavailable,cancelled", Sent::Kept, &[]),
        (conditions::ISTIO_RETRY_ON, Sent::Kept, &[Connect, Refused]),
    ] {
        let tried = |failure: &Failure| {
            decided(&policy(on), &Attempt { sent, ..first(Outcome::Failed(*failure)) }).is_ok()
        };
        let got: Vec<_> = all.into_iter().filter(tried).collect();
        assert_eq!(got, want, "{on}, sent {sent:?}");
    }
}

#[test]
fn why_not() {
    let reset = first(Outcome::Failed(Reset));
    let none = HeaderMap::new();
    let fine = first(Outcome::Response { status: 200, headers: &none });
    for (case, attempt, want) in [
        ("wanted", reset, Ok(MILLIS(25))),
        ("the last one", Attempt { number: 2, ..reset }, Ok(MILLIS(100))),
        ("one too many", Attempt { number: 3, ..reset }, Err(Stop::Enough)),
        (
            "nothing is wrong, whatever else",
            Attempt { number: 3, told: Told::Something, ..fine },
            Err(Stop::Final),
        ),
        ("the client has heard of it", Attempt { told: Told::Something, ..reset }, Err(Stop::Told)),
        ("the body is gone", Attempt { sent: Sent::Gone, ..reset }, Err(Stop::BodyGone)),
        ("time enough", Attempt { left: Some(MILLIS(26)), ..reset }, Ok(MILLIS(25))),
        ("no time", Attempt { left: Some(MILLIS(25)), ..reset }, Err(Stop::Deadline)),
    ] {
        assert_eq!(decided(&policy("reset"), &attempt), want, "{case}");
    }
    let mut asked = 0;
    let mut room = |outcome: Outcome<'_>| {
        decide(&policy("reset"), &first(outcome), || (asked += 1, Err::<(), _>(Stop::Budget)).1, &mut |_| 0)
    };
    assert_eq!(room(Outcome::Failed(Reset)), Err(Stop::Budget));
    assert_eq!(room(Outcome::Response { status: 200, headers: &none }), Err(Stop::Final));
    assert_eq!(asked, 1, "room is asked for only if all else is for it");
}

#[test]
fn waiting() {
    use Jitter::{More, Part};
    let none: &[(&str, &str)] = &[];
    for (jitter, number, roll, of, want) in [
        (Part, 0, 1.0, none, Ok(25_000)),
        (Part, 0, 0.0, none, Ok(0)),
        (Part, 1, 1.0, none, Ok(50_000)),
        (Part, 1, 0.5, none, Ok(25_000)),
        (Part, 2, 1.0, none, Ok(100_000)),
        (Part, 2, 0.0, none, Ok(0)),
        (More, 0, 0.0, none, Ok(25_000)),
        (More, 0, 1.0, none, Ok(31_250)),
        (More, 1, 0.0, none, Ok(50_000)),
        (More, 2, 1.0, none, Ok(125_000)),
        (Part, 0, 0.0, &[("retry-after", "0")], Ok(0)),
        (Part, 0, 1.0, &[("retry-after", "1")], Ok(1_000_000)),
        (More, 2, 1.0, &[("retry-after", "10")], Ok(10_000_000)),
        (Part, 0, 1.0, &[("retry-after", "11")], Err(Stop::Later)),
        (Part, 0, 1.0, &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")], Err(Stop::Later)),
        (Part, 0, 1.0, &[("retry-after", "soon")], Ok(25_000)),
    ] {
        let headers = headers(of);
        let attempt = Attempt { number, ..first(Outcome::Response { status: 503, headers: &headers }) };
        let mut chance = |bound: u64| ((bound - 1) as f64 * roll) as u64;
        let mut policy = policy("5xx");
        policy.backoff.jitter = jitter;
        let again = decide(&policy, &attempt, || Ok(()), &mut chance);
        let want = want.map(|micros| (Duration::from_micros(micros), To::OthersFirst));
        assert_eq!(
            again.map(|again| (again.after, again.to)),
            want,
            "{jitter:?}, try {number}, {roll}, {of:?}"
        );
    }
    let huge = Retry { retries: u32::MAX, ..policy("reset") };
    let late = Attempt { number: 4_000_000, ..first(Outcome::Failed(Reset)) };
    assert_eq!(decided(&huge, &late), Ok(MILLIS(100)), "no overflow");
}
