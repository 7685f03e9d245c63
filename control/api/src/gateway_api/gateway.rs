//! `Gateway`: where traffic comes in, or in a mesh the waypoint that it passes.

mod check;

use crate::gateway_api::reference::{LocalObjectReference, ObjectReference, SecretObjectReference};
use crate::gateway_api::route::DefaultScope;
use crate::port::Port;
use crate::resource::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One Gateway.
pub type Gateway = Resource<GatewaySpec>;

/// Its class, and where it listens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewaySpec {
    /// The GatewayClass.
    pub gateway_class_name: String,
    /// Where it listens. A waypoint has one listener, of protocol HBONE.
    pub listeners: Vec<Listener>,
    /// Addresses that are asked for; any if it is empty.
    #[serde(default)]
    pub addresses: Vec<GatewayAddress>,
    /// For whoever makes what runs it.
    pub infrastructure: Option<GatewayInfrastructure>,
    /// Which ListenerSets may add listeners; none if there is none.
    pub allowed_listeners: Option<AllowedListeners>,
    /// TLS towards backends, and certificates of clients.
    pub tls: Option<GatewayTls>,
    /// Whether routes that ask for default Gateways get this one; no if there is none.
    pub default_scope: Option<DefaultScope>,
}

/// Where a Gateway listens, and for what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Its name, which no other listener of the Gateway has.
    pub name: String,
    /// The host names that it is for; all if there is none.
    pub hostname: Option<String>,
    /// The port.
    pub port: Port,
    /// The protocol: HTTP, HTTPS, TLS, TCP, UDP, or one with a domain. Waypoints use HBONE.
    pub protocol: String,
    /// Its certificates.
    pub tls: Option<ListenerTls>,
    /// Which routes may attach; those of the Gateway's own namespace if there is none.
    pub allowed_routes: Option<AllowedRoutes>,
}

/// TLS of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Who ends it; the Gateway if it was not written.
    #[serde(default)]
    pub mode: TlsMode,
    /// Certificates with their keys.
    #[serde(default)]
    pub certificate_refs: Vec<SecretObjectReference>,
    /// What an implementation may know besides.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// Who ends TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// The Gateway.
    #[default]
    Terminate,
    /// The backend.
    Passthrough,
}

/// Which routes may attach to a listener.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedRoutes {
    /// Of which namespaces; of the Gateway's own if there is none.
    pub namespaces: Option<RouteNamespaces>,
    /// Of which kinds; all that the protocol can carry if it is empty.
    #[serde(default)]
    pub kinds: Vec<RouteGroupKind>,
}

/// Namespaces of routes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteNamespaces {
    /// Which ones; the Gateway's own if it was not written.
    #[serde(default)]
    pub from: FromNamespaces,
    /// Those with these labels, if `from` says so.
    pub selector: Option<LabelSelector>,
}

/// Which namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromNamespaces {
    /// All.
    All,
    /// Those that a selector finds.
    Selector,
    /// The Gateway's own.
    #[default]
    Same,
    /// None.
    None,
}

/// A kind of routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteGroupKind {
    /// The API group; Gateway API's own if there is none.
    pub group: Option<String>,
    /// The kind.
    pub kind: String,
}

/// An address that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayAddress {
    /// What it is: IPAddress, Hostname, NamedAddress or one with a domain; IPAddress if there is none.
    #[serde(rename = "type")]
    pub address_type: Option<String>,
    /// The address; any of the type if there is none.
    pub value: Option<String>,
}

/// For whoever makes what runs the Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayInfrastructure {
    /// Labels of what is made.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations of what is made.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// More, in another object.
    pub parameters_ref: Option<LocalObjectReference>,
}

/// Which ListenerSets may add listeners.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedListeners {
    /// Of which namespaces; of none if there is none.
    pub namespaces: Option<ListenerNamespaces>,
}

/// Namespaces of ListenerSets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerNamespaces {
    /// Which ones; none if there is none.
    pub from: Option<FromNamespaces>,
    /// Those with these labels, if `from` says so.
    pub selector: Option<LabelSelector>,
}

/// TLS of a whole Gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayTls {
    /// Towards backends.
    pub backend: Option<BackendTls>,
    /// Towards clients.
    pub frontend: Option<FrontendTls>,
}

/// TLS towards backends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendTls {
    /// The Gateway's own certificate.
    pub client_certificate_ref: Option<SecretObjectReference>,
}

/// TLS towards clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FrontendTls {
    /// For all ports that have nothing of their own.
    pub default: FrontendTlsConfig,
    /// For single ports.
    #[serde(default)]
    pub per_port: Vec<PortTls>,
}

/// TLS towards clients, of one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortTls {
    /// The port.
    pub port: Port,
    /// What holds for it.
    pub tls: FrontendTlsConfig,
}

/// What holds for clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FrontendTlsConfig {
    /// How their certificates are judged; nobody asks for any if there is none.
    pub validation: Option<FrontendTlsValidation>,
}

/// How clients' certificates are judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FrontendTlsValidation {
    /// Authorities, in objects.
    pub ca_certificate_refs: Vec<ObjectReference>,
    /// Who may connect; those with a good certificate if it was not written.
    #[serde(default)]
    pub mode: FrontendValidationMode,
}

/// Which clients may connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontendValidationMode {
    /// Those with a good certificate.
    #[default]
    AllowValidOnly,
    /// All; backends decide.
    AllowInsecureFallback,
}
