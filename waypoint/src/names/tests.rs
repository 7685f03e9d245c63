//! What names stand for, laid over what discovery tells; and how long that counts.

use super::*;
use weft_core::names::{GatewayName, Network, NetworkAddr, ServiceName, WorkloadUid};
use weft_core::service::{AppProtocol, Service, ServicePort};
use weft_core::workload::{GatewayAddr, GatewayDestination, PortPair, TunnelProtocol};

const NAME: &str = "api.example.org";

fn workload(name: &str, protocol: TunnelProtocol, ip: Option<&str>, service: &str) -> Workload {
    let pairs = vec![PortPair { service_port: 80, target_port: 8443 }];
    Workload {
        uid: WorkloadUid::new(format!("c/{name}")),
        addresses: ip.into_iter().map(|ip| ip.parse().expect("an address")).collect(),
        hostname: if ip.is_none() { NAME.into() } else { "".into() },
        protocol,
        services: vec![(ServiceName::new("shop", service), pairs)],
        ..weft_samples::workload("shop", name)
    }
}

fn service(name: &str, vip: &str, port: u16, waypoint: bool) -> Service {
    let gateway = GatewayName::new("shop", "wp");
    let destination = GatewayDestination::Service(ServiceName::new(gateway.namespace, gateway.name));
    Service {
        vips: vec![weft_samples::vip(vip.parse().expect("an address"))],
        ports: vec![ServicePort { service_port: port, target_port: port, app_protocol: AppProtocol::Http11 }],
        waypoint: waypoint.then_some(GatewayAddr { destination, hbone_port: 15008 }),
        ..weft_samples::service("shop", name)
    }
}

/// The host itself behind this waypoint, pods of the mesh, and services with a waypoint and without one.
fn moment() -> Moment {
    let mut moment = Moment::default();
    let mesh = &mut moment.mesh;
    mesh.insert_service(Arc::new(service(NAME, "240.240.0.7", 80, true)));
    mesh.insert_service(Arc::new(service("free", "10.1.0.1", 8443, false)));
    mesh.insert_service(Arc::new(service("odd", "10.1.0.2", 1, false)));
    mesh.insert_service(Arc::new(service("bound", "10.1.0.3", 8443, true)));
    for one in [
        workload("out", TunnelProtocol::Plain, None, NAME),
        workload("free-1", TunnelProtocol::Hbone, Some("10.0.0.1"), "free"),
        workload("odd-1", TunnelProtocol::Hbone, Some("10.0.0.2"), "odd"),
        workload("bound-1", TunnelProtocol::Hbone, Some("10.0.0.3"), "bound"),
    ] {
        mesh.insert_workload(Arc::new(one));
    }
    moment
}

/// The endpoints of the host, each with how it is reached, and why addresses are none.
fn seen(ips: &[&str]) -> (Vec<String>, Vec<String>) {
    let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().expect("an address")).collect();
    let before = moment();
    let (over, odd) = overlaid(&before, |_| &ips).expect("somebody is known by name");
    let host = ServiceName::new("shop", NAME);
    let all = over.mesh.endpoints(&host).filter(|one| !one.addresses.is_empty());
    let shown = all.map(|one| {
        let port = one.target_port(&host, 80).expect("it serves the host");
        format!("{}:{port} {:?} {}", one.addresses[0], one.protocol, one.identity.service_account())
    });
    // Who asks for a pod's own address finds the pod.
    let addr = NetworkAddr { network: Network::default_network(), ip: IpAddr::from([10, 0, 0, 1]) };
    assert_eq!(over.mesh.workload_at(&addr), before.mesh.workload_at(&addr));
    (shown.collect(), odd.into_iter().map(|(_, odd)| odd.to_string()).collect())
}

#[test]
fn what_an_address_comes_to() {
    for (case, ip, want, odd) in [
        ("outside", "192.0.2.1", "192.0.2.1:8443 Plain out", ""),
        ("the other family", "2001:db8::1", "2001:db8::1:8443 Plain out", ""),
        ("a pod", "10.0.0.1", "10.0.0.1:8443 Hbone free-1", ""),
        ("a service of the mesh", "10.1.0.1", "10.0.0.1:8443 Hbone free-1", ""),
        ("one without that port", "10.1.0.2", "", "has no such port"),
        ("one with a waypoint", "10.1.0.3", "", "has a waypoint: route to it by its own name"),
        ("a pod behind a waypoint", "10.0.0.3", "", "has a waypoint: route to it by its own name"),
        ("its own", "240.240.0.7", "", "is the service's own address in the mesh"),
        ("this machine", "127.0.0.1", "", "is of this machine or its link"),
        ("this machine, in disguise", "::ffff:127.0.0.1", "", "is of this machine or its link"),
        ("a cloud's metadata", "169.254.169.254", "", "is of this machine or its link"),
        ("this link", "fe80::1", "", "is of this machine or its link"),
        ("nobody", "0.0.0.0", "", "is of this machine or its link"),
        ("nobody, in the other family", "::", "", "is of this machine or its link"),
    ] {
        let (endpoints, why) = seen(&[ip]);
        assert_eq!(endpoints.join(" "), want, "{case}");
        assert_eq!(why.is_empty(), odd.is_empty(), "{case}: {why:?}");
        assert!(why.iter().all(|why| why.contains(odd)), "{case}: {why:?}");
    }
    assert_eq!(seen(&["192.0.2.1", "127.0.0.1", "192.0.2.2"]).0.len(), 2, "the others are");
}

#[test]
fn without_names_nothing_is_done() {
    assert!(overlaid(&Moment::default(), |_| &[]).is_none());
    // Names that clients say are looked up when they do, and not the star.
    let mut moment = Moment::default();
    let pattern = workload("out", TunnelProtocol::Plain, None, NAME);
    moment.mesh.insert_workload(Arc::new(Workload { hostname: "*.example.org".into(), ..pattern }));
    assert!(overlaid(&moment, |_| &[]).is_none());
}
