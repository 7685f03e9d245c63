//! What is wrong with objects beside each other, for people who ask (`weft analyze`): objects by themselves are told when
//! they change, and so is a waypoint that cannot stand where it is asked for.

mod claims;

use crate::cluster::Cluster;
use crate::facts::service_entry::key as service_entry;
use crate::name::Name;
use crate::traffic::{Finding, Said, findings as of_traffic};
use crate::waypoint;
use std::collections::BTreeSet;
use std::sync::Arc;
use weft_control_api::kind::{Kind, ObjectKey};
use weft_control_api::problem::Note;
use weft_core::names::PolicyName;
use weft_core::policy::{Match, Policy, PolicyScope, Ruleset};
use weft_core::service::Service;
use weft_core::workload::Workload;
use weft_l7::traffic::Traffic;

/// What the index holds, as far as findings need it.
pub(crate) struct Held<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) said: &'a Said,
    pub(crate) traffic: Vec<&'a Arc<Traffic>>,
    pub(crate) workloads: Vec<&'a Arc<Workload>>,
    pub(crate) services: Vec<&'a Arc<Service>>,
    pub(crate) policies: Vec<&'a Arc<Policy>>,
}

/// All of it.
pub(crate) fn all(held: &Held<'_>) -> Vec<Finding> {
    let mut found = of_traffic::all(held.cluster, held.said, held.traffic.iter().copied());
    found.extend(headless(held.cluster));
    found.extend(named_like_a_waypoint(held.cluster));
    found.extend(pods_as_endpoints(held.cluster));
    found.extend(behind_waypoints(held));
    found.extend(claims::all(held));
    found
}

/// Clients of a headless Service ask for its pods' own addresses, which a waypoint for services does not stand before.
fn headless(cluster: &Cluster) -> impl Iterator<Item = Finding> {
    cluster.services.iter().filter(|(_, facts)| facts.backend.headless).filter_map(|(name, facts)| {
        let gateway = waypoint::of_service(cluster, name, facts)?;
        let reason = format!(
            "is headless and bound to waypoint {gateway}: its clients ask for its pods' own addresses and come past it"
        );
        Some((service(name), Note::warning("spec.clusterIP", reason)))
    })
}

/// A Service with the name of a waypoint's Gateway stands for that waypoint, whatever it was written for.
fn named_like_a_waypoint(cluster: &Cluster) -> impl Iterator<Item = Finding> {
    cluster.services.iter().filter_map(|(name, facts)| {
        let missed = waypoint::missed_by_name(cluster, name, facts)?;
        let reason = format!(
            "is the name of a waypoint's Gateway too, so this counts as that Gateway's own Service: what is sent to it does \
             not go through waypoint {missed}; give one of the two another name"
        );
        Some((service(name), Note::warning("metadata.name", reason)))
    })
}

fn service(name: &Name) -> ObjectKey {
    ObjectKey::new(Kind::Service, name.namespace.clone(), name.name.clone())
}

/// Endpoints that are pods' own addresses are left to the pods.
fn pods_as_endpoints(cluster: &Cluster) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, entry) in &cluster.entries.services {
        for (number, one) in entry.endpoints.iter().enumerate() {
            let Some(ip) = one.place.addr() else { continue };
            let Some(pod) = cluster.pods.at(ip) else { continue };
            let reason = format!(
                "is the address of pod {pod}, and left out: a pod serves a ServiceEntry whose workloadSelector selects it"
            );
            found.push((
                service_entry(name),
                Note::warning(format!("spec.endpoints[{number}].address"), reason),
            ));
        }
    }
    for (name, one) in &cluster.entries.workloads {
        let Some(pod) = one.place.addr().and_then(|ip| cluster.pods.at(ip)) else { continue };
        let key = ObjectKey::new(Kind::WorkloadEntry, name.namespace.clone(), name.name.clone());
        let reason =
            format!("is the address of pod {pod}, which stands for itself: this entry has no effect");
        found.push((key, Note::warning("spec.address", reason)));
    }
    found
}

/// Policies at pods that ask who the client is, where what comes to the pods comes from a waypoint.
fn behind_waypoints(held: &Held<'_>) -> Vec<Finding> {
    let bound: BTreeSet<_> =
        held.services.iter().filter(|one| one.waypoint.is_some()).map(|one| one.name.to_string()).collect();
    let is_behind = |pod: &&&Arc<Workload>| {
        pod.waypoint.is_some() || pod.services.iter().any(|(name, _)| bound.contains(&name.to_string()))
    };
    let pods: Vec<_> = held.workloads.iter().filter(is_behind).collect();
    let applies = |policy: &Policy, pod: &Workload| match policy.scope {
        PolicyScope::Selector => pod.policies.contains(&policy.name),
        PolicyScope::Namespace => pod.namespace == policy.name.namespace,
        PolicyScope::Global => true,
    };
    let mut found = Vec::new();
    for policy in held.policies.iter().filter(|policy| asks_who(policy)) {
        let PolicyName { namespace, name } = &policy.name;
        // Not one that the index makes of a PeerAuthentication.
        if held.cluster.authorizations.get(&Name::new(namespace.clone(), name.clone())).is_none() {
            continue;
        }
        let Some(pod) = pods.iter().find(|pod| applies(policy, pod)) else { continue };
        let reason = format!(
            "asks who the client is, and applies to pods behind a waypoint, such as {}/{}: there it sees the waypoint's \
             identity; aim it at the waypoint with targetRefs",
            pod.namespace, pod.name
        );
        let key = ObjectKey::new(Kind::AuthorizationPolicy, namespace.clone(), name.clone());
        found.push((key, Note::warning("spec.rules", reason)));
    }
    found
}

fn asks_who(policy: &Policy) -> bool {
    let asks = |one: &Match| {
        let names = [&one.namespaces, &one.not_namespaces, &one.principals, &one.not_principals];
        names.iter().any(|list| !list.is_empty())
            || !one.service_accounts.is_empty()
            || !one.not_service_accounts.is_empty()
    };
    match &policy.ruleset {
        Ruleset::Unusable(_) => false,
        Ruleset::Rules(rules) => {
            rules.iter().flat_map(|rule| &rule.clauses).flat_map(|clause| &clause.matches).any(asks)
        }
    }
}
