//! Hosts of policies, compared without regard to case (RFC 9110 §4.2.3).
//!
//! Istio compares what is written with the whole authority, so `shop.org` does not match `shop.org:8080`, nor `shop.org.`,
//! and warns that a DENY may be got around so. Here the reading counts that lets less through: what allows has to match
//! the authority as it stands, what denies also matches the host without its port and its last dot.

use weft_core::policy::StringMatch;

/// What a match leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards {
    /// It allows the request.
    Allowing,
    /// It denies it.
    Denying,
}

/// Whether some host of the first list is the authority's (or it is empty), and none of the second.
pub(super) fn holds(
    hosts: &[StringMatch],
    not_hosts: &[StringMatch],
    authority: &str,
    towards: Towards,
) -> bool {
    let as_it_stands = |host: &StringMatch| matches(host, authority);
    let anyhow = |host: &StringMatch| matches(host, authority) || matches(host, bare(authority));
    // What a `not` list matches is taken out of what the policy does.
    match towards {
        Towards::Allowing => {
            (hosts.is_empty() || hosts.iter().any(as_it_stands)) && !not_hosts.iter().any(anyhow)
        }
        Towards::Denying => {
            (hosts.is_empty() || hosts.iter().any(anyhow)) && !not_hosts.iter().any(as_it_stands)
        }
    }
}

fn matches(host: &StringMatch, text: &str) -> bool {
    let (text, bytes) = (text, text.as_bytes());
    match host {
        StringMatch::Exact(want) => want.eq_ignore_ascii_case(text),
        StringMatch::Prefix(want) => {
            bytes.get(..want.len()).is_some_and(|start| start.eq_ignore_ascii_case(want.as_bytes()))
        }
        StringMatch::Suffix(want) => bytes
            .len()
            .checked_sub(want.len())
            .is_some_and(|from| bytes[from..].eq_ignore_ascii_case(want.as_bytes())),
        StringMatch::Presence => !text.is_empty(),
    }
}

/// The host without its port and its last dot.
fn bare(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        // The colons of an IPv6 address are in brackets.
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::string_matches::read;
    use Towards::{Allowing, Denying};

    #[test]
    fn the_reading_that_lets_less_through() {
        for (host, authority, allowing, denying) in [
            ("shop.org", "shop.org", true, true),
            ("shop.org", "Shop.ORG", true, true),
            ("Shop.Org", "shop.org", true, true),
            ("shop.org", "shop.org:8080", false, true),
            ("shop.org", "shop.org.", false, true),
            ("shop.org", "shop.org.:80", false, true),
            ("shop.org", "ashop.org", false, false),
            ("shop.org:8080", "shop.org:8080", true, true),
            ("shop.org:8080", "shop.org:81", false, false),
            ("shop.org:8080", "shop.org", false, false),
            ("shop.org:*", "shop.org:81", true, true),
            ("shop.*", "SHOP.net", true, true),
            ("*.shop.org", "a.Shop.org", true, true),
            ("*.shop.org", "a.shop.org:80", false, true),
            ("*.shop.org", "shop.org", false, false),
            ("*", "x", true, true),
            ("*", "", false, false),
            ("[::1]", "[::1]:80", false, true),
            ("[::1]", "[::1]", true, true),
        ] {
            let one = [read(host).expect("a match")];
            assert_eq!(holds(&one, &[], authority, Allowing), allowing, "allow {host}: {authority}");
            assert_eq!(holds(&one, &[], authority, Denying), denying, "deny {host}: {authority}");
            assert_eq!(holds(&[], &one, authority, Denying), !allowing, "deny all but {host}: {authority}");
            assert_eq!(holds(&[], &one, authority, Allowing), !denying, "allow all but {host}: {authority}");
        }
    }
}
