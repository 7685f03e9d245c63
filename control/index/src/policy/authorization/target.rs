//! What a policy for waypoints names (`targetRefs`), and what becomes of one that cannot be understood.

use crate::config::IndexConfig;
use crate::name::Name;
use crate::policy::{PolicyFacts, Reach, RequestFacts, Target, unusable as unusable_at_workloads};
use crate::selector::Labels;
use std::sync::Arc;
use weft_control_api::authorization_policy::AuthorizationPolicySpec;
use weft_control_api::kind::{GATEWAY_GROUP, NETWORKING_GROUP};
use weft_control_api::problem::Note;
use weft_control_api::selector::PolicyTargetReference;
use weft_core::policy::{Action, Enforcement};
use weft_l7::policy::Ruleset;

/// Most targets of one policy (Istio, `AuthorizationPolicy.targetRefs`).
const TARGETS_MAX: usize = 16;

/// The targets as they are written, with the field that has them; `None` for a policy that is not for waypoints.
pub(super) fn written(spec: &AuthorizationPolicySpec) -> Option<(&'static str, &[PolicyTargetReference])> {
    match (&spec.target_refs, &spec.target_ref) {
        (Some(list), _) if !list.is_empty() => Some(("spec.targetRefs", list)),
        (_, Some(one)) => Some(("spec.targetRef", std::slice::from_ref(one))),
        _ => None,
    }
}

/// Reads the targets. What is none of them is an error, and left out.
pub(super) fn read(
    spec: &AuthorizationPolicySpec,
    policy: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> Vec<(Target, String)> {
    let Some((field, list)) = written(spec) else {
        return Vec::new();
    };
    if spec.selector.is_some() {
        notes.push(Note::error(field, "stands beside a selector; a policy has one of the two"));
    }
    if spec.target_ref.is_some() && spec.target_refs.as_ref().is_some_and(|list| !list.is_empty()) {
        notes.push(Note::error("spec.targetRef", "stands beside targetRefs; a policy has one of the two"));
    }
    read_all((field, list), policy, config, notes)
}

/// Reads targets that stand in a field. What is none is an error, and left out.
pub(crate) fn read_all(
    (field, list): (&str, &[PolicyTargetReference]),
    policy: &Name,
    config: &IndexConfig,
    notes: &mut Vec<Note>,
) -> Vec<(Target, String)> {
    if list.len() > TARGETS_MAX {
        notes.push(Note::error(field, format!("has {} items: 16 it may have", list.len())));
    }
    let mut targets = Vec::new();
    for (index, one) in list.iter().enumerate() {
        let path = if field == "spec.targetRef" { field.to_owned() } else { format!("{field}[{index}]") };
        match target(one, policy, config) {
            Ok(target) => targets.push((target, path)),
            Err((part, reason)) => notes.push(Note::error(format!("{path}.{part}"), reason)),
        }
    }
    targets
}

/// Reads one target; the error is the field and what is wrong with it.
fn target(
    one: &PolicyTargetReference,
    policy: &Name,
    config: &IndexConfig,
) -> Result<Target, (&'static str, String)> {
    let own = one.namespace.as_deref().is_none_or(|namespace| *namespace == *policy.namespace);
    if !own {
        return Err(("namespace", "is not the policy's own, and a policy is for nothing else".to_owned()));
    }
    if one.name.is_empty() {
        return Err(("name", "is empty".to_owned()));
    }
    let named = || Name::new(policy.namespace.clone(), one.name.as_str());
    match (one.group.as_deref().unwrap_or_default(), one.kind.as_str()) {
        ("" | "core", "Service") => Ok(Target::Service(named())),
        (NETWORKING_GROUP, "ServiceEntry") => Ok(Target::Entry(named())),
        (GATEWAY_GROUP, "Gateway") => Ok(Target::Gateway(named())),
        (GATEWAY_GROUP, "GatewayClass") if config.is_root(&policy.namespace) => {
            Ok(Target::Class(one.name.as_str().into()))
        }
        (GATEWAY_GROUP, "GatewayClass") => {
            let roots: Vec<&str> = config.root_namespaces.iter().map(|root| &**root).collect();
            Err(("kind", format!("GatewayClass is for policies of a root namespace ({})", roots.join(", "))))
        }
        (group, kind) => {
            let group = if group.is_empty() { String::new() } else { format!(" of group {group}") };
            let known = "a Service, Gateway and GatewayClass of group gateway.networking.k8s.io, and ServiceEntry of \
                         group networking.istio.io";
            Err(("kind", format!("{kind}{group} is nothing that a waypoint has policy for: {known} are")))
        }
    }
}

/// A policy for waypoints that cannot be understood denies what it names. What is not known to be named by it might be
/// anything of its namespace, so it denies that; a selector beside its targets might have been meant as well.
pub(crate) fn unusable(
    targets: Vec<(Target, String)>,
    selector: Option<Labels>,
    enforcement: Enforcement,
    why: &str,
    policy: &Name,
    config: &IndexConfig,
) -> PolicyFacts {
    let reach = match (&selector, targets.is_empty()) {
        (None, false) => Reach::Nothing,
        (Some(_), _) => super::reach(selector, policy, config),
        (None, true) => Reach::wide(policy, config),
    };
    let told = reach.scope().map(|scope| unusable_at_workloads(policy, scope, enforcement, why));
    let requests = (!targets.is_empty()).then(|| RequestFacts {
        targets,
        action: Action::Deny,
        enforcement,
        ruleset: Ruleset::Unusable(Arc::from(why)),
    });
    PolicyFacts { reach, told, requests }
}

/// The targets of a policy that was refused as a whole; `None` if one of them cannot be made out.
pub(crate) fn of_refused(
    list: &[PolicyTargetReference],
    policy: &Name,
    config: &IndexConfig,
) -> Option<Vec<(Target, String)>> {
    let read = |(index, one): (usize, &PolicyTargetReference)| {
        target(one, policy, config).ok().map(|target| (target, format!("spec.targetRefs[{index}]")))
    };
    list.iter().enumerate().map(read).collect()
}
