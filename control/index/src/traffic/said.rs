//! Everything that is said of services' traffic, by the service that it is said of, and what a change of it concerns. What
//! it comes to is the business of the files beside this one.

use super::backend::Around;
use super::by_service::ByService;
use super::gateway_route::{Family, GatewayRoute, RouteKey};
use super::grants::Grants;
use super::hosts::Hosts;
use super::in_force::InForce;
use super::labels::{self, AskedOfClients, Asking};
use super::{delegation, destination_rule, origination, retry_constraint, tls_policy, virtual_service};
use crate::cluster::Cluster;
use crate::dirty::Dirty;
use crate::facts::created;
use crate::name::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weft_control_api::gateway_api::backend_tls_policy::BackendTlsPolicy;
use weft_control_api::gateway_api::backend_traffic_policy::BackendTrafficPolicy;
use weft_control_api::istio::destination_rule::DestinationRule;
use weft_control_api::istio::virtual_service::VirtualService;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::object::Object;

/// Everything that is said of services' traffic, by the service that it is said of.
#[derive(Debug, Default)]
pub(crate) struct Said {
    grants: Grants,
    pub(super) gateway_routes: ByService<GatewayRoute, RouteKey>,
    /// With what their delegates say in place of delegations.
    pub(super) virtual_services: ByService<VirtualService>,
    /// Those that delegate, as they are written, by their delegates.
    pub(super) delegating: ByService<VirtualService>,
    /// Those without hosts, to which others may delegate.
    pub(super) delegates: BTreeMap<Name, Arc<VirtualService>>,
    pub(super) destination_rules: ByService<DestinationRule>,
    pub(super) retry_constraints: ByService<BackendTrafficPolicy>,
    pub(super) tls_policies: ByService<BackendTlsPolicy>,
    /// What says something of TLS, by the Secrets and ConfigMaps that it names. Those that a DestinationRule names have no
    /// namespace here: it is that of each waypoint.
    naming: ByService<(), ObjectKey>,
    source_labels: AskedOfClients,
    /// Routes by the services to which they lead: whether these are there, and with which ports, is part of what is said
    /// of them.
    leading: ByService<(), ObjectKey>,
}

impl Said {
    /// Takes an object, and marks the services about whose traffic something else may be said now.
    pub(crate) fn take(&mut self, cluster: &Cluster, name: &Name, object: &Object, dirty: &mut Dirty) {
        if let Some((family, route)) = GatewayRoute::of(object) {
            self.set_gateway_route(&(family, name.clone()), Some(route), dirty);
            return;
        }
        match object {
            Object::VirtualService(one) => {
                self.take_virtual_service(cluster, name, Some(Arc::new((**one).clone())), dirty);
            }
            Object::DestinationRule(one) => {
                let services = services_of(cluster, &name.namespace, [&one.spec.host]);
                self.set_destination_rule(cluster, name, Some((Arc::new((**one).clone()), services)), dirty);
            }
            Object::BackendTrafficPolicy(one) => {
                let services = retry_constraint::services(&one.spec, &name.namespace);
                let now = Some((Arc::new((**one).clone()), services));
                dirty.traffic.extend(self.retry_constraints.set(name, now));
            }
            Object::BackendTlsPolicy(one) => {
                self.set_tls_policy(name, Some(Arc::new((**one).clone())), dirty);
            }
            Object::ReferenceGrant(one) => {
                self.grants.set(name, Some(one.spec.clone()));
                dirty.traffic.extend(self.routed());
            }
            _ => {}
        }
    }

    /// Forgets an object of a kind that [`Said::take`] takes.
    pub(crate) fn forget(&mut self, cluster: &Cluster, kind: Kind, name: &Name, dirty: &mut Dirty) {
        if let Some(family) = Family::of(kind) {
            self.set_gateway_route(&(family, name.clone()), None, dirty);
            return;
        }
        match kind {
            Kind::VirtualService => self.take_virtual_service(cluster, name, None, dirty),
            Kind::DestinationRule => self.set_destination_rule(cluster, name, None, dirty),
            Kind::BackendTrafficPolicy => dirty.traffic.extend(self.retry_constraints.set(name, None)),
            Kind::BackendTlsPolicy => self.set_tls_policy(name, None, dirty),
            Kind::ReferenceGrant => {
                self.grants.set(name, None);
                dirty.traffic.extend(self.routed());
            }
            _ => {}
        }
    }

    fn set_gateway_route(&mut self, key: &RouteKey, now: Option<GatewayRoute>, dirty: &mut Dirty) {
        let (family, name) = key;
        let leads_to = now.as_ref().map(|route| {
            let backends = route.backends().into_iter();
            let namespace = |one: &Option<String>| one.as_deref().unwrap_or(&name.namespace).to_owned();
            let services = backends
                .filter(|(_, one)| one.is_service())
                .map(|(_, one)| Name::new(namespace(&one.namespace), one.name.as_str()));
            (Arc::new(()), services.collect())
        });
        self.leading.set(&family.key(name), leads_to);
        let now = now.map(|route| {
            let services = route.services(&name.namespace);
            (Arc::new(route), services)
        });
        dirty.traffic.extend(self.gateway_routes.set(key, now));
    }

    /// Takes a VirtualService as it is written, and makes those anew that delegate to it.
    fn take_virtual_service(
        &mut self,
        cluster: &Cluster,
        name: &Name,
        now: Option<Arc<VirtualService>>,
        dirty: &mut Dirty,
    ) {
        let (delegate, root) = match now {
            Some(one) if one.spec.hosts.is_empty() => (Some(one), None),
            other => (None, other),
        };
        match delegate.clone() {
            Some(one) => drop(self.delegates.insert(name.clone(), one)),
            None => drop(self.delegates.remove(name)),
        }
        let to = root.as_ref().map(|one| delegation::delegates(name, one).collect::<BTreeSet<_>>());
        let delegating = root.clone().zip(to.filter(|to| !to.is_empty()));
        // Whether anybody delegates to it is told of a delegate.
        let concerned = self.delegating.set(name, delegating).into_iter().chain([name.clone()]);
        dirty.reports.extend(concerned.map(|delegate| virtual_service_key(&delegate)));
        self.merge_virtual_service(cluster, name, root.as_deref(), dirty);
        if let Some(one) = delegate {
            // It says for itself whether its destinations are there.
            let leads_to = leads_to(cluster, &name.namespace, &one);
            self.leading.set(&virtual_service_key(name), Some((Arc::new(()), leads_to)));
        }
        let roots: Vec<_> = self.delegating.of(name).map(|(root, one)| (root.clone(), one.clone())).collect();
        for (root, one) in roots {
            dirty.reports.insert(virtual_service_key(&root));
            self.merge_virtual_service(cluster, &root, Some(&one), dirty);
        }
    }

    fn merge_virtual_service(
        &mut self,
        cluster: &Cluster,
        name: &Name,
        written: Option<&VirtualService>,
        dirty: &mut Dirty,
    ) {
        let now = written.map(|one| {
            let services = services_of(cluster, &name.namespace, &one.spec.hosts);
            (Arc::new(self.merged(name, one).0), services)
        });
        self.set_virtual_service(cluster, name, now, dirty);
    }

    /// A VirtualService with what its delegates say, and what of that has no effect.
    pub(super) fn merged(
        &self,
        name: &Name,
        one: &VirtualService,
    ) -> (VirtualService, Vec<delegation::Lost>) {
        if one.spec.http.iter().all(|route| route.delegate.is_none()) {
            return (one.clone(), Vec::new());
        }
        delegation::merged(name, one, |delegate| self.delegates.get(delegate).map(|one| &**one))
    }

    /// A VirtualService with hosts, as it is written.
    pub(super) fn written_virtual_service(&self, name: &Name) -> Option<&VirtualService> {
        let one = self.delegating.get(name).or_else(|| self.virtual_services.get(name));
        one.map(|one| &**one)
    }

    /// All VirtualServices as they are written, delegates too, in no order.
    pub(super) fn written_virtual_services(&self) -> impl Iterator<Item = (&Name, &VirtualService)> {
        let roots = self.virtual_services.all().map(|(name, _)| name);
        let roots = roots.filter_map(|name| Some((name, self.written_virtual_service(name)?)));
        roots.chain(self.delegates.iter().map(|(name, one)| (name, &**one)))
    }

    fn set_virtual_service(
        &mut self,
        cluster: &Cluster,
        name: &Name,
        now: Option<(Arc<VirtualService>, BTreeSet<Name>)>,
        dirty: &mut Dirty,
    ) {
        let old = self.virtual_services.get(name).map(|one| labels::of_sources(one)).unwrap_or_default();
        let new = now.as_ref().map(|(one, _)| labels::of_sources(one)).unwrap_or_default();
        let leads_to = now.as_ref().map(|(one, _)| (Arc::new(()), leads_to(cluster, &name.namespace, one)));
        self.leading.set(&virtual_service_key(name), leads_to);
        dirty.traffic.extend(self.virtual_services.set(name, now));
        if self.source_labels.replace(&old, &new) == Asking::Differently {
            // Whoever is a client may be asked, and a name that nobody has asked for before is rare.
            dirty.pods.extend(cluster.pods.names().cloned());
        }
    }

    fn set_destination_rule(
        &mut self,
        cluster: &Cluster,
        name: &Name,
        now: Option<(Arc<DestinationRule>, BTreeSet<Name>)>,
        dirty: &mut Dirty,
    ) {
        let concerned =
            now.iter().flat_map(|(_, services)| services).chain(self.destination_rules.about(name));
        let concerned: BTreeSet<Name> = concerned.cloned().collect();
        let asked = |this: &Self| -> Vec<BTreeSet<String>> {
            concerned.iter().map(|service| this.labels_of_endpoints(cluster, service)).collect()
        };
        let before = asked(self);
        let secrets = now.as_ref().map(|(rule, _)| {
            let names = destination_rule::tls(&rule.spec).into_iter();
            let names = names.flat_map(|(_, tls)| origination::credentials(tls));
            (Arc::new(()), names.map(|secret| Name::new("", secret)).collect())
        });
        self.naming.set(&key(Kind::DestinationRule, name), secrets);
        dirty.traffic.extend(self.destination_rules.set(name, now));
        let after = asked(self);
        for ((service, before), after) in concerned.iter().zip(before).zip(after) {
            if before != after {
                dirty.pods.extend(cluster.endpoints_of(service));
                cluster.mark_entries(service, dirty);
            }
        }
    }

    fn set_tls_policy(&mut self, name: &Name, now: Option<Arc<BackendTlsPolicy>>, dirty: &mut Dirty) {
        let authorities = now
            .as_ref()
            .map(|policy| (Arc::new(()), origination::authorities_of(&policy.spec, &name.namespace)));
        self.naming.set(&key(Kind::BackendTlsPolicy, name), authorities);
        let now = now.map(|policy| {
            let services = tls_policy::services(&policy.spec, &name.namespace);
            (policy, services)
        });
        dirty.traffic.extend(self.tls_policies.set(name, now));
    }

    /// Marks what says something else because a Secret or a ConfigMap has changed.
    pub(crate) fn mark_naming(&self, credential: &Name, dirty: &mut Dirty) {
        let anywhere = Name::new("", credential.name.clone());
        for (key, _) in self.naming.of(credential).chain(self.naming.of(&anywhere)) {
            dirty.reports.insert(key.clone());
            let name = Name::new(key.namespace.clone(), key.name.clone());
            match key.kind {
                Kind::DestinationRule => dirty.traffic.extend(self.destination_rules.about(&name).cloned()),
                _ => dirty.traffic.extend(self.tls_policies.about(&name).cloned()),
            }
        }
    }

    /// All services with routes that may name others: a grant may concern any of them, and changes rarely.
    fn routed(&self) -> BTreeSet<Name> {
        self.gateway_routes.services().cloned().collect()
    }

    /// The services whose routes lead to this one, and say something else when it changes.
    pub(crate) fn leading_to(&self, service: &Name) -> Vec<Name> {
        let leading = self.leading.of(service).filter(|(key, _)| key.kind == Kind::VirtualService);
        let names = leading.map(|(key, _)| Name::new(key.namespace.clone(), key.name.clone()));
        names.flat_map(|name| self.virtual_services.about(&name).cloned().collect::<Vec<_>>()).collect()
    }

    /// All objects of which something else may be told when a service, or what is said of it, changes.
    pub(crate) fn concerning(&self, service: &Name) -> BTreeSet<ObjectKey> {
        let mut found: BTreeSet<ObjectKey> = self.leading.of(service).map(|(key, _)| key.clone()).collect();
        found.extend(self.gateway_routes.of(service).map(|((family, name), _)| family.key(name)));
        found.extend(self.virtual_services.of(service).map(|(name, _)| virtual_service_key(name)));
        found.extend(self.destination_rules.of(service).map(|(name, _)| key(Kind::DestinationRule, name)));
        let constraints = self.retry_constraints.of(service);
        found.extend(constraints.map(|(name, _)| key(Kind::BackendTrafficPolicy, name)));
        found.extend(self.tls_policies.of(service).map(|(name, _)| key(Kind::BackendTlsPolicy, name)));
        found
    }

    /// The VirtualServices of a service, the oldest first: of those that say something for a port and a client the first one
    /// counts.
    pub(super) fn virtual_services_of(&self, service: &Name) -> Vec<(&Name, &VirtualService)> {
        let mut found: Vec<_> = self.virtual_services.of(service).map(|(name, one)| (name, &**one)).collect();
        found.sort_by_key(|(name, one)| (created(&one.metadata), (*name).clone()));
        found
    }

    /// The DestinationRules in force for a service.
    pub(super) fn destination_rules_of(&self, cluster: &Cluster, service: &Name) -> Option<InForce<'_>> {
        let naming = self.destination_rules.of(service).map(|(name, rule)| (name, &**rule));
        InForce::of(naming, &cluster.config, service)
    }

    /// The retry budget of a service: of several the oldest.
    pub(super) fn retry_constraint_of(&self, service: &Name) -> Option<(&Name, &BackendTrafficPolicy)> {
        let all = self.retry_constraints.of(service).map(|(name, policy)| (name, &**policy));
        all.min_by_key(|(name, policy)| (created(&policy.metadata), (*name).clone()))
    }

    /// Names of labels that the subsets of a service, and how its endpoints are preferred, ask for.
    pub(crate) fn labels_of_endpoints(&self, cluster: &Cluster, service: &Name) -> BTreeSet<String> {
        let rules = self.destination_rules_of(cluster, service);
        rules.map(|rules| labels::of_endpoints(&rules.spec())).unwrap_or_default()
    }

    /// Names of labels that routes ask of their clients.
    pub(crate) fn labels_of_clients(&self) -> impl Iterator<Item = &String> {
        self.source_labels.names()
    }

    /// What references of a route of Gateway API need to know around it.
    pub(super) fn around<'a>(
        &'a self,
        cluster: &'a Cluster,
        family: Family,
        name: &'a Name,
        route: &GatewayRoute,
    ) -> Around<'a> {
        Around {
            grants: &self.grants,
            cluster_domain: &cluster.config.cluster_domain,
            kind: family.kind(),
            route: name,
            parents: route.services(&name.namespace),
        }
    }
}

fn key(kind: Kind, name: &Name) -> ObjectKey {
    ObjectKey::new(kind, name.namespace.clone(), name.name.clone())
}

fn virtual_service_key(name: &Name) -> ObjectKey {
    key(Kind::VirtualService, name)
}

/// The services to which a VirtualService sends, as far as its own words go.
fn leads_to(cluster: &Cluster, namespace: &str, one: &VirtualService) -> BTreeSet<Name> {
    let destinations = virtual_service::destinations(one).into_iter();
    services_of(cluster, namespace, destinations.map(|(_, destination)| &destination.host))
}

/// The services that a VirtualService or DestinationRule is about.
fn services_of<'a>(
    cluster: &Cluster,
    namespace: &str,
    hosts: impl IntoIterator<Item = &'a String>,
) -> BTreeSet<Name> {
    let finder = Hosts { cluster };
    hosts.into_iter().flat_map(|host| finder.names(host, namespace)).collect()
}
