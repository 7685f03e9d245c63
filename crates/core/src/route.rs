//! Decides where a captured connection goes: which endpoint, by which path, or why nowhere.

mod outside;

use crate::balance::{Chance, Choice, choose};
use crate::names::{Network, NetworkAddr, OriginalDst, WorkloadUid};
use crate::ports::{TUNNEL, is_mesh_port};
use crate::service::{LoadBalancingMode, Service};
use crate::snapshot::{Snapshot, Target};
use crate::waypoint::choose_waypoint;
use crate::workload::{GatewayAddr, NetworkMode, NodeTunnel, TunnelPlace, TunnelProtocol, Workload};
use outside::outside;
pub use outside::{Asked, Egress, Ranges, Whose};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Where a connection goes next.
#[derive(Debug, Clone)]
pub enum Hop {
    /// To a workload that discovery knows.
    Workload(Box<WorkloadHop>),
    /// To the address as it was asked for, in plain text: it is outside the mesh.
    Passthrough(SocketAddr),
    /// Nobody knows the address yet: ask discovery for it, then decide again.
    Ask(NetworkAddr),
    /// Nowhere.
    Refuse(Refusal),
}

/// A connection to a workload.
#[derive(Debug, Clone)]
pub struct WorkloadHop {
    /// The endpoint.
    pub workload: Arc<Workload>,
    /// What is asked for there: its address and the application's port; of a waypoint, what the client asked for.
    pub target: SocketAddr,
    /// The service that was asked for, if the address was a service's.
    pub service: Option<Arc<Service>>,
    /// How it is reached.
    pub path: Path,
}

/// How a workload is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// It is enrolled on this node: both sides are joined in process.
    SameNode,
    /// Through Weft's own tunnel to its node: the addresses of that.
    NodeTunnel(Vec<SocketAddr>),
    /// Through Weft's own tunnel to its own address.
    PodTunnel(SocketAddr),
    /// Through HBONE to its own address.
    Hbone(SocketAddr),
    /// In plain text: it is not in the mesh.
    Plain,
}

/// Why a connection goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The port is the mesh's own.
    MeshPort(u16),
    /// No such address in the mesh's ranges.
    Unknown(IpAddr),
    /// It may be in the mesh, and discovery does not say.
    Unanswered(IpAddr),
    /// The service has no such port.
    NoPort(u16),
    /// The service has no endpoint that may take it.
    NoEndpoint,
    /// Its traffic has to go through a waypoint, and none of its instances serves.
    Waypoint,
    /// The endpoint has no address in a usable family.
    NoAddress,
    /// The endpoint is known by its name only, which waypoints look up and nobody else.
    ByName(Arc<str>),
    /// The endpoint speaks a tunnel that this proxy does not, or is in a network without a gateway.
    Unreachable,
    /// The address is outside the mesh, and the mesh's egress mode refuses that.
    Egress(IpAddr),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MeshPort(port) => write!(f, "port {port} belongs to the mesh itself"),
            Self::Unknown(ip) => write!(f, "{ip} is in the mesh's ranges and nobody has it"),
            Self::Unanswered(ip) => write!(
                f,
                "{ip} may be in the mesh, and discovery does not answer; is weft-control reachable? WEFT_MESH_CIDRS says which \
                 addresses are the mesh's"
            ),
            Self::NoPort(port) => write!(f, "the service has no port {port}"),
            Self::NoEndpoint => f.write_str("the service has no endpoint that takes connections"),
            Self::Waypoint => {
                f.write_str("its traffic goes through a waypoint, and no instance of that is ready")
            }
            Self::NoAddress => f.write_str("the endpoint has no address"),
            Self::ByName(name) => write!(
                f,
                "the endpoint is whatever {name} stands for, which only a waypoint looks up, and none stands before the \
                 service: bind its ServiceEntry with the label weft.dev/waypoint"
            ),
            Self::Unreachable => f.write_str("the endpoint cannot be reached through a tunnel of this mesh"),
            Self::Egress(ip) => write!(f, "{ip} is outside the mesh and egress is refused"),
        }
    }
}

/// How pods of one node reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameNode {
    /// Joined in process; both ends are known from the namespaces they sit in.
    #[default]
    Join,
    /// Through a tunnel all the same.
    Encrypt,
}

/// What a proxy knows of its own mesh, besides discovery.
#[derive(Debug, Clone, Default)]
pub struct MeshRules {
    /// Pod and service ranges.
    pub ranges: Ranges,
    /// What lies outside.
    pub egress: Egress,
    /// Pods of this node.
    pub same_node: SameNode,
}

/// Versions of Weft's own dialect that this build speaks.
pub const TUNNEL_VERSIONS: &[u16] = &[1];

/// One question to the router.
pub struct Question<'a> {
    /// Who asks.
    pub client: &'a Workload,
    /// What for.
    pub dst: OriginalDst,
    /// Where session affinity sends this client, if it has been here before.
    pub sticky: Option<&'a WorkloadUid>,
    /// Whether discovery has been asked for the address already.
    pub asked: Asked,
}

/// Decides where a captured connection goes. No clock, no socket: the same inputs give the same hop.
pub fn next_hop(
    snapshot: &Snapshot,
    rules: &MeshRules,
    question: &Question<'_>,
    chance: &mut impl Chance,
) -> Hop {
    let OriginalDst(dst) = question.dst;
    if is_mesh_port(dst.port()) {
        return Hop::Refuse(Refusal::MeshPort(dst.port()));
    }
    let client = question.client;
    let addr = NetworkAddr { network: client.network.clone(), ip: dst.ip().to_canonical() };
    match snapshot.target_at(&addr, dst.port(), &client.namespace) {
        Some(Target::Service(service)) => to_service(snapshot, rules, question, service, chance),
        Some(Target::Workload(workload)) => match &workload.waypoint {
            Some(gateway) => to_waypoint(snapshot, rules, question, gateway, None, chance),
            None => to_workload(rules, client, workload, dst, None),
        },
        None => outside((whose(snapshot, rules, &addr), rules.egress), question.asked, dst, addr),
    }
}

/// Whose an address may be that nobody is known to have. What the settings say of ranges counts alone.
fn whose(snapshot: &Snapshot, rules: &MeshRules, addr: &NetworkAddr) -> Whose {
    match rules.ranges.whose(addr.ip) {
        Whose::Neighbour | Whose::Public if snapshot.is_for_pods(addr) => Whose::Mesh,
        whose => whose,
    }
}

fn to_service(
    snapshot: &Snapshot,
    rules: &MeshRules,
    question: &Question<'_>,
    service: &Arc<Service>,
    chance: &mut impl Chance,
) -> Hop {
    let OriginalDst(dst) = question.dst;
    if let Some(gateway) = &service.waypoint {
        return to_waypoint(snapshot, rules, question, gateway, Some(service), chance);
    }
    if service.load_balancing.mode == LoadBalancingMode::Passthrough {
        // The address itself is asked for. That somebody gave it a name makes it no less a stranger's.
        let addr = NetworkAddr { network: question.client.network.clone(), ip: dst.ip().to_canonical() };
        return outside((whose(snapshot, rules, &addr), rules.egress), question.asked, dst, addr);
    }
    if service.port(dst.port()).is_none() {
        return Hop::Refuse(Refusal::NoPort(dst.port()));
    }
    let choice =
        Choice { service, service_port: dst.port(), client: question.client, sticky: question.sticky };
    let Some((workload, port)) = choose(&choice, snapshot.endpoints(&service.name), chance) else {
        return Hop::Refuse(Refusal::NoEndpoint);
    };
    let Some(ip) = address_for(workload, dst.ip()) else {
        return Hop::Refuse(match &*workload.hostname {
            "" => Refusal::NoAddress,
            _ => Refusal::ByName(workload.hostname.clone()),
        });
    };
    to_workload(rules, question.client, workload, SocketAddr::new(ip, port), Some(service.clone()))
}

/// To an instance of a waypoint, which is asked for what the client asked for: it knows what stands behind.
fn to_waypoint(
    snapshot: &Snapshot,
    rules: &MeshRules,
    question: &Question<'_>,
    gateway: &GatewayAddr,
    service: Option<&Arc<Service>>,
    chance: &mut impl Chance,
) -> Hop {
    let OriginalDst(dst) = question.dst;
    if let Some(service) = service
        && service.port(dst.port()).is_none()
    {
        return Hop::Refuse(Refusal::NoPort(dst.port()));
    }
    let Some(instance) = choose_waypoint(snapshot, gateway, question.client, chance) else {
        return Hop::Refuse(Refusal::Waypoint);
    };
    let Some(ip) = address_for(instance, dst.ip()) else {
        return Hop::Refuse(Refusal::NoAddress);
    };
    match to_workload(rules, question.client, instance, SocketAddr::new(ip, dst.port()), service.cloned()) {
        // Only a tunnel says what is asked for and who asks.
        Hop::Workload(hop) if matches!(hop.path, Path::Plain | Path::SameNode) => {
            Hop::Refuse(Refusal::Waypoint)
        }
        Hop::Workload(hop) => Hop::Workload(Box::new(WorkloadHop { target: dst, ..*hop })),
        hop => hop,
    }
}

/// The endpoint's address of the family that the client uses, else its first: the mesh may carry a connection
/// from one family to the other.
fn address_for(workload: &Workload, like: IpAddr) -> Option<IpAddr> {
    let same = workload.addresses.iter().find(|ip| ip.is_ipv4() == like.is_ipv4());
    same.or_else(|| workload.addresses.first()).copied()
}

/// A client as an application of the other family shall see it: by that client's own address of the family, if it has one.
/// Without it the application would see itself.
pub fn seen_by(snapshot: &Snapshot, network: &Network, client: SocketAddr, target: IpAddr) -> SocketAddr {
    if client.is_ipv4() == target.is_ipv4() {
        return client;
    }
    let workload = snapshot.find_workload(network, client.ip());
    let own = workload.filter(|one| one.network_mode == NetworkMode::Standard);
    let other = own.and_then(|own| own.addresses.iter().find(|ip| ip.is_ipv4() == target.is_ipv4()));
    other.map_or(client, |ip| SocketAddr::new(*ip, client.port()))
}

fn to_workload(
    rules: &MeshRules,
    client: &Workload,
    workload: &Arc<Workload>,
    target: SocketAddr,
    service: Option<Arc<Service>>,
) -> Hop {
    if is_mesh_port(target.port()) {
        return Hop::Refuse(Refusal::MeshPort(target.port()));
    }
    if workload.network != client.network {
        return Hop::Refuse(Refusal::Unreachable);
    }
    let path = match workload.protocol {
        TunnelProtocol::LegacyMtls => return Hop::Refuse(Refusal::Unreachable),
        TunnelProtocol::Plain => Path::Plain,
        TunnelProtocol::Hbone => tunnel_path(rules, client, workload, target.ip()),
    };
    Hop::Workload(Box::new(WorkloadHop { workload: workload.clone(), target, service, path }))
}

fn tunnel_path(rules: &MeshRules, client: &Workload, workload: &Workload, ip: IpAddr) -> Path {
    // A NetworkPolicy never keeps a pod from itself.
    let apart = client.uid != workload.uid && (client.keeps_its_tunnels() || workload.keeps_its_tunnels());
    let here = !client.node.as_str().is_empty()
        && workload.node == client.node
        && workload.cluster == client.cluster
        && workload.network_mode == NetworkMode::Standard
        && !workload.native_tunnel;
    if here && !apart && rules.same_node == SameNode::Join {
        return Path::SameNode;
    }
    let own = SocketAddr::new(ip, TUNNEL);
    match (own_dialect(client), own_dialect(workload)) {
        (None, _) | (_, None) => Path::Hbone(own),
        (Some(TunnelPlace::Node(_)), Some(TunnelPlace::Node(addresses))) => {
            Path::NodeTunnel(addresses.clone())
        }
        (Some(_), Some(_)) => Path::PodTunnel(own),
    }
}

/// Where a workload speaks a version of Weft's own dialect that this build speaks, if at all.
pub fn own_dialect(workload: &Workload) -> Option<&TunnelPlace> {
    let known =
        |tunnel: &&NodeTunnel| tunnel.versions.iter().any(|version| TUNNEL_VERSIONS.contains(version));
    workload.node_tunnel.as_ref().filter(known).map(|tunnel| &tunnel.place)
}

#[cfg(test)]
mod tests;
