//! What makes requests the same to a balancer that hashes.

use super::hash::{hash, mix};
use crate::destination::HashKey;
use http::{HeaderMap, HeaderValue, header};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use weft_core::balance::Chance;

/// Of a request: its key, and what its response has to carry for the next one to have the same.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Keyed {
    /// `None`: it goes anywhere.
    pub key: Option<u64>,
    /// A `set-cookie` for the response.
    pub set_cookie: Option<HeaderValue>,
}

/// What a key is taken from.
#[derive(Debug, Clone, Copy)]
pub struct KeySource<'a> {
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The host that it names, in its target or as the header `host`; empty if it names none.
    pub authority: &'a str,
    /// Its query, without the question mark.
    pub query: &'a str,
    /// The client's address.
    pub client: IpAddr,
}

/// The key of a request.
pub fn of(how: &HashKey, from: KeySource<'_>, chance: &mut impl Chance) -> Keyed {
    let found = |text: Option<&[u8]>| Keyed { key: text.map(hash), set_cookie: None };
    match how {
        // Wherever it stands: HTTP/2 has it in the target (RFC 9113 §8.3.1).
        HashKey::Header(name) if **name == *header::HOST.as_str() => {
            found(Some(from.authority.as_bytes()).filter(|host| !host.is_empty()))
        }
        HashKey::Header(name) => {
            let values: Vec<&[u8]> =
                from.headers.get_all(&**name).iter().map(HeaderValue::as_bytes).collect();
            // Several lines are one list (RFC 9110 §5.3).
            found((!values.is_empty()).then(|| values.join(&b","[..])).as_deref())
        }
        HashKey::Source => match from.client.to_canonical() {
            IpAddr::V4(ip) => found(Some(&ip.octets())),
            IpAddr::V6(ip) => found(Some(&ip.octets())),
        },
        HashKey::Query(name) => {
            let mut pairs = from.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            found(pairs.find(|(one, _)| **one == **name).map(|(_, value)| value.as_bytes()))
        }
        HashKey::Cookie { name, path, ttl, attributes } => match (cookie(from.headers, name), ttl) {
            (Some(value), _) => found(Some(value.as_bytes())),
            (None, None) => Keyed::default(),
            (None, Some(ttl)) => {
                // Only for clients to differ: whoever guesses one gets the same endpoint, and nothing else.
                let value = format!("{:016x}", mix(chance.below(u64::MAX)));
                let lives = (!ttl.is_zero()).then_some(*ttl);
                let set_cookie = set_cookie(name, &value, path.as_deref(), lives, attributes);
                Keyed { key: Some(hash(value.as_bytes())), set_cookie }
            }
        },
    }
}

/// The value of a request's cookie (RFC 6265 §4.2.1): the first of the name.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let text = |line: &'a HeaderValue| std::str::from_utf8(line.as_bytes()).ok();
    let lines = headers.get_all(header::COOKIE).iter().filter_map(text);
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(one, _)| *one == name).map(|(_, value)| value)
}

/// A `set-cookie` (RFC 6265 §4.1.1) that scripts do not see. `None` if the name, the path or an attribute may not stand in one.
pub(super) fn set_cookie(
    name: &str,
    value: &str,
    path: Option<&str>,
    lives: Option<Duration>,
    attributes: &[Arc<str>],
) -> Option<HeaderValue> {
    let ends = |text: &str| text.contains([';', ',']);
    let ended = path.is_some_and(ends) || attributes.iter().any(|one| ends(one));
    if name.is_empty() || ends(name) || name.contains(['=', ' ']) || ended {
        return None;
    }
    let mut text = format!("{name}={value}");
    // Writing to a text does not fail.
    let _ = match lives {
        Some(lives) => write!(text, "; Max-Age={}", lives.as_secs()),
        None => Ok(()),
    };
    let _ = match path {
        Some(path) => write!(text, "; Path={path}"),
        None => Ok(()),
    };
    text.push_str("; HttpOnly");
    for attribute in attributes {
        text.push_str("; ");
        text.push_str(attribute);
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie_key(ttl: Option<u64>) -> HashKey {
        let (name, path) = ("who".into(), Some("/shop".into()));
        let attributes = vec!["SameSite=Lax".into(), "Secure".into()];
        HashKey::Cookie { name, path, ttl: ttl.map(Duration::from_secs), attributes }
    }

    #[test]
    fn what_the_key_is_of() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-user", "a"), ("x-user", "b"), ("cookie", "x=1; who=me"), ("cookie", "who=you")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        let client = "::ffff:10.0.0.1".parse().expect("an address");
        let from = KeySource { headers: &headers, authority: "web:80", query: "page=2&q&page=3", client };
        for (how, want) in [
            (HashKey::Header("x-user".into()), Some(&b"a,b"[..])),
            (HashKey::Header("x-none".into()), None),
            (HashKey::Header("host".into()), Some(b"web:80")),
            (HashKey::Source, Some(&[10, 0, 0, 1])),
            (HashKey::Query("page".into()), Some(b"2")),
            (HashKey::Query("q".into()), Some(b"")),
            (HashKey::Query("none".into()), None),
            (cookie_key(Some(9)), Some(b"me")),
        ] {
            let got = of(&how, from, &mut |_| 0);
            assert_eq!(got, Keyed { key: want.map(hash), set_cookie: None }, "{how:?}");
        }
    }

    #[test]
    fn a_cookie_that_is_not_there_is_set_where_it_says_so() {
        let headers = HeaderMap::new();
        let client = "10.0.0.1".parse().expect("an address");
        let from = KeySource { headers: &headers, authority: "", query: "", client };
        assert_eq!(of(&HashKey::Header("host".into()), from, &mut |_| 0), Keyed::default(), "no host");
        for (ttl, want) in [
            (None, None),
            (Some(0), Some("who=0000000000000000; Path=/shop; HttpOnly; SameSite=Lax; Secure")),
            (Some(90), Some("who=0000000000000000; Max-Age=90; Path=/shop; HttpOnly; SameSite=Lax; Secure")),
        ] {
            let got = of(&cookie_key(ttl), from, &mut |_| 0);
            let text = got.set_cookie.as_ref().and_then(|value| value.to_str().ok());
            assert_eq!(text, want, "{ttl:?}");
            assert_eq!(
                got.key,
                want.map(|_| hash(b"0000000000000000")),
                "{ttl:?}: the next request has this key"
            );
        }
        assert_eq!(set_cookie("a;b", "1", None, None, &[]), None);
    }
}
