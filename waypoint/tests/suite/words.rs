//! What discovery says, in few words.

use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use weft_core::identity::Identity;
use weft_core::names::{Network, NetworkAddr, ServiceName};
use weft_core::service::{AppProtocol, Service, ServicePort};
use weft_core::workload::{GatewayAddr, GatewayDestination, PortPair, TunnelProtocol, Workload};

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
        addresses: vec![ip],
        protocol,
        services,
        labels: [("app".into(), name.into())].into(),
        ..weft_samples::workload("shop", name)
    }
}

/// A service behind the waypoint at this address.
pub(crate) fn service(name: &str, vip: SocketAddr, waypoint: IpAddr, app_protocol: AppProtocol) -> Service {
    let port = ServicePort { service_port: vip.port(), target_port: PORT, app_protocol };
    let waypoint = NetworkAddr { network: Network::default_network(), ip: waypoint };
    let destination = GatewayDestination::Addr(waypoint);
    Service {
        vips: vec![weft_samples::vip(vip.ip())],
        ports: vec![port],
        waypoint: Some(GatewayAddr { destination, hbone_port: 15008 }),
        ..weft_samples::service("shop", &service_name(name).hostname)
    }
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
