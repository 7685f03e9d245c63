//! What one stream wants of one type, and what it has been told: pure functions of a state of the table.

use crate::state::{Audience, Entry, Key, Kind, State, TooFarBehind};
use bytes::Bytes;
use imbl::OrdSet;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Names that one stream may subscribe to, one by one; a node talks to far fewer addresses.
pub(crate) const NAMES_MAX: usize = 131_072;
/// The name that stands for all.
const WILDCARD: &str = "*";

/// What goes out in one push.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    pub(crate) resources: Vec<Bytes>,
    pub(crate) removed: Vec<String>,
    /// Policies that hold for fewer than before: as with those that are gone, workloads are to be told first.
    pub(crate) narrowed: Vec<Bytes>,
}

impl Delta {
    pub(crate) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty() && self.narrowed.is_empty()
    }

    /// Adds what single names are answered with; where everything is told, that is.
    fn beside(&mut self, names: Self, everything: bool) {
        if !everything {
            self.resources.extend(names.resources);
        }
        self.removed.extend(names.removed);
    }
}

/// A stream wants more single names than [`NAMES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyNames;

/// What a request changes.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub(crate) subscribe: Vec<String>,
    pub(crate) unsubscribe: Vec<String>,
    /// What the client has already; only the first request of a type on a stream says so.
    pub(crate) has: HashMap<String, String>,
}

/// What of a type a stream may see.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) kind: Kind,
    /// The node or waypoint whose resources are seen; empty for those that all see.
    pub(crate) scope: Arc<str>,
    pub(crate) audience: Audience,
}

impl Sight {
    fn key(&self, name: &str) -> Key {
        Key { kind: self.kind, scope: self.scope.clone(), name: name.into() }
    }

    /// What is told of a resource, unless the client has that version.
    fn news(&self, entry: &Entry, name: &str, has: &HashMap<String, String>) -> Option<Bytes> {
        let form = entry.form(self.audience);
        has.get(name).is_none_or(|version| **version != *form.version).then(|| form.encoded.clone())
    }
}

/// One stream's subscription to one type.
#[derive(Debug)]
pub(crate) struct Subscription {
    sight: Sight,
    all: bool,
    /// Those that are wanted one by one, and stay so when all are wanted no more.
    names: BTreeSet<Arc<str>>,
    /// Names of resources that the client has because of `names`.
    told: BTreeSet<Arc<str>>,
    generation: u64,
}

impl Subscription {
    /// The first request of a type on a stream. What comes back is told even if it is empty: it says that
    /// there is nothing more.
    pub(crate) fn begin(sight: Sight, wants: Wants, state: &State) -> Result<(Self, Delta), TooManyNames> {
        let named = |name: &String| name == WILDCARD;
        // The protocol's older form: a first request without names wants everything.
        let all = wants.subscribe.iter().any(named)
            || (wants.subscribe.is_empty() && !wants.unsubscribe.iter().any(named));
        let mut this = Self {
            sight,
            all,
            names: BTreeSet::new(),
            told: BTreeSet::new(),
            generation: state.generation(),
        };
        let mut delta = if all { this.everything(&wants.has, state) } else { Delta::default() };
        if !all {
            // What the client has of an earlier stream it still wants, or it would have dropped it.
            let has: Vec<String> = wants.has.keys().cloned().collect();
            delta = this.subscribe(has, &wants.has, state)?;
        }
        let more = this.subscribe(wants.subscribe, &wants.has, state)?;
        delta.beside(more, all);
        Ok((this, delta))
    }

    fn everything(&self, has: &HashMap<String, String>, state: &State) -> Delta {
        let mut delta = Delta::default();
        for (key, entry) in state.all(self.sight.kind, &self.sight.scope) {
            delta.resources.extend(self.sight.news(entry, &key.name, has));
        }
        let gone = has.keys().filter(|name| state.get(&self.sight.key(name)).is_none());
        delta.removed.extend(gone.cloned());
        delta.removed.sort_unstable();
        delta
    }

    /// A later request. `None` if it asks for nothing new.
    pub(crate) fn change(&mut self, wants: Wants, state: &State) -> Result<Option<Delta>, TooManyNames> {
        self.unsubscribe(&wants.unsubscribe, state);
        if wants.subscribe.is_empty() {
            return Ok(None);
        }
        let none = HashMap::new();
        let everything = !self.all && wants.subscribe.iter().any(|name| name == WILDCARD);
        self.all |= everything;
        let mut delta = if everything { self.everything(&none, state) } else { Delta::default() };
        delta.beside(self.subscribe(wants.subscribe, &none, state)?, everything);
        Ok(Some(delta))
    }

    /// The client has dropped what only these names stood for.
    fn unsubscribe(&mut self, names: &[String], state: &State) {
        let mut fewer = false;
        for name in names {
            if name == WILDCARD {
                self.all = false;
            }
            fewer |= self.names.remove(&**name);
        }
        if fewer {
            let mut told = std::mem::take(&mut self.told);
            told.retain(|name| {
                let key = self.sight.key(name);
                // One that is gone, and of which the client has not heard that yet, may have been another name's.
                state.get(&key).is_none_or(|entry| self.wants_by_name(&key, &entry.links, state))
            });
            self.told = told;
        }
    }

    /// Answers for single names: every one is told, or told to be nothing.
    fn subscribe(
        &mut self,
        names: Vec<String>,
        has: &HashMap<String, String>,
        state: &State,
    ) -> Result<Delta, TooManyNames> {
        let mut delta = Delta::default();
        let mut found = OrdSet::new();
        for name in names.into_iter().filter(|name| name != WILDCARD) {
            let name: Arc<str> = name.into();
            let stands_for = state.resolve(self.sight.kind, &self.sight.scope, &name);
            if stands_for.is_empty() {
                delta.removed.push(name.to_string());
            }
            found.extend(stands_for);
            self.names.insert(name);
        }
        if self.names.len() > NAMES_MAX {
            return Err(TooManyNames);
        }
        for key in found {
            let Some(entry) = state.get(&key) else {
                continue;
            };
            delta.resources.extend(self.sight.news(entry, &key.name, has));
            self.told.insert(key.name);
        }
        Ok(delta)
    }

    /// What changed since the last time, as far as it is wanted.
    pub(crate) fn advance(&mut self, state: &State) -> Result<Delta, TooFarBehind> {
        let sight = self.sight.clone();
        let before = self.generation;
        let changed = state.changed_since(before, sight.audience)?;
        self.generation = state.generation();
        let mut delta = Delta::default();
        for key in changed.iter().filter(|key| key.kind == sight.kind && key.scope == sight.scope) {
            match state.get(key) {
                Some(entry) => {
                    let by_name = self.wants_by_name(key, &entry.links, state);
                    let had = self.told.remove(&key.name);
                    if by_name {
                        self.told.insert(key.name.clone());
                    }
                    if by_name || self.all {
                        let told = entry.form(sight.audience).encoded.clone();
                        let narrowed = state.is_narrowed_since(before, key);
                        if narrowed { &mut delta.narrowed } else { &mut delta.resources }.push(told);
                    } else if had {
                        // It left the subscription: an address that moved, an endpoint no longer.
                        delta.removed.push(key.name.to_string());
                    }
                }
                None => {
                    if self.told.remove(&key.name) || self.all {
                        delta.removed.push(key.name.to_string());
                    }
                }
            }
        }
        Ok(delta)
    }

    fn wants_by_name(&self, key: &Key, links: &[Arc<str>], state: &State) -> bool {
        if self.names.is_empty() {
            return false; // Nearly all streams, that want all and nothing else.
        }
        let by_name = |name: &Arc<str>| self.names.contains(name);
        // An endpoint is wanted with its service, however that was asked for.
        let by_service = |name: &Arc<str>| {
            let service = state.get(&self.sight.key(name));
            service.is_some_and(|service| service.links.iter().any(by_name))
        };
        by_name(&key.name) || links.iter().any(|link| by_name(link) || by_service(link))
    }
}
