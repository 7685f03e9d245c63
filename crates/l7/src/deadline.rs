//! Until when a request may take, which limit is reached first, and what the client gets then.

use crate::grpc;
use crate::resilience::{Retry, Timeouts};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, Instant};

/// The header by which a gRPC client says how long it waits (gRPC over HTTP/2, "Timeout").
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Which limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The rule's, for the request and all its tries.
    Request,
    /// The client's own, by `grpc-timeout`.
    Client,
    /// Of one try, until the response's head is there. Another try may follow.
    TryHead,
    /// Of one try, until the response's last byte. Another try may follow while the client has heard nothing.
    TryWhole,
}

impl Limit {
    /// Whether the request is over, and not only this try.
    pub fn ends_request(self) -> bool {
        match self {
            Self::Request | Self::Client => true,
            Self::TryHead | Self::TryWhole => false,
        }
    }

    /// What the client gets, if nothing of a response has reached it: the status of HTTP, and gRPC's.
    pub fn status(self) -> (u16, u32) {
        match self {
            Self::Request | Self::Client | Self::TryHead | Self::TryWhole => (504, grpc::DEADLINE_EXCEEDED),
        }
    }

    /// What it is told.
    pub fn text(self) -> &'static str {
        match self {
            Self::Request => "request timeout",
            Self::Client => "deadline of the client exceeded",
            Self::TryHead | Self::TryWhole => "upstream request timeout",
        }
    }
}

/// A moment, and what it is the end of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Of what.
    pub limit: Limit,
}

/// The deadline of a whole request that began at `begun`: the sooner of the rule's and the client's. None: no limit.
pub fn of_request(timeouts: &Timeouts, headers: &HeaderMap, begun: Instant) -> Option<Deadline> {
    let client = grpc_timeout(headers);
    sooner(at(begun, timeouts.request, Limit::Request), at(begun, client, Limit::Client))
}

/// How much of the response a try has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brought {
    /// Nothing yet.
    Nothing,
    /// Its head.
    Head,
}

/// What comes first, of one try that began at `begun`.
pub fn of_try(
    timeouts: &Timeouts,
    retry: Option<&Retry>,
    request: Option<Deadline>,
    begun: Instant,
    brought: Brought,
) -> Option<Deadline> {
    let head = match brought {
        Brought::Nothing => retry.and_then(|retry| retry.try_head),
        Brought::Head => None,
    };
    let own = sooner(at(begun, timeouts.try_whole, Limit::TryWhole), at(begun, head, Limit::TryHead));
    // At the same moment it is the request that is over: no other try has any time.
    sooner(request, own)
}

/// Hands the deadline on, so that a backend does not work for nobody: a gRPC request carries what is left until the first
/// of its limits. What is not gRPC carries nothing, for there is no header that backends would know.
pub fn hand_on(headers: &mut HeaderMap, first: Option<Deadline>, now: Instant) {
    if !grpc::is_grpc(headers) {
        return;
    }
    if let Some(deadline) = first {
        headers.insert(GRPC_TIMEOUT, format_grpc(deadline.at.saturating_duration_since(now)));
    }
}

/// What a gRPC client says. What nobody can read is no limit, as in Envoy: a client that is refused for it would be worse
/// off than one that waits.
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    headers.get(&GRPC_TIMEOUT)?.to_str().ok().and_then(parse_grpc)
}

/// Reads one to eight digits and a unit.
pub fn parse_grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// Writes a time in the finest unit that it has eight digits for, rounded down: never later than it is.
fn format_grpc(time: Duration) -> HeaderValue {
    const DIGITS_MAX: u128 = 99_999_999;
    let nanos = time.as_nanos();
    let units = [("n", 1), ("u", 1_000), ("m", 1_000_000), ("S", 1_000_000_000), ("M", 60_000_000_000)];
    let fitting = units.into_iter().find(|(_, unit)| nanos / unit <= DIGITS_MAX);
    let (unit, length) = fitting.unwrap_or(("H", 3_600_000_000_000));
    let text = format!("{}{unit}", (nanos / length).min(DIGITS_MAX));
    // Digits and a letter may stand in a header.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0n"))
}

/// Zero is no limit, as in Gateway API (`HTTPRouteTimeouts`) and Envoy; but a client that waits no longer does not wait.
fn at(begun: Instant, limit: Option<Duration>, which: Limit) -> Option<Deadline> {
    let limit = limit.filter(|limit| !limit.is_zero() || which == Limit::Client)?;
    // What is too far away to be told is no limit.
    Some(Deadline { at: begun.checked_add(limit)?, limit: which })
}

fn sooner(first: Option<Deadline>, second: Option<Deadline>) -> Option<Deadline> {
    match (first, second) {
        (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::conditions::istio_default;
    use http::header::CONTENT_TYPE;

    const MILLIS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn which_limit_is_first() {
        use Limit::{Client, Request, TryHead, TryWhole};
        let begun = Instant::now();
        // In milliseconds: the request's, the whole try's, the try's until the head, the client's; the try begins after 100.
        for (request, whole, head, client, brought, want) in [
            (None, None, None, None, Brought::Nothing, None),
            (Some(500), None, None, None, Brought::Nothing, Some((500, Request))),
            (Some(500), None, None, Some("300m"), Brought::Nothing, Some((300, Client))),
            (Some(500), None, None, Some("700m"), Brought::Nothing, Some((500, Request))),
            (Some(500), None, None, Some("no"), Brought::Nothing, Some((500, Request))),
            (Some(500), Some(300), None, None, Brought::Nothing, Some((400, TryWhole))),
            (Some(500), Some(300), Some(200), None, Brought::Nothing, Some((300, TryHead))),
            (Some(500), Some(300), Some(200), None, Brought::Head, Some((400, TryWhole))),
            (Some(500), None, Some(200), None, Brought::Head, Some((500, Request))),
            (Some(300), None, Some(200), None, Brought::Nothing, Some((300, Request))),
            (None, None, Some(200), None, Brought::Nothing, Some((300, TryHead))),
            (Some(0), Some(0), Some(0), None, Brought::Nothing, None),
            (Some(500), None, None, Some("0n"), Brought::Nothing, Some((0, Client))),
        ] {
            let timeouts = Timeouts { request: request.map(MILLIS), try_whole: whole.map(MILLIS) };
            let retry = crate::resilience::Retry { try_head: head.map(MILLIS), ..istio_default() };
            let mut headers = HeaderMap::new();
            client.map(|text| headers.insert(GRPC_TIMEOUT, HeaderValue::from_static(text)));
            let whole_request = of_request(&timeouts, &headers, begun);
            let got = of_try(&timeouts, Some(&retry), whole_request, begun + MILLIS(100), brought);
            let want = want.map(|(millis, limit)| Deadline { at: begun + MILLIS(millis), limit });
            assert_eq!(got, want, "{request:?} {whole:?} {head:?} {client:?} {brought:?}");
        }
    }

    #[test]
    fn what_the_client_gets() {
        for (limit, ends) in
            [(Limit::Request, true), (Limit::Client, true), (Limit::TryHead, false), (Limit::TryWhole, false)]
        {
            assert_eq!((limit.status(), limit.ends_request()), ((504, 4), ends), "{}", limit.text());
        }
    }

    #[test]
    fn grpc_timeouts() {
        for (text, want) in [
            ("1H", Some(MILLIS(3_600_000))),
            ("2M", Some(MILLIS(120_000))),
            ("3S", Some(MILLIS(3_000))),
            ("4m", Some(MILLIS(4))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("0S", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("1s", None),
            ("+1S", None),
            ("-1S", None),
            ("1.5S", None),
            ("1 S", None),
            ("1ä", None),
        ] {
            assert_eq!(parse_grpc(text), want, "{text:?}");
        }
        for (time, want) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (MILLIS(100), "100000u"),
            (MILLIS(1_500), "1500000u"),
            (MILLIS(100_000), "100000m"),
            (MILLIS(100_000_999), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::from_secs(99_999_999 * 3600), "99999999H"),
            (Duration::MAX, "99999999H"),
        ] {
            let text = format_grpc(time);
            assert_eq!(text, want, "{time:?}");
            let back = parse_grpc(text.to_str().expect("text")).expect("a time");
            assert!(back <= time, "{time:?}");
        }
    }

    #[test]
    fn what_is_handed_on() {
        let now = Instant::now();
        let deadline = Some(Deadline { at: now + MILLIS(20), limit: Limit::TryHead });
        for (kind, deadline, has, want) in [
            ("application/grpc", deadline, None, Some("20000000n")),
            ("application/grpc", deadline, Some("1H"), Some("20000000n")),
            ("application/grpc", None, None, None),
            ("application/json", deadline, None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            has.map(|text| headers.insert(GRPC_TIMEOUT, HeaderValue::from_static(text)));
            hand_on(&mut headers, deadline, now);
            assert_eq!(headers.get(GRPC_TIMEOUT).and_then(|text| text.to_str().ok()), want, "{kind} {has:?}");
        }
    }
}
