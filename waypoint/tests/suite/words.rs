//! What discovery says, in few words.

use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use weft_core::identity::Identity;
use weft_core::names::{Network, NetworkAddr, NodeName, ServiceName, WorkloadUid};
use weft_core::service::{AppProtocol, IpFamilies, LoadBalancing, Service, ServicePort, Vip, VipKind};
use weft_core::workload::{
    GatewayAddr, GatewayDestination, Health, Locality, NetworkMode, PortPair, TunnelProtocol, Workload,
    WorkloadKind,
};

/// Where every backend listens, and as what clients name that port.
pub(crate) const PORT: u16 = 8080;
pub(crate) const SERVICE_PORT: u16 = 80;

pub(crate) fn identity(name: &str) -> Identity {
    Identity::new("cluster.local", "shop", name).unwrap()
}

pub(crate) fn service_name(name: &str) -> ServiceName {
    ServiceName::new("shop", format!("{name}.shop.svc.cluster.local"))
}

/// A workload of a service, outside the mesh unless `protocol` says otherwise.
pub(crate) fn workload(name: &str, ip: IpAddr, service: &str, protocol: TunnelProtocol) -> Workload {
    let port = PortPair { service_port: SERVICE_PORT, target_port: PORT };
    let services = if service.is_empty() { vec![] } else { vec![(service_name(service), vec![port])] };
    Workload {
        uid: WorkloadUid::new(format!("Kubernetes//Pod/shop/{name}")),
        name: name.into(),
        namespace: "shop".into(),
        addresses: vec![ip],
        hostname: "".into(),
        network: Network::default_network(),
        protocol,
        identity: identity(name),
        waypoint: None,
        network_gateway: None,
        node: NodeName::new("n1"),
        canonical_name: name.into(),
        canonical_revision: "latest".into(),
        kind: WorkloadKind::Pod,
        workload_name: name.into(),
        native_tunnel: false,
        application_tunnel: None,
        services,
        policies: Vec::new(),
        health: Health::Healthy,
        cluster: "Kubernetes".into(),
        locality: Locality::default(),
        labels: [("app".into(), name.into())].into(),
        network_mode: NetworkMode::Standard,
        weight: 1,
        node_tunnel: None,
        terminating: false,
    }
}

/// A service behind the waypoint at this address.
pub(crate) fn service(name: &str, vip: SocketAddr, waypoint: IpAddr, app_protocol: AppProtocol) -> Service {
    let network = Network::default_network();
    let range = ipnet(vip.ip());
    let port = ServicePort { service_port: vip.port(), target_port: PORT, app_protocol };
    let destination = GatewayDestination::Addr(NetworkAddr { network: network.clone(), ip: waypoint });
    Service {
        name: service_name(name),
        short_name: name.into(),
        vips: vec![Vip { network, range, kind: VipKind::Cluster }],
        ports: vec![port],
        subject_alt_names: Vec::new(),
        waypoint: Some(GatewayAddr { destination, hbone_port: 15008 }),
        load_balancing: LoadBalancing::default(),
        ip_families: IpFamilies::Automatic,
        session_affinity: None,
        external_name: None,
        canonical: true,
        guarded: false,
    }
}

fn ipnet(ip: IpAddr) -> ipnet::IpNet {
    format!("{ip}/32").parse().unwrap()
}

/// A backend of a rule, with a weight.
pub(crate) fn to(service: &str, weight: u32) -> Value {
    json!({"weight": weight, "to": {"target": target(service)}})
}

pub(crate) fn target(service: &str) -> Value {
    json!({"service": {"service": service_name(service).to_string(), "port": SERVICE_PORT}})
}

/// A rule that sends everything on, with more words about how.
pub(crate) fn forward(backends: &[Value], more: Value) -> Value {
    let forward = with(json!({"backends": backends}), more);
    json!({"action": {"forward": forward}})
}

/// The same rule with more words about it.
pub(crate) fn with(mut rule: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("words are an object: {more}") };
    rule.as_object_mut().unwrap().extend(more);
    rule
}

/// What is said of a service: rules, each for requests of which something holds, and how its endpoints are used.
pub(crate) fn traffic(service: &str, rules: &[(Value, Value)], destination: &Value) -> Value {
    let entries: Vec<Value> =
        rules.iter().enumerate().map(|(rule, (when, _))| json!({"when": when, "rule": rule})).collect();
    let rules: Vec<Value> = rules
        .iter()
        .enumerate()
        .map(|(number, (_, rule))| {
            let origin = json!({"kind": "HTTPRoute", "namespace": "shop", "route": service, "rule": number.to_string()});
            // One that says itself where it was written keeps that.
            with(json!({"origin": origin}), rule.clone())
        })
        .collect();
    json!({
        "service": service_name(service).to_string(),
        "routes": [{"routes": {"http": {"entries": entries, "rules": rules}}}],
        "destination": destination,
    })
}
