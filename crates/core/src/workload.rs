//! Workloads: the pods (and virtual machines) that discovery tells of.

use crate::identity::Identity;
use crate::names::{Network, NetworkAddr, NodeName, PolicyName, ServiceName, WorkloadUid};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One workload as discovery describes it (wire facts §2, `istio.workload.Workload`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its key.
    pub uid: WorkloadUid,
    /// The pod's name.
    pub name: Arc<str>,
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// Its addresses; empty for a workload reached by `hostname`.
    pub addresses: Vec<IpAddr>,
    /// A host name for workloads without an address, or a StatefulSet pod's own DNS name.
    pub hostname: Arc<str>,
    /// The network that the addresses belong to.
    pub network: Network,
    /// How it is reached.
    pub protocol: TunnelProtocol,
    /// Who it is.
    pub identity: Identity,
    /// Where its traffic is handled at L7, if anywhere.
    pub waypoint: Option<GatewayAddr>,
    /// How it is reached from another network.
    pub network_gateway: Option<GatewayAddr>,
    /// The node it runs on; empty for none.
    pub node: NodeName,
    /// The canonical service, for telemetry.
    pub canonical_name: Arc<str>,
    /// The canonical revision, for telemetry.
    pub canonical_revision: Arc<str>,
    /// What owns the pod.
    pub kind: WorkloadKind,
    /// The owner's name, such as the Deployment's.
    pub workload_name: Arc<str>,
    /// It ends tunnels itself (a waypoint, a sidecar, a ztunnel-less host).
    pub native_tunnel: bool,
    /// How the application itself takes tunnelled traffic, if it does.
    pub application_tunnel: Option<ApplicationTunnel>,
    /// The services it is an endpoint of, with the ports.
    pub services: Vec<(ServiceName, Vec<PortPair>)>,
    /// The selector policies that apply to it; a name that discovery does not know denies.
    pub policies: Vec<PolicyName>,
    /// Whether it takes traffic.
    pub health: Health,
    /// The cluster it runs in.
    pub cluster: Arc<str>,
    /// Where it is.
    pub locality: Locality,
    /// Those of its labels that some route or subset asks for.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Whether it has its own network namespace.
    pub network_mode: NetworkMode,
    /// Its share of the traffic, relative to other endpoints.
    pub weight: u32,
    /// Where its tunnels end, if its node says so (wire facts §1b), or it is a waypoint that does; else at its own address.
    pub node_tunnel: Option<NodeTunnel>,
    /// It is leaving: it serves what it has, and takes new connections only if nothing else is left
    /// (Kubernetes' terminating endpoints).
    pub terminating: bool,
}

/// How a workload is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TunnelProtocol {
    /// In plain text: it is outside the mesh.
    Plain,
    /// Through the mesh's tunnel, port 15008.
    Hbone,
    /// Through a legacy sidecar's mutual TLS, which Weft does not speak: refused, never sent in plain text.
    LegacyMtls,
}

/// What owns a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// A Deployment or anything like it.
    Deployment,
    /// A CronJob.
    CronJob,
    /// Nothing: a bare pod.
    Pod,
    /// A Job.
    Job,
}

/// Whether a workload takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// It does.
    Healthy,
    /// It does not, unless a service asks for all of its endpoints.
    Unhealthy,
}

/// Whether a workload has its own network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkMode {
    /// It has.
    Standard,
    /// It shares the node's, with all others that do.
    HostNetwork,
}

/// Where a workload runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// For instance `europe-west1`.
    pub region: Arc<str>,
    /// For instance `b`.
    pub zone: Arc<str>,
    /// For instance a rack.
    pub subzone: Arc<str>,
}

/// A pair of ports of one service at one workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortPair {
    /// As clients name it.
    pub service_port: u16,
    /// As the application listens.
    pub target_port: u16,
}

/// Where a gateway (waypoint or network gateway) is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayAddr {
    /// How it is named.
    pub destination: GatewayDestination,
    /// The port of its tunnel.
    pub hbone_port: u16,
}

/// How a gateway is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GatewayDestination {
    /// As a service.
    Service(ServiceName),
    /// As an address (of a service or a workload).
    Addr(NetworkAddr),
}

/// How an application takes tunnelled traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApplicationTunnel {
    /// The port; zero for the one asked for.
    pub port: u16,
    /// It wants a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// How a workload's node takes Weft's own dialect for it, or a waypoint for itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeTunnel {
    /// Where.
    pub place: TunnelPlace,
    /// The versions of the dialect that are spoken there; it may be none.
    pub versions: Vec<u16>,
}

/// Where the tunnels of a workload begin and end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TunnelPlace {
    /// At its node: the node's addresses, with the port. The first that the caller can reach is used.
    Node(Vec<SocketAddr>),
    /// At its own address, in its own namespace. A NetworkPolicy selects it, and the network plugin would see nothing
    /// of what travels between nodes' addresses, or within a proxy; or it is a waypoint.
    Workload,
}

impl NodeTunnel {
    /// The node's addresses; none where the workload's own counts.
    pub fn addresses(&self) -> &[SocketAddr] {
        match &self.place {
            TunnelPlace::Node(addresses) => addresses,
            TunnelPlace::Workload => &[],
        }
    }
}

impl Workload {
    /// True if all traffic to it goes through a tunnel.
    pub fn is_enrolled(&self) -> bool {
        self.protocol == TunnelProtocol::Hbone
    }

    /// True if it is in the mesh and shares its addresses with nobody.
    pub fn has_its_addresses_alone(&self) -> bool {
        self.protocol != TunnelProtocol::Plain && self.network_mode == NetworkMode::Standard
    }

    /// True if its tunnels stay in its own namespace, also those to pods of its own node.
    pub fn keeps_its_tunnels(&self) -> bool {
        self.node_tunnel.as_ref().is_some_and(|tunnel| tunnel.place == TunnelPlace::Workload)
    }

    /// The port at which this workload serves `service_port` of `service`.
    pub fn target_port(&self, service: &ServiceName, service_port: u16) -> Option<u16> {
        let (_, ports) = self.services.iter().find(|(name, _)| name == service)?;
        ports.iter().find(|pair| pair.service_port == service_port).map(|pair| pair.target_port)
    }
}
