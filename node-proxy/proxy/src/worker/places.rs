//! How many of something there may be at a time on one worker.

use std::rc::Rc;

/// Places, and who holds them.
pub(super) struct Places {
    held: Rc<()>,
    most: usize,
}

/// A place, until this is dropped.
pub(super) struct Place(#[expect(dead_code, reason = "it is counted")] Rc<()>);

impl Places {
    /// So many.
    pub(super) fn new(most: usize) -> Self {
        Self { held: Rc::default(), most }
    }

    /// As many as are asked for.
    pub(super) fn unbounded() -> Self {
        Self::new(usize::MAX)
    }

    /// One of them, whether there are more or not.
    pub(super) fn hold(&self) -> Place {
        Place(self.held.clone())
    }

    /// Whether nobody holds one.
    pub(super) fn are_free(&self) -> bool {
        Rc::strong_count(&self.held) == 1
    }

    /// One of them, if there is one.
    pub(super) fn take(&self) -> Option<Place> {
        // One reference is the owner's.
        (Rc::strong_count(&self.held) <= self.most).then(|| Place(self.held.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many() {
        let places = Places::new(2);
        let (one, other) = (places.take(), places.take());
        assert!(one.is_some() && other.is_some() && places.take().is_none());
        drop(one);
        assert!(places.take().is_some());
        assert!(Places::new(0).take().is_none());
        let places = Places::unbounded();
        assert!(places.are_free());
        let held = places.hold();
        assert!(!places.are_free());
        drop(held);
        assert!(places.are_free());
    }
}
