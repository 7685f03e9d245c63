//! Istio's policies as facts: what they apply to, and what they say.

pub(crate) mod authorization;
pub(crate) mod peer;
pub(crate) mod refused;
pub(crate) mod source;
pub(crate) mod telemetry;

use crate::config::IndexConfig;
use crate::name::Name;
use crate::selector::{Labels, Selector, Within};
use std::collections::BTreeMap;
use std::sync::Arc;
use weft_control_api::selector::WorkloadSelector;
use weft_core::names::PolicyName;
use weft_core::policy::{Action, Enforcement, Policy, PolicyScope, Ruleset};

/// What a policy applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Pods by their labels.
    Pods(Within, Selector),
    /// All pods of its namespace.
    Namespace,
    /// All pods.
    Mesh,
    /// Nothing at this level.
    Nothing,
}

impl Reach {
    fn scope(&self) -> Option<PolicyScope> {
        match self {
            Self::Pods(..) => Some(PolicyScope::Selector),
            Self::Namespace => Some(PolicyScope::Namespace),
            Self::Mesh => Some(PolicyScope::Global),
            Self::Nothing => None,
        }
    }

    /// Without a selector a policy holds for its namespace, and from a root namespace for the mesh.
    fn wide(name: &Name, config: &IndexConfig) -> Self {
        if config.is_root(&name.namespace) { Self::Mesh } else { Self::Namespace }
    }
}

/// An AuthorizationPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyFacts {
    pub(crate) reach: Reach,
    /// `None` if it decides nothing at this level.
    pub(crate) told: Option<Policy>,
    /// `None` if it says nothing to waypoints.
    pub(crate) requests: Option<RequestFacts>,
}

/// What an AuthorizationPolicy says to waypoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestFacts {
    /// What it names, each with the path of its field. Not empty.
    pub(crate) targets: Vec<(Target, String)>,
    pub(crate) action: Action,
    pub(crate) enforcement: Enforcement,
    pub(crate) ruleset: weft_l7::policy::Ruleset,
}

/// What a policy for waypoints names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Target {
    /// Requests to a service, at its waypoint.
    Service(Name),
    /// Requests to the hosts that a ServiceEntry has, at their waypoint.
    Entry(Name),
    /// All requests at one waypoint.
    Gateway(Name),
    /// All requests at all waypoints of a class.
    Class(Arc<str>),
}

impl PolicyFacts {
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.requests.iter().flat_map(|requests| &requests.targets).map(|(target, _)| target)
    }
}

/// A PeerAuthentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerFacts {
    pub(crate) reach: Reach,
    /// Seconds since 1970; of several of one scope the oldest counts, and one without a date is young.
    pub(crate) created: i64,
    pub(crate) said: PeerSaid,
}

/// What a PeerAuthentication says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerSaid {
    /// For all ports (`None`: as inherited), and for single ones.
    Modes { all: Option<Plain>, ports: BTreeMap<u16, Option<Plain>> },
    /// Could not be understood.
    Unusable(Arc<str>),
}

/// What becomes of connections that come outside the mesh's tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    Accepted,
    Refused,
}

/// A policy that denies all that it applies to, because nobody knows what it means.
fn unusable(name: &Name, scope: PolicyScope, enforcement: Enforcement, why: &str) -> Policy {
    Policy {
        name: PolicyName::new(name.namespace.clone(), name.name.clone()),
        scope,
        action: Action::Deny,
        enforcement,
        ruleset: Ruleset::Unusable(why.into()),
    }
}

fn labels_of(selector: Option<&WorkloadSelector>) -> Option<Labels> {
    selector.map(|selector| selector.match_labels.clone().unwrap_or_default())
}
