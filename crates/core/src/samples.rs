//! Small workloads and services for this crate's tests.

use crate::identity::Identity;
use crate::names::{Network, NodeName, ServiceName, WorkloadUid};
use crate::service::{AppProtocol, LoadBalancing, Service, ServicePort, Vip, VipKind};
use crate::workload::{
    Health, Locality, NetworkMode, NodeTunnel, PortPair, TunnelPlace, TunnelProtocol, Workload, WorkloadKind,
};
use std::net::IpAddr;
use std::sync::Arc;

/// A healthy, enrolled pod of namespace `shop` with its node's tunnel at `192.168.0.<node>`.
pub(crate) fn pod(name: &str, ip: &str, node: u8) -> Workload {
    let tunnel = format!("192.168.0.{node}:15008").parse().unwrap();
    Workload {
        uid: WorkloadUid::new(format!("Kubernetes//Pod/shop/{name}")),
        name: name.into(),
        namespace: "shop".into(),
        addresses: ip.split(',').map(|ip| ip.parse::<IpAddr>().unwrap()).collect(),
        hostname: "".into(),
        network: Network::default_network(),
        protocol: TunnelProtocol::Hbone,
        identity: Identity::new("cluster.local", "shop", name).unwrap(),
        waypoint: None,
        network_gateway: None,
        node: NodeName::new(format!("node{node}")),
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
        locality: Locality { region: "r".into(), zone: format!("z{node}").into(), subzone: "".into() },
        labels: Default::default(),
        network_mode: NetworkMode::Standard,
        weight: 1,
        node_tunnel: Some(NodeTunnel { place: TunnelPlace::Node(vec![tunnel]), versions: vec![1] }),
        terminating: false,
    }
}

/// The pod serves port 80 of `web` at 8080.
pub(crate) fn serving(mut pod: Workload) -> Workload {
    pod.services.push((web_name(), vec![PortPair { service_port: 80, target_port: 8080 }]));
    pod
}

/// The name of [`web`].
pub(crate) fn web_name() -> ServiceName {
    ServiceName::new("shop", "web.shop.svc.cluster.local")
}

/// An address or a range of them.
pub(crate) fn vip(range: &str, kind: VipKind) -> Vip {
    Vip { network: Network::default_network(), range: range.parse().unwrap(), kind }
}

/// The service `web`, 10.96.0.1:80.
pub(crate) fn web() -> Service {
    Service {
        name: web_name(),
        short_name: "web".into(),
        vips: vec![vip("10.96.0.1/32", VipKind::Cluster)],
        ports: vec![ServicePort { service_port: 80, target_port: 8080, app_protocol: AppProtocol::Unknown }],
        subject_alt_names: Vec::<Arc<str>>::new(),
        waypoint: None,
        load_balancing: LoadBalancing::default(),
        ip_families: crate::service::IpFamilies::Automatic,
        session_affinity: None,
        external_name: None,
        canonical: true,
        guarded: false,
    }
}
