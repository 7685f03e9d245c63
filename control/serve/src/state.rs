//! What is served at one moment: encoded resources, the names they can be asked for by, and what changed
//! lately.

use bytes::Bytes;
use imbl::{HashMap, OrdMap, OrdSet, Vector};
use std::ops::Bound;
use std::sync::Arc;

/// Changes that are remembered. A stream that is further behind starts over from the versions that it has.
const LOG_MAX: usize = 65_536;

/// The types that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// L4 policies.
    Authorization,
    /// Policies for requests, for the waypoints that enforce them.
    RequestPolicy,
    /// What is said of services' traffic, for the waypoints that need to know.
    Traffic,
    /// What is traced, counted and logged, for the waypoints that it is for.
    Telemetry,
    /// Workloads and services.
    Address,
    /// The pods of one node, for its agent.
    AgentPod,
}

impl Kind {
    /// All of them. What protects others, or is needed for them, comes before.
    pub const ALL: [Self; 6] = [
        Self::Authorization,
        Self::RequestPolicy,
        Self::Traffic,
        Self::Telemetry,
        Self::Address,
        Self::AgentPod,
    ];

    /// Its url in discovery.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Authorization => weft_proto::AUTHORIZATION_TYPE,
            Self::Address => weft_proto::ADDRESS_TYPE,
            Self::RequestPolicy => weft_proto::REQUEST_POLICY_TYPE,
            Self::Traffic => weft_proto::TRAFFIC_TYPE,
            Self::Telemetry => weft_proto::TELEMETRY_TYPE,
            Self::AgentPod => weft_proto::AGENT_POD_TYPE,
        }
    }

    /// Its name for people and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Address => "address",
            Self::RequestPolicy => "request-policy",
            Self::Traffic => "traffic",
            Self::Telemetry => "telemetry",
            Self::AgentPod => "agent-pod",
        }
    }
}

/// Tells a resource from all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    /// The node or waypoint that alone may see it; empty for what all may see.
    pub(crate) scope: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// A resource as it goes out, shared by all streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) form: Form,
    /// What waypoints get instead, where they get more.
    pub(crate) for_waypoints: Option<Form>,
    /// Other names under which it is found: addresses, and the services of an endpoint.
    pub(crate) links: Vec<Arc<str>>,
    /// It is a policy for those workloads alone that name it.
    pub(crate) by_name: bool,
}

/// One form of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) version: Arc<str>,
    pub(crate) encoded: Bytes,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    Waypoint,
    Other,
}

impl Entry {
    pub(crate) fn form(&self, audience: Audience) -> &Form {
        match audience {
            Audience::Waypoint => self.for_waypoints.as_ref().unwrap_or(&self.form),
            Audience::Other => &self.form,
        }
    }
}

/// One change.
#[derive(Debug, Clone)]
struct Record {
    generation: u64,
    key: Key,
    concerns: Concerns,
}

/// Whom a change concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concerns {
    Everybody,
    /// It is in the form that waypoints get.
    Waypoints,
}

/// Cheap to clone; the writer changes a copy and publishes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    generation: u64,
    entries: OrdMap<Key, Arc<Entry>>,
    links: HashMap<Arc<str>, OrdSet<Key>>,
    /// Policies that held for all once, and since when only for those workloads that name them.
    narrowed: HashMap<Key, u64>,
    log: Vector<Record>,
    /// Everything up to this generation may have left the log.
    forgotten: u64,
}

/// The reader is further behind than the log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFarBehind;

impl State {
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Everything that is put in after this belongs to one change.
    pub(crate) fn begin(&mut self) {
        self.generation += 1;
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.entries.get(key)
    }

    /// Gives whether something changed.
    pub(crate) fn put(&mut self, key: Key, entry: Entry) -> bool {
        let old = self.entries.get(&key);
        if old.is_some_and(|old| **old == entry) {
            return false;
        }
        let same = old.is_some_and(|old| old.form == entry.form && old.links == entry.links);
        let concerns = if same { Concerns::Waypoints } else { Concerns::Everybody };
        if !entry.by_name {
            self.narrowed.remove(&key);
        } else if old.is_some_and(|old| !old.by_name) {
            self.narrowed.insert(key.clone(), self.generation);
        }
        self.unlink(&key);
        for link in &entry.links {
            self.links.entry(link.clone()).or_default().insert(key.clone());
        }
        self.entries.insert(key.clone(), Arc::new(entry));
        self.note(key, concerns);
        true
    }

    /// Gives whether something changed.
    pub(crate) fn remove(&mut self, key: Key) -> bool {
        self.unlink(&key);
        if self.entries.remove(&key).is_none() {
            return false;
        }
        self.narrowed.remove(&key);
        self.note(key, Concerns::Everybody);
        true
    }

    /// Whether a policy held for all at a generation and is for those alone that name it now.
    pub(crate) fn is_narrowed_since(&self, generation: u64, key: &Key) -> bool {
        self.narrowed.get(key).is_some_and(|since| *since > generation)
    }

    fn unlink(&mut self, key: &Key) {
        let Some(old) = self.entries.get(key) else {
            return;
        };
        for link in &old.links {
            if let Some(keys) = self.links.get_mut(link) {
                keys.remove(key);
                if keys.is_empty() {
                    self.links.remove(link);
                }
            }
        }
    }

    fn note(&mut self, key: Key, concerns: Concerns) {
        self.log.push_back(Record { generation: self.generation, key, concerns });
        while self.log.len() > LOG_MAX {
            if let Some(record) = self.log.pop_front() {
                self.forgotten = record.generation;
            }
        }
    }

    /// Everything of a kind that `scope` may see, in the order of names.
    pub(crate) fn all(&self, kind: Kind, scope: &Arc<str>) -> impl Iterator<Item = (&Key, &Arc<Entry>)> {
        let first = Key { kind, scope: scope.clone(), name: "".into() };
        let scope = scope.clone();
        self.entries
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(key, _)| key.kind == kind && key.scope == scope)
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.entries.keys().filter(|key| key.kind == kind).count()
    }

    /// What an explicit name stands for: the resource of that name, what is linked to it, and the endpoints
    /// of services among these.
    pub(crate) fn resolve(&self, kind: Kind, scope: &Arc<str>, name: &Arc<str>) -> OrdSet<Key> {
        let named = Key { kind, scope: scope.clone(), name: name.clone() };
        let linked = |name: &Arc<str>| self.links.get(name).into_iter().flatten().cloned();
        let mut found: OrdSet<Key> =
            linked(name).filter(|key| key.kind == kind && key.scope == *scope).collect();
        if self.entries.contains_key(&named) {
            found.insert(named);
        }
        let endpoints: Vec<Key> = found.iter().flat_map(|key| linked(&key.name)).collect();
        found.extend(endpoints);
        found
    }

    /// What changed for a reader after a generation, each key once, in the order of keys.
    pub(crate) fn changed_since(
        &self,
        generation: u64,
        audience: Audience,
    ) -> Result<OrdSet<Key>, TooFarBehind> {
        if generation < self.forgotten {
            return Err(TooFarBehind);
        }
        let recent = self.log.iter().rev().take_while(|record| record.generation > generation);
        let concerned =
            |record: &&Record| audience == Audience::Waypoint || record.concerns == Concerns::Everybody;
        Ok(recent.filter(concerned).map(|record| record.key.clone()).collect())
    }
}
