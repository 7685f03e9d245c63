//! The labels of metrics (wire facts §5), and what tells one set of them from another without writing them.

use super::flags::Flag;
use super::passage::Passage;
use super::record::Record;
use crate::client::Connection;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::service::Service;
use weft_core::workload::Workload;
use weft_l7::grpc;

/// The names that all metrics have, in the order of [`Sides::values`].
const OF_SIDES: [&str; 21] = [
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

/// The names for requests, in the order of [`of_request`].
pub(super) fn names_of_requests() -> Vec<&'static str> {
    let own = ["request_protocol", "response_code", "grpc_response_status", "response_flags"];
    OF_SIDES.into_iter().chain(own).collect()
}

/// The names for connections of bytes, in the order of [`of_passage`].
pub(super) fn names_of_passages() -> Vec<&'static str> {
    OF_SIDES.into_iter().chain(["request_protocol", "response_flags"]).collect()
}

/// Who is at the ends. Workloads and services are told apart by where they lie in memory, which the [`Kept`] beside the
/// key keeps them at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sides {
    source: usize,
    identity: Identity,
    endpoint: usize,
    service: usize,
}

/// What a key tells by its place in memory stays there.
pub(super) struct Kept {
    _source: Option<Arc<Workload>>,
    _endpoint: Option<Arc<Workload>>,
    _service: Option<Arc<Service>>,
}

/// What the labels of a request follow from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RequestKey {
    sides: Sides,
    protocol: &'static str,
    status: u16,
    grpc: Option<u32>,
    flag: Flag,
}

/// What the labels of a connection of bytes follow from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PassageKey {
    sides: Sides,
    flag: Flag,
}

impl Sides {
    fn of(connection: &Connection, endpoint: Option<&Arc<Workload>>) -> Self {
        let at = |workload: Option<&Arc<Workload>>| workload.map_or(0, |one| Arc::as_ptr(one).addr());
        Self {
            source: at(connection.client.workload.as_ref()),
            identity: connection.client.identity.clone(),
            endpoint: at(endpoint),
            service: connection.service().map_or(0, |one| Arc::as_ptr(one).addr()),
        }
    }

    fn values(connection: &Connection, endpoint: Option<&Arc<Workload>>) -> [String; 21] {
        let source = side(connection.client.workload.as_deref());
        let destination = side(endpoint.map(|one| &**one));
        let principal = |workload: &Arc<Workload>| workload.identity.to_string();
        let service = connection.service();
        let service_label = |of: fn(&Service) -> &str| service.map_or("unknown", |one| of(one)).to_owned();
        let [s_name, s_namespace, s_canonical, s_revision, s_cluster] = source;
        let [d_name, d_namespace, d_canonical, d_revision, d_cluster] = destination;
        [
            "waypoint".to_owned(),
            s_name,
            s_namespace,
            s_canonical.clone(),
            s_revision.clone(),
            connection.client.name.to_string(),
            s_canonical,
            s_revision,
            s_cluster,
            d_name,
            d_namespace,
            d_canonical.clone(),
            d_revision.clone(),
            endpoint.map_or_else(|| "unknown".to_owned(), principal),
            d_canonical,
            d_revision,
            d_cluster,
            service_label(|one| &one.name.hostname),
            service_label(|one| &one.short_name),
            service_label(|one| &one.name.namespace),
            "mutual_tls".to_owned(),
        ]
    }
}

impl Kept {
    pub(super) fn of(connection: &Connection, endpoint: Option<&Arc<Workload>>) -> Self {
        Self {
            _source: connection.client.workload.clone(),
            _endpoint: endpoint.cloned(),
            _service: connection.service().cloned(),
        }
    }
}

impl RequestKey {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            sides: Sides::of(record.connection(), record.endpoint()),
            protocol: record.protocol(),
            status: record.status(),
            grpc: record.grpc(),
            flag: record.flag(),
        }
    }
}

impl PassageKey {
    pub(super) fn of(passage: &Passage) -> Self {
        let sides = Sides::of(passage.connection(), passage.asked.as_ref());
        Self { sides, flag: passage.flag() }
    }
}

/// The values for a request.
pub(super) fn of_request(record: &Record) -> Vec<String> {
    let own = [
        record.protocol().to_owned(),
        record.status().to_string(),
        record.grpc().map_or_else(String::new, status_of_grpc),
        record.flag().letters().to_owned(),
    ];
    Sides::values(record.connection(), record.endpoint()).into_iter().chain(own).collect()
}

/// The values for a connection of bytes.
pub(super) fn of_passage(passage: &Passage) -> Vec<String> {
    let own = ["tcp".to_owned(), passage.flag().letters().to_owned()];
    Sides::values(passage.connection(), passage.asked.as_ref()).into_iter().chain(own).collect()
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
