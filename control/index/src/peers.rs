//! The PeerAuthentication that counts for a pod, and the policies that it becomes.
//!
//! Mesh, namespace and workload follow each other; what the narrower one leaves unset is inherited. STRICT
//! becomes a policy that denies sources without an identity. What holds for whole namespaces is one fixed
//! policy; a PeerAuthentication with ports of its own becomes one of its own.

use crate::cluster::Cluster;
use crate::config::IndexConfig;
use crate::facts::pod::PodFacts;
use crate::name::Name;
use crate::policy::{PeerFacts, PeerSaid, Plain, Reach};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_core::enrolment::PlainText;
use weft_core::names::PolicyName;
use weft_core::policy::{
    Action, Clause, Enforcement, Match, Policy, PolicyScope, Rule, Ruleset, StringMatch,
};

/// The fixed policy's name; no object can be called so.
const STATIC_STRICT: &str = "istio_converted_static_strict";
/// Before the name of a PeerAuthentication that became a policy; no object can be called so.
const CONVERTED: &str = "converted_peer_authentication_";

/// The fixed policy that denies sources without an identity.
pub(crate) fn static_strict(config: &IndexConfig) -> Policy {
    let name = PolicyName::new(config.root(), STATIC_STRICT);
    refusing(name, Match { not_principals: vec![StringMatch::Presence], ..Match::default() })
}

/// The policy's name that stands for a PeerAuthentication.
pub(crate) fn converted_name(name: &Name) -> PolicyName {
    PolicyName::new(name.namespace.clone(), format!("{CONVERTED}{}", name.name))
}

/// The PeerAuthentication that a policy's name stands for.
pub(crate) fn converted_object(name: &PolicyName) -> Option<Name> {
    let object = name.name.strip_prefix(CONVERTED)?;
    Some(Name::new(name.namespace.clone(), object))
}

/// The policies that a pod has to name because of PeerAuthentications.
pub(crate) fn of_pod(cluster: &Cluster, pod: &PodFacts) -> Vec<PolicyName> {
    let Selecting { usable, unusable } = selecting(cluster, pod);
    let mut named: Vec<PolicyName> = unusable.iter().map(converted_name).collect();
    let own = usable.map(|name| (effective(cluster, &name), name));
    let all = own.as_ref().map_or_else(|| inherited(cluster, &pod.name.namespace), |(own, _)| own.all);
    match own {
        Some((own, name)) if !own.exceptions.is_empty() => named.push(converted_name(&name)),
        _ if all == Plain::Refused => named.push(static_strict(&cluster.config).name),
        _ => {}
    }
    named
}

/// The same for a pod's agent: where it accepts plain text. What cannot be understood denies.
pub(crate) fn plain_text(cluster: &Cluster, pod: &PodFacts) -> PlainText {
    let namespace = &pod.name.namespace;
    let Selecting { usable, unusable } = selecting(cluster, pod);
    let own = cluster.peers.in_namespace(namespace);
    let roots = cluster.config.root_namespaces.iter().flat_map(|root| cluster.peers.in_namespace(root));
    let reaches = |(name, facts): &(&Name, &PeerFacts)| match facts.reach {
        Reach::Mesh => true,
        Reach::Namespace => name.namespace == *namespace,
        Reach::Pods(..) | Reach::Nothing => false,
    };
    let mut wide = own.chain(roots).filter(reaches);
    if !unusable.is_empty() || wide.any(|(_, facts)| matches!(facts.said, PeerSaid::Unusable(_))) {
        return PlainText::RefusedBut(Vec::new());
    }
    let own = usable.map(|name| effective(cluster, &name));
    let general = || Effective { all: inherited(cluster, namespace), exceptions: Vec::new() };
    let Effective { all, exceptions } = own.unwrap_or_else(general);
    match all {
        Plain::Accepted => PlainText::AcceptedBut(exceptions),
        Plain::Refused => PlainText::RefusedBut(exceptions),
    }
}

/// The PeerAuthentications with a selector that select a pod.
struct Selecting {
    /// The one that counts: the oldest.
    usable: Option<Name>,
    unusable: Vec<Name>,
}

fn selecting(cluster: &Cluster, pod: &PodFacts) -> Selecting {
    let mut usable: Option<(i64, Name)> = None;
    let mut unusable = Vec::new();
    for name in cluster.peers.selectors.matching(&pod.name.namespace, &pod.labels) {
        let Some(facts) = cluster.peers.get(&name) else {
            continue;
        };
        match facts.said {
            PeerSaid::Unusable(_) => unusable.push(name),
            PeerSaid::Modes { .. } => {
                let this = (facts.created, name);
                usable = Some(usable.map_or(this.clone(), |other| other.min(this)));
            }
        }
    }
    Selecting { usable: usable.map(|(_, name)| name), unusable }
}

/// The policy that a PeerAuthentication becomes, if it becomes one of its own.
pub(crate) fn converted(cluster: &Cluster, name: &Name) -> Option<Policy> {
    let facts = cluster.peers.get(name)?;
    if let PeerSaid::Unusable(why) = &facts.said {
        return unusable(name, facts, why);
    }
    if !matches!(facts.reach, Reach::Pods(..)) {
        return None;
    }
    let own = effective(cluster, name);
    if own.exceptions.is_empty() {
        return None;
    }
    let mut refused = Match { not_principals: vec![StringMatch::Presence], ..Match::default() };
    match own.all {
        Plain::Refused => refused.not_destination_ports = own.exceptions,
        Plain::Accepted => refused.destination_ports = own.exceptions,
    }
    Some(refusing(converted_name(name), refused))
}

fn unusable(name: &Name, facts: &PeerFacts, why: &Arc<str>) -> Option<Policy> {
    let scope = match facts.reach {
        Reach::Pods(..) => PolicyScope::Selector,
        Reach::Namespace => PolicyScope::Namespace,
        Reach::Mesh => PolicyScope::Global,
        Reach::Nothing => return None,
    };
    Some(Policy {
        name: converted_name(name),
        scope,
        action: Action::Deny,
        enforcement: Enforcement::Enforced,
        ruleset: Ruleset::Unusable(why.clone()),
    })
}

fn refusing(name: PolicyName, refused: Match) -> Policy {
    Policy {
        name,
        scope: PolicyScope::Selector,
        action: Action::Deny,
        enforcement: Enforcement::Enforced,
        ruleset: Ruleset::Rules(vec![Rule { clauses: vec![Clause { matches: vec![refused] }] }]),
    }
}

/// What a PeerAuthentication with a selector comes to: for all ports, and the ports where it is the other way.
struct Effective {
    all: Plain,
    exceptions: Vec<u16>,
}

fn effective(cluster: &Cluster, name: &Name) -> Effective {
    let (own, ports) = match cluster.peers.get(name).map(|facts| &facts.said) {
        Some(PeerSaid::Modes { all, ports }) => (*all, ports.clone()),
        Some(PeerSaid::Unusable(_)) | None => (None, BTreeMap::new()),
    };
    let all = own.unwrap_or_else(|| inherited(cluster, &name.namespace));
    let others = ports.into_iter().filter(|(_, plain)| plain.is_some_and(|plain| plain != all));
    Effective { all, exceptions: others.map(|(port, _)| port).collect() }
}

/// What holds in a namespace for pods that no PeerAuthentication selects.
pub(crate) fn inherited(cluster: &Cluster, namespace: &Arc<str>) -> Plain {
    let own = match cluster.config.is_root(namespace) {
        true => None,
        false => oldest_wide(cluster, std::slice::from_ref(namespace)),
    };
    own.or_else(|| oldest_wide(cluster, &cluster.config.root_namespaces)).unwrap_or(Plain::Accepted)
}

fn oldest_wide(cluster: &Cluster, namespaces: &[Arc<str>]) -> Option<Plain> {
    let all = namespaces.iter().flat_map(|namespace| cluster.peers.in_namespace(namespace));
    let wide = all.filter_map(|(name, facts)| match (&facts.reach, &facts.said) {
        (Reach::Namespace | Reach::Mesh, PeerSaid::Modes { all, .. }) => Some((facts.created, name, *all)),
        _ => None,
    });
    wide.min_by_key(|(created, name, _)| (*created, (*name).clone())).and_then(|(_, _, mode)| mode)
}
