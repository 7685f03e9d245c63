//! Objects whose own labels ask for a waypoint, by its Gateway: what a change of a Gateway concerns.

use crate::facts::waypoint::Use;
use crate::name::Name;
use std::collections::{BTreeSet, HashMap};
use weft_control_api::kind::ObjectKey;

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Askers(HashMap<Name, BTreeSet<ObjectKey>>);

impl Askers {
    /// Takes what an object's labels said, and what they say now.
    pub(crate) fn set(&mut self, asker: &ObjectKey, old: Option<&Use>, now: Option<&Use>) {
        if let Some(Use::Gateway(old)) = old
            && let Some(askers) = self.0.get_mut(&old.gateway)
        {
            askers.remove(asker);
            if askers.is_empty() {
                self.0.remove(&old.gateway);
            }
        }
        if let Some(Use::Gateway(now)) = now {
            self.0.entry(now.gateway.clone()).or_default().insert(asker.clone());
        }
    }

    pub(crate) fn of(&self, gateway: &Name) -> impl Iterator<Item = &ObjectKey> {
        self.0.get(gateway).into_iter().flatten()
    }
}
