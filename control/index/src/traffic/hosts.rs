//! Hosts as Istio's resources write them, and the services that they are.

use crate::cluster::Cluster;
use crate::name::Name;
use weft_core::names::ServiceName;

/// Finds services by the hosts that resources name.
pub(super) struct Hosts<'a> {
    pub(super) cluster: &'a Cluster,
}

impl Hosts<'_> {
    /// The service of a host that a resource of this namespace names, and its port if it has but one. `None` if nothing
    /// has that name.
    pub(super) fn find(&self, host: &str, namespace: &str) -> Option<(ServiceName, Option<u16>)> {
        let name = self.name(host, namespace)?;
        let facts = self.cluster.services.get(&name)?;
        let only = match facts.told.ports.as_slice() {
            [port] => Some(port.service_port),
            _ => None,
        };
        Some((facts.told.name.clone(), only))
    }

    /// The object that a host stands for, whether it is there or not: a short name is of the resource's own namespace,
    /// `name.namespace` and what follows of it is of that one.
    pub(super) fn name(&self, host: &str, namespace: &str) -> Option<Name> {
        let domain = &*self.cluster.config.cluster_domain;
        let short = host
            .strip_suffix(domain)
            .and_then(|rest| rest.strip_suffix(".svc."))
            .or_else(|| host.strip_suffix(".svc"));
        match (short, host.split_once('.')) {
            (Some(short), _) => short.split_once('.').map(|(name, namespace)| Name::new(namespace, name)),
            (None, None) => Some(Name::new(namespace, host)),
            (None, Some((name, other))) if !other.contains('.') => Some(Name::new(other, name)),
            (None, Some(_)) => None,
        }
    }
}
