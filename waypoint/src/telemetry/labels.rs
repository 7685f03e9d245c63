//! The labels of metrics (wire facts §5), and what tells one set of them from another without writing them.

use super::flags::Flag;
use super::passage::Passage;
use super::record::Record;
use crate::client::Connection;
use std::sync::Arc;
use weft_core::identity::Identity;
use weft_core::labels::{self, Ends};
use weft_core::service::Service;
use weft_core::workload::Workload;
use weft_l7::grpc;
use weft_l7::telemetry::effective::Effective;
use weft_l7::telemetry::{LabelChange, Metric};

/// The names for requests, in the order of [`of_request`].
pub(super) fn names_of_requests() -> Vec<&'static str> {
    [&labels::OF_ENDS[..], &labels::OF_REQUESTS].concat()
}

/// The names for connections of bytes, in the order of [`of_passage`].
pub(super) fn names_of_passages() -> Vec<&'static str> {
    [&labels::OF_ENDS[..], &labels::OF_CONNECTIONS].concat()
}

/// Who is at the ends. Workloads and services are told apart by where they lie in memory, which the [`Kept`] beside the
/// key keeps them at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sides {
    source: usize,
    identity: Identity,
    endpoint: usize,
    service: usize,
    /// What Telemetries come to.
    told: usize,
}

/// What a key tells by its place in memory stays there.
pub(super) struct Kept {
    _source: Option<Arc<Workload>>,
    _endpoint: Option<Arc<Workload>>,
    _service: Option<Arc<Service>>,
    _told: Option<Arc<Effective>>,
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
    fn of(connection: &Connection, endpoint: Option<&Arc<Workload>>, told: Option<&Arc<Effective>>) -> Self {
        let at = |workload: Option<&Arc<Workload>>| workload.map_or(0, |one| Arc::as_ptr(one).addr());
        Self {
            source: at(connection.client.workload.as_ref()),
            identity: connection.client.identity.clone(),
            endpoint: at(endpoint),
            service: connection.service().map_or(0, |one| Arc::as_ptr(one).addr()),
            told: told.map_or(0, |one| Arc::as_ptr(one).addr()),
        }
    }
}

impl Kept {
    pub(super) fn of(
        connection: &Connection,
        endpoint: Option<&Arc<Workload>>,
        told: Option<&Arc<Effective>>,
    ) -> Self {
        Self {
            _source: connection.client.workload.clone(),
            _endpoint: endpoint.cloned(),
            _service: connection.service().cloned(),
            _told: told.cloned(),
        }
    }
}

impl RequestKey {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            sides: Sides::of(record.connection(), record.endpoint(), record.told()),
            protocol: record.protocol(),
            status: record.status(),
            // One key for all that have no name.
            grpc: record.grpc().map(|status| grpc::name(status).map_or(u32::MAX, |_| status)),
            flag: record.flag(),
        }
    }
}

impl PassageKey {
    pub(super) fn of(passage: &Passage) -> Self {
        let sides = Sides::of(passage.connection(), passage.asked.as_ref(), passage.told());
        Self { sides, flag: passage.flag() }
    }
}

/// Values as one metric has them: what Telemetries say of it is done. Nothing if it is not counted.
pub(super) fn of_metric<'a>(
    names: &[&'static str],
    values: &'a [String],
    told: Option<&'a Arc<Effective>>,
    metric: Metric,
) -> Option<Vec<&'a str>> {
    let Some(of) = told.map(|told| told.metric(metric)) else {
        return Some(values.iter().map(String::as_str).collect());
    };
    let value = |(name, value): (&&'static str, &'a String)| match of.labels.get(*name) {
        // To Prometheus an empty label is one that is not there.
        Some(LabelChange::Remove) => "",
        Some(LabelChange::Set(text)) => text,
        None => value,
    };
    (!of.disabled).then(|| names.iter().zip(values).map(value).collect())
}

/// The values for a request.
pub(super) fn of_request(record: &Record) -> Vec<String> {
    let own = [
        record.protocol().to_owned(),
        record.status().to_string(),
        record.grpc().map_or_else(String::new, status_of_grpc),
        record.flag().letters().to_owned(),
    ];
    of_ends(record.connection(), record.endpoint()).into_iter().chain(own).collect()
}

/// The values for a connection of bytes.
pub(super) fn of_passage(passage: &Passage) -> Vec<String> {
    let own = ["tcp".to_owned(), passage.flag().letters().to_owned()];
    of_ends(passage.connection(), passage.asked.as_ref()).into_iter().chain(own).collect()
}

/// A backend may say any number; those that mean something are few.
fn status_of_grpc(status: u32) -> String {
    if grpc::name(status).is_some() { status.to_string() } else { "unknown".to_owned() }
}

fn of_ends(connection: &Connection, endpoint: Option<&Arc<Workload>>) -> [String; 21] {
    let principal = endpoint.map(|one| one.identity.to_string());
    let ends = Ends {
        reporter: "waypoint",
        source: connection.client.workload.as_deref(),
        source_principal: Some(&connection.client.name),
        destination: endpoint.map(|one| &**one),
        destination_principal: principal.as_deref(),
        service: connection.service().map(|one| &**one),
        security: "mutual_tls",
    };
    ends.values()
}
