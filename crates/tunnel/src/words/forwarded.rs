//! The `forwarded` header (RFC 7239): for whom a waypoint or gateway connects. It only reads; whether the sender
//! may say so is decided elsewhere.

use super::authority::parse_host;
use super::parse_port;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What the immediate sender says of the connection that it passes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Forwarded {
    /// The client's address; port zero if the sender tells none, as who carries requests of several connections on one
    /// does not. `None` if the sender does not tell the address.
    pub client: Option<SocketAddr>,
    /// The host that the client asked for.
    pub host: Option<String>,
}

/// Longest header that is read. One element takes some 330 bytes at most; a chain of several proxies still fits.
pub const FORWARDED_BYTES_MAX: usize = 2_048;

/// Why a text is no `forwarded` header. A header that cannot be read is never taken for one that is not there:
/// policy would judge the sender's address instead of the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadForwarded {
    /// Longer than [`FORWARDED_BYTES_MAX`].
    #[error("the forwarded header is longer than {FORWARDED_BYTES_MAX} bytes")]
    TooLong,
    /// No list of `name=value` pairs.
    #[error("the forwarded header is no list of name=value pairs")]
    Shape,
    /// A parameter stands twice in one element (RFC 7239 §4).
    #[error("the forwarded header names a parameter twice")]
    Twice,
    /// `for` holds what is no node (RFC 7239 §6).
    #[error("the forwarded header's for= holds no node")]
    For,
    /// `host` holds what is no host.
    #[error("the forwarded header's host= holds no host")]
    Host,
}

impl FromStr for Forwarded {
    type Err = BadForwarded;

    /// Reads the header. Of several elements the last counts: each proxy appends its own (RFC 7239 §4), so that one
    /// is the sender's word, and the others are hearsay.
    fn from_str(text: &str) -> Result<Self, BadForwarded> {
        if text.len() > FORWARDED_BYTES_MAX {
            return Err(BadForwarded::TooLong);
        }
        let mut rest = text;
        loop {
            let (element, next) = read_element(rest)?;
            match next {
                Some(next) => rest = next,
                None => return Ok(element),
            }
        }
    }
}

impl fmt::Display for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            Some(client) if client.port() == 0 => match client.ip() {
                IpAddr::V4(ip) => write!(f, "for=\"{ip}\"")?,
                IpAddr::V6(ip) => write!(f, "for=\"[{ip}]\"")?,
            },
            Some(client) => write!(f, "for=\"{client}\"")?,
            None => f.write_str("for=unknown")?,
        }
        match &self.host {
            Some(host) => write!(f, ";host=\"{host}\""),
            None => Ok(()),
        }
    }
}

/// Reads one element, and returns what follows its comma.
fn read_element(mut rest: &str) -> Result<(Forwarded, Option<&str>), BadForwarded> {
    let mut element = Forwarded::default();
    let (mut has_client, mut has_host) = (false, false);
    loop {
        let (name, value, next) = read_pair(rest)?;
        if name.eq_ignore_ascii_case("for") {
            if std::mem::replace(&mut has_client, true) {
                return Err(BadForwarded::Twice);
            }
            element.client = parse_node(&value).ok_or(BadForwarded::For)?;
        } else if name.eq_ignore_ascii_case("host") {
            if std::mem::replace(&mut has_host, true) {
                return Err(BadForwarded::Twice);
            }
            element.host = Some(parse_host_and_port(&value).ok_or(BadForwarded::Host)?);
        }
        let next = next.trim_start_matches([' ', '\t']);
        if let Some(next) = next.strip_prefix(';') {
            rest = next;
        } else if let Some(next) = next.strip_prefix(',') {
            return Ok((element, Some(next)));
        } else if next.is_empty() {
            return Ok((element, None));
        } else {
            return Err(BadForwarded::Shape);
        }
    }
}

/// Reads `name=value`; the value may be quoted.
fn read_pair(text: &str) -> Result<(&str, String, &str), BadForwarded> {
    let text = text.trim_start_matches([' ', '\t']);
    let (name, rest) = text.split_once('=').ok_or(BadForwarded::Shape)?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(BadForwarded::Shape);
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        // Colons and brackets want quotes (RFC 7239 §4); not every sender knows, and there is no other reading.
        let is_bare = |byte| is_token(byte) || matches!(byte, b':' | b'[' | b']');
        let length = rest.bytes().position(|byte| !is_bare(byte)).unwrap_or(rest.len());
        let (value, next) = rest.split_at(length);
        return if value.is_empty() { Err(BadForwarded::Shape) } else { Ok((name, value.to_owned(), next)) };
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((name, value, &quoted[at + 1..])),
            '\\' => value.push(characters.next().ok_or(BadForwarded::Shape)?.1),
            other => value.push(other),
        }
    }
    Err(BadForwarded::Shape)
}

/// A character of a token (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A node (RFC 7239 §6), with port zero if it tells none. `Some(None)` if it is well formed and tells no address.
fn parse_node(text: &str) -> Option<Option<SocketAddr>> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, port) = rest.split_once(']')?;
        let ip = IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?).to_canonical();
        let port = match port.strip_prefix(':') {
            Some(port) => parse_node_port(port)?,
            None => port.is_empty().then_some(None)?,
        };
        return Some(Some(SocketAddr::new(ip, port.unwrap_or(0))));
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, parse_node_port(port)?),
        None => (text, None),
    };
    if let Ok(ip) = name.parse() {
        return Some(Some(SocketAddr::new(IpAddr::V4(ip), port.unwrap_or(0))));
    }
    (name == "unknown" || is_obfuscated(name)).then_some(None)
}

fn parse_node_port(text: &str) -> Option<Option<u16>> {
    if is_obfuscated(text) { Some(None) } else { parse_port(text).map(Some) }
}

/// A name that hides what it stands for (RFC 7239 §6.3).
fn is_obfuscated(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_inner))
}

/// A host as the `Host` header writes it: the port may be left out.
fn parse_host_and_port(text: &str) -> Option<String> {
    if text.parse::<SocketAddr>().is_ok() || text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) {
        return Some(text.to_owned());
    }
    if let Some(ip) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return ip.parse::<Ipv6Addr>().ok().map(|_| text.to_owned());
    }
    match text.split_once(':') {
        Some((host, port)) => Some(format!("{}:{}", parse_host(host)?, parse_port(port)?)),
        None => parse_host(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_clients_or_a_reason() {
        let long = format!("for=\"10.0.0.1:1\";x={}", "a".repeat(FORWARDED_BYTES_MAX));
        let client = |addr: &str| Ok((Some(addr.parse().unwrap()), None));
        for (case, text, want) in [
            ("IPv4", r#"for="10.0.0.1:4000""#, client("10.0.0.1:4000")),
            ("IPv6", r#"for="[fd00::1]:4000""#, client("[fd00::1]:4000")),
            ("mapped IPv4", r#"for="[::ffff:10.0.0.1]:4000""#, client("10.0.0.1:4000")),
            (
                "with a host",
                r#"For="10.0.0.1:4000"; Host=Web.Shop:80"#,
                Ok((Some("10.0.0.1:4000".parse().unwrap()), Some("web.shop:80"))),
            ),
            (
                "the last element is the sender's",
                r#"for="1.1.1.1:1", for="10.0.0.1:4000""#,
                client("10.0.0.1:4000"),
            ),
            ("an escaped quote", r#"by="a\"b";for="10.0.0.1:4000""#, client("10.0.0.1:4000")),
            ("no quotes", "for=[fd00::1]:4000", client("[fd00::1]:4000")),
            ("no port", "for=10.0.0.1", client("10.0.0.1:0")),
            ("IPv6, no port", r#"for="[fd00::1]""#, client("[fd00::1]:0")),
            ("an obfuscated port", r#"for="10.0.0.1:_p""#, client("10.0.0.1:0")),
            ("unknown", "for=unknown", Ok((None, None))),
            ("obfuscated", r#"for="_gazonk:_p""#, Ok((None, None))),
            ("no for", "proto=https", Ok((None, None))),
            ("host alone", "host=web", Ok((None, Some("web")))),
            ("nothing", "", Err(BadForwarded::Shape)),
            ("no value", "for=", Err(BadForwarded::Shape)),
            ("no name", "=a", Err(BadForwarded::Shape)),
            ("quote left open", r#"for="10.0.0.1:4000"#, Err(BadForwarded::Shape)),
            ("quote and more", r#"for="10.0.0.1:1"x"#, Err(BadForwarded::Shape)),
            ("an empty element", r#"for="10.0.0.1:1","#, Err(BadForwarded::Shape)),
            ("twice", r#"for="10.0.0.1:1";for="10.0.0.2:1""#, Err(BadForwarded::Twice)),
            ("no address", r#"for="web:80""#, Err(BadForwarded::For)),
            ("port zero", r#"for="10.0.0.1:0""#, Err(BadForwarded::For)),
            ("bracket left open", r#"for="[fd00::1""#, Err(BadForwarded::For)),
            ("no host", r#"host="a b""#, Err(BadForwarded::Host)),
            ("too long", &long, Err(BadForwarded::TooLong)),
        ] {
            let got = text.parse::<Forwarded>();
            let want = want
                .map(|(client, host): (_, Option<&str>)| Forwarded { client, host: host.map(str::to_owned) });
            assert_eq!(got, want, "{case}");
            if let Ok(forwarded) = got {
                assert_eq!(forwarded.to_string().parse(), Ok(forwarded), "{case}: printed and read again");
            }
        }
    }
}
