//! `DestinationRule`: how endpoints of a host are chosen, connected to, and given up.

mod check;
pub mod balancer;
pub mod pool;
pub mod tls;

use crate::duration::IstioDuration;
use crate::istio::destination::PortSelector;
use crate::port::Port;
use crate::resource::Resource;
use crate::selector::WorkloadSelector;
use balancer::LoadBalancerSettings;
use pool::{ConnectionPoolSettings, OutlierDetection};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tls::ClientTlsSettings;

/// One DestinationRule.
pub type DestinationRule = Resource<DestinationRuleSpec>;

/// Which host, and what holds for traffic to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DestinationRuleSpec {
    /// The host, in the words of Destination; a star at its beginning stands for several.
    pub host: String,
    /// For all subsets and ports that have nothing of their own.
    pub traffic_policy: Option<TrafficPolicy>,
    /// Endpoints with names.
    #[serde(default)]
    pub subsets: Vec<Subset>,
    /// Namespaces whose traffic it is for; all if it is empty, `.` for its own.
    #[serde(default)]
    pub export_to: Vec<String>,
    /// Clients that it is for, by labels of their pods; all if there is none.
    pub workload_selector: Option<WorkloadSelector>,
}

/// Some endpoints of the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subset {
    /// Their name, which routes use.
    pub name: String,
    /// Labels of their pods; all endpoints if it is empty.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What holds for them, each part in place of the same part for the host.
    pub traffic_policy: Option<TrafficPolicy>,
}

/// What holds for traffic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficPolicy {
    /// How endpoints are chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// How many connections and requests there may be.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When endpoints are given up for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS to endpoints.
    pub tls: Option<ClientTlsSettings>,
    /// For single ports, in place of everything else here.
    #[serde(default)]
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// Connections that are carried within others.
    pub tunnel: Option<TunnelSettings>,
    /// Whether connections begin with the client's address.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How much may be tried again.
    pub retry_budget: Option<RetryBudget>,
}

/// What holds for traffic to one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortTrafficPolicy {
    /// The port of the service.
    pub port: PortSelector,
    /// How endpoints are chosen.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// How many connections and requests there may be.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// When endpoints are given up for a while.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS to endpoints.
    pub tls: Option<ClientTlsSettings>,
}

/// Connections that are carried within others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TunnelSettings {
    /// `CONNECT` or `POST`; CONNECT if there is none.
    pub protocol: Option<String>,
    /// Where the carried connection ends.
    pub target_host: String,
    /// Its port there.
    pub target_port: Port,
}

/// Whether connections begin with the client's address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyProtocol {
    /// In which form; V1 if it was not written.
    #[serde(default)]
    pub version: ProxyProtocolVersion,
}

/// A form of the PROXY protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProxyProtocolVersion {
    /// Text.
    #[default]
    V1,
    /// Bytes.
    V2,
}

/// How much may be tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryBudget {
    /// How many of a hundred active requests; 20 if there is none.
    pub percent: Option<f64>,
    /// How many are always allowed at once; three if there is none.
    pub min_retry_concurrency: Option<u32>,
    /// Requests of how much time count; those that are active now if there is none.
    pub budget_interval: Option<IstioDuration>,
}
