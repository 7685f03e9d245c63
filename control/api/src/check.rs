//! What an object says against itself, told with the paths of its fields: weights that are all zero, two fields of
//! which one may be set, a text that is no host name.
//!
//! Only rules that one object can break alone. Whether what it names exists is for the index to know.

use crate::fields::{push_index, push_key};
use crate::problem::Note;

/// How many notes one object gets; more say nothing new.
pub const NOTES_MAX: usize = 16;

/// Something that may contradict itself.
pub trait Check {
    /// Says what is wrong with it.
    fn check(&self, found: &mut Findings);
}

impl<T: Check> Check for Option<T> {
    fn check(&self, found: &mut Findings) {
        if let Some(one) = self {
            one.check(found);
        }
    }
}

impl<T: Check> Check for [T] {
    fn check(&self, found: &mut Findings) {
        for (index, one) in self.iter().enumerate() {
            found.within(|path| push_index(path, index), |found| one.check(found));
        }
    }
}

/// What was found, and where in the object the search is.
#[derive(Debug, Default)]
pub struct Findings {
    path: String,
    notes: Vec<Note>,
}

impl Findings {
    /// What is wrong with a spec.
    pub fn of_spec(spec: &impl Check) -> Vec<Note> {
        let mut found = Self::default();
        found.field("spec", spec);
        found.notes
    }

    /// The field in question refuses the object.
    pub fn refuse(&mut self, reason: impl Into<String>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(Note::error(&*self.path, reason));
        }
    }

    /// The field in question is taken, though it may not be meant so.
    pub fn warn(&mut self, reason: impl Into<String>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(Note::warning(&*self.path, reason));
        }
    }

    /// Checks a field.
    pub fn field<T: Check + ?Sized>(&mut self, key: &str, value: &T) {
        self.at(key, |found| value.check(found));
    }

    /// Does something in a field.
    pub fn at(&mut self, key: &str, then: impl FnOnce(&mut Self)) {
        self.within(|path| push_key(path, key), then);
    }

    /// Does something with each item of a field that is a list.
    pub fn each<T>(&mut self, key: &str, items: &[T], mut then: impl FnMut(&mut Self, &T)) {
        self.at(key, |found| {
            for (index, item) in items.iter().enumerate() {
                found.within(|path| push_index(path, index), |found| then(found, item));
            }
        });
    }

    /// Refuses the object if a field is not as it has to be.
    pub fn require(&mut self, key: &str, holds: bool, reason: &str) {
        if !holds {
            self.at(key, |found| found.refuse(reason));
        }
    }

    /// Refuses a list with less or more items than it may have.
    pub fn count<T>(&mut self, key: &str, items: &[T], range: std::ops::RangeInclusive<usize>) {
        if range.contains(&items.len()) {
            return;
        }
        let (min, max, is) = (range.start(), range.end(), items.len());
        let reason = match is {
            0 => "is empty or missing".to_owned(),
            _ => format!("has {is} items: {min} to {max} it may have"),
        };
        self.at(key, |found| found.refuse(reason));
    }

    /// Refuses items of a list that are the same as an earlier one.
    pub fn unique<T, K: PartialEq>(&mut self, key: &str, items: &[T], name: impl Fn(&T) -> Option<K>) {
        let names: Vec<Option<K>> = items.iter().map(name).collect();
        self.at(key, |found| {
            for (index, name) in names.iter().enumerate() {
                if name.is_some() && names[..index].contains(name) {
                    let again = |found: &mut Self| found.refuse("is there before, and may be there once");
                    found.within(|path| push_index(path, index), again);
                }
            }
        });
    }

    fn within(&mut self, add: impl FnOnce(&mut String), then: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        add(&mut self.path);
        then(self);
        self.path.truncate(length);
    }
}

/// How often each of several fields of which one may be set is set, as a message.
pub(crate) fn one_of(set: &[(&'static str, bool)]) -> OneOf {
    let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
    let there: Vec<&str> = set.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    match there.len() {
        0 => OneOf::None(format!("needs one of {}", names.join(", "))),
        1 => OneOf::One,
        _ => OneOf::Several(format!("has {}, of which one may be set", there.join(" and "))),
    }
}

/// How many of several fields are set.
pub(crate) enum OneOf {
    /// None; what to say if one is needed.
    None(String),
    /// One.
    One,
    /// More than one; what to say.
    Several(String),
}

impl OneOf {
    /// Fails unless one is set.
    pub(crate) fn exactly(self) -> Result<(), String> {
        match self {
            Self::One => Ok(()),
            Self::None(reason) | Self::Several(reason) => Err(reason),
        }
    }

    /// Fails if several are set.
    pub(crate) fn at_most(self) -> Result<(), String> {
        match self {
            Self::One | Self::None(_) => Ok(()),
            Self::Several(reason) => Err(reason),
        }
    }
}

/// Checks a union that names its own kind: the field of that kind is set, and no other.
pub(crate) fn union(kind: &str, wanted: &str, set: &[(&'static str, bool)]) -> Result<(), String> {
    if let Some((other, _)) = set.iter().find(|(name, set)| *set && *name != wanted) {
        return Err(format!("has {other}, which type {kind} does not take"));
    }
    if set.iter().any(|(name, set)| *set && *name == wanted) {
        Ok(())
    } else {
        Err(format!("lacks {wanted}, which type {kind} needs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Number(u8);

    impl Check for Number {
        fn check(&self, found: &mut Findings) {
            if self.0 == 0 {
                found.refuse("is zero");
            }
        }
    }

    struct Numbers(Vec<Number>);

    impl Check for Numbers {
        fn check(&self, found: &mut Findings) {
            found.count("list", &self.0, 1..=3);
            found.field("list", &self.0[..]);
            found.unique("list", &self.0, |number| Some(number.0));
        }
    }

    #[test]
    fn findings_have_the_path_of_their_field() {
        for (case, numbers, want) in [
            ("fine", vec![1, 2], vec![]),
            ("none", vec![], vec!["spec.list: is empty or missing"]),
            ("an item", vec![1, 0], vec!["spec.list[1]: is zero"]),
            ("twice", vec![1, 2, 1], vec!["spec.list[2]: is there before, and may be there once"]),
            ("too many", vec![1, 2, 3, 4], vec!["spec.list: has 4 items: 1 to 3 it may have"]),
        ] {
            let numbers = Numbers(numbers.into_iter().map(Number).collect());
            let found = Findings::of_spec(&numbers);
            assert_eq!(found.iter().map(Note::text).collect::<Vec<_>>(), want, "{case}");
        }
    }

    #[test]
    fn notes_end_somewhere() {
        let numbers = Numbers((0..100).map(|_| Number(0)).collect());
        assert_eq!(Findings::of_spec(&numbers).len(), NOTES_MAX);
    }
}
