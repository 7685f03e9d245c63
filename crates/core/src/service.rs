//! Services: names and virtual addresses that stand for workloads.

use crate::names::{Network, NetworkAddr, ServiceName};
use crate::workload::GatewayAddr;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// One service as discovery describes it (wire facts §2, `istio.workload.Service`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its key.
    pub name: ServiceName,
    /// The short name, such as `web`.
    pub short_name: Arc<str>,
    /// Virtual addresses: cluster IPs, external IPs, load-balancer IPs. Empty for a headless service.
    pub vips: Vec<Vip>,
    /// Ports that clients may ask for.
    pub ports: Vec<ServicePort>,
    /// SANs that endpoints may present instead of their own identity (ServiceEntry); empty for none.
    pub subject_alt_names: Vec<Arc<str>>,
    /// Where its traffic is handled at L7, if anywhere.
    pub waypoint: Option<GatewayAddr>,
    /// Which endpoints come first.
    pub load_balancing: LoadBalancing,
    /// Address families that DNS answers with.
    pub ip_families: IpFamilies,
    /// ClientIP session affinity with its timeout, if asked for (Kubernetes `sessionAffinity`).
    pub session_affinity: Option<Duration>,
    /// A CNAME instead of addresses (Kubernetes `ExternalName`).
    pub external_name: Option<Arc<str>>,
    /// Of services that share a host name, the one that DNS answers with.
    pub canonical: bool,
    /// Its waypoint enforces policy: connections to its endpoints' ports that do not come from there are refused.
    pub guarded: bool,
}

/// A virtual address or a range of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Vip {
    /// Where it is unique.
    pub network: Network,
    /// The address (a full-length prefix) or range.
    pub range: IpNet,
    /// Whose it is.
    pub kind: VipKind,
}

impl Vip {
    /// The address; `None` for a range of several.
    pub fn ip(&self) -> Option<IpAddr> {
        (self.range.prefix_len() == self.range.max_prefix_len()).then(|| self.range.addr())
    }
}

/// Whose a virtual address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VipKind {
    /// The cluster gave it to this service and to no other (a cluster IP, or one that the control plane made up): it is
    /// the service's at every port. A range is one that nodes give their pods addresses from: what is not known in there is
    /// nobody's.
    Cluster,
    /// Somebody wrote it down (external IPs, those of load balancers, addresses of a ServiceEntry). Several services may
    /// name it, and so may it be a node's: it is the service's at the ports that the service has, and nowhere else.
    External,
}

/// A port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// As clients name it.
    pub service_port: u16,
    /// As applications listen, where the workload does not say otherwise; zero if only it can.
    pub target_port: u16,
    /// What the application speaks.
    pub app_protocol: AppProtocol,
}

/// What an application speaks on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AppProtocol {
    /// Not said.
    Unknown,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC.
    Grpc,
    /// Bytes.
    Tcp,
    /// TLS.
    Tls,
}

/// Which endpoints come first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LoadBalancing {
    /// Scopes in which client and endpoint should agree, the most important first.
    pub preference: Vec<Scope>,
    /// What happens where they do not.
    pub mode: LoadBalancingMode,
    /// Whether unhealthy endpoints count.
    pub health: HealthPolicy,
}

/// A scope that client and endpoint may share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The region.
    Region,
    /// The zone.
    Zone,
    /// The subzone.
    Subzone,
    /// The node.
    Node,
    /// The cluster.
    Cluster,
    /// The network.
    Network,
}

/// What happens where client and endpoint do not share the preferred scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LoadBalancingMode {
    /// All endpoints count alike.
    #[default]
    Any,
    /// Only endpoints that share every scope are used (`internalTrafficPolicy: Local`).
    Strict,
    /// Endpoints that share more of the leading scopes come first (`trafficDistribution`).
    Failover,
    /// The address is dialled as it is.
    Passthrough,
}

/// Whether unhealthy endpoints count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HealthPolicy {
    /// They do not.
    #[default]
    OnlyHealthy,
    /// They do (`publishNotReadyAddresses`).
    All,
}

/// Address families of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IpFamilies {
    /// As its addresses are.
    #[default]
    Automatic,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Dual,
}

impl Service {
    /// Whether the cluster gave it this very address.
    pub fn owns(&self, addr: &NetworkAddr) -> bool {
        let owns = |vip: &Vip| {
            vip.kind == VipKind::Cluster && vip.network == addr.network && vip.range == IpNet::from(addr.ip)
        };
        self.vips.iter().any(owns)
    }

    /// Whether it is no service that anybody could ask for, and only says where nodes give their pods addresses from.
    pub fn is_pod_ranges(&self) -> bool {
        self.ports.is_empty()
            && self.vips.iter().any(|vip| vip.kind == VipKind::Cluster && vip.ip().is_none())
    }

    /// The port that clients name `service_port`.
    pub fn port(&self, service_port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.service_port == service_port)
    }
}
