//! Sessions: who has been at an endpoint comes back to it (Gateway API, `sessionPersistence`).
//!
//! What the client carries is `<mark>-<begun>-<seen>` in hexadecimal digits: a hash of the endpoint's name and two times.
//! It tells nobody an address or a name (though whoever guesses a pod's name can tell that it is the one), every waypoint
//! reads what another one wrote without a common key, and who forges one gets what any request gets: an endpoint of the
//! same service.

use super::hash::hash_with;
use super::key::{cookie, set_cookie};
use crate::rule::{Session, SessionCarrier};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::time::Duration;
use weft_core::names::WorkloadUid;

/// Clocks of two waypoints may differ by so much.
const SKEW_SECONDS_MAX: u64 = 60;
/// Sets marks apart from other hashes of the same name.
const MARKS: u64 = 0x5e55_1011;

/// What a client carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The endpoint's [`mark`].
    pub mark: u64,
    /// When the session began, in seconds since 1970.
    begun: u64,
    /// When it was last heard of.
    seen: u64,
}

/// What stands for an endpoint.
pub fn mark(id: &WorkloadUid) -> u64 {
    hash_with(id.as_str().as_bytes(), MARKS)
}

/// The session of a request, if there is one that has not ended. `now` is seconds since 1970.
pub fn read(session: &Session, headers: &HeaderMap, now: u64) -> Option<Token> {
    let text = match &session.carrier {
        SessionCarrier::Cookie { name, .. } => cookie(headers, name)?,
        SessionCarrier::Header(name) => headers.get(&name.0)?.to_str().ok()?,
    };
    let mut parts = text.split('-').map(number);
    let (mark, begun, seen) = (parts.next()??, parts.next()??, parts.next()??);
    let lasts = |since: u64, limit: Option<Duration>| {
        since <= now.saturating_add(SKEW_SECONDS_MAX)
            && limit.is_none_or(|limit| now.saturating_sub(since) < limit.as_secs())
    };
    let alive = parts.next().is_none() && lasts(begun, session.absolute) && lasts(seen, session.idle);
    alive.then_some(Token { mark, begun, seen })
}

/// What the response has to carry: nothing if the client has it already. `before` is what [`read`] found.
pub fn write(
    session: &Session,
    before: Option<&Token>,
    endpoint: &WorkloadUid,
    now: u64,
) -> Option<(HeaderName, HeaderValue)> {
    let mark = mark(endpoint);
    // At another endpoint it is another session.
    let before = before.filter(|before| before.mark == mark);
    let is_news = before.is_none_or(|before| session.idle.is_some() && before.seen != now);
    if !is_news {
        return None;
    }
    let begun = before.map_or(now, |before| before.begun);
    let text = format!("{mark:016x}-{begun:x}-{now:x}");
    match &session.carrier {
        SessionCarrier::Header(name) => Some((name.0.clone(), HeaderValue::try_from(text).ok()?)),
        SessionCarrier::Cookie { name, path, permanent } => {
            let left =
                |absolute: Duration| absolute.saturating_sub(Duration::from_secs(now.saturating_sub(begun)));
            let lives = session.absolute.filter(|_| *permanent).map(left);
            Some((header::SET_COOKIE, set_cookie(name, &text, Some(path), lives, &[])?))
        }
    }
}

fn number(text: &str) -> Option<u64> {
    // `from_str_radix` would take a sign.
    (!text.starts_with('+')).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::Name;

    const START: u64 = 0x6000_0000;

    fn pod(name: &str) -> WorkloadUid {
        WorkloadUid::new(format!("Kubernetes//Pod/shop/{name}"))
    }

    fn session(carrier: SessionCarrier) -> Session {
        let seconds = |count| Some(Duration::from_secs(count));
        Session { carrier, absolute: seconds(600), idle: seconds(60) }
    }

    fn by_header() -> Session {
        session(SessionCarrier::Header(Name(HeaderName::from_static("x-session"))))
    }

    fn sent(value: &str) -> HeaderMap {
        [(HeaderName::from_static("x-session"), HeaderValue::try_from(value).expect("a value"))]
            .into_iter()
            .collect()
    }

    #[test]
    fn what_is_written_is_read_until_it_ends() {
        let session = by_header();
        let (name, value) = write(&session, None, &pod("a"), START).expect("a new session");
        assert_eq!(name, "x-session");
        let headers: HeaderMap = [(name, value)].into_iter().collect();
        for (after, want) in [(0, true), (59, true), (60, false), (601, false)] {
            let token = read(&session, &headers, START + after);
            assert_eq!(token.map(|token| token.mark), want.then(|| mark(&pod("a"))), "{after} s");
        }
        // Heard of every half minute, it ends after ten all the same.
        let mut headers = headers;
        for after in (30..=660).step_by(30) {
            let token = read(&session, &headers, START + after);
            assert_eq!(token.is_some(), after < 600, "{after} s");
            let Some(token) = token else { break };
            headers = [write(&session, Some(&token), &pod("a"), START + after).expect("seen again")]
                .into_iter()
                .collect();
        }
    }

    #[test]
    fn what_is_no_token_is_no_session() {
        let session = by_header();
        for value in [
            "",
            "x",
            "1",
            "1-2",
            "10.0.0.1",
            "1-60000000-60000000-1",
            "+1-60000000-60000000",
            "1-7fffffff-7fffffff",
        ] {
            assert_eq!(read(&session, &sent(value), START), None, "{value:?}");
        }
        assert!(read(&session, &sent("1-60000000-60000000"), START).is_some());
    }

    #[test]
    fn a_client_is_told_only_news() {
        let patient = Session { idle: None, ..by_header() };
        let token = Token { mark: mark(&pod("a")), begun: START, seen: START };
        assert_eq!(write(&patient, Some(&token), &pod("a"), START + 5), None);
        assert!(write(&patient, Some(&token), &pod("b"), START + 5).is_some(), "it had to go elsewhere");
        assert!(write(&by_header(), Some(&token), &pod("a"), START + 5).is_some(), "idle time begins again");
    }

    #[test]
    fn cookies() {
        let cookie =
            |permanent| session(SessionCarrier::Cookie { name: "s".into(), path: "/a".into(), permanent });
        let token = Token { mark: mark(&pod("a")), begun: START - 100, seen: START - 1 };
        for (permanent, want) in [(true, "; Max-Age=500; Path=/a; HttpOnly"), (false, "; Path=/a; HttpOnly")]
        {
            let (name, value) = write(&cookie(permanent), Some(&token), &pod("a"), START).expect("news");
            let text = value.to_str().expect("text");
            assert!(name == "set-cookie" && text.starts_with("s=") && text.ends_with(want), "{text}");
            assert!(!text.contains("shop"), "{text} tells a name");
            let back = text.split(';').next().expect("a pair").to_owned();
            let headers: HeaderMap =
                [(header::COOKIE, HeaderValue::try_from(back).expect("a value"))].into_iter().collect();
            assert_eq!(
                read(&cookie(permanent), &headers, START).map(|token| token.mark),
                Some(mark(&pod("a")))
            );
        }
    }
}
