//! Takes facts in and marks what has to be computed anew, by the reverse indexes.

mod backends;
mod places;
mod rules;

use crate::name::Name;
use std::collections::BTreeSet;
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
}

impl Dirty {
    fn pods<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) {
        self.pods.extend(names.into_iter().cloned());
    }

    fn slices<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) {
        self.slices.extend(names.into_iter().cloned());
    }
}
