//! Who is meant by a word that somebody has typed: a pod by its name, or an address. Pure.

use crate::words::cell;
use serde_json::Value;
use std::net::IpAddr;

/// Names that are suggested at most.
const SUGGESTIONS_MAX: usize = 5;

/// Nobody, or more than one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartyError {
    /// No such pod.
    #[error("the proxy knows no workload {text}{}", among(", but ", .similar))]
    Unknown {
        /// What was typed.
        text: String,
        /// Names that look like it.
        similar: Vec<String>,
    },
    /// A name without its namespace that several have.
    #[error("{text} may be{}", among(" ", .candidates))]
    Ambiguous {
        /// What was typed.
        text: String,
        /// Who has the name.
        candidates: Vec<String>,
    },
    /// A service is not somebody that policy is asked about.
    #[error("{text} is a service; policy is asked about its pods{}", among(": ", .pods))]
    Service {
        /// What was typed.
        text: String,
        /// Who serves it.
        pods: Vec<String>,
    },
}

impl PartyError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "`weft workloads` lists all that the proxy knows",
            Self::Ambiguous { .. } => "say which one, as NAMESPACE/POD",
            Self::Service { .. } => "name one of them; `weft workloads` lists all",
        }
    }
}

fn among(before: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("{before}{}", names.join(", ")) }
}

/// The pod that is meant, as `<namespace>/<name>`; an address that no workload has as it is.
///
/// # Errors
/// As [`PartyError`] says.
pub fn resolve(text: &str, workloads: &Value, services: &Value) -> Result<String, PartyError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return of_address(ip, text, workloads, services);
    }
    let named = |row: &&Value| full_name(row) == text || !text.contains('/') && row["name"] == text;
    let found: Vec<String> = rows(workloads).filter(named).map(full_name).collect();
    match found.as_slice() {
        [only] => return Ok(only.clone()),
        [] => {}
        _ => return Err(PartyError::Ambiguous { text: text.to_owned(), candidates: found }),
    }
    let is_named = |row: &&Value| {
        let short = cell(&row["hostname"]).split('.').next().unwrap_or_default().to_owned();
        format!("{}/{short}", cell(&row["namespace"])) == text || short == text || row["hostname"] == text
    };
    match rows(services).find(is_named) {
        Some(service) => Err(of_service(text, service, workloads)),
        None => Err(PartyError::Unknown { text: text.to_owned(), similar: similar(text, workloads) }),
    }
}

fn of_address(ip: IpAddr, text: &str, workloads: &Value, services: &Value) -> Result<String, PartyError> {
    let has = |row: &&Value| rows(&row["addresses"]).any(|address| *address == ip.to_string());
    match (rows(workloads).find(has), rows(services).find(has)) {
        (Some(workload), _) => Ok(full_name(workload)),
        (None, Some(service)) => Err(of_service(text, service, workloads)),
        (None, None) => Ok(ip.to_string()),
    }
}

fn of_service(text: &str, service: &Value, workloads: &Value) -> PartyError {
    let hostname = cell(&service["hostname"]);
    let serves = |row: &&Value| rows(&row["services"]).any(|one| cell(one).contains(&hostname));
    let pods = rows(workloads).filter(serves).map(full_name).take(SUGGESTIONS_MAX).collect();
    PartyError::Service { text: text.to_owned(), pods }
}

/// Those of the same name elsewhere, or that begin alike, or that share the namespace.
fn similar(text: &str, workloads: &Value) -> Vec<String> {
    let (namespace, name) = text.split_once('/').unwrap_or(("", text));
    let start: String = name.chars().take(3).collect();
    let alike = |row: &&Value| {
        let known = cell(&row["name"]);
        known == name || known.starts_with(&start) || row["namespace"] == namespace
    };
    rows(workloads).filter(alike).map(full_name).take(SUGGESTIONS_MAX).collect()
}

fn rows(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn full_name(row: &Value) -> String {
    format!("{}/{}", cell(&row["namespace"]), cell(&row["name"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_become_pods_or_say_why_not() {
        let service = "shop/reviews.shop.svc.cluster.local";
        let workloads = json!([
            {"namespace": "shop", "name": "client", "addresses": ["10.0.0.1"], "services": []},
            {"namespace": "shop", "name": "reviews-v1", "addresses": ["10.0.0.2"], "services": [service]},
            {"namespace": "lab", "name": "reviews-v1", "addresses": ["10.0.0.3", "fd00::3"], "services": []},
        ]);
        let services = json!([{"namespace": "shop", "hostname": "reviews.shop.svc.cluster.local",
            "addresses": ["10.96.0.1"]}]);
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let unknown = |similar: &[&str]| Err(("unknown", list(similar)));
        for (text, want) in [
            ("shop/client", Ok("shop/client")),
            ("client", Ok("shop/client")),
            ("10.0.0.2", Ok("shop/reviews-v1")),
            ("fd00::3", Ok("lab/reviews-v1")),
            ("192.0.2.1", Ok("192.0.2.1")),
            ("reviews-v1", Err(("ambiguous", list(&["shop/reviews-v1", "lab/reviews-v1"])))),
            ("shop/reviews", Err(("service", list(&["shop/reviews-v1"])))),
            ("reviews", Err(("service", list(&["shop/reviews-v1"])))),
            ("10.96.0.1", Err(("service", list(&["shop/reviews-v1"])))),
            ("lab/client", unknown(&["shop/client", "lab/reviews-v1"])),
            ("nobody", unknown(&[])),
        ] {
            let got = resolve(text, &workloads, &services);
            let got = got.map_err(|error| match error {
                PartyError::Unknown { similar, .. } => ("unknown", similar),
                PartyError::Ambiguous { candidates, .. } => ("ambiguous", candidates),
                PartyError::Service { pods, .. } => ("service", pods),
            });
            assert_eq!(got, want.map(str::to_owned), "{text}");
        }
    }
}
