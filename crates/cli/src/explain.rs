//! `weft policy explain`: which policy decides, and why. The proxy of the destination's node is asked, because that is
//! the one that decides.

use crate::answers;
use crate::ask::{self, AskError};
use crate::parties::{self, PartyError};
use crate::places::Place;
use crate::words::cell;
use serde_json::Value;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Where a connection would go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `<namespace>/<pod>`, or an address.
    pub host: String,
    /// The application's port.
    pub port: Option<u16>,
}

/// The question cannot be asked, or was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// A word that is neither a name nor an address.
    #[error("{text:?} is neither a pod's name nor an address")]
    Name {
        /// What was typed.
        text: String,
    },
    /// It is not clear who is meant.
    #[error(transparent)]
    Party(#[from] PartyError),
    /// An address that is no workload's: nobody there asks a policy.
    #[error("no workload of the mesh has the address {ip}, so no policy of the mesh decides there")]
    Outside {
        /// The address.
        ip: String,
    },
    /// The same of a pod that discovery knows.
    #[error("{pod} is outside the mesh: it has no proxy, so no policy of the mesh decides there")]
    NotInTheMesh {
        /// The pod.
        pod: String,
    },
    /// The proxy did not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl ExplainError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Name { .. } => "for example: weft policy explain shop/client shop/reviews-v1:8080",
            Self::Party(error) => error.advice(),
            Self::Outside { .. } | Self::Ask(AskError::Refused { .. }) => {
                "`weft workloads` lists what the proxy knows"
            }
            Self::NotInTheMesh { .. } => {
                "the label weft.dev/mesh: enabled, on it or its namespace, takes it in"
            }
            Self::Ask(error) => error.advice(),
        }
    }
}

/// A destination that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("a destination is NAMESPACE/POD or an address, and may end with :PORT")]
pub struct BadDestination;

impl FromStr for Destination {
    type Err = BadDestination;

    fn from_str(text: &str) -> Result<Self, BadDestination> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Ok(Self { host: addr.ip().to_string(), port: Some(addr.port()) });
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self { host: ip.to_string(), port: None });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_no_port| BadDestination)?)),
            None => (text, None),
        };
        if is_name(host) { Ok(Self { host: host.to_owned(), port }) } else { Err(BadDestination) }
    }
}

/// `<name>` or `<namespace>/<name>` in the letters that Kubernetes allows: nothing in it needs quoting in a URL.
fn is_name(text: &str) -> bool {
    let name = |part: &str| {
        !part.is_empty() && part.chars().all(|one| one.is_ascii_alphanumeric() || one == '-' || one == '.')
    };
    match text.split_once('/') {
        Some((namespace, pod)) => name(namespace) && name(pod),
        None => name(text),
    }
}

/// Asks.
///
/// # Errors
/// If the source is no name, or without an answer.
pub async fn ask(places: &[Place], source: &str, destination: &Destination) -> Result<Value, ExplainError> {
    if !is_name(source) && source.parse::<IpAddr>().is_err() {
        return Err(ExplainError::Name { text: source.to_owned() });
    }
    let workloads = anyone(places, "/workloads").await?;
    let services = anyone(places, "/services").await?;
    let from = parties::resolve(source, &workloads, &services)?;
    let to = parties::resolve(&destination.host, &workloads, &services)?;
    if to.parse::<IpAddr>().is_ok() {
        return Err(ExplainError::Outside { ip: to });
    }
    let row = workloads.as_array().into_iter().flatten().find(|row| is_host(row, &to));
    if row.is_some_and(|row| row["protocol"] == "plain") {
        return Err(ExplainError::NotInTheMesh { pod: to });
    }
    let (src, dst) = (asked(source, &from), asked(&destination.host, &to));
    let port = destination.port.unwrap_or(0);
    let path = format!("/explain?src={src}&dst={dst}&port={port}");
    match deciding(places, &workloads, &to).await {
        Some(place) => Ok(ask::get(&place.proxy, &path).await?),
        None => Ok(anyone(places, &path).await?),
    }
}

/// An address is asked about as it was typed: rules may name addresses, and a pod may have several.
fn asked(typed: &str, resolved: &str) -> String {
    typed.parse::<IpAddr>().map_or_else(|_no_address| resolved.to_owned(), |ip| ip.to_string())
}

/// What the first says that answers. Who was silent before changes nothing: all know all policies.
async fn anyone(places: &[Place], path: &str) -> Result<Value, AskError> {
    let mut answers = answers::first(places, path).await;
    match (answers.value, answers.silent.pop()) {
        (Some(value), _) => Ok(value),
        (None, last) => Err(last.expect("there is at least one place, and it was silent")),
    }
}

/// The place whose proxy decides; none if that is not among them, or does not answer: all know all policies.
async fn deciding<'a>(places: &'a [Place], workloads: &Value, host: &str) -> Option<&'a Place> {
    let row = workloads.as_array().into_iter().flatten().find(|row| is_host(row, host))?;
    let node = row["node"].as_str()?;
    for place in places {
        if place.node().await.is_ok_and(|name| name == node) {
            return Some(place);
        }
    }
    None
}

fn is_host(row: &Value, host: &str) -> bool {
    let name = format!("{}/{}", cell(&row["namespace"]), cell(&row["name"]));
    name == host || row["addresses"].as_array().into_iter().flatten().any(|address| address == host)
}

/// The explanation in sentences.
pub fn render(explanation: &Value) -> String {
    let text = |name: &str| cell(&explanation[name]);
    let port = explanation["port"].as_u64().unwrap_or(0);
    let to = if port == 0 { text("destination") } else { format!("{}:{port}", text("destination")) };
    let identity = match &explanation["source_identity"] {
        Value::String(identity) => identity.clone(),
        _ => "no identity: it is outside the mesh".to_owned(),
    };
    let mut out = format!("{} ({identity}) to {to}\n{}: {}\n", text("source"), text("verdict"), text("why"));
    if text("why").contains("istio_converted_static_strict")
        || text("why").contains("converted_peer_authentication_")
    {
        out += "that is PeerAuthentication: here plain text from outside the mesh is refused\n";
    }
    match explanation["policies"].as_array() {
        Some(policies) if !policies.is_empty() => {
            let names: Vec<String> = policies.iter().map(cell).collect();
            let _never = writeln!(out, "policies that apply to the destination: {}", names.join(", "));
        }
        _ => out += "no policy applies to the destination\n",
    }
    if let Value::String(dry_run) = &explanation["dry_run"] {
        let _never = writeln!(out, "with dry-run policies enforced: {dry_run}");
    }
    if port == 0 {
        out += "no port was given: rules that name ports match nothing\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn destinations_are_read() {
        for (text, want) in [
            ("shop/reviews-v1", Some(("shop/reviews-v1", None))),
            ("shop/reviews-v1:8080", Some(("shop/reviews-v1", Some(8080)))),
            ("10.0.0.1", Some(("10.0.0.1", None))),
            ("10.0.0.1:80", Some(("10.0.0.1", Some(80)))),
            ("fd00::1", Some(("fd00::1", None))),
            ("[fd00::1]:80", Some(("fd00::1", Some(80)))),
            ("reviews", Some(("reviews", None))),
            ("reviews:80", Some(("reviews", Some(80)))),
            ("a b", None),
            ("shop/", None),
            ("shop/a:http", None),
            ("shop/a?x=y", None),
            ("shop/a:70000", None),
        ] {
            let read = text.parse::<Destination>().ok();
            let want = want.map(|(host, port)| Destination { host: host.to_owned(), port });
            assert_eq!(read, want, "{text}");
        }
    }

    #[test]
    fn explanations_are_told() {
        let allowed = json!({"source": "shop/client", "source_identity": "spiffe://td/ns/shop/sa/client",
            "destination": "shop/reviews", "port": 80, "verdict": "allowed", "why": "allowed by policy shop/p",
            "dry_run": null, "policies": ["shop/p"]});
        assert_eq!(
            render(&allowed),
            "shop/client (spiffe://td/ns/shop/sa/client) to shop/reviews:80\nallowed: allowed by policy shop/p\n\
             policies that apply to the destination: shop/p\n"
        );
        let denied = json!({"source": "10.9.9.9", "source_identity": null, "destination": "shop/reviews", "port": 0,
            "verdict": "denied", "why": "no ALLOW policy matches", "dry_run": "denied by policy shop/q",
            "policies": []});
        assert_eq!(
            render(&denied),
            "10.9.9.9 (no identity: it is outside the mesh) to shop/reviews\ndenied: no ALLOW policy matches\n\
             no policy applies to the destination\nwith dry-run policies enforced: denied by policy shop/q\n\
             no port was given: rules that name ports match nothing\n"
        );
    }
}
