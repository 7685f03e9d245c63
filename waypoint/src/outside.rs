//! Endpoints outside that are known by names: which name a request asks for, and what the address comes to that a name
//! stands for. Pure.

use crate::endpoints::NoEndpoint;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use weft_core::balance::endpoint_port;
use weft_core::names::{NetworkAddr, ServiceName, WorkloadUid};
use weft_core::service::Service;
use weft_core::snapshot::{Snapshot, Target};
use weft_core::workload::{PortPair, TunnelProtocol, Workload};

/// Longest name and label of DNS (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// What is asked for, by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The name, as the request or the handshake says it, perhaps with a port; `None` if it says none.
    pub(crate) name: Option<&'a str>,
    /// The client's namespace: what a name stands for in the mesh depends on it.
    pub(crate) namespace: &'a str,
}

/// Whether a host stands for all names below a domain.
pub(crate) fn is_wildcard(host: &str) -> bool {
    host.starts_with("*.")
}

/// The endpoint of a service whose endpoints are whatever the name stands for that is asked for (ServiceEntries with the
/// resolution DYNAMIC_DNS): all of them are made after it. `None` for every other service.
pub(crate) fn pattern<'a>(mesh: &'a Snapshot, service: &ServiceName) -> Option<&'a Arc<Workload>> {
    if !is_wildcard(&service.hostname) {
        return None;
    }
    let mut endpoints = mesh.endpoints(service);
    endpoints.find(|one| one.addresses.is_empty() && is_outside(one) && is_wildcard(&one.hostname))
}

/// The name that is asked for, in the form in which it is looked up.
///
/// # Errors
/// If there is none, or if it is not one of the service's: below no domain of its own, or below a nearer one of another
/// service, or another service itself, whose policy nobody would have asked.
pub(crate) fn name_of(
    mesh: &Snapshot,
    service: &ServiceName,
    asked: Asked<'_>,
) -> Result<Arc<str>, NoEndpoint> {
    let pattern = &service.hostname;
    let said = asked.name.ok_or_else(|| NoEndpoint::NoName { pattern: pattern.clone() })?;
    let name = without_port(said).trim_end_matches('.').to_ascii_lowercase();
    let owner = || {
        let own = mesh.service_named(&name, asked.namespace);
        own.or_else(|| mesh.wildcard_service(&name, asked.namespace))
    };
    if is_name(&name) && owner().is_some_and(|owner| owner.name.hostname == *pattern) {
        Ok(name.into())
    } else {
        Err(NoEndpoint::ForeignName { name: said.into(), pattern: pattern.clone() })
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether it is one that hosts have, and no address: servers are asked for nothing else.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(plain);
    text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label)
}

/// The endpoints that a name stands for, made after a workload, and why addresses of it are none.
pub(crate) fn all_endpoints(
    mesh: &Snapshot,
    workload: &Arc<Workload>,
    addresses: &[IpAddr],
) -> (Vec<Arc<Workload>>, Vec<Odd>) {
    let (mut found, mut odd) = (Vec::new(), Vec::new());
    for ip in addresses {
        match endpoints(mesh, workload, *ip) {
            Ok(here) => found.extend(here.into_iter().map(Arc::new)),
            Err(why) => odd.push(why),
        }
    }
    (found, odd)
}

/// Why an address that a name stands for is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Odd {
    /// Of this machine, of this link, or of nobody: whoever answers for the name must not reach into here (SSRF).
    Local(IpAddr),
    /// It leads back to the service itself.
    Circle(IpAddr),
    /// It is of the mesh, and has a waypoint, whose policy nobody would ask.
    Guarded {
        /// The address.
        ip: IpAddr,
        /// Whose it is.
        who: Arc<str>,
    },
    /// It is a service's of the mesh, which has no such port.
    NoPort {
        /// The address.
        ip: IpAddr,
        /// Whose it is.
        who: Arc<str>,
    },
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(ip) => write!(f, "{ip} is of this machine or its link, and no endpoint outside"),
            Self::Circle(ip) => write!(f, "{ip} is the service's own address in the mesh"),
            Self::Guarded { ip, who } => {
                write!(f, "{ip} is {who} of the mesh, which has a waypoint: route to it by its own name")
            }
            Self::NoPort { ip, who } => write!(f, "{ip} is {who} of the mesh, which has no such port"),
        }
    }
}

/// The endpoints at an address that a workload's name stands for.
///
/// # Errors
/// Why there is none.
fn endpoints(mesh: &Snapshot, workload: &Arc<Workload>, ip: IpAddr) -> Result<Vec<Workload>, Odd> {
    if is_local(ip) {
        return Err(Odd::Local(ip));
    }
    let addr = NetworkAddr { network: workload.network.clone(), ip };
    // At the ports that the name's service means: others may share the address at other ones.
    let mut ports = workload.services.iter().flat_map(|(_, pairs)| pairs).map(|pair| pair.target_port);
    let service = ports.find_map(|port| match mesh.target_at(&addr, port, &workload.namespace) {
        Some(Target::Service(service)) => Some(service),
        Some(Target::Workload(_)) | None => None,
    });
    if let Some(service) = service {
        return of_service(mesh, workload, service, ip);
    }
    let own = |base: &Workload| Workload {
        uid: WorkloadUid::new(format!("{}/{ip}", workload.uid)),
        addresses: vec![ip],
        services: workload.services.clone(),
        labels: workload.labels.clone(),
        locality: workload.locality.clone(),
        weight: workload.weight,
        ..base.clone()
    };
    match mesh.workload_at(&addr).filter(|one| !is_outside(one)) {
        // Through the mesh, as itself: its own node judges who comes.
        Some(pod) if !is_guarded(mesh, pod) => Ok(vec![own(pod)]),
        Some(pod) => Err(Odd::Guarded { ip, who: format!("{}/{}", pod.namespace, pod.name).into() }),
        None => Ok(vec![own(workload)]),
    }
}

/// The endpoints of a service of the mesh, at the ports that the name's service means.
fn of_service(
    mesh: &Snapshot,
    workload: &Arc<Workload>,
    service: &Arc<Service>,
    ip: IpAddr,
) -> Result<Vec<Workload>, Odd> {
    let who: Arc<str> = service.name.hostname.clone();
    if workload.services.iter().any(|(name, _)| *name == service.name) {
        return Err(Odd::Circle(ip));
    }
    if service.waypoint.is_some() {
        return Err(Odd::Guarded { ip, who });
    }
    let mut found = Vec::new();
    for endpoint in mesh.endpoints(&service.name).filter(|one| !is_guarded(mesh, one)) {
        let port = |pair: &PortPair| {
            let target_port = endpoint_port(&service.name, service, pair.target_port, endpoint)?;
            Some(PortPair { target_port, ..*pair })
        };
        let services = workload.services.iter();
        let services = services.map(|(name, pairs)| {
            Some((name.clone(), pairs.iter().map(port).collect::<Option<Vec<PortPair>>>()?))
        });
        if let Some(services) = services.collect::<Option<Vec<_>>>() {
            let uid = WorkloadUid::new(format!("{}/{ip}/{}", workload.uid, endpoint.uid));
            found.push(Workload { uid, services, ..(**endpoint).clone() });
        }
    }
    if found.is_empty() { Err(Odd::NoPort { ip, who }) } else { Ok(found) }
}

/// Whether it is reached in plain text.
pub(crate) fn is_outside(workload: &Workload) -> bool {
    workload.protocol == TunnelProtocol::Plain
}

/// Whether a waypoint decides who may reach a pod.
fn is_guarded(mesh: &Snapshot, pod: &Workload) -> bool {
    let bound = |service: &Arc<Service>| service.waypoint.is_some();
    let mut services = pod.services.iter().filter_map(|(name, _)| mesh.service(name));
    pod.waypoint.is_some() || services.any(bound)
}

/// Addresses that mean something else to each machine, or to nobody (RFC 6890).
fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.octets()[0] == 0
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_samples::service;

    #[test]
    fn names_that_a_service_takes() {
        let mut mesh = Snapshot::default();
        for host in ["*.example.org", "*.eu.example.org", "own.example.org"] {
            mesh.insert_service(Arc::new(service("shop", host)));
        }
        // The same host of another namespace is another service with the same names.
        mesh.insert_service(Arc::new(service("bank", "*.example.org")));
        let wide = ServiceName::new("shop", "*.example.org");
        let long = format!("{}.example.org", "a".repeat(64));
        for (case, said, want) in [
            ("one", Some("a.example.org"), Ok("a.example.org")),
            ("with a port", Some("a.example.org:8080"), Ok("a.example.org")),
            ("in another case, and whole", Some("A.Example.ORG."), Ok("a.example.org")),
            ("of several labels", Some("b.a.example.org"), Ok("b.a.example.org")),
            ("as some machines have them", Some("a_b.example.org"), Ok("a_b.example.org")),
            ("none", None, Err("neither a Host nor a server name")),
            ("an empty one", Some(""), Err("is no name")),
            ("the domain itself", Some("example.org"), Err("is no name")),
            ("below another domain", Some("a.example.com"), Err("is no name")),
            ("only an end of it", Some("an-example.org"), Err("is no name")),
            ("below a nearer domain", Some("a.eu.example.org"), Err("is no name")),
            ("a service of its own", Some("own.example.org"), Err("is no name")),
            ("the pattern", Some("*.example.org"), Err("is no name")),
            ("an empty label", Some("a..example.org"), Err("is no name")),
            ("no label", Some(".example.org"), Err("is no name")),
            ("too long a label", Some(&*long), Err("is no name")),
            ("a blank", Some("a b.example.org"), Err("is no name")),
            ("an address", Some("192.0.2.1"), Err("is no name")),
            ("an address of the other family", Some("[2001:db8::1]:80"), Err("is no name")),
        ] {
            let got = name_of(&mesh, &wide, Asked { name: said, namespace: "bank" });
            match want {
                Ok(name) => assert_eq!(got.as_deref(), Ok(name), "{case}"),
                Err(why) => {
                    let error = got.expect_err(case).to_string();
                    assert!(error.contains(why) && error.contains("*.example.org"), "{case}: {error}");
                }
            }
        }
    }
}
