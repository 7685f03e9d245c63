//! Who may ask for what through a tunnel.

use super::*;
use crate::samples::pod;
use std::sync::Arc;

fn world() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for one in [pod("client", "10.0.1.1", 1), pod("other", "10.0.1.9", 1), pod("server", "10.0.2.1", 2)] {
        snapshot.insert_workload(Arc::new(one));
    }
    snapshot
}

fn who(name: &str) -> Identity {
    Identity::new("cluster.local", "shop", name).unwrap()
}

#[test]
fn a_node_speaks_for_its_own_pods() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for (case, peer, peer_ip, source, destination, served, want) in [
        ("as it should be", "client", "192.168.0.1", "10.0.1.1:5", "10.0.2.1:80", "server", None),
        (
            "another node",
            "client",
            "192.168.0.2",
            "10.0.1.1:5",
            "10.0.2.1:80",
            "server",
            Some(NotAdmitted::ForeignNode(ip("10.0.1.1"))),
        ),
        (
            "another identity",
            "other",
            "192.168.0.1",
            "10.0.1.1:5",
            "10.0.2.1:80",
            "server",
            Some(NotAdmitted::ForeignIdentity(ip("10.0.1.1"))),
        ),
        (
            "nobody",
            "client",
            "192.168.0.1",
            "10.0.1.7:5",
            "10.0.2.1:80",
            "server",
            Some(NotAdmitted::UnknownSource(ip("10.0.1.7"))),
        ),
        (
            "to nobody",
            "client",
            "192.168.0.1",
            "10.0.1.1:5",
            "10.0.2.7:80",
            "server",
            Some(NotAdmitted::NoWorkload(ip("10.0.2.7"))),
        ),
        (
            "a session for somebody else",
            "client",
            "192.168.0.1",
            "10.0.1.1:5",
            "10.0.2.1:80",
            "other",
            Some(NotAdmitted::OtherIdentity(ip("10.0.2.1"))),
        ),
        (
            "the mesh's port",
            "client",
            "192.168.0.1",
            "10.0.1.1:5",
            "10.0.2.1:15008",
            "server",
            Some(NotAdmitted::MeshPort(15008)),
        ),
    ] {
        let request = NodeRequest {
            peer: &who(peer),
            peer_ip: ip(peer_ip),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            served: &who(served),
        };
        let got = admit_node_request(&world(), &Network::default_network(), &request);
        assert_eq!(got.err(), want, "{case}");
    }
}

#[test]
fn a_peer_of_hbone_is_nobody_else() {
    let server = Arc::new(pod("server", "10.0.2.1", 2));
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
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
fn nobody_gets_around_a_waypoint_that_enforces_policy() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for (case, guarded, from, (peer, at), port, want) in [
        ("the waypoint", true, "waypoint", ("waypoint", "10.0.2.5"), 8080, None),
        ("a client", true, "client", ("client", "10.0.1.1"), 8080, Some(NotAdmitted::PastWaypoint(8080))),
        ("a client, to a port of no service", true, "client", ("client", "10.0.1.1"), 9090, None),
        ("a client, and there is no policy", false, "client", ("client", "10.0.1.1"), 8080, None),
        ("a stranger", true, "nobody", ("nobody", "10.9.9.9"), 8080, Some(NotAdmitted::PastWaypoint(8080))),
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
