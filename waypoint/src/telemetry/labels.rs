//! The labels of a request's metrics (wire facts §5), and what tells one set of them from another without writing them.

use super::flags::Flag;
use super::record::Record;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::workload::Workload;
use weft_l7::grpc;

/// The names, in the order of [`values`].
pub(super) const NAMES: [&str; 25] = [
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
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
];

/// What the labels follow from. Workloads and services are told apart by where they lie in memory, which the [`Series`]
/// behind the key keeps them at.
///
/// [`Series`]: super::series::Series
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    source: usize,
    identity: Identity,
    endpoint: usize,
    service: usize,
    protocol: &'static str,
    status: u16,
    grpc: Option<u32>,
    flag: Flag,
}

impl Key {
    pub(super) fn of(record: &Record) -> Self {
        let at = |workload: Option<&Arc<Workload>>| workload.map_or(0, |one| Arc::as_ptr(one).addr());
        let connection = record.connection();
        Self {
            source: at(connection.client.workload.as_ref()),
            identity: connection.client.identity.clone(),
            endpoint: at(record.endpoint()),
            service: connection.service().map_or(0, |one| Arc::as_ptr(one).addr()),
            protocol: record.protocol(),
            status: record.status(),
            grpc: record.grpc(),
            flag: record.flag(),
        }
    }
}

/// The values for a request.
pub(super) fn values(record: &Record) -> [String; 25] {
    let connection = record.connection();
    let source = side(connection.client.workload.as_deref());
    let destination = side(record.endpoint().map(|one| &**one));
    let principal = |workload: &Arc<Workload>| workload.identity.to_string();
    let service = connection.service();
    let service_label =
        |of: fn(&weft_core::service::Service) -> &str| service.map_or("unknown", |one| of(one)).to_owned();
    let [s_name, s_namespace, s_canonical, s_revision, s_cluster] = source;
    let [d_name, d_namespace, d_canonical, d_revision, d_cluster] = destination;
    [
        "waypoint".to_owned(),
        s_name,
        s_namespace,
        s_canonical.clone(),
        s_revision.clone(),
        connection.client.identity.to_string(),
        s_canonical,
        s_revision,
        s_cluster,
        d_name,
        d_namespace,
        d_canonical.clone(),
        d_revision.clone(),
        record.endpoint().map_or_else(|| "unknown".to_owned(), principal),
        d_canonical,
        d_revision,
        d_cluster,
        service_label(|one| &one.name.hostname),
        service_label(|one| &one.short_name),
        service_label(|one| &one.name.namespace),
        record.protocol().to_owned(),
        record.status().to_string(),
        record.grpc().map_or_else(String::new, status_of_grpc),
        record.flag().letters().to_owned(),
        "mutual_tls".to_owned(),
    ]
}

/// A backend may say any number; those that mean something are few.
fn status_of_grpc(status: u32) -> String {
    if grpc::name(status).is_some() { status.to_string() } else { "unknown".to_owned() }
}

/// Name, namespace, canonical service and revision, cluster.
fn side(workload: Option<&Workload>) -> [String; 5] {
    let Some(one) = workload else { return std::array::from_fn(|_| "unknown".to_owned()) };
    [&one.workload_name, &one.namespace, &one.canonical_name, &one.canonical_revision, &one.cluster]
        .map(|text| text.to_string())
}
