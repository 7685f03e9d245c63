//! What matters of a Node: where it is, whether it speaks Weft's own tunnel, and which addresses its pods get.

use crate::facts::versions;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use weft_control_api::k8s_openapi::api::core::v1::Node;
use weft_control_api::problem::Note;
use weft_core::ports::TUNNEL;
use weft_core::workload::{Locality, NodeTunnel, TunnelPlace};

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    pub(crate) locality: Locality,
    pub(crate) tunnel: Option<NodeTunnel>,
    pub(crate) pod_ranges: Vec<IpNet>,
}

pub(crate) fn read(node: &Node, notes: &mut Vec<Note>) -> NodeFacts {
    NodeFacts { locality: locality(node), tunnel: tunnel(node, notes), pod_ranges: pod_ranges(node, notes) }
}

fn locality(node: &Node) -> Locality {
    let label = |name: &str| -> Arc<str> {
        let value = node.metadata.labels.as_ref().and_then(|labels| labels.get(name));
        value.map_or_else(Arc::default, |value| value.as_str().into())
    };
    Locality {
        region: label("topology.kubernetes.io/region"),
        zone: label("topology.kubernetes.io/zone"),
        subzone: label("topology.istio.io/subzone"),
    }
}

fn tunnel(node: &Node, notes: &mut Vec<Note>) -> Option<NodeTunnel> {
    let versions = versions::read(&node.metadata, notes);
    if versions.is_empty() {
        return None;
    }
    let addresses = internal_addresses(node, notes);
    (!addresses.is_empty()).then_some(NodeTunnel { place: TunnelPlace::Node(addresses), versions })
}

fn internal_addresses(node: &Node, notes: &mut Vec<Note>) -> Vec<SocketAddr> {
    let all = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let mut found = Vec::new();
    for (index, one) in all.into_iter().flatten().enumerate().filter(|(_, one)| one.type_ == "InternalIP") {
        match one.address.parse::<IpAddr>() {
            Ok(ip) => found.push(SocketAddr::new(ip.to_canonical(), TUNNEL)),
            Err(_) => notes.push(Note::error(
                format!("status.addresses[{index}].address"),
                format!("{:?} is no address", one.address),
            )),
        }
    }
    found
}

/// `spec.podCIDRs`, or the older `spec.podCIDR`, which repeats the first of them.
fn pod_ranges(node: &Node, notes: &mut Vec<Note>) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let listed = spec.pod_cidrs.iter().flatten().enumerate();
    let listed = listed.map(|(index, text)| (format!("spec.podCIDRs[{index}]"), text));
    let single = spec.pod_cidr.iter().map(|text| ("spec.podCIDR".to_owned(), text));
    let mut found = Vec::new();
    for (field, text) in listed.chain(single).filter(|(_, text)| !text.is_empty()) {
        match text.parse::<IpNet>() {
            Ok(range) if found.contains(&range.trunc()) => {}
            Ok(range) => found.push(range.trunc()),
            Err(_) => notes.push(Note::error(field, format!("{text:?} is no range of addresses"))),
        }
    }
    found
}
