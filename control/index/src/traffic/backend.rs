//! Where references of Gateway API lead, and why they lead nowhere.

use super::grants::Grants;
use crate::cluster::Cluster;
use crate::name::Name;
use std::collections::BTreeSet;
use std::fmt;
use weft_control_api::gateway_api::reference::BackendObjectReference;
use weft_control_api::gateway_api::status::Reason;
use weft_control_api::kind::Kind;
use weft_core::names::ServiceName;
use weft_l7::target::{ServiceTarget, Target};

/// What the references of a route need to know around it.
pub(super) struct Around<'a> {
    pub(super) grants: &'a Grants,
    /// The end of all services' names.
    pub(super) cluster_domain: &'a str,
    pub(super) kind: Kind,
    pub(super) route: &'a Name,
    /// The Services that the route is attached to.
    pub(super) parents: BTreeSet<Name>,
}

/// Why a reference leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BadReference {
    Kind { kind: String, name: String },
    Portless(Name),
    NotPermitted(Name),
    Missing(Name),
    NoPort { service: Name, port: u16 },
}

impl fmt::Display for BadReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { kind, name } => write!(f, "{kind} {name} is no Service"),
            Self::Portless(service) => write!(f, "no port of Service {service} is named"),
            Self::NotPermitted(Name { namespace, name }) => {
                write!(f, "no ReferenceGrant of namespace {namespace} allows Service {name}")
            }
            Self::Missing(service) => write!(f, "there is no Service {service}"),
            Self::NoPort { service, port } => write!(f, "Service {service} has no port {port}"),
        }
    }
}

impl BadReference {
    /// What the condition `ResolvedRefs` says (Gateway API, `RouteConditionReason`).
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Kind { .. } => Reason::InvalidKind,
            Self::NotPermitted(_) => Reason::RefNotPermitted,
            Self::Portless(_) | Self::Missing(_) | Self::NoPort { .. } => Reason::BackendNotFound,
        }
    }
}

impl Around<'_> {
    /// The Service and port of a reference, if the route may name it. Whether it is there is not asked.
    ///
    /// What a client of the route's parent may ask for anyway needs no leave: a route may send traffic back to the Service
    /// that it is attached to (GEP-1294, "Namespace boundaries").
    pub(super) fn permitted(&self, reference: &BackendObjectReference) -> Result<(Name, u16), BadReference> {
        if !reference.is_service() {
            let BackendObjectReference { kind, name, .. } = reference.clone();
            return Err(BadReference::Kind { kind, name });
        }
        let namespace = reference.namespace.as_deref().unwrap_or(&self.route.namespace);
        let service = Name::new(namespace, reference.name.as_str());
        let Some(port) = reference.port else {
            return Err(BadReference::Portless(service));
        };
        let foreign = *namespace != *self.route.namespace && !self.parents.contains(&service);
        let from = &self.route.namespace;
        if foreign && !self.grants.allow(self.kind.name(), from, namespace, &reference.name) {
            return Err(BadReference::NotPermitted(service));
        }
        Ok((service, port.get()))
    }

    /// Where a reference leads. What the waypoint finds out by itself, such as a service that is not there, is not asked
    /// here.
    pub(super) fn target(&self, reference: &BackendObjectReference) -> Target {
        match self.permitted(reference) {
            Ok((service, port)) => {
                let hostname = format!("{}.{}.svc.{}", service.name, service.namespace, self.cluster_domain);
                let service = ServiceName::new(service.namespace, hostname);
                Target::Service(ServiceTarget { service, port, subset: None })
            }
            Err(why) => Target::Nowhere(why.to_string().into()),
        }
    }

    /// Whether a reference leads somewhere.
    pub(super) fn check(
        &self,
        cluster: &Cluster,
        reference: &BackendObjectReference,
    ) -> Result<(), BadReference> {
        let (service, port) = self.permitted(reference)?;
        let Some(facts) = cluster.services.get(&service) else {
            return Err(BadReference::Missing(service));
        };
        // A name for another name has no ports of its own.
        let has = facts.told.external_name.is_some() || facts.told.port(port).is_some();
        has.then_some(()).ok_or(BadReference::NoPort { service, port })
    }
}
