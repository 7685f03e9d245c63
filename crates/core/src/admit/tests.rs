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
