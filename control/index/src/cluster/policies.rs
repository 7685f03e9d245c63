//! Policies by name and by the pods that they select.

use crate::cluster::pods::{link, unlink};
use crate::name::Name;
use crate::policy::{PeerFacts, PolicyFacts, Reach, Target};
use crate::selector::{SelectorIndex, Within};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// All AuthorizationPolicies.
#[derive(Debug, Default)]
pub(crate) struct Authorizations {
    all: BTreeMap<Name, PolicyFacts>,
    pub(crate) selectors: SelectorIndex,
    by_target: HashMap<Target, BTreeSet<Name>>,
}

impl Authorizations {
    pub(crate) fn get(&self, name: &Name) -> Option<&PolicyFacts> {
        self.all.get(name)
    }

    /// Puts a policy in; `None` takes it out. The one before comes back.
    pub(crate) fn set(&mut self, name: &Name, policy: Option<PolicyFacts>) -> Option<PolicyFacts> {
        place(&mut self.selectors, name, policy.as_ref().map(|policy| &policy.reach));
        let old = self.all.remove(name);
        for target in old.iter().flat_map(PolicyFacts::targets) {
            unlink(&mut self.by_target, target, name);
        }
        for target in policy.iter().flat_map(PolicyFacts::targets) {
            link(&mut self.by_target, target.clone(), name);
        }
        self.all.extend(policy.map(|policy| (name.clone(), policy)));
        old
    }

    /// Policies for waypoints that name this target.
    pub(crate) fn aimed_at(&self, target: &Target) -> impl Iterator<Item = &Name> {
        self.by_target.get(target).into_iter().flatten()
    }
}

/// All PeerAuthentications.
#[derive(Debug, Default)]
pub(crate) struct PeerAuthentications {
    all: BTreeMap<Name, PeerFacts>,
    pub(crate) selectors: SelectorIndex,
}

impl PeerAuthentications {
    pub(crate) fn get(&self, name: &Name) -> Option<&PeerFacts> {
        self.all.get(name)
    }

    /// Puts one in; `None` takes it out. The one before comes back.
    pub(crate) fn set(&mut self, name: &Name, peer: Option<PeerFacts>) -> Option<PeerFacts> {
        place(&mut self.selectors, name, peer.as_ref().map(|peer| &peer.reach));
        let old = self.all.remove(name);
        self.all.extend(peer.map(|peer| (name.clone(), peer)));
        old
    }

    pub(crate) fn in_namespace<'a>(
        &'a self,
        namespace: &'a Arc<str>,
    ) -> impl Iterator<Item = (&'a Name, &'a PeerFacts)> {
        self.all.range(Name::first_of(namespace)..).take_while(|(name, _)| name.namespace == *namespace)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Name> {
        self.all.keys()
    }
}

fn place(selectors: &mut SelectorIndex, name: &Name, reach: Option<&Reach>) {
    match reach {
        Some(Reach::Pods(within, selector)) => selectors.insert(name, within.clone(), selector.clone()),
        Some(Reach::Namespace | Reach::Mesh | Reach::Nothing) | None => {
            selectors.remove(name);
        }
    }
}

/// Where the pods of a reach are sought.
pub(crate) fn sought(reach: &Reach) -> Option<(&Within, &crate::selector::Selector)> {
    match reach {
        Reach::Pods(within, selector) => Some((within, selector)),
        Reach::Namespace | Reach::Mesh | Reach::Nothing => None,
    }
}
