//! Whose requests a VirtualService is for.

use crate::cluster::Cluster;
use crate::name::Name;
use crate::waypoint;
use std::sync::Arc;
use weft_control_api::istio::virtual_service::VirtualService;

/// Namespaces of clients; `None` is all of them.
pub(super) type Clients = Option<Vec<Arc<str>>>;

/// The namespaces whose clients a VirtualService leads, of those that ask for a Service. Who has the Service, its waypoint
/// or the mesh says where everybody's requests go. Of another namespace it leads the requests of its own clients, as a
/// consumer's route of Gateway API does (GEP-1294), and nobody else's. (Istio's waypoints pass over those of all namespaces but
/// the Service's and their own.)
pub(super) fn of(cluster: &Cluster, service: &Name, name: &Name, one: &VirtualService) -> Clients {
    let exported = exported_to(name, one);
    if leads_all(cluster, service, name) {
        return exported;
    }
    let own = exported.is_none_or(|to| to.contains(&name.namespace));
    Some(own.then(|| name.namespace.clone()).into_iter().collect())
}

/// Whether it is for these clients.
pub(super) fn has(clients: &Clients, namespace: Option<&Arc<str>>) -> bool {
    match (clients, namespace) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(clients), Some(namespace)) => clients.contains(namespace),
    }
}

/// Whether these are all among the others. Who is for some comes before who is for all, so those two are not compared.
pub(super) fn are_among(clients: &Clients, others: &Clients) -> bool {
    match (clients, others) {
        (None, None) => true,
        (Some(clients), Some(others)) => {
            !clients.is_empty() && clients.iter().all(|one| others.contains(one))
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// What a VirtualService of another namespace would like and may not, for its author.
pub(super) fn beyond(cluster: &Cluster, service: &Name, name: &Name, one: &VirtualService) -> Option<String> {
    let own = &name.namespace;
    if leads_all(cluster, service, name) {
        return None;
    }
    match exported_to(name, one) {
        Some(to) if to.iter().all(|to| to == own) => None,
        Some(to) if !to.contains(own) => Some(format!(
            "Service {service} is of another namespace, and the routes are not exported to the clients of {own}, for whom \
             alone they might be: they have no effect for it"
        )),
        Some(_) | None => Some(format!(
            "Service {service} is of another namespace: the routes are for the clients of {own} alone"
        )),
    }
}

fn leads_all(cluster: &Cluster, service: &Name, name: &Name) -> bool {
    let facts = cluster.services.get(service);
    let gateway = facts.and_then(|facts| waypoint::of_service(cluster, service, facts));
    name.namespace == service.namespace
        || gateway.is_some_and(|gateway| gateway.namespace == name.namespace)
        || cluster.config.is_root(&name.namespace)
}

/// The namespaces that are written; `None` for all.
fn exported_to(name: &Name, one: &VirtualService) -> Clients {
    let written = &one.spec.export_to;
    if written.is_empty() || written.iter().any(|one| one == "*") {
        return None;
    }
    let named = written.iter().filter(|one| *one != "~");
    Some(named.map(|one| if one == "." { name.namespace.clone() } else { one.as_str().into() }).collect())
}
