//! What all workers hold in common of everything that requests go to: what is taken of its room, who is left alone, and
//! what is left to try again. A worker asks for it when it makes a target or hears something new of it, not for a request.

use crate::outliers::Outliers;
use crate::standing::TargetName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;
use weft_l7::destination::Outlier;
use weft_l7::limit::Taken;
use weft_l7::resilience::RetryBudget;
use weft_l7::retry::budget::Budget;

/// All of it. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commons(Arc<Mutex<HashMap<TargetName, Weak<Common>>>>);

impl Commons {
    /// What workers hold in common of a target, for as long as one of them knows the target.
    pub(crate) fn of(&self, name: &TargetName) -> Arc<Common> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(name).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, one| one.strong_count() > 0);
        let new = Arc::default();
        all.insert(name.clone(), Arc::downgrade(&new));
        new
    }
}

/// What is held in common of one target.
#[derive(Debug, Default)]
pub(crate) struct Common {
    /// What is taken of its room.
    pub(crate) taken: Arc<Taken>,
    outliers: ByWords<Outliers>,
    budgets: ByWords<Budget>,
}

impl Common {
    /// Who is left alone where this is said of it.
    pub(crate) fn outliers(&self, words: &Outlier, now: Instant) -> Arc<Outliers> {
        self.outliers.get(|one| one.words() == words, || Outliers::new(words.clone(), now))
    }

    /// What is left to try again where this is said of it.
    pub(crate) fn budget(&self, words: &RetryBudget, now: Instant) -> Arc<Budget> {
        self.budgets.get(|one| one.words() == words, || Budget::new(*words, now))
    }
}

/// Things by what is said of them: while something else is said, some workers still go by the old words, and others by the
/// new ones. In whichever order they come to it, those that go by the same words meet.
#[derive(Debug)]
struct ByWords<T>(Mutex<Vec<Weak<T>>>);

impl<T> Default for ByWords<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> ByWords<T> {
    fn get(&self, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.iter().filter_map(Weak::upgrade).find(|one| is(one)) {
            return known;
        }
        all.retain(|one| one.strong_count() > 0);
        let new = Arc::new(make());
        all.push(Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use weft_core::names::WorkloadUid;
    use weft_l7::share::Share;

    #[test]
    fn who_goes_by_the_same_words_shares() {
        let (commons, now) = (Commons::default(), Instant::now());
        let name = |pod: &str| TargetName::Workload(WorkloadUid::new(pod), 80);
        let words = |always| RetryBudget::AtATime { share: Share::NONE, always, interval: None };
        let (one, same, another) = (commons.of(&name("a")), commons.of(&name("a")), commons.of(&name("b")));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &another));
        let first = one.budget(&words(1), now);
        let second = one.budget(&words(2), now);
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&first, &same.budget(&words(1), now)), "who is late goes by the old words still");
        assert!(Arc::ptr_eq(&second, &same.budget(&words(2), now + Duration::from_secs(1))));
        drop(first);
        assert_eq!(one.budgets.0.lock().expect("no panic").iter().filter_map(Weak::upgrade).count(), 1);
    }
}
