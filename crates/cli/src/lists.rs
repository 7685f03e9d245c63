//! `weft workloads|services|policies|certificates|connections`.

use crate::answers::{self, Answers};
use crate::places::Place;
use crate::table;
use crate::words::{bytes, cell, duration};
use serde_json::Value;

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// What the proxy knows of the mesh.
    Workloads,
    /// What the proxy knows of the mesh.
    Services,
    /// What the proxy knows of the mesh.
    Policies,
    /// What the proxy holds itself.
    Certificates,
    /// What the proxy holds itself.
    Connections,
}

/// A title, and what stands under it.
type Column = (&'static str, fn(&Value) -> String);

const WORKLOADS: &[Column] = &[
    ("NAMESPACE", |row| cell(&row["namespace"])),
    ("NAME", |row| cell(&row["name"])),
    ("ADDRESSES", |row| cell(&row["addresses"])),
    ("NODE", |row| cell(&row["node"])),
    ("PROTOCOL", |row| cell(&row["protocol"])),
    ("HEALTH", |row| cell(&row["health"])),
    ("IDENTITY", |row| cell(&row["identity"])),
];

const SERVICES: &[Column] = &[
    ("NAMESPACE", |row| cell(&row["namespace"])),
    ("HOSTNAME", |row| cell(&row["hostname"])),
    ("ADDRESSES", |row| cell(&row["addresses"])),
    ("PORTS", |row| cell(&row["ports"])),
    ("HEALTHY", |row| format!("{}/{}", cell(&row["healthy"]), cell(&row["endpoints"]))),
];

const POLICIES: &[Column] = &[
    ("NAMESPACE", |row| cell(&row["namespace"])),
    ("NAME", |row| cell(&row["name"])),
    ("ACTION", |row| cell(&row["action"])),
    ("SCOPE", |row| cell(&row["scope"])),
    ("RULES", |row| cell(&row["rules"])),
    ("MODE", |row| match (&row["unusable"], row["dry_run"] == true) {
        (Value::String(why), _) => format!("denies all: {why}"),
        (_, true) => "dry run".to_owned(),
        _ => "enforced".to_owned(),
    }),
];

const CERTIFICATES: &[Column] = &[
    ("NODE", |row| cell(&row["node"])),
    ("IDENTITY", |row| cell(&row["identity"])),
    ("VALID", |row| cell(&row["valid"])),
    ("AGE", |row| seconds(&row["age_seconds"])),
    ("EXPIRES IN", |row| seconds(&row["expires_in_seconds"])),
    ("SERIAL", |row| cell(&row["serial"])),
];

const CONNECTIONS: &[Column] = &[
    ("NODE", |row| cell(&row["node"])),
    ("DIRECTION", |row| cell(&row["direction"])),
    ("SOURCE", |row| format!("{} {}", cell(&row["source"]), cell(&row["client"]))),
    ("DESTINATION", |row| format!("{} {}", cell(&row["destination"]), cell(&row["target"]))),
    ("SERVICE", |row| cell(&row["service"])),
    ("SENT", |row| row["bytes_sent"].as_u64().map_or_else(|| "-".to_owned(), bytes)),
    ("RECEIVED", |row| row["bytes_received"].as_u64().map_or_else(|| "-".to_owned(), bytes)),
    ("AGE", |row| seconds(&row["age_seconds"])),
];

fn seconds(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |seconds| duration(seconds as u64))
}

impl List {
    /// Where the proxy answers it.
    fn path(self) -> &'static str {
        match self {
            Self::Workloads => "/workloads",
            Self::Services => "/services",
            Self::Policies => "/policies",
            Self::Certificates => "/certificates",
            Self::Connections => "/connections",
        }
    }

    fn columns(self) -> &'static [Column] {
        match self {
            Self::Workloads => WORKLOADS,
            Self::Services => SERVICES,
            Self::Policies => POLICIES,
            Self::Certificates => CERTIFICATES,
            Self::Connections => CONNECTIONS,
        }
    }

    /// Whether every proxy says the same, because it is about the whole mesh.
    fn is_about_the_mesh(self) -> bool {
        match self {
            Self::Workloads | Self::Services | Self::Policies => true,
            Self::Certificates | Self::Connections => false,
        }
    }
}

/// Asks. What is about the mesh is asked of the first proxy that answers; what is each proxy's own is asked of all.
pub async fn gather(list: List, places: &[Place]) -> Answers {
    if list.is_about_the_mesh() {
        answers::first(places, list.path()).await
    } else {
        answers::of_each(places, list.path()).await
    }
}

/// The rows as a table.
pub fn render(list: List, rows: &Value) -> String {
    let titles: Vec<&str> = list.columns().iter().map(|(title, _)| *title).collect();
    let cells = |row: &Value| list.columns().iter().map(|(_, value)| value(row)).collect();
    let rows: Vec<Vec<String>> = rows.as_array().into_iter().flatten().map(cells).collect();
    if rows.is_empty() {
        return "there are none\n".to_owned();
    }
    table::render(&titles, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_become_tables() {
        for (list, rows, want) in [
            (
                List::Workloads,
                json!([{"uid": "c//Pod/shop/a", "namespace": "shop", "name": "a", "addresses": ["10.0.0.1", "fd00::1"],
                    "node": "n1", "identity": "spiffe://td/ns/shop/sa/default", "protocol": "tunnel",
                    "health": "healthy", "services": [], "policies": [], "node_tunnel": []}]),
                "NAMESPACE  NAME  ADDRESSES         NODE  PROTOCOL  HEALTH   IDENTITY\n\
                 shop       a     10.0.0.1,fd00::1  n1    tunnel    healthy  spiffe://td/ns/shop/sa/default\n",
            ),
            (
                List::Services,
                json!([{"namespace": "shop", "hostname": "reviews.shop.svc.cluster.local", "addresses": [],
                    "ports": [80, 443], "endpoints": 3, "healthy": 2}]),
                "NAMESPACE  HOSTNAME                        ADDRESSES  PORTS   HEALTHY\n\
                 shop       reviews.shop.svc.cluster.local  -          80,443  2/3\n",
            ),
            (
                List::Policies,
                json!([
                    {"namespace": "shop", "name": "p", "scope": "namespace", "action": "DENY", "dry_run": false,
                     "rules": 1, "unusable": null},
                    {"namespace": "shop", "name": "q", "scope": "selector", "action": "ALLOW", "dry_run": true,
                     "rules": 2, "unusable": null},
                    {"namespace": "shop", "name": "r", "scope": "global", "action": "ALLOW", "dry_run": false,
                     "rules": 0, "unusable": "an unknown field"},
                ]),
                "NAMESPACE  NAME  ACTION  SCOPE      RULES  MODE\n\
                 shop       p     DENY    namespace  1      enforced\n\
                 shop       q     ALLOW   selector   2      dry run\n\
                 shop       r     ALLOW   global     0      denies all: an unknown field\n",
            ),
            (
                List::Certificates,
                json!([{"node": "n1", "identity": "spiffe://td/ns/shop/sa/a", "serial": "0a", "valid": true,
                    "age_seconds": 252, "expires_in_seconds": 86_400}]),
                "NODE  IDENTITY                  VALID  AGE    EXPIRES IN  SERIAL\n\
                 n1    spiffe://td/ns/shop/sa/a  yes    4m12s  1d          0a\n",
            ),
            (
                List::Connections,
                json!([{"node": "n1", "direction": "outbound", "client": "10.0.0.1:4000", "target": "10.0.0.9:80",
                    "source": "shop/a", "destination": "shop/b", "source_identity": null, "service": null,
                    "bytes_sent": 10, "bytes_received": 2_500_000, "age_seconds": 3.7}]),
                "NODE  DIRECTION  SOURCE                DESTINATION         SERVICE  SENT  RECEIVED  AGE\n\
                 n1    outbound   shop/a 10.0.0.1:4000  shop/b 10.0.0.9:80  -        10 B  2.5 MB    3s\n",
            ),
            (List::Connections, json!([]), "there are none\n"),
        ] {
            assert_eq!(render(list, &rows), want, "{list:?}");
        }
    }
}
