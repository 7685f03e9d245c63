//! All that is said of one service's traffic: what discovery carries, under the service's name.

use crate::destination::Destination;
use crate::matches::RequestMatch;
use crate::rule::Rule;
use crate::target::{Target, Weighted};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weft_core::names::ServiceName;

/// All that is said of one service's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Traffic {
    /// The service.
    #[serde(with = "crate::wire::service_name")]
    pub service: ServiceName,
    /// Its routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<PortRoutes>,
    /// How its endpoints are used.
    #[serde(default)]
    pub destination: Destination,
}

impl Traffic {
    /// The services to which its routes lead.
    pub fn services(&self) -> BTreeSet<&ServiceName> {
        let all = self.routes.iter().flat_map(|one| one.routes.targets());
        let services = all.filter_map(|target| match target {
            Target::Service(target) => Some(&target.service),
            Target::Nowhere(_) => None,
        });
        services.collect()
    }
}

/// The routes of one port for some clients. Where several would do, those for the client's namespace come before those
/// for all, and those of the port before those of every port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortRoutes {
    /// The service's port; none is every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Only clients of this namespace (Gateway API's consumer routes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Arc<str>>,
    /// What they say.
    pub routes: Routes,
}

/// Routes by what they look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Routes {
    /// At requests of HTTP.
    Http(HttpRoutes),
    /// At the name that TLS asks for.
    Tls(Vec<TlsRoute>),
    /// At nothing but the connection.
    Tcp(Vec<TcpRoute>),
}

impl Routes {
    fn targets(&self) -> Vec<&Target> {
        match self {
            Self::Http(routes) => routes.rules.iter().flat_map(|rule| rule.targets()).collect(),
            Self::Tls(routes) => routes.iter().flat_map(|route| route.connection.targets()).collect(),
            Self::Tcp(routes) => routes.iter().flat_map(TcpRoute::targets).collect(),
        }
    }
}

impl TcpRoute {
    fn targets(&self) -> impl Iterator<Item = &Target> {
        self.backends.iter().map(|backend| &backend.to)
    }
}

/// Rules of HTTP. A request that none takes gets 404.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpRoutes {
    /// What takes a request, the first one that holds. The order is the formats' own precedence.
    pub entries: Vec<Entry>,
    /// What is done.
    pub rules: Vec<Arc<Rule>>,
}

/// A match, and its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// What the request has to be.
    pub when: RequestMatch,
    /// The rule, by its place in the list of rules.
    pub rule: usize,
}

/// TLS that is passed on as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsRoute {
    /// Names that the client may ask for, of which the first label may be `*`; empty is any, also none.
    pub server_names: Vec<Arc<str>>,
    /// The rest of what has to hold.
    #[serde(flatten)]
    pub connection: TcpRoute,
}

impl TlsRoute {
    /// Whether it takes a connection that asks for this name, which is in lower case; `None` asks for none. `*.shop.org`
    /// takes everything below `shop.org`, however deep (Gateway API, `Hostname`).
    pub fn is_for(&self, server_name: Option<&str>) -> bool {
        let fits = |want: &Arc<str>| {
            server_name.is_some_and(|name| match want.strip_prefix('*') {
                Some("") => true,
                Some(end) => name.len() > end.len() && name.ends_with(&end.to_ascii_lowercase()),
                None => want.eq_ignore_ascii_case(name),
            })
        };
        self.server_names.is_empty() || self.server_names.iter().any(fits)
    }

    /// Whether it takes every connection that `other` takes.
    pub fn covers(&self, other: &Self) -> bool {
        let takes = |narrow: &Arc<str>| self.server_names.iter().any(|wide| covers_name(wide, narrow));
        let names = self.server_names.is_empty()
            || !other.server_names.is_empty() && other.server_names.iter().all(takes);
        names && self.connection.covers(&other.connection)
    }
}

/// Whether a name that may begin with a star is asked for wherever another one is.
fn covers_name(wide: &str, narrow: &str) -> bool {
    let (wide, narrow) = (wide.to_ascii_lowercase(), narrow.to_ascii_lowercase());
    match wide.strip_prefix('*') {
        Some(end) => narrow.len() > end.len() && narrow.ends_with(end),
        None => wide == narrow,
    }
}

/// A connection that is passed on as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcpRoute {
    /// Addresses that it may ask for; empty is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<IpNet>,
    /// The client's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_namespace: Option<Arc<str>>,
    /// Labels that the client carries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_labels: BTreeMap<Arc<str>, Arc<str>>,
    /// One of these.
    pub backends: Vec<Weighted<Target>>,
}

impl TcpRoute {
    /// Whether it takes every connection that `other` takes.
    pub fn covers(&self, other: &Self) -> bool {
        let within = |narrow: &IpNet| self.destinations.iter().any(|wide| wide.contains(narrow));
        let destinations = self.destinations.is_empty()
            || !other.destinations.is_empty() && other.destinations.iter().all(within);
        let namespace = self.source_namespace.is_none() || self.source_namespace == other.source_namespace;
        let label = |(name, value): (&Arc<str>, &Arc<str>)| other.source_labels.get(name) == Some(value);
        destinations && namespace && self.source_labels.iter().all(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tls_asks_for() {
        for (names, asked, want) in [
            (&[][..], None, true),
            (&[], Some("shop.org"), true),
            (&["shop.org"], Some("shop.org"), true),
            (&["Shop.Org"], Some("shop.org"), true),
            (&["shop.org"], Some("a.shop.org"), false),
            (&["shop.org"], None, false),
            (&["*.shop.org"], Some("a.shop.org"), true),
            (&["*.shop.org"], Some("b.a.shop.org"), true),
            (&["*.shop.org"], Some("shop.org"), false),
            (&["*.shop.org"], Some(".shop.org"), false),
            (&["*.shop.org"], Some("ashop.org"), false),
            (&["*"], Some("any"), true),
            (&["*"], None, false),
            (&["x.org", "shop.org"], Some("shop.org"), true),
        ] {
            let server_names = names.iter().map(|name| Arc::from(*name)).collect();
            let route = TlsRoute { server_names, connection: TcpRoute::default() };
            assert_eq!(route.is_for(asked), want, "{names:?} and {asked:?}");
        }
    }

    #[test]
    fn which_route_takes_all_that_another_takes() {
        let read = |json: &str| -> TlsRoute {
            serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
        };
        for (wide, narrow, want) in [
            (r#""serverNames": []"#, r#""serverNames": ["a.org"]"#, true),
            (r#""serverNames": ["a.org"]"#, r#""serverNames": []"#, false),
            (r#""serverNames": ["*.org", "x.net"]"#, r#""serverNames": ["A.org", "*.b.ORG", "x.net"]"#, true),
            (r#""serverNames": ["*.org"]"#, r#""serverNames": ["a.org", "x.net"]"#, false),
            (r#""serverNames": ["*.org"]"#, r#""serverNames": ["*.org"]"#, true),
            (r#""serverNames": ["*.b.org"]"#, r#""serverNames": ["*.org"]"#, false),
            (r#""serverNames": ["*"]"#, r#""serverNames": ["*.org"]"#, true),
            (r#""serverNames": ["*"]"#, r#""serverNames": []"#, false),
            ("", r#""destinations": ["10.0.0.0/8"]"#, true),
            (r#""destinations": ["10.0.0.0/8"]"#, "", false),
            (
                r#""destinations": ["10.0.0.0/8", "::/0"]"#,
                r#""destinations": ["10.1.0.0/16", "fd00::1/128"]"#,
                true,
            ),
            (r#""destinations": ["10.1.0.0/16"]"#, r#""destinations": ["10.0.0.0/8"]"#, false),
            ("", r#""sourceNamespace": "shop""#, true),
            (r#""sourceNamespace": "shop""#, r#""sourceNamespace": "mall""#, false),
            (r#""sourceLabels": {"a": "1"}"#, r#""sourceLabels": {"a": "1", "b": "2"}"#, true),
            (r#""sourceLabels": {"a": "1"}"#, r#""sourceLabels": {"a": "2"}"#, false),
        ] {
            let whole = |part: &str| {
                let names = if part.contains("serverNames") { "" } else { r#""serverNames": [], "# };
                let comma = if part.is_empty() { "" } else { ", " };
                read(&format!(r#"{{{names}{part}{comma}"backends": []}}"#))
            };
            assert_eq!(whole(wide).covers(&whole(narrow)), want, "{wide} and {narrow}");
        }
    }
}
