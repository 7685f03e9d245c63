//! `istio.workload.Workload` and the core's [`Workload`].

use crate::field::{BadValue, Malformed, arc, bad, choice, ip, ip_bytes, port, port_or_zero, text};
use crate::gateway::{decode_gateway, encode_extension, encode_gateway, extension};
use crate::generated::istio::workload as pb;
use crate::generated::weft;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use weft_core::identity::Identity;
use weft_core::names::{Network, NodeName, PolicyName, ServiceName, WorkloadUid};
use weft_core::workload::{
    ApplicationTunnel, Health, Locality, NetworkMode, NodeTunnel, PortPair, TunnelPlace, TunnelProtocol,
    Workload, WorkloadKind,
};

/// The name of the extension that tells of a node's own tunnel.
const NODE_TUNNEL: &str = "weft.dev/node-tunnel";
/// The name of the extension for what Weft alone says of a workload.
const OPTIONS: &str = "weft.dev/workload";
/// What an empty trust domain stands for (wire facts §2).
const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";
/// What an empty service account stands for: the one that Kubernetes gives to pods that name none.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

pub(crate) fn decode(from: pb::Workload) -> Result<Workload, Malformed> {
    if from.uid.is_empty() {
        return Err(bad("Workload.uid")(BadValue::Missing));
    }
    let gateway = |field, gateway: Option<pb::GatewayAddress>| {
        gateway.map(|gateway| decode_gateway(field, gateway)).transpose()
    };
    let options: weft::WorkloadOptions =
        extension("Workload.extensions[weft.dev/workload]", OPTIONS, &from.extensions)?.unwrap_or_default();
    Ok(Workload {
        identity: identity(&from)?,
        protocol: protocol(from.tunnel_protocol)?,
        network_mode: network_mode(from.network_mode)?,
        health: health(from.status)?,
        kind: kind(from.workload_type),
        node_tunnel: node_tunnel(&from.extensions)?,
        terminating: options.terminating,
        weight: from.capacity.unwrap_or(1),
        uid: WorkloadUid::new(from.uid),
        name: arc(from.name),
        namespace: arc(from.namespace),
        addresses: (from.addresses.iter().map(|bytes| ip(bytes)).collect::<Result<_, _>>())
            .map_err(bad("Workload.addresses"))?,
        hostname: arc(from.hostname),
        network: Network::new(from.network),
        waypoint: gateway("Workload.waypoint", from.waypoint)?,
        network_gateway: gateway("Workload.network_gateway", from.network_gateway)?,
        node: NodeName::new(from.node),
        canonical_name: arc(from.canonical_name),
        canonical_revision: arc(from.canonical_revision),
        workload_name: arc(from.workload_name),
        native_tunnel: from.native_tunnel,
        application_tunnel: from.application_tunnel.as_ref().map(application_tunnel).transpose()?,
        services: from.services.into_iter().map(endpoint_of).collect::<Result<_, _>>()?,
        policies: from.authorization_policies.into_iter().map(policy_name).collect::<Result<_, _>>()?,
        cluster: arc(from.cluster_id),
        locality: from.locality.map(locality).unwrap_or_default(),
        labels: options.labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
    })
}

fn identity(from: &pb::Workload) -> Result<Identity, Malformed> {
    let or = |text: &str, default: &str| (if text.is_empty() { default } else { text }).to_owned();
    Identity::new(
        or(&from.trust_domain, DEFAULT_TRUST_DOMAIN),
        &*from.namespace,
        or(&from.service_account, DEFAULT_SERVICE_ACCOUNT),
    )
    .map_err(|why| bad("Workload.{trust_domain,namespace,service_account}")(BadValue::Identity(why)))
}

fn protocol(number: i32) -> Result<TunnelProtocol, Malformed> {
    Ok(match choice(number).map_err(bad("Workload.tunnel_protocol"))? {
        pb::TunnelProtocol::None => TunnelProtocol::Plain,
        pb::TunnelProtocol::Hbone => TunnelProtocol::Hbone,
        pb::TunnelProtocol::LegacyIstioMtls => TunnelProtocol::LegacyMtls,
    })
}

fn network_mode(number: i32) -> Result<NetworkMode, Malformed> {
    Ok(match choice(number).map_err(bad("Workload.network_mode"))? {
        pb::NetworkMode::Standard => NetworkMode::Standard,
        pb::NetworkMode::HostNetwork => NetworkMode::HostNetwork,
    })
}

fn health(number: i32) -> Result<Health, Malformed> {
    Ok(match choice(number).map_err(bad("Workload.status"))? {
        pb::WorkloadStatus::Healthy => Health::Healthy,
        pb::WorkloadStatus::Unhealthy => Health::Unhealthy,
    })
}

/// Only telemetry reads it, so a kind that is new to us is no reason to refuse the workload.
fn kind(number: i32) -> WorkloadKind {
    match pb::WorkloadType::try_from(number) {
        Ok(pb::WorkloadType::Deployment) | Err(_) => WorkloadKind::Deployment,
        Ok(pb::WorkloadType::Cronjob) => WorkloadKind::CronJob,
        Ok(pb::WorkloadType::Pod) => WorkloadKind::Pod,
        Ok(pb::WorkloadType::Job) => WorkloadKind::Job,
    }
}

fn application_tunnel(from: &pb::ApplicationTunnel) -> Result<ApplicationTunnel, Malformed> {
    let protocol = choice(from.protocol).map_err(bad("ApplicationTunnel.protocol"))?;
    Ok(ApplicationTunnel {
        port: port_or_zero(from.port).map_err(bad("ApplicationTunnel.port"))?,
        proxy_protocol: match protocol {
            pb::application_tunnel::Protocol::None => false,
            pb::application_tunnel::Protocol::Proxy => true,
        },
    })
}

fn endpoint_of((name, ports): (String, pb::PortList)) -> Result<(ServiceName, Vec<PortPair>), Malformed> {
    let service = ServiceName::parse(&name).ok_or_else(|| bad("Workload.services")(BadValue::Name(name)))?;
    let pair = |pair: &pb::Port| {
        Ok(PortPair { service_port: port(pair.service_port)?, target_port: port_or_zero(pair.target_port)? })
    };
    let pairs = ports.ports.iter().map(pair).collect::<Result<_, _>>();
    Ok((service, pairs.map_err(bad("Workload.services.ports"))?))
}

fn policy_name(name: String) -> Result<PolicyName, Malformed> {
    PolicyName::parse(&name).ok_or_else(|| bad("Workload.authorization_policies")(BadValue::Name(name)))
}

fn locality(from: pb::Locality) -> Locality {
    Locality { region: arc(from.region), zone: arc(from.zone), subzone: arc(from.subzone) }
}

fn node_tunnel(extensions: &[pb::Extension]) -> Result<Option<NodeTunnel>, Malformed> {
    let field = "Workload.extensions[weft.dev/node-tunnel]";
    let Some(from) = extension::<weft::NodeTunnel>(field, NODE_TUNNEL, extensions)? else {
        return Ok(None);
    };
    let place = tunnel_place(&from).map_err(bad(field))?;
    // A version that does not fit is one that we do not speak either.
    let versions = from.versions.iter().filter_map(|version| u16::try_from(*version).ok()).collect();
    Ok(Some(NodeTunnel { place, versions }))
}

fn tunnel_place(from: &weft::NodeTunnel) -> Result<TunnelPlace, BadValue> {
    if from.addresses.is_empty() {
        return Ok(TunnelPlace::Workload);
    }
    let port = port(from.port)?;
    let addresses = from.addresses.iter().map(|bytes| Ok(SocketAddr::new(ip(bytes)?, port)));
    addresses.collect::<Result<_, _>>().map(TunnelPlace::Node)
}

pub(crate) fn encode(from: &Workload) -> pb::Workload {
    pb::Workload {
        uid: from.uid.to_string(),
        name: text(&from.name),
        namespace: text(&from.namespace),
        addresses: from.addresses.iter().map(|ip| ip_bytes(*ip)).collect(),
        hostname: text(&from.hostname),
        network: from.network.to_string(),
        tunnel_protocol: match from.protocol {
            TunnelProtocol::Plain => pb::TunnelProtocol::None,
            TunnelProtocol::Hbone => pb::TunnelProtocol::Hbone,
            TunnelProtocol::LegacyMtls => pb::TunnelProtocol::LegacyIstioMtls,
        }
        .into(),
        trust_domain: from.identity.trust_domain().to_owned(),
        service_account: from.identity.service_account().to_owned(),
        waypoint: from.waypoint.as_ref().map(encode_gateway),
        network_gateway: from.network_gateway.as_ref().map(encode_gateway),
        node: from.node.to_string(),
        canonical_name: text(&from.canonical_name),
        canonical_revision: text(&from.canonical_revision),
        workload_type: match from.kind {
            WorkloadKind::Deployment => pb::WorkloadType::Deployment,
            WorkloadKind::CronJob => pb::WorkloadType::Cronjob,
            WorkloadKind::Pod => pb::WorkloadType::Pod,
            WorkloadKind::Job => pb::WorkloadType::Job,
        }
        .into(),
        workload_name: text(&from.workload_name),
        native_tunnel: from.native_tunnel,
        application_tunnel: from.application_tunnel.map(|tunnel| pb::ApplicationTunnel {
            protocol: i32::from(tunnel.proxy_protocol),
            port: tunnel.port.into(),
        }),
        services: encode_services(&from.services),
        authorization_policies: from.policies.iter().map(ToString::to_string).collect(),
        status: match from.health {
            Health::Healthy => pb::WorkloadStatus::Healthy,
            Health::Unhealthy => pb::WorkloadStatus::Unhealthy,
        }
        .into(),
        cluster_id: text(&from.cluster),
        locality: (from.locality != Locality::default()).then(|| pb::Locality {
            region: text(&from.locality.region),
            zone: text(&from.locality.zone),
            subzone: text(&from.locality.subzone),
        }),
        network_mode: match from.network_mode {
            NetworkMode::Standard => pb::NetworkMode::Standard,
            NetworkMode::HostNetwork => pb::NetworkMode::HostNetwork,
        }
        .into(),
        extensions: encode_extensions(from),
        capacity: (from.weight != 1).then_some(from.weight),
    }
}

fn encode_services(services: &[(ServiceName, Vec<PortPair>)]) -> BTreeMap<String, pb::PortList> {
    let port = |pair: &PortPair| pb::Port {
        service_port: pair.service_port.into(),
        target_port: pair.target_port.into(),
        app_protocol: pb::AppProtocol::Unknown.into(),
    };
    let list = |ports: &[PortPair]| pb::PortList { ports: ports.iter().map(port).collect() };
    services.iter().map(|(name, ports)| (name.to_string(), list(ports))).collect()
}

fn encode_extensions(from: &Workload) -> Vec<pb::Extension> {
    let tunnel = from.node_tunnel.as_ref().map(|tunnel| {
        // One port stands for all addresses: a node listens on the same one everywhere.
        let port = tunnel.addresses().first().map_or(weft_core::ports::TUNNEL, SocketAddr::port);
        let message = weft::NodeTunnel {
            addresses: tunnel.addresses().iter().map(|addr| ip_bytes(addr.ip())).collect(),
            port: port.into(),
            versions: tunnel.versions.iter().map(|version| u32::from(*version)).collect(),
        };
        encode_extension(NODE_TUNNEL, &message)
    });
    let labels = from.labels.iter().map(|(name, value)| (text(name), text(value)));
    let options = weft::WorkloadOptions { terminating: from.terminating, labels: labels.collect() };
    let options = (options != weft::WorkloadOptions::default()).then(|| encode_extension(OPTIONS, &options));
    tunnel.into_iter().chain(options).collect()
}
