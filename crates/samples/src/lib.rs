//! Workloads and services for tests, of which nothing is said but their names. A test says the rest by struct update, so a
//! new field of these types is written here alone. The core's own tests have their own: to them its types are others. Not
//! for programs.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use weft_core::identity::Identity;
use weft_core::names::{Network, NodeName, ServiceName, WorkloadUid};
use weft_core::service::{IpFamilies, LoadBalancing, Service, Vip, VipKind};
use weft_core::workload::{Health, Locality, NetworkMode, TunnelProtocol, Workload, WorkloadKind};

/// A healthy pod of the mesh on node `n1`, with a service account of its own name, and no address.
///
/// # Panics
/// If the names make no identity.
pub fn workload(namespace: &str, name: &str) -> Workload {
    Workload {
        uid: WorkloadUid::new(format!("Kubernetes//Pod/{namespace}/{name}")),
        name: name.into(),
        namespace: namespace.into(),
        addresses: Vec::new(),
        hostname: "".into(),
        network: Network::default_network(),
        protocol: TunnelProtocol::Hbone,
        identity: Identity::new("cluster.local", namespace, name).expect("samples have names of identities"),
        waypoint: None,
        network_gateway: None,
        node: NodeName::new("n1"),
        canonical_name: name.into(),
        canonical_revision: "latest".into(),
        kind: WorkloadKind::Pod,
        workload_name: name.into(),
        native_tunnel: false,
        application_tunnel: None,
        services: Vec::new(),
        policies: Vec::new(),
        health: Health::Healthy,
        cluster: "Kubernetes".into(),
        locality: Locality::default(),
        labels: Default::default(),
        network_mode: NetworkMode::Standard,
        weight: 1,
        node_tunnel: None,
        terminating: false,
    }
}

/// A service by its host, whose first label is its short name, without an address or a port.
pub fn service(namespace: &str, host: &str) -> Service {
    Service {
        name: ServiceName::new(namespace, host),
        short_name: host.split_once('.').map_or(host, |(first, _)| first).into(),
        vips: Vec::new(),
        ports: Vec::new(),
        subject_alt_names: Vec::new(),
        waypoint: None,
        load_balancing: LoadBalancing::default(),
        ip_families: IpFamilies::Automatic,
        session_affinity: None,
        external_name: None,
        canonical: true,
        guarded: false,
    }
}

/// A cluster IP.
pub fn vip(ip: IpAddr) -> Vip {
    Vip { network: Network::default_network(), range: ip.into(), kind: VipKind::Cluster }
}
