//! Decides whether a tunnel's peer may ask for what it asks for, before any policy: is the source its to speak
//! for, and is the destination ours to serve (wire facts §1, §1b).

use crate::identity::Identity;
use crate::names::{Network, WorkloadUid};
use crate::policy::{Connection, Denial, Judgement, decide};
use crate::ports::is_mesh_port;
use crate::snapshot::{NoIdentity, Snapshot};
use crate::waypoint::{is_guarded, stands_before};
use crate::workload::{NodeTunnel, Workload};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A request that came through Weft's own dialect.
#[derive(Debug)]
pub struct WeftRequest<'a> {
    /// Where the TLS session ends.
    pub door: Door<'a>,
    /// Who the TLS session proves.
    pub peer: &'a Identity,
    /// Where the TLS session comes from.
    pub peer_ip: IpAddr,
    /// The client application's address, as the peer says.
    pub source: SocketAddr,
    /// What is asked for.
    pub destination: SocketAddr,
    /// The identity that the session was opened for.
    pub served: &'a Identity,
}

/// Where a session of Weft's own dialect ends.
#[derive(Debug, Clone, Copy)]
pub enum Door<'a> {
    /// At the node's address: the peer is a node.
    Node,
    /// At this pod's own address: the peer is a pod.
    Pod(&'a WorkloadUid),
}

/// A request that came through HBONE, to a pod's own address.
#[derive(Debug)]
pub struct PodRequest<'a> {
    /// Who the TLS session proves.
    pub peer: &'a Identity,
    /// Where the TLS session comes from: the client pod, a waypoint or a gateway.
    pub peer_ip: IpAddr,
    /// What is asked for.
    pub destination: SocketAddr,
    /// The pod whose listener was dialled.
    pub pod: &'a Arc<Workload>,
}

/// Who speaks where tunnels end at a workload's own address: a pod's, or a waypoint's.
#[derive(Debug)]
pub struct Speaker<'a> {
    /// Who the TLS session proves.
    pub peer: &'a Identity,
    /// Where the TLS session comes from.
    pub peer_ip: IpAddr,
    /// The client application's address, where the dialect says it: Weft's own does, HBONE does not.
    pub source: Option<IpAddr>,
}

/// Both ends of an admitted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The client, where discovery knows it.
    pub source: Option<Arc<Workload>>,
    /// The pod that is asked for.
    pub destination: Arc<Workload>,
}

/// Why a request is not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAdmitted {
    /// The port is the mesh's own.
    MeshPort(u16),
    /// Nobody here has the address.
    NoWorkload(IpAddr),
    /// The workload at the address is not the one that the session is for.
    OtherIdentity(IpAddr),
    /// Discovery has no workload with the source address.
    UnknownSource(IpAddr),
    /// The source has another identity than the peer.
    ForeignIdentity(IpAddr),
    /// The source does not run where the session comes from.
    ForeignNode(IpAddr),
    /// The session comes from an address that is not the source's.
    ForeignAddr(IpAddr),
    /// The pod is not reached by way of its node: a NetworkPolicy would not see it.
    OwnTunnel(IpAddr),
    /// A waypoint enforces policy for the port, and the source is no instance of it.
    PastWaypoint(u16, Past),
}

/// Who came past a waypoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// A workload that is a waypoint's instance nowhere.
    Ordinary,
    /// Somebody whom discovery does not know, or the instance of another waypoint.
    Unclear,
}

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MeshPort(port) => write!(f, "port {port} belongs to the mesh itself"),
            Self::NoWorkload(ip) => write!(f, "no enrolled pod here has {ip}"),
            Self::OtherIdentity(ip) => write!(f, "{ip} is not of the identity that the session is for"),
            Self::UnknownSource(ip) => write!(f, "discovery knows no source {ip}"),
            Self::ForeignIdentity(ip) => write!(f, "the peer's identity is not that of source {ip}"),
            Self::ForeignNode(ip) => write!(f, "source {ip} does not run on the peer's node"),
            Self::ForeignAddr(ip) => write!(f, "source {ip} is not the pod at the peer's address"),
            Self::OwnTunnel(ip) => write!(f, "{ip} takes tunnels at its own address only"),
            Self::PastWaypoint(port, _) => write!(
                f,
                "a waypoint enforces policy for port {port}, and this did not come through it (weft.dev/waypoint-bypass: \
                 allow on the Service lets it)"
            ),
        }
    }
}

/// How much later than another node one may hear of a change, as a rule.
const SKEW: Duration = Duration::from_millis(200);

/// How long it is worth waiting for discovery, because the fault may be its delay rather than the peer's: at most `limit`.
pub fn patience(why: &NotAdmitted, limit: Duration) -> Duration {
    match why {
        NotAdmitted::UnknownSource(_) | NotAdmitted::NoWorkload(_) | NotAdmitted::ForeignNode(_) => limit,
        NotAdmitted::ForeignIdentity(_) | NotAdmitted::OtherIdentity(_) => limit,
        NotAdmitted::ForeignAddr(_) | NotAdmitted::OwnTunnel(_) => limit,
        // Its waypoint may be newer than what discovery has told.
        NotAdmitted::PastWaypoint(_, Past::Unclear) => limit,
        // The client's node may have heard already that the waypoint is there no more.
        NotAdmitted::PastWaypoint(_, Past::Ordinary) => SKEW.min(limit),
        NotAdmitted::MeshPort(_) => Duration::ZERO,
    }
}

/// Admits a request through Weft's own dialect: a node speaks for its own pods only, each under its own
/// identity, and a pod for itself.
///
/// # Errors
/// The first reason not to.
pub fn admit_weft_request(
    snapshot: &Snapshot,
    network: &Network,
    request: &WeftRequest<'_>,
) -> Result<Admitted, NotAdmitted> {
    // First: whoever asks for it, no later word of discovery's makes it right.
    check_port(request.destination)?;
    let source_ip = request.source.ip();
    let source = known_source(snapshot, network, request.peer, source_ip)?;
    check_peer(source, request)?;
    let ip = request.destination.ip();
    let destination = snapshot.find_identity(network, ip, request.served).map_err(|why| match why {
        NoIdentity::Nobody => NotAdmitted::NoWorkload(ip),
        NoIdentity::Others => NotAdmitted::OtherIdentity(ip),
    })?;
    match request.door {
        Door::Node if destination.keeps_its_tunnels() => return Err(NotAdmitted::OwnTunnel(ip)),
        Door::Pod(uid) if destination.uid != *uid => return Err(NotAdmitted::NoWorkload(ip)),
        Door::Node | Door::Pod(_) => {}
    }
    check_waypoint(snapshot, Some(&**source), destination, request.destination.port())?;
    Ok(Admitted { source: Some(source.clone()), destination: destination.clone() })
}

/// Admits who speaks at a workload's own address, for itself only, and gives it where discovery knows it. In Weft's own
/// dialect it has to be known; a peer of HBONE may be unknown (another cluster, a gateway), but not somebody else.
///
/// # Errors
/// The first reason not to.
pub fn admit_speaker<'a>(
    snapshot: &'a Snapshot,
    network: &Network,
    speaker: &Speaker<'_>,
) -> Result<Option<&'a Arc<Workload>>, NotAdmitted> {
    let Some(source_ip) = speaker.source else {
        return match snapshot.find_identity(network, speaker.peer_ip, speaker.peer) {
            Ok(source) => Ok(Some(source)),
            Err(NoIdentity::Nobody) => Ok(None),
            Err(NoIdentity::Others) => Err(NotAdmitted::ForeignIdentity(speaker.peer_ip)),
        };
    };
    let source = known_source(snapshot, network, speaker.peer, source_ip)?;
    check_own_addr(source, speaker.peer_ip, source_ip)?;
    Ok(Some(source))
}

/// The workload with the source address, if it is the peer's.
fn known_source<'a>(
    snapshot: &'a Snapshot,
    network: &Network,
    peer: &Identity,
    source_ip: IpAddr,
) -> Result<&'a Arc<Workload>, NotAdmitted> {
    snapshot.find_identity(network, source_ip, peer).map_err(|why| match why {
        NoIdentity::Nobody => NotAdmitted::UnknownSource(source_ip),
        NoIdentity::Others => NotAdmitted::ForeignIdentity(source_ip),
    })
}

/// A pod has several addresses: the tunnel may come from another one than the application's own connection.
fn check_own_addr(source: &Workload, peer_ip: IpAddr, source_ip: IpAddr) -> Result<(), NotAdmitted> {
    let is_own = source.addresses.contains(&peer_ip.to_canonical());
    if is_own { Ok(()) } else { Err(NotAdmitted::ForeignAddr(source_ip)) }
}

/// Whether the source is the peer's to speak for.
fn check_peer(source: &Workload, request: &WeftRequest<'_>) -> Result<(), NotAdmitted> {
    let (peer_ip, source_ip) = (request.peer_ip, request.source.ip());
    match request.door {
        Door::Node => {
            let nodes = source.node_tunnel.as_ref().map_or(&[][..], NodeTunnel::addresses);
            let its_node = nodes.iter().any(|addr| addr.ip() == peer_ip.to_canonical());
            if its_node { Ok(()) } else { Err(NotAdmitted::ForeignNode(source_ip)) }
        }
        Door::Pod(_) => check_own_addr(source, peer_ip, source_ip),
    }
}

/// Admits a request through HBONE. Its source may be unknown (another cluster, a gateway), but not somebody else.
///
/// # Errors
/// The first reason not to.
pub fn admit_pod_request(snapshot: &Snapshot, request: &PodRequest<'_>) -> Result<Admitted, NotAdmitted> {
    check_port(request.destination)?;
    let speaker = Speaker { peer: request.peer, peer_ip: request.peer_ip, source: None };
    let source = admit_speaker(snapshot, &request.pod.network, &speaker)?;
    let ip = request.destination.ip().to_canonical();
    if !request.pod.addresses.contains(&ip) {
        return Err(NotAdmitted::NoWorkload(ip));
    }
    check_waypoint(snapshot, source.map(|source| &**source), request.pod, request.destination.port())?;
    Ok(Admitted { source: source.cloned(), destination: request.pod.clone() })
}

/// Nobody gets around a waypoint that has policy to enforce: not through a tunnel, not in plain text and not on one node.
///
/// # Errors
/// [`NotAdmitted::PastWaypoint`].
fn check_waypoint(
    snapshot: &Snapshot,
    source: Option<&Workload>,
    destination: &Workload,
    port: u16,
) -> Result<(), NotAdmitted> {
    if !is_guarded(snapshot, destination, port) {
        return Ok(());
    }
    match source {
        Some(source) if stands_before(snapshot, source, destination, port) => Ok(()),
        Some(source) if !source.native_tunnel => Err(NotAdmitted::PastWaypoint(port, Past::Ordinary)),
        Some(_) | None => Err(NotAdmitted::PastWaypoint(port, Past::Unclear)),
    }
}

/// Why a connection may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotPermitted {
    /// It has to come through a waypoint.
    PastWaypoint(NotAdmitted),
    /// Policy says no.
    Denied(Denial),
}

impl fmt::Display for NotPermitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PastWaypoint(why) => why.fmt(f),
            Self::Denied(denial) => denial.fmt(f),
        }
    }
}

/// Judges a connection to a destination, on one snapshot: whether it has to come through a waypoint, and then policy.
/// `source` is who connects, where that is proven.
///
/// # Errors
/// [`NotAdmitted::PastWaypoint`].
pub fn judge(
    snapshot: &Snapshot,
    source: Option<&Workload>,
    destination: &Workload,
    connection: &Connection,
) -> Result<Judgement, NotAdmitted> {
    check_waypoint(snapshot, source, destination, connection.destination_port)?;
    Ok(decide(&snapshot.policies_of(destination), connection))
}

/// For whom a source speaks: for the client that it names if it is an instance of a waypoint that stands before the
/// destination, else for itself, whatever it says.
pub fn spoken_for(
    snapshot: &Snapshot,
    admitted: &Admitted,
    port: u16,
    forwarded: Option<SocketAddr>,
) -> Option<SocketAddr> {
    let source = admitted.source.as_ref()?;
    forwarded.filter(|_| stands_before(snapshot, source, &admitted.destination, port))
}

fn check_port(destination: SocketAddr) -> Result<(), NotAdmitted> {
    let port = destination.port();
    if is_mesh_port(port) { Err(NotAdmitted::MeshPort(port)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
