//! Which routes of Gateway API hold at which ports of a service, and for whom.
//!
//! Routes of the service's own namespace are for all clients, those of another namespace for the clients of that one, and
//! instead of the others there (GEP-1294, "Namespace boundaries"). Routes of one kind are merged; of several kinds at one
//! port the most specific one is in force, and the others are not.

use super::Said;
use super::gateway_route::{Family, GatewayRoute, RouteKey, service_of};
use crate::facts::service::ServiceFacts;
use crate::name::Name;
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_control_api::gateway_api::reference::ParentReference;

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
}

impl Ports {
    fn has(self, port: Option<u16>) -> bool {
        match self {
            Self::All => true,
            Self::One(own) => port == Some(own),
        }
    }
}

/// The ports of a service that a parent means.
pub(super) fn ports(parent: &ParentReference, facts: &ServiceFacts) -> Result<Ports, Unattached> {
    if facts.backend.headless || facts.told.external_name.is_some() {
        return Err(Unattached::NoAddress);
    }
    let wanted = |port: u16, name: &str| {
        parent.port.is_none_or(|wanted| wanted.get() == port)
            && parent.section_name.as_deref().is_none_or(|wanted| wanted == name)
    };
    if parent.port.is_none() && parent.section_name.is_none() {
        return Ok(Ports::All);
    }
    let found = facts.backend.ports.iter().find(|port| wanted(port.service_port, &port.name));
    found.map(|port| Ports::One(port.service_port)).ok_or(Unattached::NoPort)
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
        attached.extend(own.filter_map(|parent| Some((key, &**route, ports(parent, facts).ok()?))));
    }
    let whole = attached.iter().all(|(.., ports)| *ports == Ports::All);
    let everywhere: Vec<Option<u16>> = match whole {
        true => vec![None],
        false => facts.told.ports.iter().map(|port| Some(port.service_port)).collect(),
    };
    let audiences: BTreeSet<_> = attached.iter().map(|((_, name), ..)| clients(name, service)).collect();
    let mut found = Vec::new();
    for port in everywhere {
        for audience in &audiences {
            let here = attached
                .iter()
                .filter(|((_, name), _, ports)| ports.has(port) && clients(name, service) == *audience);
            let mut here: Vec<_> = here.map(|((family, name), route, _)| (*family, name, *route)).collect();
            let Some(family) = here.iter().map(|(family, ..)| *family).min() else { continue };
            here.retain(|(own, ..)| *own == family);
            here.sort_by_key(|(_, name, route)| (route.created, (*name).clone()));
            // A route may name a service twice, by the number of a port and by its name.
            here.dedup_by_key(|(_, name, _)| (*name).clone());
            let routes = here.into_iter().map(|(_, name, route)| (name, route)).collect();
            found.push(Group { port, clients: audience.clone(), family, routes });
        }
    }
    found
}
