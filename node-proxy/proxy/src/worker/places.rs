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
    }
}
