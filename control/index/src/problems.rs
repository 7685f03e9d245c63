//! What is wrong with objects: what each of them says by itself, and what comes of it beside the others.

use crate::change::Diff;
use std::collections::{BTreeMap, BTreeSet};
use weft_control_api::kind::ObjectKey;
use weft_control_api::problem::{Note, Origin, Problem, Severity};

/// All problems.
#[derive(Debug, Default)]
pub(crate) struct Problems(BTreeMap<ObjectKey, OfObject>);

#[derive(Debug)]
struct OfObject {
    origin: Origin,
    own: Vec<Note>,
    /// Such as a waypoint that is not there; the object itself may stay the same when this changes.
    beside_others: Vec<Note>,
    told: Vec<Problem>,
}

/// Whether others may bring about that more is said of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum More {
    Maybe,
    Never,
}

impl Problems {
    /// True if something is or was said of the object, which then is there.
    pub(crate) fn knows(&self, key: &ObjectKey) -> bool {
        self.0.contains_key(key)
    }

    /// Takes what an object says by itself. Where it came from is kept only for those of which more may be said.
    pub(crate) fn set_own(&mut self, key: &ObjectKey, origin: Origin, own: Vec<Note>, more: More) {
        if own.is_empty() && more == More::Never && !self.0.contains_key(key) {
            return;
        }
        match self.0.get_mut(key) {
            Some(one) => (one.origin, one.own) = (origin, own),
            None => {
                let one = OfObject { origin, own, beside_others: Vec::new(), told: Vec::new() };
                self.0.insert(key.clone(), one);
            }
        }
    }

    /// Takes what comes of an object beside the others. Of one that is not there, nothing does.
    pub(crate) fn set_beside_others(&mut self, key: &ObjectKey, notes: Vec<Note>) {
        if let Some(one) = self.0.get_mut(key) {
            one.beside_others = notes;
        }
    }

    /// Why the present version of an object is refused, if it is.
    pub(crate) fn refused(&self, key: &ObjectKey) -> Option<String> {
        let notes = &self.0.get(key)?.own;
        notes.iter().find(|note| note.severity == Severity::Error).map(Note::text)
    }

    /// The object is gone.
    pub(crate) fn forget(&mut self, key: &ObjectKey, diff: &mut Diff) {
        if self.0.remove(key).is_some_and(|one| !one.told.is_empty()) {
            diff.problems.push((key.clone(), Vec::new()));
        }
    }

    /// Tells what is different for some objects.
    pub(crate) fn tell(&mut self, touched: &BTreeSet<ObjectKey>, diff: &mut Diff) {
        for key in touched {
            let Some(one) = self.0.get_mut(key) else { continue };
            let notes = one.own.iter().chain(&one.beside_others).cloned();
            let now: Vec<Problem> = notes.map(|note| one.origin.locate(Some(key.clone()), note)).collect();
            if now != one.told {
                one.told.clone_from(&now);
                diff.problems.push((key.clone(), now));
            }
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Problem> {
        self.0.values().flat_map(|one| &one.told)
    }
}
