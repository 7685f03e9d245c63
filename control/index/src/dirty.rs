//! What a change has marked: it has to be computed anew.

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
    /// ServiceEntries and WorkloadEntries, for the workloads that they are.
    pub(crate) entries: BTreeSet<ObjectKey>,
    /// Services about whose traffic something else may be said now.
    pub(crate) traffic: BTreeSet<Name>,
    /// Policies of which waypoints may have to be told something else.
    pub(crate) requests: BTreeSet<Name>,
    /// Telemetries of which waypoints may have to be told something else.
    pub(crate) telemetries: BTreeSet<Name>,
    /// Routes, and what else is said of traffic, of which something else may be told now.
    pub(crate) reports: BTreeSet<ObjectKey>,
    /// Objects whose labels ask for a waypoint, of which something else may be said now.
    pub(crate) askers: BTreeSet<ObjectKey>,
    /// Whether nodes may give their pods other addresses now.
    pub(crate) ranges: bool,
}

impl Dirty {
    pub(crate) fn pods<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) {
        self.pods.extend(names.into_iter().cloned());
    }

    pub(crate) fn services<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) {
        self.services.extend(names.into_iter().cloned());
    }

    pub(crate) fn slices<'a>(&mut self, names: impl IntoIterator<Item = &'a Name>) {
        self.slices.extend(names.into_iter().cloned());
    }
}
