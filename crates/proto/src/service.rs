//! `istio.workload.Service` and the core's [`Service`].

use crate::field::{
    BadValue, Malformed, arc, bad, choice, ip, ip_bytes, non_empty, port, port_or_zero, text,
};
use crate::gateway::{decode_gateway, encode_extension, encode_gateway, extension};
use crate::generated::istio::workload as pb;
use crate::generated::weft;
use ipnet::IpNet;
use pb::load_balancing as lb;
use std::time::Duration;
use weft_core::names::{Network, ServiceName};
use weft_core::service::{
    AppProtocol, HealthPolicy, IpFamilies, LoadBalancing, LoadBalancingMode, Scope, Service, ServicePort,
    Vip, VipKind,
};

/// The name of the extension for what Weft alone says of a service.
const OPTIONS: &str = "weft.dev/service";

pub(crate) fn decode(from: pb::Service) -> Result<Service, Malformed> {
    if from.hostname.is_empty() {
        return Err(bad("Service.hostname")(BadValue::Missing));
    }
    let options: weft::ServiceOptions =
        extension("Service.extensions[weft.dev/service]", OPTIONS, &from.extensions)?.unwrap_or_default();
    // Splitting traffic between waypoints is not built; all of it goes to the one with the most weight, so
    // that no policy is skipped.
    let heaviest = from.weighted_waypoints.into_iter().max_by_key(|one| one.weight);
    let waypoint = from.waypoint.or_else(|| heaviest.and_then(|one| one.destination));
    let affinity = Duration::from_secs(options.session_affinity_seconds);
    Ok(Service {
        name: ServiceName::new(from.namespace, from.hostname),
        short_name: arc(from.name),
        vips: vips(from.addresses, options.cluster_addresses)?,
        ports: from.ports.iter().map(service_port).collect::<Result<_, _>>()?,
        subject_alt_names: from.subject_alt_names.into_iter().map(arc).collect(),
        waypoint: waypoint.map(|waypoint| decode_gateway("Service.waypoint", waypoint)).transpose()?,
        load_balancing: from.load_balancing.map(load_balancing).transpose()?.unwrap_or_default(),
        ip_families: ip_families(from.ip_families)?,
        session_affinity: (!affinity.is_zero()).then_some(affinity),
        external_name: non_empty(options.external_name),
        canonical: from.canonical,
        guarded: options.guarded,
    })
}

fn vips(from: Vec<pb::NetworkAddress>, given: u32) -> Result<Vec<Vip>, Malformed> {
    let kinds = (0_u32..).map(|index| if index < given { VipKind::Cluster } else { VipKind::External });
    from.into_iter().zip(kinds).map(|(addr, kind)| vip(addr, kind)).collect()
}

fn vip(from: pb::NetworkAddress, kind: VipKind) -> Result<Vip, Malformed> {
    let ip = ip(&from.address).map_err(bad("Service.addresses"))?;
    let range = match from.length {
        None => IpNet::from(ip),
        Some(length) => u8::try_from(length)
            .ok()
            .and_then(|length| IpNet::new(ip, length).ok())
            .ok_or_else(|| bad("Service.addresses.length")(BadValue::PrefixLength(length)))?,
    };
    Ok(Vip { network: Network::new(from.network), range, kind })
}

fn service_port(from: &pb::Port) -> Result<ServicePort, Malformed> {
    // A protocol that is new to us is bytes, like any that is not said.
    let app_protocol = match pb::AppProtocol::try_from(from.app_protocol) {
        Ok(pb::AppProtocol::Unknown) | Err(_) => AppProtocol::Unknown,
        Ok(pb::AppProtocol::Http11) => AppProtocol::Http11,
        Ok(pb::AppProtocol::Http2) => AppProtocol::Http2,
        Ok(pb::AppProtocol::Grpc) => AppProtocol::Grpc,
        Ok(pb::AppProtocol::Tcp) => AppProtocol::Tcp,
        Ok(pb::AppProtocol::Tls) => AppProtocol::Tls,
    };
    Ok(ServicePort {
        service_port: port(from.service_port).map_err(bad("Service.ports.service_port"))?,
        target_port: port_or_zero(from.target_port).map_err(bad("Service.ports.target_port"))?,
        app_protocol,
    })
}

fn load_balancing(from: pb::LoadBalancing) -> Result<LoadBalancing, Malformed> {
    let scope = |number| match choice(number)? {
        lb::Scope::UnspecifiedScope => Err(BadValue::Choice(number)),
        lb::Scope::Region => Ok(Scope::Region),
        lb::Scope::Zone => Ok(Scope::Zone),
        lb::Scope::Subzone => Ok(Scope::Subzone),
        lb::Scope::Node => Ok(Scope::Node),
        lb::Scope::Cluster => Ok(Scope::Cluster),
        lb::Scope::Network => Ok(Scope::Network),
    };
    Ok(LoadBalancing {
        preference: (from.routing_preference.into_iter().map(scope).collect::<Result<_, _>>())
            .map_err(bad("LoadBalancing.routing_preference"))?,
        mode: match choice(from.mode).map_err(bad("LoadBalancing.mode"))? {
            lb::Mode::UnspecifiedMode => LoadBalancingMode::Any,
            lb::Mode::Strict => LoadBalancingMode::Strict,
            lb::Mode::Failover => LoadBalancingMode::Failover,
            lb::Mode::Passthrough => LoadBalancingMode::Passthrough,
        },
        health: match choice(from.health_policy).map_err(bad("LoadBalancing.health_policy"))? {
            lb::HealthPolicy::OnlyHealthy => HealthPolicy::OnlyHealthy,
            lb::HealthPolicy::AllowAll => HealthPolicy::All,
        },
    })
}

fn ip_families(number: i32) -> Result<IpFamilies, Malformed> {
    Ok(match choice(number).map_err(bad("Service.ip_families"))? {
        pb::IpFamilies::Automatic => IpFamilies::Automatic,
        pb::IpFamilies::Ipv4Only => IpFamilies::V4,
        pb::IpFamilies::Ipv6Only => IpFamilies::V6,
        pb::IpFamilies::Dual => IpFamilies::Dual,
    })
}

pub(crate) fn encode(from: &Service) -> pb::Service {
    let given = from.vips.iter().take_while(|vip| vip.kind == VipKind::Cluster);
    let options = weft::ServiceOptions {
        session_affinity_seconds: from.session_affinity.map_or(0, |time| time.as_secs()),
        external_name: from.external_name.as_ref().map(text).unwrap_or_default(),
        guarded: from.guarded,
        cluster_addresses: given.count().try_into().unwrap_or(u32::MAX),
    };
    let extensions = (options != weft::ServiceOptions::default())
        .then(|| encode_extension(OPTIONS, &options))
        .into_iter()
        .collect();
    pb::Service {
        name: text(&from.short_name),
        namespace: text(&from.name.namespace),
        hostname: text(&from.name.hostname),
        addresses: from.vips.iter().map(encode_vip).collect(),
        ports: from.ports.iter().map(encode_port).collect(),
        subject_alt_names: from.subject_alt_names.iter().map(text).collect(),
        waypoint: from.waypoint.as_ref().map(encode_gateway),
        load_balancing: (from.load_balancing != LoadBalancing::default())
            .then(|| encode_load_balancing(&from.load_balancing)),
        ip_families: match from.ip_families {
            IpFamilies::Automatic => pb::IpFamilies::Automatic,
            IpFamilies::V4 => pb::IpFamilies::Ipv4Only,
            IpFamilies::V6 => pb::IpFamilies::Ipv6Only,
            IpFamilies::Dual => pb::IpFamilies::Dual,
        }
        .into(),
        extensions,
        canonical: from.canonical,
        ..pb::Service::default()
    }
}

fn encode_vip(vip: &Vip) -> pb::NetworkAddress {
    pb::NetworkAddress {
        network: vip.network.to_string(),
        address: ip_bytes(vip.range.addr()),
        length: vip.ip().is_none().then(|| vip.range.prefix_len().into()),
    }
}

fn encode_port(port: &ServicePort) -> pb::Port {
    let app_protocol = match port.app_protocol {
        AppProtocol::Unknown => pb::AppProtocol::Unknown,
        AppProtocol::Http11 => pb::AppProtocol::Http11,
        AppProtocol::Http2 => pb::AppProtocol::Http2,
        AppProtocol::Grpc => pb::AppProtocol::Grpc,
        AppProtocol::Tcp => pb::AppProtocol::Tcp,
        AppProtocol::Tls => pb::AppProtocol::Tls,
    };
    pb::Port {
        service_port: port.service_port.into(),
        target_port: port.target_port.into(),
        app_protocol: app_protocol.into(),
    }
}

fn encode_load_balancing(from: &LoadBalancing) -> pb::LoadBalancing {
    let scope = |scope: &Scope| {
        i32::from(match scope {
            Scope::Region => lb::Scope::Region,
            Scope::Zone => lb::Scope::Zone,
            Scope::Subzone => lb::Scope::Subzone,
            Scope::Node => lb::Scope::Node,
            Scope::Cluster => lb::Scope::Cluster,
            Scope::Network => lb::Scope::Network,
        })
    };
    let mode = match from.mode {
        LoadBalancingMode::Any => lb::Mode::UnspecifiedMode,
        LoadBalancingMode::Strict => lb::Mode::Strict,
        LoadBalancingMode::Failover => lb::Mode::Failover,
        LoadBalancingMode::Passthrough => lb::Mode::Passthrough,
    };
    let health = match from.health {
        HealthPolicy::OnlyHealthy => lb::HealthPolicy::OnlyHealthy,
        HealthPolicy::All => lb::HealthPolicy::AllowAll,
    };
    pb::LoadBalancing {
        routing_preference: from.preference.iter().map(scope).collect(),
        mode: mode.into(),
        health_policy: health.into(),
    }
}
