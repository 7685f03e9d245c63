//! Policies that could not be read: they deny where they would have applied.

use crate::config::IndexConfig;
use crate::name::Name;
use crate::policy::authorization::target;
use crate::policy::{PeerFacts, PeerSaid, PolicyFacts, Reach, authorization, peer, unusable};
use weft_control_api::refusal::{Refusal, RefusedScope};
use weft_core::policy::Enforcement;

pub(crate) fn authorization(refusal: &Refusal, name: &Name, config: &IndexConfig) -> PolicyFacts {
    let enforcement = if refusal.dry_run { Enforcement::DryRun } else { Enforcement::Enforced };
    let why = reason(refusal);
    let reach = match &refusal.scope {
        RefusedScope::Labels(labels) => authorization::reach(Some(labels.clone()), name, config),
        RefusedScope::Namespace => Reach::wide(name, config),
        RefusedScope::Targets(targets) => {
            let targets = target::of_refused(targets, name, config).unwrap_or_default();
            return target::unusable(targets, None, enforcement, &why, name, config);
        }
    };
    let told = reach.scope().map(|scope| unusable(name, scope, enforcement, &why));
    PolicyFacts { reach, told, requests: None }
}

pub(crate) fn peer(refusal: &Refusal, name: &Name, config: &IndexConfig) -> PeerFacts {
    let reach = match &refusal.scope {
        RefusedScope::Labels(labels) => peer::reach(Some(labels.clone()), name, config),
        // A PeerAuthentication has no targets; what looks like one is the very field that is wrong.
        RefusedScope::Namespace | RefusedScope::Targets(_) => Reach::wide(name, config),
    };
    PeerFacts { reach, created: i64::MIN, said: PeerSaid::Unusable(reason(refusal).into()) }
}

fn reason(refusal: &Refusal) -> String {
    refusal.notes.first().map_or_else(|| "cannot be read".to_owned(), |note| note.text())
}
