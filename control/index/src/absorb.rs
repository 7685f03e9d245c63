//! Takes facts in and marks what has to be computed anew, by the reverse indexes.

mod backends;
mod places;
mod rules;
mod waypoints;

use crate::name::Name;
use std::collections::BTreeSet;
use weft_control_api::kind::ObjectKey;
use weft_core::names::PolicyName;

/// What has to be computed anew.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    pub(crate) pods: BTreeSet<Name>,
    pub(crate) slices: BTreeSet<Name>,
    pub(crate) services: BTreeSet<Name>,
    pub(crate) policies: BTreeSet<PolicyName>,
    /// Services about whose traffic something else may be said now.
    pub(crate) traffic: BTreeSet<Name>,
    /// Policies of which waypoints may have to be told something else.
    pub(crate) requests: BTreeSet<Name>,
    /// Objects whose labels ask for a waypoint, of which something else may be said now.
    pub(crate) askers: BTreeSet<ObjectKey>,
}

impl Dirty {
    fn pods<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) {
        self.pods.extend(names.into_iter().cloned());
    }

    fn services<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) {
        self.services.extend(names.into_iter().cloned());
    }

    fn slices<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) {
        self.slices.extend(names.into_iter().cloned());
    }
}
