//! `ServiceEntry`: a service that Kubernetes does not know.

mod check;

use crate::istio::workload_entry::WorkloadEntrySpec;
use crate::port::Port;
use crate::resource::Resource;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One ServiceEntry.
pub type ServiceEntry = Resource<ServiceEntrySpec>;

/// A service: its names, addresses, ports, and how its endpoints are found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceEntrySpec {
    /// Its names; a star at the beginning stands for several.
    pub hosts: Vec<String>,
    /// Its addresses, or ranges of them; the mesh makes some up if it is empty.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Its ports.
    #[serde(default)]
    pub ports: Vec<ServicePort>,
    /// Whether it is part of the mesh; it is not if it was not written.
    #[serde(default)]
    pub location: Location,
    /// How its endpoints are found; they are the addresses that clients connect to if it was not written.
    #[serde(default)]
    pub resolution: Resolution,
    /// Its endpoints.
    #[serde(default)]
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// Its endpoints, by labels of pods and WorkloadEntries, in place of a list.
    pub workload_selector: Option<LabelSelector>,
    /// Namespaces that know it; all if it is empty, `.` for its own.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// Names of which the certificates of its endpoints have to have one; any if it is empty.
    #[serde(default)]
    pub subject_alt_names: Vec<String>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePort {
    /// Its number.
    pub number: Port,
    /// What is spoken there: HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP, TLS; detected if there is none.
    pub protocol: Option<String>,
    /// Its name.
    pub name: String,
    /// The port of endpoints; the same if there is none.
    pub target_port: Option<Port>,
}

/// Protocols that a port may have.
pub const PROTOCOLS: [&str; 11] =
    ["HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "HTTP_PROXY", "MONGO", "MYSQL", "REDIS", "TCP", "TLS"];

/// Whether a service is part of the mesh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// It is not.
    #[default]
    MeshExternal,
    /// It is.
    MeshInternal,
}

/// How endpoints are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// The address that the client connects to is one.
    #[default]
    None,
    /// They are listed, with their addresses.
    Static,
    /// DNS knows the addresses of those that are listed, or of the hosts themselves.
    Dns,
    /// The same, and a new connection takes the first address, without waiting for all.
    DnsRoundRobin,
    /// DNS knows the address of the name that the request or handshake says.
    DynamicDns,
}

/// Labels of endpoints (`istio.networking.v1alpha3.WorkloadSelector`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// All of these.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}
