//! What is taken of the room of every target, for all workers together. A worker asks when it makes a target, not for a
//! request.

use crate::standing::TargetName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use weft_l7::limit::Taken;

/// All rooms. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rooms(Arc<Mutex<HashMap<TargetName, Weak<Taken>>>>);

impl Rooms {
    /// What is taken of a target's room, for as long as a worker knows the target.
    pub(crate) fn of(&self, name: &TargetName) -> Arc<Taken> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(name).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, taken| taken.strong_count() > 0);
        let new = Arc::default();
        all.insert(name.clone(), Arc::downgrade(&new));
        new
    }
}
