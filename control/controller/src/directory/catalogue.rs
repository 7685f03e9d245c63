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
            self.files.insert(file.clone(), File { objects, problems, unreadable: None });
        }
    }

    /// The version of an object that counts.
    fn counting(&self, key: &ObjectKey) -> Option<&Change> {
        let file = self.holders.get(key)?.first()?;
        self.files.get(file)?.objects.get(key)
    }

    /// The names of all files that are known.
    pub fn files(&self) -> impl Iterator<Item = &Arc<str>> {
        self.files.keys()
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
