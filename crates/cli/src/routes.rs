//! `weft routes`: what a service's requests meet, and what would become of one. A waypoint that stands before the service is
//! asked, because that is who decides.

use crate::ask::{self, AskError};
use crate::places::PlaceError;
use crate::words::cell;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;

/// A request that somebody might send.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// The service: its host name, NAMESPACE/NAME, or NAME.
    pub service: String,
    /// The method.
    pub method: String,
    /// The path, perhaps with a query.
    pub path: String,
    /// Headers, `NAME: VALUE`.
    pub headers: Vec<String>,
    /// The service's port, where it has several.
    pub port: Option<u16>,
    /// The client, as NAMESPACE/POD.
    pub from: Option<String>,
}

/// Nobody answers.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// No waypoint runs here.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The one that was asked last, of all.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl RoutesError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Place(error) => error.advice(),
            Self::Ask(error) if is_about_the_question(error) => {
                "`weft routes explain --help` says what a question looks like"
            }
            Self::Ask(AskError::Refused { .. }) => {
                "`weft waypoint status` says which services each waypoint stands before"
            }
            Self::Ask(error) => error.advice(),
        }
    }
}

impl Ask {
    /// Where a waypoint answers it.
    fn path(&self) -> String {
        let mut path = format!(
            "/explain?service={}&method={}&path={}",
            escaped(&self.service),
            escaped(&self.method),
            escaped(&self.path)
        );
        let mut add = |name: &str, value: &str| path += &format!("&{name}={}", escaped(value));
        self.headers.iter().for_each(|header| add("header", header));
        self.port.iter().for_each(|port| add("port", &port.to_string()));
        self.from.iter().for_each(|from| add("from", from));
        path
    }
}

/// RFC 3986 §2.1.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// What a service's requests meet, and who said nothing before somebody answered.
///
/// # Errors
/// If nobody answers.
pub async fn list(waypoints: &[PathBuf], service: &str) -> Result<Answer, RoutesError> {
    anyone(waypoints, &format!("/routes?service={}", escaped(service))).await
}

/// What would become of a request, and who said nothing before somebody answered.
///
/// # Errors
/// If nobody answers.
pub async fn explain(waypoints: &[PathBuf], asked: &Ask) -> Result<Answer, RoutesError> {
    anyone(waypoints, &asked.path()).await
}

/// What somebody said, and who was silent.
pub type Answer = (Value, Vec<AskError>);

/// What the first says that stands before the service: its instances know the same, so that is the whole answer.
async fn anyone(waypoints: &[PathBuf], path: &str) -> Result<Answer, RoutesError> {
    let (mut refusals, mut silent) = (Vec::new(), Vec::new());
    for socket in waypoints {
        match ask::get(socket, path).await {
            Ok(value) => return Ok((value, silent)),
            // It stands before something else, or there is something wrong with the question.
            Err(error @ AskError::Refused { .. }) => refusals.push(error),
            Err(error) => silent.push(error),
        }
    }
    refusals.sort_by_key(|error| !is_about_the_question(error));
    let why = refusals.into_iter().chain(silent).next();
    Err(why.map_or(RoutesError::Place(PlaceError::NoWaypoint), RoutesError::Ask))
}

fn is_about_the_question(error: &AskError) -> bool {
    matches!(error, AskError::Refused { status, .. } if *status == hyper::StatusCode::BAD_REQUEST)
}

/// The routes of a service for people, in the order in which requests meet them.
pub fn render(listing: &Value) -> String {
    let mut out = format!("{}\n", cell(&listing["service"]));
    match listing["policies"].as_array() {
        Some(policies) if !policies.is_empty() => {
            let _never = writeln!(out, "policies, before anything else: {}", cell(&listing["policies"]));
        }
        _ => {}
    }
    for port in listing["ports"].as_array().into_iter().flatten() {
        let clients = match &port["clients"] {
            Value::String(namespace) => format!(" for clients of namespace {namespace}"),
            _ => String::new(),
        };
        let _never = writeln!(out, "port {}{clients}", cell(&port["port"]));
        let rules = port["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (number, rule) in rules.iter().enumerate() {
            let _never = writeln!(out, "  {}. {}", number + 1, cell(&rule["match"]));
            rule_lines(&mut out, "     ", rule);
        }
        if port["looks_at"] == "http" {
            out += "  whatever none of these takes gets 404\n";
        }
    }
    out
}

fn rule_lines(out: &mut String, indent: &str, rule: &Value) {
    let mut line = |text: String| *out += &format!("{indent}{text}\n");
    if rule["rule"].is_string() {
        line(format!("by {}", cell(&rule["rule"])));
    }
    for deed in rule["does"].as_array().into_iter().flatten() {
        line(cell(deed));
    }
    for backend in rule["backends"].as_array().into_iter().flatten() {
        line(format!("{} % to {}", cell(&backend["percent"]), cell(&backend["target"])));
    }
}

/// What would become of a request, for people.
pub fn render_explanation(told: &Value) -> String {
    let text = |name: &str| cell(&told[name]);
    let client = match (&told["source"], &told["source_identity"]) {
        (Value::String(source), Value::String(identity)) => format!("{source} ({identity})"),
        (Value::String(source), _) => format!("{source} (no identity: it is outside the mesh)"),
        _ => "nobody in particular (--from NAMESPACE/POD says who)".to_owned(),
    };
    let mut out = format!("{} {} to {}:{}\n", text("method"), text("path"), text("service"), text("port"));
    let _never = writeln!(out, "from {client}");
    let _never = writeln!(out, "{}: {}", text("verdict"), text("why"));
    if told["dry_run"].is_string() {
        let _never = writeln!(out, "with dry-run policies enforced: {}", text("dry_run"));
    }
    if told["policies"].as_array().is_some_and(|all| !all.is_empty()) {
        let _never = writeln!(out, "policies that were asked: {}", text("policies"));
    }
    let _never = writeln!(out, "{}", text("outcome"));
    if told["rule"].is_object() {
        let _never = writeln!(out, "  because: {}", cell(&told["rule"]["match"]));
        rule_lines(&mut out, "  ", &told["rule"]);
    }
    for backend in told["backends"].as_array().into_iter().flatten() {
        let _never = writeln!(out, "endpoints of {}:", cell(&backend["target"]));
        for endpoint in backend["endpoints"].as_array().into_iter().flatten() {
            let _never = writeln!(out, "  {}", cell(endpoint));
        }
        if backend["problem"].is_string() {
            let _never = writeln!(out, "  none: {}", cell(&backend["problem"]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn questions_are_escaped() {
        let ask = Ask {
            service: "shop/reviews".to_owned(),
            method: "GET".to_owned(),
            path: "/a b?x=1&y=ü".to_owned(),
            headers: vec!["user-agent: Chrome/1 (x; y)".to_owned()],
            port: Some(80),
            from: Some("shop/client".to_owned()),
        };
        assert_eq!(
            ask.path(),
            "/explain?service=shop/reviews&method=GET&path=/a%20b%3Fx%3D1%26y%3D%C3%BC\
             &header=user-agent%3A%20Chrome/1%20%28x%3B%20y%29&port=80&from=shop/client"
        );
    }

    #[test]
    fn advice_is_about_what_was_wrong() {
        for (status, want) in [(400, "--help"), (404, "weft waypoint status")] {
            let refused = AskError::Refused {
                socket: PathBuf::from("/w.sock"),
                path: "/explain".to_owned(),
                status: hyper::StatusCode::from_u16(status).expect("a status"),
                text: String::new(),
            };
            let advice = RoutesError::Ask(refused).advice();
            assert!(advice.contains(want), "{status}: {advice}");
        }
    }

    #[test]
    fn routes_are_told_in_order() {
        let listing = json!({"service": "shop/reviews.shop.svc", "policies": ["shop/admin"], "ports": [{
        "port": 80, "clients": null, "looks_at": "http", "rules": [
            {"match": "header user-agent ~ .*Chrome.*", "rule": "VirtualService shop/reviews rule 0",
             "does": ["tries again up to 2 times, on 5xx"],
             "backends": [{"target": "shop/reviews.shop.svc:80 subset v2", "weight": 1, "percent": 100.0}]},
        ]}, {"port": 81, "clients": "bank", "looks_at": "nothing", "rules": [
            {"match": "everything", "rule": null, "does": [],
             "backends": [{"target": "shop/reviews.shop.svc:81", "weight": 1, "percent": 100.0}]},
        ]}]});
        assert_eq!(
            render(&listing),
            "shop/reviews.shop.svc\npolicies, before anything else: shop/admin\nport 80\n  \
             1. header user-agent ~ .*Chrome.*\n     by VirtualService shop/reviews rule 0\n     \
             tries again up to 2 times, on 5xx\n     100.0 % to shop/reviews.shop.svc:80 subset v2\n  \
             whatever none of these takes gets 404\nport 81 for clients of namespace bank\n  1. everything\n     \
             100.0 % to shop/reviews.shop.svc:81\n"
        );
    }

    #[test]
    fn what_would_become_of_a_request_is_told() {
        let told = json!({"service": "shop/web", "port": 80, "method": "GET", "path": "/a", "source": null,
            "source_identity": null, "verdict": "allowed", "why": "no DENY policy matches", "dry_run": null,
            "policies": [], "outcome": "it goes to shop/web:80 subset v3",
            "rule": {"match": "every request", "rule": "VirtualService shop/web rule 0", "does": [],
                "backends": [{"target": "shop/web:80 subset v3", "percent": 100.0}]},
            "backends": [{"target": "shop/web:80 subset v3", "endpoints": [], "problem": "names no subset v3"}]});
        assert_eq!(
            render_explanation(&told),
            "GET /a to shop/web:80\nfrom nobody in particular (--from NAMESPACE/POD says who)\n\
             allowed: no DENY policy matches\nit goes to shop/web:80 subset v3\n  because: every request\n  \
             by VirtualService shop/web rule 0\n  100.0 % to shop/web:80 subset v3\n\
             endpoints of shop/web:80 subset v3:\n  none: names no subset v3\n"
        );
    }
}
