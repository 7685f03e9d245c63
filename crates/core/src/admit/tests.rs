//! Who may ask for what through a tunnel.

use super::*;
use crate::samples::pod;
use crate::workload::TunnelPlace;
use std::sync::Arc;

fn world() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut bound = pod("bound", "10.0.2.2", 2);
    bound.node_tunnel.as_mut().unwrap().place = TunnelPlace::Workload;
    // Of the same identity, as pods of one Deployment are.
    let twin = Workload { identity: bound.identity.clone(), ..pod("twin", "10.0.2.3", 2) };
    let client = pod("client", "10.0.1.1,fd00::1", 1);
    for one in [client, pod("other", "10.0.1.9", 1), pod("server", "10.0.2.1", 2), bound, twin] {
        snapshot.insert_workload(Arc::new(one));
    }
    snapshot
}

fn who(name: &str) -> Identity {
    Identity::new("cluster.local", "shop", name).unwrap()
}

/// `server` may be dialled at its node, `bound` at its own address.
fn admit(
    door: Door<'_>,
    (peer, peer_ip): (&str, &str),
    (source, destination): (&str, &str),
    served: &str,
) -> Option<NotAdmitted> {
    let request = WeftRequest {
        door,
        peer: &who(peer),
        peer_ip: peer_ip.parse().unwrap(),
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        served: &who(served),
    };
    admit_weft_request(&world(), &Network::default_network(), &request).err()
}

const NODE: &str = "192.168.0.1";
const CLIENT: &str = "10.0.1.1:5";
const SERVER: &str = "10.0.2.1:80";
const BOUND: &str = "10.0.2.2:80";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_node_speaks_for_its_own_pods() {
    use NotAdmitted::{
        ForeignIdentity, ForeignNode, MeshPort, NoWorkload, OtherIdentity, OwnTunnel, UnknownSource,
    };
    let as_client = ("client", NODE);
    for (case, peer, ends, served, want) in [
        ("as it should be", as_client, (CLIENT, SERVER), "server", None),
        (
            "another node",
            ("client", "192.168.0.2"),
            (CLIENT, SERVER),
            "server",
            Some(ForeignNode(ip("10.0.1.1"))),
        ),
        (
            "another identity",
            ("other", NODE),
            (CLIENT, SERVER),
            "server",
            Some(ForeignIdentity(ip("10.0.1.1"))),
        ),
        ("nobody", as_client, ("10.0.1.7:5", SERVER), "server", Some(UnknownSource(ip("10.0.1.7")))),
        ("to nobody", as_client, (CLIENT, "10.0.2.7:80"), "server", Some(NoWorkload(ip("10.0.2.7")))),
        (
            "a session for somebody else",
            as_client,
            (CLIENT, SERVER),
            "other",
            Some(OtherIdentity(ip("10.0.2.1"))),
        ),
        ("the mesh's port", as_client, (CLIENT, "10.0.2.1:15008"), "server", Some(MeshPort(15008))),
        (
            "the mesh's port, from nobody and to nobody: no delay could make it right",
            as_client,
            ("10.0.1.7:5", "10.0.2.7:15006"),
            "server",
            Some(MeshPort(15006)),
        ),
        ("past a NetworkPolicy", as_client, (CLIENT, BOUND), "bound", Some(OwnTunnel(ip("10.0.2.2")))),
        (
            "for a pod that keeps its tunnels",
            ("bound", "192.168.0.2"),
            ("10.0.2.2:5", SERVER),
            "server",
            Some(ForeignNode(ip("10.0.2.2"))),
        ),
    ] {
        assert_eq!(admit(Door::Node, peer, ends, served), want, "{case}");
    }
}

#[test]
fn a_pod_speaks_for_itself() {
    use NotAdmitted::{ForeignAddr, ForeignIdentity, MeshPort, NoWorkload, OtherIdentity, UnknownSource};
    let bound = WorkloadUid::new("Kubernetes//Pod/shop/bound");
    let as_client = ("client", "10.0.1.1");
    let foreign = Some(ForeignAddr(ip("10.0.1.1")));
    for (case, peer, ends, served, want) in [
        ("as it should be", as_client, (CLIENT, BOUND), "bound", None),
        ("by its other address", ("client", "fd00::1"), (CLIENT, BOUND), "bound", None),
        ("by a mapped address", ("client", "::ffff:10.0.1.1"), (CLIENT, BOUND), "bound", None),
        ("from its node", ("client", NODE), (CLIENT, BOUND), "bound", foreign.clone()),
        ("a neighbour with its papers", ("client", "10.0.1.9"), (CLIENT, BOUND), "bound", foreign),
        (
            "another identity",
            ("other", "10.0.1.1"),
            (CLIENT, BOUND),
            "bound",
            Some(ForeignIdentity(ip("10.0.1.1"))),
        ),
        (
            "for a neighbour",
            ("other", "10.0.1.9"),
            (CLIENT, BOUND),
            "bound",
            Some(ForeignIdentity(ip("10.0.1.1"))),
        ),
        ("nobody", as_client, ("10.0.1.7:5", BOUND), "bound", Some(UnknownSource(ip("10.0.1.7")))),
        ("to another pod", as_client, (CLIENT, "10.0.2.3:80"), "bound", Some(NoWorkload(ip("10.0.2.3")))),
        ("to another identity", as_client, (CLIENT, SERVER), "bound", Some(OtherIdentity(ip("10.0.2.1")))),
        ("the mesh's port", as_client, (CLIENT, "10.0.2.2:15001"), "bound", Some(MeshPort(15001))),
    ] {
        assert_eq!(admit(Door::Pod(&bound), peer, ends, served), want, "{case}");
    }
}

#[test]
fn a_peer_of_hbone_is_nobody_else() {
    let server = Arc::new(pod("server", "10.0.2.1", 2));
    for (case, peer, peer_ip, destination, want) in [
        ("known and right", "client", "10.0.1.1", "10.0.2.1:80", None),
        ("unknown to discovery", "gateway", "172.16.0.1", "10.0.2.1:80", None),
        (
            "somebody else's address",
            "client",
            "10.0.1.9",
            "10.0.2.1:80",
            Some(NotAdmitted::ForeignIdentity(ip("10.0.1.9"))),
        ),
        (
            "another pod's address",
            "client",
            "10.0.1.1",
            "10.0.1.9:80",
            Some(NotAdmitted::NoWorkload(ip("10.0.1.9"))),
        ),
        ("the mesh's port", "client", "10.0.1.1", "10.0.2.1:15001", Some(NotAdmitted::MeshPort(15001))),
    ] {
        let peer = who(peer);
        let request = PodRequest {
            peer: &peer,
            peer_ip: ip(peer_ip),
            destination: destination.parse().unwrap(),
            pod: &server,
        };
        assert_eq!(admit_pod_request(&world(), &request).err(), want, "{case}");
    }
}

#[test]
fn pods_that_share_an_address_are_told_apart_by_identity() {
    let mut snapshot = world();
    for name in ["agent", "gateway"] {
        let mode = crate::workload::NetworkMode::HostNetwork;
        snapshot.insert_workload(Arc::new(Workload { network_mode: mode, ..pod(name, "192.168.0.7", 1) }));
    }
    let server = Arc::new(pod("server", "10.0.2.1", 2));
    for (case, peer, want) in [
        ("the first by key", "agent", Ok("agent")),
        ("the second", "gateway", Ok("gateway")),
        ("neither", "client", Err(NotAdmitted::ForeignIdentity(ip("192.168.0.7")))),
    ] {
        let request = PodRequest {
            peer: &who(peer),
            peer_ip: ip("192.168.0.7"),
            destination: SERVER.parse().unwrap(),
            pod: &server,
        };
        let admitted = admit_pod_request(&snapshot, &request);
        let source = admitted.map(|one| one.source.unwrap().name.to_string());
        assert_eq!(source, want.map(str::to_owned), "{case}");
    }
}

#[test]
fn who_speaks_at_a_workloads_own_address_speaks_for_itself() {
    use NotAdmitted::{ForeignAddr, ForeignIdentity, UnknownSource};
    for (case, (peer, peer_ip), source, want) in [
        ("itself", ("client", "10.0.1.1"), Some("10.0.1.1"), Ok(Some("client"))),
        ("by its other address", ("client", "fd00::1"), Some("10.0.1.1"), Ok(Some("client"))),
        ("for nobody", ("client", "10.0.1.1"), Some("10.0.1.7"), Err(UnknownSource(ip("10.0.1.7")))),
        ("for a neighbour", ("client", "10.0.1.1"), Some("10.0.1.9"), Err(ForeignIdentity(ip("10.0.1.9")))),
        ("from elsewhere", ("client", "10.0.1.9"), Some("10.0.1.1"), Err(ForeignAddr(ip("10.0.1.1")))),
        ("by HBONE", ("client", "10.0.1.1"), None, Ok(Some("client"))),
        ("by HBONE, from elsewhere", ("client", "10.0.1.9"), None, Err(ForeignIdentity(ip("10.0.1.9")))),
        ("by HBONE, a gateway", ("gateway", "172.16.0.1"), None, Ok(None)),
    ] {
        let peer = who(peer);
        let speaker = Speaker { peer: &peer, peer_ip: ip(peer_ip), source: source.map(ip) };
        let (world, network) = (world(), Network::default_network());
        let admitted = admit_speaker(&world, &network, &speaker);
        assert_eq!(admitted.map(|one| one.map(|one| &*one.name)), want, "{case}");
    }
}

/// A world with a waypoint before `web`, which `server` serves at 8080.
fn guarded_world(guarded: bool) -> Snapshot {
    let name = crate::names::ServiceName::new("shop", "waypoint.shop.svc.cluster.local");
    let gateway = crate::workload::GatewayAddr {
        destination: crate::workload::GatewayDestination::Service(name.clone()),
        hbone_port: 15008,
    };
    let mut snapshot = world();
    let mut waypoint = pod("waypoint", "10.0.2.5", 2);
    waypoint
        .services
        .push((name.clone(), vec![crate::workload::PortPair { service_port: 15008, target_port: 15008 }]));
    snapshot.insert_workload(Arc::new(waypoint));
    snapshot.insert_workload(Arc::new(crate::samples::serving(pod("server", "10.0.2.1", 2))));
    snapshot.insert_service(Arc::new(crate::service::Service {
        name,
        vips: vec![],
        ..crate::samples::web()
    }));
    let web = crate::service::Service { waypoint: Some(gateway), guarded, ..crate::samples::web() };
    snapshot.insert_service(Arc::new(web));
    snapshot
}

#[test]
fn a_waypoint_of_another_namespace_stands_before_nothing_here() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut snapshot = guarded_world(false);
    let gateway = snapshot.service(&crate::samples::web_name()).unwrap().waypoint.clone();
    let thief = crate::names::ServiceName::new("thief", "web.thief.svc.cluster.local");
    let service = crate::samples::web();
    let service =
        crate::service::Service { name: thief.clone(), waypoint: gateway, guarded: true, ..service };
    snapshot.insert_service(Arc::new(service));
    // As a slice of that namespace says which names the pod.
    let pair = crate::workload::PortPair { service_port: 80, target_port: 8080 };
    let victim = Workload { services: vec![(thief, vec![pair])], ..pod("server", "10.0.2.1", 2) };
    snapshot.insert_workload(Arc::new(victim.clone()));
    let admitted = |(peer, at): (&str, &str)| {
        let request = PodRequest {
            peer: &who(peer),
            peer_ip: ip(at),
            destination: "10.0.2.1:8080".parse().unwrap(),
            pod: &Arc::new(victim.clone()),
        };
        admit_pod_request(&snapshot, &request)
    };
    assert_eq!(admitted(("client", "10.0.1.1")).err(), None, "it keeps nobody away");
    let waypoint = admitted(("waypoint", "10.0.2.5")).expect("it is a client like any other");
    let named: Option<SocketAddr> = Some("10.0.1.1:5".parse().unwrap());
    assert_eq!(spoken_for(&snapshot, &waypoint, 8080, named), None, "it speaks for nobody");
}

#[test]
fn nobody_gets_around_a_waypoint_that_enforces_policy() {
    let past = |who| NotAdmitted::PastWaypoint(8080, who);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for (case, guarded, from, (peer, at), port, want) in [
        ("the waypoint", true, "waypoint", ("waypoint", "10.0.2.5"), 8080, None),
        ("a client", true, "client", ("client", "10.0.1.1"), 8080, Some(past(Past::Ordinary))),
        ("a client, to a port of no service", true, "client", ("client", "10.0.1.1"), 9090, None),
        ("a client, and there is no policy", false, "client", ("client", "10.0.1.1"), 8080, None),
        ("a stranger", true, "nobody", ("nobody", "10.9.9.9"), 8080, Some(past(Past::Unclear))),
    ] {
        let snapshot = guarded_world(guarded);
        let server = snapshot.workload_at(&crate::names::NetworkAddr {
            network: Network::default_network(),
            ip: ip("10.0.2.1"),
        });
        let destination = SocketAddr::new(ip("10.0.2.1"), port);
        let request = PodRequest { peer: &who(peer), peer_ip: ip(at), destination, pod: server.unwrap() };
        let admitted = admit_pod_request(&snapshot, &request);
        assert_eq!(admitted.as_ref().err(), want.as_ref(), "{case}");
        let Ok(admitted) = admitted else { continue };
        // Only the waypoint is believed when it names somebody else.
        let named: Option<SocketAddr> = Some("10.0.1.1:5".parse().unwrap());
        let believed = spoken_for(&snapshot, &admitted, port, named);
        assert_eq!(believed.is_some(), from == "waypoint", "{case}");
    }
}

#[test]
fn what_cannot_be_discoverys_delay_is_not_waited_for() {
    let (limit, ip) = (Duration::from_secs(2), IpAddr::from([10, 0, 1, 1]));
    for (why, want) in [
        (NotAdmitted::UnknownSource(ip), limit),
        (NotAdmitted::PastWaypoint(80, Past::Unclear), limit),
        (NotAdmitted::PastWaypoint(80, Past::Ordinary), SKEW),
        (NotAdmitted::MeshPort(15008), Duration::ZERO),
    ] {
        assert_eq!(patience(&why, limit), want, "{why:?}");
    }
    assert_eq!(patience(&NotAdmitted::PastWaypoint(80, Past::Ordinary), SKEW / 2), SKEW / 2);
}
