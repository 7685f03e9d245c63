//! BackendTLSPolicies: for which Services and ports each counts, and what becomes of it (Gateway API, GEP-1897).

use super::origination::{self, BadAuthorities, not_well_known, resolve};
use super::{Audience, Said, istio_report};
use crate::cluster::Cluster;
use crate::facts::created;
use crate::facts::service::ServiceFacts;
use crate::name::Name;
use std::collections::BTreeSet;
use weft_control_api::gateway_api::backend_tls_policy::{BackendTlsPolicy, BackendTlsPolicySpec};
use weft_control_api::gateway_api::reference::{ParentReference, PolicyTargetReference};
use weft_control_api::gateway_api::status::{
    CONTROLLER, Condition, ConditionType, PolicyAncestorStatus, PolicyStatus, Reason,
};
use weft_control_api::problem::Note;
use weft_l7::destination::Destination;

/// The Services that it is for.
pub(super) fn services(spec: &BackendTlsPolicySpec, namespace: &str) -> BTreeSet<Name> {
    let services = spec.target_refs.iter().filter(|target| is_service(target));
    services.map(|one| Name::new(namespace, one.name.as_str())).collect()
}

/// Whether a target is a Service.
pub(super) fn is_service(target: &PolicyTargetReference) -> bool {
    target.group.is_empty() && target.kind == "Service"
}

/// Which part of a Service a policy is for. A policy for a port comes before one for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Whole,
    Port(u16),
}

/// The part of a Service that a target names; `None` if the Service has no such port.
fn part(target: &PolicyTargetReference, facts: &ServiceFacts) -> Option<Part> {
    let Some(name) = target.section_name.as_deref().filter(|name| !name.is_empty()) else {
        return Some(Part::Whole);
    };
    let port = facts.backend.ports.iter().find(|port| *port.name == *name)?;
    Some(Part::Port(port.service_port))
}

fn parts<'a>(
    policy: &'a BackendTlsPolicy,
    service: &'a Name,
    facts: &'a ServiceFacts,
) -> impl Iterator<Item = Part> + 'a {
    let targets = policy.spec.target_refs.iter();
    let targets = targets.filter(|target| is_service(target) && *target.name == *service.name);
    targets.filter_map(|target| part(target, facts))
}

impl Said {
    /// The policy for a part of a Service: of several the oldest, then the first by name.
    fn tls_policy_of(&self, service: &Name, facts: &ServiceFacts, wanted: Part) -> Option<&Name> {
        let all = self.tls_policies.of(service);
        let fitting = all.filter(|(_, policy)| parts(policy, service, facts).any(|part| part == wanted));
        let first = fitting.min_by_key(|(name, policy)| (created(&policy.metadata), (*name).clone()));
        first.map(|(name, _)| name)
    }

    /// A policy that says something of a Service's TLS.
    pub(super) fn any_tls_policy_of(&self, service: &Name) -> Option<&Name> {
        self.tls_policies.of(service).map(|(name, _)| name).min()
    }
}

/// Puts the TLS of the policies of a Service in the place of every other that is said of it.
pub(super) fn lay_over(
    cluster: &Cluster,
    said: &Said,
    (service, facts): (&Name, &ServiceFacts),
    destination: &mut Destination,
) {
    let tls = |part| {
        let name = said.tls_policy_of(service, facts, part)?;
        let policy = said.tls_policies.get(name)?;
        Some(origination::of_policy(cluster, &name.namespace, &policy.spec))
    };
    if let Some(tls) = tls(Part::Whole) {
        destination.all_settings_mut().for_each(|settings| settings.tls = Some(tls.clone()));
    }
    for port in &facts.backend.ports {
        let port = port.service_port;
        let Some(tls) = tls(Part::Port(port)) else { continue };
        // What is said of the whole holds for the port too, but for this.
        let whole = &destination.settings;
        destination.ports.entry(port).or_insert_with(|| whole.clone()).tls = Some(tls.clone());
        for subset in destination.subsets.values_mut() {
            let whole = &subset.settings;
            subset.ports.entry(port).or_insert_with(|| whole.clone()).tls = Some(tls.clone());
        }
    }
}

/// What becomes of a policy: what its author is told, and its status by Service.
pub(super) fn report(
    cluster: &Cluster,
    said: &Said,
    audience: &Audience,
    name: &Name,
    refused: Option<&str>,
) -> (Vec<Note>, Option<PolicyStatus>) {
    let Some(policy) = said.tls_policies.get(name) else {
        return (Vec::new(), None);
    };
    let mut notes = Vec::new();
    let references = policy.spec.validation.ca_certificate_refs.iter().enumerate();
    let bad: Vec<(String, BadAuthorities)> = references
        .filter_map(|(number, one)| {
            let why = resolve(cluster, &name.namespace, one).err()?;
            Some((format!("spec.validation.caCertificateRefs[{number}]"), why))
        })
        .collect();
    notes.extend(bad.iter().map(|(field, why)| Note::warning(field.clone(), why.to_string())));
    let unusable = unusable(&policy.spec, &bad);
    if let Some((_, why)) = &unusable {
        let reason = format!("{why}: what is sent to its Services gets 503");
        notes.push(Note::warning("spec.validation", reason));
    }
    let resolved = resolved(&bad);
    let generation = policy.metadata.generation;
    let mut ancestors = Vec::new();
    for (number, target) in policy.spec.target_refs.iter().enumerate() {
        let not = not_accepted(cluster, said, audience, (name, target));
        if let Some((_, why)) = &not {
            notes.push(Note::warning(format!("spec.targetRefs[{number}]"), why.clone()));
        }
        let refused =
            refused.map(|why| (Reason::Invalid, format!("the last version that could be used stays: {why}")));
        let accepted = match refused.or(not).or_else(|| unusable.clone()) {
            None => Condition::holds(ConditionType::Accepted, Reason::Accepted, "the policy is in force"),
            Some((reason, why)) => Condition::fails(ConditionType::Accepted, reason, why),
        };
        ancestors.push(PolicyAncestorStatus {
            ancestor_ref: ancestor(target),
            controller_name: CONTROLLER,
            conditions: vec![accepted.of(generation), resolved.clone().of(generation)],
        });
    }
    (notes, Some(PolicyStatus { ancestors }))
}

/// In a mesh a policy is attached to nothing above its target.
fn ancestor(target: &PolicyTargetReference) -> ParentReference {
    ParentReference {
        group: target.group.clone(),
        kind: target.kind.clone(),
        namespace: None,
        name: target.name.clone(),
        section_name: target.section_name.clone(),
        port: None,
    }
}

/// Why nobody can vouch for anything.
fn unusable(spec: &BackendTlsPolicySpec, bad: &[(String, BadAuthorities)]) -> Option<(Reason, String)> {
    let well_known = spec.validation.well_known_ca_certificates.as_deref().unwrap_or_default();
    if !well_known.is_empty() {
        let known = well_known == origination::WELL_KNOWN;
        return (!known).then(|| (Reason::Invalid, not_well_known(well_known)));
    }
    let none = bad.len() == spec.validation.ca_certificate_refs.len();
    none.then(|| (Reason::NoValidCaCertificate, "none of its authorities can be used".to_owned()))
}

/// The first reference that leads nowhere says why.
fn resolved(bad: &[(String, BadAuthorities)]) -> Condition {
    match bad.first() {
        Some((field, why)) => {
            Condition::fails(ConditionType::ResolvedRefs, why.reason(), format!("{field}: {why}"))
        }
        None => Condition::holds(
            ConditionType::ResolvedRefs,
            Reason::ResolvedRefs,
            "everything that the policy names is there",
        ),
    }
}

/// Why a policy is not in force at a target.
fn not_accepted(
    cluster: &Cluster,
    said: &Said,
    audience: &Audience,
    (name, target): (&Name, &PolicyTargetReference),
) -> Option<(Reason, String)> {
    let service = Name::new(name.namespace.clone(), target.name.as_str());
    let Some(facts) = cluster.services.get(&service) else {
        let why = format!("there is no Service {service}: the policy has no effect on it");
        return Some((Reason::TargetNotFound, why));
    };
    let Some(part) = part(target, facts) else {
        let section = target.section_name.as_deref().unwrap_or_default();
        let why = format!("Service {service} has no port {section}: the policy has no effect there");
        return Some((Reason::TargetNotFound, why));
    };
    let first = said.tls_policy_of(&service, facts, part).filter(|first| *first != name);
    if let Some(first) = first {
        let why = format!(
            "BackendTLSPolicy {first}, which is older, is for the same part of Service {service}: this one has no effect \
             there"
        );
        return Some((Reason::Conflicted, why));
    }
    let why = istio_report::of_backend(cluster, audience, &service, "the policy has no effect on it")?;
    Some((Reason::NoWaypoint, why))
}
