//! Which routes of Gateway API hold at which ports of a service, and for whom.
//!
//! Routes of the service's own namespace are for all clients, those of another namespace for the clients of that one, and
//! instead of the others there (GEP-1294, "Namespace boundaries"). Routes of one kind are merged; of several kinds at one
//! port the most specific one is in force, and the others are not. A route is attached to ports that may carry what it looks
//! at: nobody reads requests at one of TCP or TLS, nor names of TLS at one of HTTP, and all that such a route could do there is
//! to stand in the way.

use super::Said;
use super::gateway_route::{Family, GatewayRoute, RouteKey, service_of};
use crate::facts::service::ServiceFacts;
use crate::name::Name;
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_control_api::gateway_api::reference::ParentReference;
use weft_core::service::{AppProtocol, ServicePort};

/// Routes that hold together.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// The port; none is every one.
    pub(super) port: Option<u16>,
    /// The clients' namespace, if it is not everybody.
    pub(super) clients: Option<Arc<str>>,
    pub(super) family: Family,
    /// Routes of the family, the oldest first, then by their names.
    pub(super) routes: Vec<(&'a Name, &'a GatewayRoute)>,
}

/// The ports to which a route is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    All,
    One(u16),
}

/// A route cannot be attached to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unattached {
    /// It has no such port.
    NoPort,
    /// Nobody asks for the service by an address of its own, so there is nothing that a route could take.
    NoAddress,
    /// What is spoken at the port, or at all of them, is nothing that the route could look at.
    OtherProtocol,
}

impl Ports {
    fn has(self, port: Option<u16>) -> bool {
        match self {
            Self::All => true,
            Self::One(own) => port == Some(own),
        }
    }
}

/// The ports of a service that a parent means, for routes of a family.
pub(super) fn ports(
    parent: &ParentReference,
    family: Family,
    facts: &ServiceFacts,
) -> Result<Ports, Unattached> {
    if facts.backend.headless || facts.told.external_name.is_some() {
        return Err(Unattached::NoAddress);
    }
    let wanted = |port: u16, name: &str| {
        parent.port.is_none_or(|wanted| wanted.get() == port)
            && parent.section_name.as_deref().is_none_or(|wanted| wanted == name)
    };
    let all = &facts.told.ports;
    if parent.port.is_none() && parent.section_name.is_none() {
        let nothing = !all.is_empty() && !all.iter().any(|port| may_carry(family, port));
        return if nothing { Err(Unattached::OtherProtocol) } else { Ok(Ports::All) };
    }
    let found = facts.backend.ports.iter().find(|port| wanted(port.service_port, &port.name));
    let port = found.ok_or(Unattached::NoPort)?.service_port;
    let carries = all.iter().find(|one| one.service_port == port).is_none_or(|one| may_carry(family, one));
    carries.then_some(Ports::One(port)).ok_or(Unattached::OtherProtocol)
}

/// Whether a port may carry what routes of a family are for.
fn may_carry(family: Family, port: &ServicePort) -> bool {
    match (family, port.app_protocol) {
        (Family::Tcp, _) | (_, AppProtocol::Unknown) => true,
        (Family::Tls, protocol) => matches!(protocol, AppProtocol::Tls | AppProtocol::Tcp),
        (Family::Grpc | Family::Http, protocol) => !matches!(protocol, AppProtocol::Tls | AppProtocol::Tcp),
    }
}

/// The namespace whose clients a route is for, if not all are.
pub(super) fn clients(route: &Name, service: &Name) -> Option<Arc<str>> {
    (route.namespace != service.namespace).then(|| route.namespace.clone())
}

/// All groups of a service.
pub(super) fn groups<'a>(said: &'a Said, service: &Name, facts: &ServiceFacts) -> Vec<Group<'a>> {
    let mut attached: Vec<(&RouteKey, &GatewayRoute, Ports)> = Vec::new();
    for (key, route) in said.gateway_routes.of(service) {
        let own = route
            .parents()
            .iter()
            .filter(|parent| service_of(parent, &key.1.namespace).is_some_and(|parent| parent == *service));
        attached.extend(own.filter_map(|parent| Some((key, &**route, ports(parent, key.0, facts).ok()?))));
    }
    let carries = |port: Option<&ServicePort>, family| port.is_none_or(|port| may_carry(family, port));
    let whole = attached.iter().all(|((family, _), _, ports)| {
        *ports == Ports::All && facts.told.ports.iter().all(|port| may_carry(*family, port))
    });
    let everywhere: Vec<Option<&ServicePort>> = match whole {
        true => vec![None],
        false => facts.told.ports.iter().map(Some).collect(),
    };
    let audiences: BTreeSet<_> = attached.iter().map(|((_, name), ..)| clients(name, service)).collect();
    let mut found = Vec::new();
    for port in everywhere {
        for audience in &audiences {
            let number = port.map(|port| port.service_port);
            let here = attached.iter().filter(|((family, name), _, ports)| {
                ports.has(number) && carries(port, *family) && clients(name, service) == *audience
            });
            let mut here: Vec<_> = here.map(|((family, name), route, _)| (*family, name, *route)).collect();
            let Some(family) = here.iter().map(|(family, ..)| *family).min() else { continue };
            here.retain(|(own, ..)| *own == family);
            here.sort_by_key(|(_, name, route)| (route.created, (*name).clone()));
            // A route may name a service twice, by the number of a port and by its name.
            here.dedup_by_key(|(_, name, _)| (*name).clone());
            let routes = here.into_iter().map(|(_, name, route)| (name, route)).collect();
            found.push(Group { port: number, clients: audience.clone(), family, routes });
        }
    }
    found
}
