//! The truth table of [`next_hop`].

use super::*;
use crate::samples::{pod, serving, vip, web};
use crate::service::{LoadBalancing, VipKind};
use crate::workload::{GatewayAddr, GatewayDestination};

fn world(change: impl FnOnce(&mut Vec<Workload>, &mut Service)) -> Snapshot {
    let mut pods = vec![
        pod("client", "10.0.1.1,fd00::1", 1),
        serving(pod("near", "10.0.1.2,fd00::2", 1)),
        pod("far", "10.0.2.1", 2),
        Workload { protocol: TunnelProtocol::Plain, ..pod("plain", "10.0.2.9", 2) },
    ];
    let mut service = web();
    change(&mut pods, &mut service);
    let mut snapshot = Snapshot::default();
    snapshot.insert_service(Arc::new(service));
    for pod in pods {
        snapshot.insert_workload(Arc::new(pod));
    }
    snapshot
}

fn hop_in(snapshot: &Snapshot, rules: &MeshRules, dst: &str, asked: Asked) -> String {
    let client = snapshot.workload(&WorkloadUid::new("Kubernetes//Pod/shop/client")).unwrap();
    let dst = OriginalDst(dst.parse().unwrap());
    let question = Question { client, dst, sticky: None, asked };
    match next_hop(snapshot, rules, &question, &mut |_| 0) {
        Hop::Workload(hop) => {
            let service = hop.service.map_or("", |_| " of web");
            format!("{:?} {}{service}", hop.path, hop.target)
        }
        Hop::Passthrough(addr) => format!("Passthrough {addr}"),
        Hop::Ask(addr) => format!("Ask {addr}"),
        Hop::Refuse(refusal) => format!("{refusal:?}"),
    }
}

fn rules() -> MeshRules {
    MeshRules {
        ranges: Ranges::Said(vec!["10.0.0.0/16".parse().unwrap(), "10.96.0.0/16".parse().unwrap()]),
        ..MeshRules::default()
    }
}

const FAR: &str = "NodeTunnel([192.168.0.2:15008])";

#[test]
fn where_a_connection_goes() {
    let snapshot = world(|_, _| {});
    for (case, dst, want) in [
        ("pod of this node", "10.0.1.2:99", "SameNode 10.0.1.2:99".to_owned()),
        ("pod of another node", "10.0.2.1:99", format!("{FAR} 10.0.2.1:99")),
        ("pod outside the mesh", "10.0.2.9:99", "Plain 10.0.2.9:99".to_owned()),
        ("service", "10.96.0.1:80", "SameNode 10.0.1.2:8080 of web".to_owned()),
        ("no such port", "10.96.0.1:81", "NoPort(81)".to_owned()),
        ("the tunnel's port", "10.0.2.1:15008", "MeshPort(15008)".to_owned()),
        ("the capture's port, outside", "1.1.1.1:15001", "MeshPort(15001)".to_owned()),
        ("unknown in the mesh", "10.0.9.9:80", "Ask /10.0.9.9".to_owned()),
        ("outside the mesh", "1.1.1.1:443", "Passthrough 1.1.1.1:443".to_owned()),
        ("mapped address", "[::ffff:10.0.2.1]:99", format!("{FAR} [::ffff:10.0.2.1]:99")),
        ("the client itself", "10.0.1.1:99", "SameNode 10.0.1.1:99".to_owned()),
    ] {
        assert_eq!(hop_in(&snapshot, &rules(), dst, Asked::No), want, "{case}");
    }
    assert_eq!(hop_in(&snapshot, &rules(), "10.0.9.9:80", Asked::Yes), "Unknown(10.0.9.9)");
}

#[test]
fn services_that_share_an_address_are_told_apart_by_port() {
    let snapshot = world(|pods, web| {
        web.vips.push(vip("192.168.0.2/32", VipKind::External));
        let mode = NetworkMode::HostNetwork;
        pods.push(Workload {
            network_mode: mode,
            protocol: TunnelProtocol::Plain,
            ..pod("host", "192.168.0.2", 2)
        });
    });
    for (case, dst, want) in [
        ("the Service's port", "192.168.0.2:80", "SameNode 10.0.1.2:8080 of web"),
        ("the node's own", "192.168.0.2:10250", "Plain 192.168.0.2:10250"),
    ] {
        assert_eq!(hop_in(&snapshot, &rules(), dst, Asked::No), want, "{case}");
    }
    let balancer = world(|_, web| web.vips.push(vip("192.0.2.1/32", VipKind::External)));
    for (case, dst, want) in [
        ("a balancer's address, the Service's port", "192.0.2.1:80", "SameNode 10.0.1.2:8080 of web"),
        ("another port, which somebody else may serve", "192.0.2.1:22", "Passthrough 192.0.2.1:22"),
    ] {
        assert_eq!(hop_in(&balancer, &rules(), dst, Asked::No), want, "{case}");
    }
}

#[test]
fn a_service_for_whatever_address_takes_nothing_out_of_the_mesh() {
    let snapshot = world(|_, web| {
        web.vips = vec![vip("0.0.0.0/0", VipKind::External)];
        web.load_balancing =
            LoadBalancing { mode: LoadBalancingMode::Passthrough, ..LoadBalancing::default() };
    });
    for (case, dst, want) in [
        ("a pod of the mesh", "10.0.2.1:80", format!("{FAR} 10.0.2.1:80")),
        ("nobody, in the mesh's ranges", "10.0.9.9:80", "Ask /10.0.9.9".to_owned()),
        ("outside", "203.0.113.1:80", "Passthrough 203.0.113.1:80".to_owned()),
    ] {
        assert_eq!(hop_in(&snapshot, &rules(), dst, Asked::No), want, "{case}");
    }
    let closed = MeshRules { egress: Egress::Refuse, ..rules() };
    assert_eq!(hop_in(&snapshot, &closed, "203.0.113.1:80", Asked::No), "Egress(203.0.113.1)");
}

#[test]
fn a_client_is_seen_by_its_address_of_the_applications_family() {
    let snapshot = world(|pods, _| {
        let mode = NetworkMode::HostNetwork;
        pods.push(Workload { network_mode: mode, ..pod("host", "192.168.0.9,fd00:9::9", 1) });
    });
    let network = Network::default_network();
    for (case, client, target, want) in [
        ("the same family", "10.0.1.1:5", "10.0.2.1", "10.0.1.1:5"),
        ("IPv6 to IPv4", "[fd00::1]:5", "10.0.2.1", "10.0.1.1:5"),
        ("IPv4 to IPv6", "10.0.1.1:5", "fd00::2", "[fd00::1]:5"),
        ("it has none of the family", "10.0.2.1:5", "fd00::2", "10.0.2.1:5"),
        ("it shares its addresses", "192.168.0.9:5", "fd00::2", "192.168.0.9:5"),
        ("nobody", "10.0.9.9:5", "fd00::2", "10.0.9.9:5"),
    ] {
        let seen = seen_by(&snapshot, &network, client.parse().unwrap(), target.parse().unwrap());
        assert_eq!(seen.to_string(), want, "{case}");
    }
}

#[test]
fn where_nodes_give_pods_their_addresses_nobody_is_a_stranger() {
    let snapshot = world(|_, web| {
        web.vips.extend(["10.0.0.0/16", "2001:db8::/64"].map(|range| vip(range, VipKind::Cluster)));
    });
    let unsaid = MeshRules::default();
    let said =
        MeshRules { ranges: Ranges::Said(vec!["172.16.0.0/12".parse().unwrap()]), ..MeshRules::default() };
    for (case, rules, dst, asked, want) in [
        ("asked for", &unsaid, "10.0.9.9:80", Asked::No, "Ask /10.0.9.9"),
        ("nobody's", &unsaid, "10.0.9.9:80", Asked::Yes, "Unknown(10.0.9.9)"),
        ("nobody answers", &unsaid, "10.0.9.9:80", Asked::Unanswered, "Unknown(10.0.9.9)"),
        ("a public range", &unsaid, "[2001:db8::9]:80", Asked::Unanswered, "Unknown(2001:db8::9)"),
        ("a pod outside the mesh", &unsaid, "10.0.2.9:99", Asked::No, "Plain 10.0.2.9:99"),
        ("beside the ranges", &unsaid, "10.1.0.9:80", Asked::Yes, "Passthrough 10.1.0.9:80"),
        ("the settings say others", &said, "10.0.9.9:80", Asked::No, "Passthrough 10.0.9.9:80"),
    ] {
        assert_eq!(hop_in(&snapshot, rules, dst, asked), want, "{case}");
    }
    let mut without = snapshot;
    without.remove_service(&web().name);
    assert_eq!(hop_in(&without, &unsaid, "10.0.9.9:80", Asked::Yes), "Passthrough 10.0.9.9:80");
}

#[test]
fn where_nobody_says_what_the_ranges_are_discovery_is_asked() {
    let snapshot = world(|_, _| {});
    let (open, closed) = (MeshRules::default(), MeshRules { egress: Egress::Refuse, ..MeshRules::default() });
    for dst in
        ["10.9.9.9:80", "100.64.0.9:80", "[fd09::9]:80", "192.168.9.9:80", "1.1.1.1:443", "[2001:db8::9]:443"]
    {
        let addr: SocketAddr = dst.parse().unwrap();
        let (ip, public) = (addr.ip(), addr.port() == 443);
        for (case, rules, asked, want) in [
            ("not asked yet", &open, Asked::No, format!("Ask /{ip}")),
            ("nobody has it", &open, Asked::Yes, format!("Passthrough {dst}")),
            ("nobody answers", &open, Asked::Unanswered, {
                if public { format!("Passthrough {dst}") } else { format!("Unanswered({ip})") }
            }),
            ("not asked yet, closed", &closed, Asked::No, format!("Ask /{ip}")),
            ("nobody has it, closed", &closed, Asked::Yes, format!("Egress({ip})")),
        ] {
            assert_eq!(hop_in(&snapshot, rules, dst, asked), want, "{dst}: {case}");
        }
    }
    assert_eq!(hop_in(&snapshot, &open, "10.0.2.1:99", Asked::No), format!("{FAR} 10.0.2.1:99"));
    assert_eq!(hop_in(&snapshot, &rules(), "10.0.9.9:80", Asked::Unanswered), "Unknown(10.0.9.9)");
}

#[test]
fn rules_of_the_mesh() {
    let snapshot = world(|_, _| {});
    let closed = MeshRules { egress: Egress::Refuse, ..rules() };
    assert_eq!(hop_in(&snapshot, &closed, "1.1.1.1:443", Asked::No), "Egress(1.1.1.1)");
    assert_eq!(hop_in(&snapshot, &closed, "10.0.2.9:99", Asked::No), "Plain 10.0.2.9:99");
    let encrypt = MeshRules { same_node: SameNode::Encrypt, ..rules() };
    let own_tunnel = FAR.replace(".2:", ".1:");
    assert_eq!(hop_in(&snapshot, &encrypt, "10.0.1.2:99", Asked::No), format!("{own_tunnel} 10.0.1.2:99"));
}

#[test]
fn what_a_network_policy_selects_is_reached_at_its_own_address() {
    fn select(pod: &mut Workload) {
        pod.node_tunnel.as_mut().unwrap().place = TunnelPlace::Workload;
    }
    fn unspoken(pod: &mut Workload) {
        pod.node_tunnel.as_mut().unwrap().versions.clear();
    }
    let near = "PodTunnel(10.0.1.2:15008) 10.0.1.2:9";
    let far = "PodTunnel(10.0.2.1:15008) 10.0.2.1:9";
    let by_hbone = "Hbone(10.0.1.2:15008) 10.0.1.2:9";
    let cases: [(&str, &str, Change, &str); 10] = [
        ("neither", "10.0.1.2:9", |_, _| {}, "SameNode 10.0.1.2:9"),
        ("the server", "10.0.1.2:9", |pods, _| select(&mut pods[1]), near),
        ("the client", "10.0.1.2:9", |pods, _| select(&mut pods[0]), near),
        ("both", "10.0.1.2:9", |pods, _| pods[..2].iter_mut().for_each(select), near),
        ("the server, elsewhere", "10.0.2.1:9", |pods, _| select(&mut pods[2]), far),
        ("the client, to elsewhere", "10.0.2.1:9", |pods, _| select(&mut pods[0]), far),
        (
            "both, elsewhere",
            "10.0.2.1:9",
            |pods, _| [0, 2].into_iter().for_each(|one| select(&mut pods[one])),
            far,
        ),
        ("the pod itself", "10.0.1.1:9", |pods, _| select(&mut pods[0]), "SameNode 10.0.1.1:9"),
        (
            "the server, without the dialect",
            "10.0.1.2:9",
            |pods, _| {
                select(&mut pods[1]);
                unspoken(&mut pods[1]);
            },
            by_hbone,
        ),
        (
            "the client, without the dialect",
            "10.0.1.2:9",
            |pods, _| {
                select(&mut pods[0]);
                unspoken(&mut pods[0]);
            },
            by_hbone,
        ),
    ];
    for (case, dst, change, want) in cases {
        assert_eq!(hop_in(&world(change), &rules(), dst, Asked::No), want, "{case}");
    }
    let by_service = hop_in(&world(|pods, _| select(&mut pods[1])), &rules(), "10.96.0.1:80", Asked::No);
    assert_eq!(by_service, "PodTunnel(10.0.1.2:15008) 10.0.1.2:8080 of web");
}

/// What is different in a case: the pods (client, near, far, plain), or the service.
type Change = fn(&mut Vec<Workload>, &mut Service);

#[test]
fn what_discovery_says_of_the_destination() {
    fn gateway() -> Option<GatewayAddr> {
        let service = crate::names::ServiceName::new("shop", "waypoint");
        Some(GatewayAddr { destination: GatewayDestination::Service(service), hbone_port: 15008 })
    }
    let cases: [(&str, Change, &str, &str); 13] = [
        (
            "no node tunnel",
            |pods, _| pods[2].node_tunnel = None,
            "10.0.2.1:9",
            "Hbone(10.0.2.1:15008) 10.0.2.1:9",
        ),
        (
            "no node tunnel of the client's own",
            |pods, _| pods[0].node_tunnel = None,
            "10.0.2.1:9",
            "Hbone(10.0.2.1:15008) 10.0.2.1:9",
        ),
        (
            "a newer dialect alone",
            |pods, _| pods[2].node_tunnel.as_mut().unwrap().versions = vec![7],
            "10.0.2.1:9",
            "Hbone(10.0.2.1:15008) 10.0.2.1:9",
        ),
        ("no waypoint for the service", |_, web| web.waypoint = gateway(), "10.96.0.1:80", "Waypoint"),
        ("no waypoint for the pod", |pods, _| pods[2].waypoint = gateway(), "10.0.2.1:9", "Waypoint"),
        (
            "a legacy sidecar",
            |pods, _| pods[2].protocol = TunnelProtocol::LegacyMtls,
            "10.0.2.1:9",
            "Unreachable",
        ),
        (
            "another network",
            |pods, _| pods[1].network = crate::names::Network::new("other"),
            "10.96.0.1:80",
            "Unreachable",
        ),
        ("no endpoint", |pods, _| pods[1].services.clear(), "10.96.0.1:80", "NoEndpoint"),
        (
            "a target port of the mesh",
            |pods, _| pods[1].services[0].1[0].target_port = 15008,
            "10.96.0.1:80",
            "MeshPort(15008)",
        ),
        (
            "the endpoint has only the other family",
            |pods, _| pods[1].addresses.retain(IpAddr::is_ipv6),
            "10.96.0.1:80",
            "SameNode [fd00::2]:8080 of web",
        ),
        ("the endpoint has no address", |pods, _| pods[1].addresses.clear(), "10.96.0.1:80", "NoAddress"),
        (
            "the endpoint is a name",
            |pods, _| {
                pods[1].addresses.clear();
                pods[1].hostname = "*.example.org".into();
            },
            "10.96.0.1:80",
            "ByName(\"*.example.org\")",
        ),
        (
            "passthrough",
            |_, web| {
                let mode = LoadBalancingMode::Passthrough;
                web.load_balancing = LoadBalancing { mode, ..LoadBalancing::default() };
                web.vips = vec![vip("192.0.2.1/32", VipKind::External)];
            },
            "192.0.2.1:80",
            "Passthrough 192.0.2.1:80",
        ),
    ];
    for (case, change, dst, want) in cases {
        assert_eq!(hop_in(&world(change), &rules(), dst, Asked::No), want, "{case}");
    }
}

#[test]
fn through_a_waypoint() {
    fn speaks(waypoint: &mut Workload, version: u16) {
        waypoint.node_tunnel = Some(NodeTunnel { place: TunnelPlace::Workload, versions: vec![version] });
    }
    let name = crate::names::ServiceName::new("shop", "waypoint.shop.svc.cluster.local");
    let gateway = GatewayAddr { destination: GatewayDestination::Service(name.clone()), hbone_port: 15008 };
    let with = |change: fn(&mut Workload)| {
        let mut snapshot = world(|pods, web| {
            web.waypoint = Some(gateway.clone());
            pods[2].waypoint = Some(gateway.clone());
        });
        let mut waypoint =
            Workload { native_tunnel: true, node_tunnel: None, ..pod("waypoint", "10.0.1.5,fd00::5", 1) };
        let tunnel = crate::workload::PortPair { service_port: 15008, target_port: 15008 };
        waypoint.services.push((name.clone(), vec![tunnel]));
        change(&mut waypoint);
        snapshot.insert_workload(Arc::new(waypoint));
        let port = crate::service::ServicePort { service_port: 15008, target_port: 15008, ..web().ports[0] };
        snapshot.insert_service(Arc::new(Service {
            name: name.clone(),
            vips: vec![],
            ports: vec![port],
            ..web()
        }));
        snapshot
    };
    for (case, change, dst, want) in [
        (
            "service",
            (|_| {}) as fn(&mut Workload),
            "10.96.0.1:80",
            "Hbone(10.0.1.5:15008) 10.96.0.1:80 of web",
        ),
        ("pod", |_| {}, "10.0.2.1:9", "Hbone(10.0.1.5:15008) 10.0.2.1:9"),
        ("pod by IPv6", |_| {}, "[fd00::2]:9", "SameNode [fd00::2]:9"),
        ("no such port", |_| {}, "10.96.0.1:81", "NoPort(81)"),
        (
            "it is not ready",
            |one| one.health = crate::workload::Health::Unhealthy,
            "10.96.0.1:80",
            "Waypoint",
        ),
        ("it takes no tunnel", |one| one.protocol = TunnelProtocol::Plain, "10.96.0.1:80", "Waypoint"),
        (
            "it speaks Weft's own dialect",
            |one| speaks(one, 1),
            "10.96.0.1:80",
            "PodTunnel(10.0.1.5:15008) 10.96.0.1:80 of web",
        ),
        (
            "a pod, and it speaks Weft's own dialect",
            |one| speaks(one, 1),
            "10.0.2.1:9",
            "PodTunnel(10.0.1.5:15008) 10.0.2.1:9",
        ),
        (
            "it speaks a later version",
            |one| speaks(one, 7),
            "10.96.0.1:80",
            "Hbone(10.0.1.5:15008) 10.96.0.1:80 of web",
        ),
    ] {
        assert_eq!(hop_in(&with(change), &rules(), dst, Asked::No), want, "{case}");
    }
}
