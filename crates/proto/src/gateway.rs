//! Gateways, extensions, and network addresses, which workloads and services share.

use crate::field::{BadValue, Malformed, bad, ip, ip_bytes, port_or_zero, text};
use crate::generated::istio::workload as pb;
use prost::{Message, Name};
use weft_core::names::{Network, NetworkAddr, ServiceName};
use weft_core::ports;
use weft_core::workload::{GatewayAddr, GatewayDestination};

pub(crate) fn decode_gateway(
    field: &'static str,
    gateway: pb::GatewayAddress,
) -> Result<GatewayAddr, Malformed> {
    let bad = bad(field);
    let destination = match gateway.destination.ok_or_else(|| bad(BadValue::Missing))? {
        pb::gateway_address::Destination::Hostname(name) => {
            if name.hostname.is_empty() {
                return Err(bad(BadValue::Missing));
            }
            GatewayDestination::Service(ServiceName::new(name.namespace, name.hostname))
        }
        pb::gateway_address::Destination::Address(addr) => {
            let ip = ip(&addr.address).map_err(bad)?;
            GatewayDestination::Addr(NetworkAddr { network: Network::new(addr.network), ip })
        }
    };
    let hbone_port = match port_or_zero(gateway.hbone_mtls_port).map_err(bad)? {
        0 => ports::TUNNEL,
        port => port,
    };
    Ok(GatewayAddr { destination, hbone_port })
}

pub(crate) fn encode_gateway(gateway: &GatewayAddr) -> pb::GatewayAddress {
    let destination = match &gateway.destination {
        GatewayDestination::Service(name) => {
            pb::gateway_address::Destination::Hostname(pb::NamespacedHostname {
                namespace: text(&name.namespace),
                hostname: text(&name.hostname),
            })
        }
        GatewayDestination::Addr(addr) => pb::gateway_address::Destination::Address(pb::NetworkAddress {
            network: addr.network.to_string(),
            address: ip_bytes(addr.ip),
            length: None,
        }),
    };
    pb::GatewayAddress { destination: Some(destination), hbone_mtls_port: gateway.hbone_port.into() }
}

/// The extension of this name, if there is one. Extensions of other names are not for us.
pub(crate) fn extension<M: Message + Name + Default>(
    field: &'static str,
    name: &str,
    extensions: &[pb::Extension],
) -> Result<Option<M>, Malformed> {
    let Some(extension) = extensions.iter().find(|extension| extension.name == name) else {
        return Ok(None);
    };
    let bad = bad(field);
    let config = extension.config.as_ref().ok_or_else(|| bad(BadValue::Missing))?;
    if config.type_url != type_url::<M>() {
        return Err(bad(BadValue::Type(config.type_url.clone())));
    }
    M::decode(&*config.value).map(Some).map_err(|error| bad(BadValue::Message(error)))
}

pub(crate) fn encode_extension<M: Message + Name>(name: &str, config: &M) -> pb::Extension {
    let config = prost_types::Any { type_url: type_url::<M>(), value: config.encode_to_vec() };
    pb::Extension { name: name.to_owned(), config: Some(config) }
}

fn type_url<M: Name>() -> String {
    format!("type.googleapis.com/{}", M::full_name())
}
