//! The texts in policies: principals, namespaces, service accounts, address ranges, ports.

use crate::config::{IndexConfig, LOCAL_TRUST_DOMAIN};
use crate::name::Name;
use ipnet::IpNet;
use std::net::IpAddr;
use weft_core::policy::{ServiceAccountMatch, StringMatch};

/// Reads `*`, `prefix*`, `*suffix` or a whole text.
///
/// A star anywhere else would make a text that nothing equals: harmless in ALLOW, a hole in DENY. So it is
/// refused.
pub(crate) fn string_match(text: &str) -> Result<StringMatch, &'static str> {
    let matched = match (text.strip_prefix('*'), text.strip_suffix('*')) {
        _ if text.is_empty() => return Err("is empty"),
        (Some(""), _) => return Ok(StringMatch::Presence),
        (Some(rest), _) => (rest, StringMatch::Suffix(rest.into())),
        (None, Some(rest)) => (rest, StringMatch::Prefix(rest.into())),
        (None, None) => (text, StringMatch::Exact(text.into())),
    };
    let (rest, matched) = matched;
    if rest.contains('*') { Err("may have one * only, at its beginning or its end") } else { Ok(matched) }
}

/// Reads a principal. One of the mesh's own trust domain (or `cluster.local`, or an alias) stands for all of
/// these.
pub(crate) fn principals(text: &str, config: &IndexConfig) -> Result<Vec<StringMatch>, &'static str> {
    let text = text.strip_prefix("spiffe://").unwrap_or(text);
    let read = string_match(text)?;
    let domains = || {
        let aliases = config.trust_domain_aliases.iter().map(|alias| &**alias);
        std::iter::once(&*config.trust_domain).chain(aliases)
    };
    let (own, wrap): (&str, fn(String) -> StringMatch) = match &read {
        StringMatch::Exact(whole) => (whole, |text| StringMatch::Exact(text.into())),
        StringMatch::Prefix(start) => (start, |text| StringMatch::Prefix(text.into())),
        StringMatch::Suffix(_) | StringMatch::Presence => return Ok(vec![read]),
    };
    let Some((domain, path)) = own.split_once('/') else {
        return Ok(vec![read]);
    };
    if domain != LOCAL_TRUST_DOMAIN && !domains().any(|one| one == domain) {
        return Ok(vec![read]);
    }
    Ok(domains().map(|domain| wrap(format!("{domain}/{path}"))).collect())
}

/// Reads `<name>` (of the policy's own namespace) or `<namespace>/<name>`.
pub(crate) fn service_account(text: &str, policy: &Name) -> Result<ServiceAccountMatch, &'static str> {
    let (namespace, account) = text.split_once('/').unwrap_or((&policy.namespace, text));
    if namespace.is_empty() || account.is_empty() {
        return Err("is neither a service account nor <namespace>/<service account>");
    }
    if text.contains('*') || account.contains('/') {
        return Err("may hold no * and one / only");
    }
    Ok(ServiceAccountMatch { namespace: namespace.into(), service_account: account.into() })
}

/// Reads an address or a range of addresses.
pub(crate) fn ip_block(text: &str) -> Result<IpNet, &'static str> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let net = text.parse::<IpNet>().map_err(|_| "is neither an address nor a range such as 10.0.0.0/8")?;
    Ok(canonical(net).trunc())
}

/// A range of IPv4 that is written as one of IPv6 (RFC 4291 §2.5.5.2): connections are judged by the address itself.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(wide) = net else { return net };
    let mapped = wide.addr().to_ipv4_mapped().zip(wide.prefix_len().checked_sub(96));
    mapped.and_then(|(ip, length)| IpNet::new(ip.into(), length).ok()).unwrap_or(net)
}

/// Reads a port.
pub(crate) fn port(text: &str) -> Result<u16, &'static str> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err("is no port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_at_one_end() {
        for (text, want) in [
            ("*", Ok(StringMatch::Presence)),
            ("shop", Ok(StringMatch::Exact("shop".into()))),
            ("shop-*", Ok(StringMatch::Prefix("shop-".into()))),
            ("*-shop", Ok(StringMatch::Suffix("-shop".into()))),
            ("*shop*", Err("may have one * only, at its beginning or its end")),
            ("sh*p", Err("may have one * only, at its beginning or its end")),
            ("", Err("is empty")),
        ] {
            assert_eq!(string_match(text), want, "{text:?}");
        }
    }

    #[test]
    fn cluster_local_means_the_meshs_own_domain_and_its_aliases() {
        let config = IndexConfig {
            trust_domain: "example.org".into(),
            trust_domain_aliases: vec!["old.org".into()],
            ..IndexConfig::default()
        };
        let exact = |text: &str| StringMatch::Exact(text.into());
        for (case, text, want) in [
            (
                "local",
                "cluster.local/ns/a/sa/b",
                vec![exact("example.org/ns/a/sa/b"), exact("old.org/ns/a/sa/b")],
            ),
            (
                "own",
                "example.org/ns/a/sa/b",
                vec![exact("example.org/ns/a/sa/b"), exact("old.org/ns/a/sa/b")],
            ),
            ("alias", "old.org/ns/a/sa/b", vec![exact("example.org/ns/a/sa/b"), exact("old.org/ns/a/sa/b")]),
            ("with scheme", "spiffe://foreign.org/ns/a/sa/b", vec![exact("foreign.org/ns/a/sa/b")]),
            (
                "prefix",
                "cluster.local/ns/a/*",
                vec![
                    StringMatch::Prefix("example.org/ns/a/".into()),
                    StringMatch::Prefix("old.org/ns/a/".into()),
                ],
            ),
            ("suffix", "*/sa/b", vec![StringMatch::Suffix("/sa/b".into())]),
            ("any", "*", vec![StringMatch::Presence]),
        ] {
            assert_eq!(principals(text, &config), Ok(want), "{case}");
        }
    }

    #[test]
    fn service_accounts_addresses_and_ports() {
        let policy = Name::new("shop", "p");
        let account = |namespace: &str, name: &str| ServiceAccountMatch {
            namespace: namespace.into(),
            service_account: name.into(),
        };
        assert_eq!(service_account("web", &policy), Ok(account("shop", "web")));
        assert_eq!(service_account("bank/web", &policy), Ok(account("bank", "web")));
        for bad in ["", "/", "bank/", "/web", "*", "bank/*", "a/b/c"] {
            assert!(service_account(bad, &policy).is_err(), "{bad:?}");
        }
        assert_eq!(ip_block("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(ip_block("10.0.0.1/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(ip_block("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert_eq!(ip_block("::ffff:10.1.2.3/104").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(ip_block("::/0").unwrap().to_string(), "::/0");
        assert!(ip_block("10.0.0").is_err() && ip_block("10.0.0.0/33").is_err());
        assert_eq!((port("80"), port("0").is_err(), port("http").is_err()), (Ok(80), true, true));
    }
}
