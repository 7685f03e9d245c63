//! The labels of Istio's metrics (wire facts §5): their names, and what they say of the two ends of a connection. Whoever
//! counts says it by these, so that one dashboard reads all.

use crate::service::Service;
use crate::workload::Workload;

/// The names that all of Istio's metrics have, in the order of [`Ends::values`].
pub const OF_ENDS: [&str; 21] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_canonical_service",
    "source_canonical_revision",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "connection_security_policy",
];

/// The names that metrics of requests have besides.
pub const OF_REQUESTS: [&str; 4] =
    ["request_protocol", "response_code", "grpc_response_status", "response_flags"];

/// The names that metrics of connections of bytes have besides.
pub const OF_CONNECTIONS: [&str; 2] = ["request_protocol", "response_flags"];

/// What a label says where there is nothing to say.
const UNKNOWN: &str = "unknown";

/// The two ends of a connection, and who says so.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// `source`, `destination` or `waypoint`.
    pub reporter: &'static str,
    /// The client.
    pub source: Option<&'a Workload>,
    /// What it has proven to be.
    pub source_principal: Option<&'a str>,
    /// The server.
    pub destination: Option<&'a Workload>,
    /// What it has proven to be.
    pub destination_principal: Option<&'a str>,
    /// The service that was asked for.
    pub service: Option<&'a Service>,
    /// `mutual_tls`, `none` or `unknown`.
    pub security: &'static str,
}

impl Ends<'_> {
    /// The values, in the order of [`OF_ENDS`].
    pub fn values(&self) -> [String; 21] {
        let [s_name, s_namespace, s_service, s_revision, s_cluster] = of_workload(self.source);
        let [d_name, d_namespace, d_service, d_revision, d_cluster] = of_workload(self.destination);
        let principal = |one: Option<&str>| one.unwrap_or(UNKNOWN).to_owned();
        let service = |of: fn(&Service) -> &str| self.service.map_or(UNKNOWN, of).to_owned();
        [
            self.reporter.to_owned(),
            s_name,
            s_namespace,
            s_service.clone(),
            s_revision.clone(),
            principal(self.source_principal),
            s_service,
            s_revision,
            s_cluster,
            d_name,
            d_namespace,
            d_service.clone(),
            d_revision.clone(),
            principal(self.destination_principal),
            d_service,
            d_revision,
            d_cluster,
            service(|one| &one.name.hostname),
            service(|one| &one.short_name),
            service(|one| &one.name.namespace),
            self.security.to_owned(),
        ]
    }
}

/// Name, namespace, canonical service and revision, cluster.
fn of_workload(workload: Option<&Workload>) -> [String; 5] {
    let Some(one) = workload else { return std::array::from_fn(|_| UNKNOWN.to_owned()) };
    [&one.workload_name, &one.namespace, &one.canonical_name, &one.canonical_revision, &one.cluster]
        .map(|text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn values_stand_where_their_names_do() {
        let pod = samples::pod("web", "10.0.0.1", 1);
        let ends = Ends {
            reporter: "waypoint",
            source: Some(&pod),
            source_principal: Some("spiffe://c/ns/shop/sa/web"),
            destination: None,
            destination_principal: None,
            service: None,
            security: "mutual_tls",
        };
        let values = ends.values();
        let of = |name: &str| {
            let at = OF_ENDS.iter().position(|known| *known == name).expect(name);
            values[at].as_str()
        };
        for (name, want) in [
            ("reporter", "waypoint"),
            ("source_workload", &*pod.workload_name),
            ("source_workload_namespace", &*pod.namespace),
            ("source_canonical_service", &*pod.canonical_name),
            ("source_app", &*pod.canonical_name),
            ("source_version", &*pod.canonical_revision),
            ("source_cluster", &*pod.cluster),
            ("source_principal", "spiffe://c/ns/shop/sa/web"),
            ("destination_workload", UNKNOWN),
            ("destination_principal", UNKNOWN),
            ("destination_service_namespace", UNKNOWN),
            ("connection_security_policy", "mutual_tls"),
        ] {
            assert_eq!(of(name), want, "{name}");
        }
    }
}
