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
        let mut names = self.names(host, namespace).into_iter();
        let facts = names.find_map(|name| self.cluster.services.get(&name))?;
        let only = match facts.told.ports.as_slice() {
            [port] => Some(port.service_port),
            _ => None,
        };
        Some((facts.told.name.clone(), only))
    }

    /// What a host stands for: of what it may stand for, what is there, else the first.
    pub(super) fn name(&self, host: &str, namespace: &str) -> Option<Name> {
        let names = self.names(host, namespace);
        let there = names.iter().find(|name| self.cluster.services.contains_key(name));
        there.or(names.first()).cloned()
    }

    /// All that a host may stand for, whether it is there or not: a short name is of the resource's own namespace,
    /// `name.namespace` and what follows of it is of that one; and a name with a dot may be a host of a ServiceEntry of
    /// the resource's own namespace.
    pub(super) fn names(&self, host: &str, namespace: &str) -> Vec<Name> {
        let domain = &*self.cluster.config.cluster_domain;
        let short = host
            .strip_suffix(domain)
            .and_then(|rest| rest.strip_suffix(".svc."))
            .or_else(|| host.strip_suffix(".svc"));
        let outside = || Name::new(namespace, host.to_ascii_lowercase());
        match (short, host.split_once('.')) {
            (Some(short), _) => short
                .split_once('.')
                .map(|(name, namespace)| Name::new(namespace, name))
                .into_iter()
                .collect(),
            (None, None) => vec![Name::new(namespace, host)],
            // No Service has a star in its name.
            (None, Some(("*", _))) => vec![outside()],
            (None, Some((name, other))) if !other.contains('.') => vec![Name::new(other, name), outside()],
            (None, Some(_)) => vec![outside()],
        }
    }
}
