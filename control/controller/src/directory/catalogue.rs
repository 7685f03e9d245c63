//! What the folder's files hold, and how a change of files is a change of objects. Pure.

use crate::directory::manifest::Manifests;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use weft_control_api::kind::ObjectKey;
use weft_control_api::problem::{Note, Problem};
use weft_control_index::change::Change;

/// What became of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum FileNews {
    /// It was read.
    Read(Manifests),
    /// It is there and cannot be read: what it held still holds.
    Unreadable(Problem),
    /// It cannot be read, and a process before this one has kept what it held: that holds. There is no problem of
    /// its own if the folder that it is in cannot be looked into.
    Recalled(Manifests, Option<Problem>),
    /// It is gone.
    Gone,
}

/// All files, by name.
#[derive(Debug, Default)]
pub struct Catalogue {
    files: BTreeMap<Arc<str>, File>,
    /// The files that hold an object. The first one counts.
    holders: HashMap<ObjectKey, BTreeSet<Arc<str>>>,
}

#[derive(Debug, Default)]
struct File {
    objects: BTreeMap<ObjectKey, Change>,
    problems: Vec<Problem>,
    unreadable: Option<Problem>,
    /// What it holds is known, by this process or by one before.
    known: bool,
}

impl Catalogue {
    /// Takes news of files that belong together, and tells which objects are different now. An object that
    /// moved from one file to another is told as one change, not as gone.
    pub fn update(&mut self, news: impl IntoIterator<Item = (Arc<str>, FileNews)>) -> Vec<Change> {
        let mut before = BTreeMap::new();
        for (file, news) in news {
            match news {
                FileNews::Read(manifests) => self.replace(&file, Some(manifests), &mut before),
                FileNews::Gone => self.replace(&file, None, &mut before),
                FileNews::Unreadable(problem) => {
                    self.files.entry(file).or_default().unreadable = Some(problem);
                }
                FileNews::Recalled(manifests, problem) => {
                    self.replace(&file, Some(manifests), &mut before);
                    self.files.entry(file).or_default().unreadable = problem;
                }
            }
        }
        let changed = before.into_iter().filter_map(|(key, old)| match (old, self.counting(&key)) {
            (Some(_), None) => Some(Change::Delete(key)),
            (old, Some(now)) if old.as_ref() != Some(now) => Some(now.clone()),
            (_, _) => None,
        });
        changed.collect()
    }

    fn replace(
        &mut self,
        file: &Arc<str>,
        manifests: Option<Manifests>,
        before: &mut BTreeMap<ObjectKey, Option<Change>>,
    ) {
        let gone = manifests.is_none();
        let Manifests { objects, problems } = manifests.unwrap_or_default();
        let objects: BTreeMap<_, _> = objects.into_iter().map(|object| (object.key(), object)).collect();
        let held = self.files.get(file).into_iter().flat_map(|file| file.objects.keys());
        let touched: BTreeSet<_> = held.chain(objects.keys()).cloned().collect();
        for key in &touched {
            if !before.contains_key(key) {
                before.insert(key.clone(), self.counting(key).cloned());
            }
            let holders = self.holders.entry(key.clone()).or_default();
            if objects.contains_key(key) {
                holders.insert(file.clone());
            } else {
                holders.remove(file);
            }
            if holders.is_empty() {
                self.holders.remove(key);
            }
        }
        if gone {
            self.files.remove(file);
        } else {
            self.files.insert(file.clone(), File { objects, problems, unreadable: None, known: true });
        }
    }

    /// The version of an object that counts.
    fn counting(&self, key: &ObjectKey) -> Option<&Change> {
        let file = self.holders.get(key)?.first()?;
        self.files.get(file)?.objects.get(key)
    }

    /// True if an object is in this file, and its version there is the one that counts.
    pub fn counts_in(&self, file: &str, key: &ObjectKey) -> bool {
        self.holders.get(key).and_then(BTreeSet::first).is_some_and(|first| **first == *file)
    }

    /// The names of all files that there are.
    pub fn files(&self) -> impl Iterator<Item = &Arc<str>> {
        self.files.keys()
    }

    /// True if it is known what the file holds, or held when it could be read.
    pub fn knows(&self, file: &str) -> bool {
        self.files.get(file).is_some_and(|file| file.known)
    }

    /// Files of which nobody knows what they held.
    pub fn unknown(&self) -> impl Iterator<Item = &Arc<str>> {
        self.files.iter().filter(|(_, file)| !file.known).map(|(name, _)| name)
    }

    /// All objects, in the order of their keys.
    pub fn objects(&self) -> Vec<Change> {
        let keys: BTreeSet<_> = self.holders.keys().collect();
        keys.into_iter().filter_map(|key| self.counting(key).cloned()).collect()
    }

    /// What is wrong with files, in the order of their names; objects' own problems are the index's.
    pub fn problems(&self) -> Vec<Problem> {
        let files = self.files.values();
        let own = files.flat_map(|file| file.unreadable.iter().chain(&file.problems).cloned());
        let mut all: Vec<_> = own.chain(self.duplicates()).collect();
        all.sort_by(|a, b| (&a.source, a.line, &a.object).cmp(&(&b.source, b.line, &b.object)));
        all
    }

    fn duplicates(&self) -> impl Iterator<Item = Problem> {
        let contested = self.holders.iter().filter(|(_, holders)| holders.len() > 1);
        contested.flat_map(move |(key, holders)| {
            let first = holders.first().cloned().unwrap_or_default();
            holders.iter().skip(1).filter_map(move |holder| {
                let (Change::Upsert { origin, .. } | Change::Refuse { origin, .. }) =
                    self.files.get(holder)?.objects.get(key)?
                else {
                    return None;
                };
                let reason = format!("is in {first} too, and that one counts");
                Some(origin.locate(Some(key.clone()), Note::error("", reason)))
            })
        })
    }
}

#[cfg(test)]
mod tests;
