//! The one writer of a snapshot: takes in whole responses, and publishes each as one change.

use crate::model::{Effect, Model, Rejected};
use crate::view::{Sync, TypeState, TypeSync};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::watch;
use weft_proto::ads::DeltaDiscoveryResponse;
use weft_proto::state::{Saved, State};

/// Rejected resources that are told of, per type; a broken control plane may reject them all.
const REJECTED_SHOWN_MAX: usize = 32;
/// The version of this software; what another one understood may be less.
const WRITER: &str = env!("CARGO_PKG_VERSION");

pub(crate) struct Store<M: Model> {
    snapshot: M::Snapshot,
    published: watch::Sender<Arc<M::Snapshot>>,
    types: Vec<Known>,
    sync: watch::Sender<Arc<Sync>>,
}

/// What is known of one type.
struct Known {
    type_url: &'static str,
    state: TypeState,
    updated: Option<SystemTime>,
    /// By name. An empty version stands for one that has to be asked for again.
    versions: HashMap<Arc<str>, Arc<str>>,
    rejected: BTreeMap<Arc<str>, Rejected>,
    /// Told on the stream that is open.
    is_told: bool,
    /// Removed on that stream, and still needed by what has not been told there.
    leaving: HashSet<String>,
}

/// What a response brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) changed: bool,
    pub(crate) rejected: Vec<Rejected>,
}

impl<M: Model> Store<M> {
    pub(crate) fn new() -> Self {
        let snapshot = M::Snapshot::default();
        let known = |type_url: &&'static str| Known {
            type_url,
            state: TypeState::Waiting,
            updated: None,
            versions: HashMap::new(),
            rejected: BTreeMap::new(),
            is_told: false,
            leaving: HashSet::new(),
        };
        let types: Vec<Known> = M::TYPES.iter().map(known).collect();
        let sync = Sync {
            connected_since: None,
            failures: 0,
            last_error: None,
            types: types.iter().map(Known::sync).collect(),
        };
        Self {
            published: watch::Sender::new(Arc::new(snapshot.clone())),
            snapshot,
            types,
            sync: watch::Sender::new(Arc::new(sync)),
        }
    }

    pub(crate) fn snapshots(&self) -> watch::Receiver<Arc<M::Snapshot>> {
        self.published.subscribe()
    }

    pub(crate) fn sync(&self) -> watch::Receiver<Arc<Sync>> {
        self.sync.subscribe()
    }

    pub(crate) fn now(&self) -> Arc<M::Snapshot> {
        self.published.borrow().clone()
    }

    /// The type as the model spells it; `None` for one that was not asked for.
    pub(crate) fn type_url(text: &str) -> Option<&'static str> {
        M::TYPES.iter().find(|known| **known == text).copied()
    }

    /// Whether every type has been told at least once.
    pub(crate) fn is_complete(&self) -> bool {
        self.types.iter().all(|known| known.state != TypeState::Waiting)
    }

    /// The versions of what is known of a type, to go on from.
    pub(crate) fn versions(&self, type_url: &str) -> HashMap<String, String> {
        let known = self.types.iter().find(|known| known.type_url == type_url);
        let versions = known.into_iter().flat_map(|known| &known.versions);
        versions.map(|(name, version)| (name.to_string(), version.to_string())).collect()
    }

    /// A stream begins. What was removed on the last one and has not gone yet, this one says again.
    pub(crate) fn begin_stream(&mut self) {
        for known in &mut self.types {
            known.is_told = false;
            known.leaving.clear();
        }
    }

    /// Takes a response in, whole, as one new snapshot.
    pub(crate) fn apply(
        &mut self,
        type_url: &'static str,
        response: DeltaDiscoveryResponse,
        now: SystemTime,
    ) -> Applied {
        let mut applied = Applied::default();
        let Some(known) = self.types.iter_mut().find(|known| known.type_url == type_url) else {
            return applied;
        };
        applied.changed = !response.resources.is_empty();
        for resource in response.resources {
            let name: Arc<str> = resource.name.into();
            known.leaving.remove(&*name);
            let result = match resource.resource {
                Some(any) if any.type_url == type_url => {
                    M::insert(&mut self.snapshot, type_url, &name, &any.value)
                }
                Some(any) => M::insert(&mut self.snapshot, type_url, &name, UNREADABLE)
                    .and_then(|()| Err((Effect::Kept, format!("it is a {}", any.type_url).into()))),
                None => M::insert(&mut self.snapshot, type_url, &name, UNREADABLE)
                    .and_then(|()| Err((Effect::Kept, "it is empty".into()))),
            };
            if let Some(rejected) = known.took(name, resource.version.into(), result) {
                applied.rejected.push(rejected);
            }
        }
        known.leaving.extend(response.removed_resources);
        known.is_told = true;
        known.state = TypeState::InSync;
        known.updated = Some(now);
        applied.changed |= self.remove_leaving();
        self.publish(applied.changed);
        applied
    }

    /// Removes what leaves, once every type that is asked for behind it has been told on this stream. What was told on
    /// the last one may need it: a workload that names a policy that has gone is closed to everybody, and one whose
    /// namespace's policy has become its own would be open to everybody.
    fn remove_leaving(&mut self) -> bool {
        let mut changed = false;
        for known in self.types.iter_mut().rev().take_while(|known| known.is_told) {
            for name in std::mem::take(&mut known.leaving) {
                M::remove(&mut self.snapshot, known.type_url, &name);
                known.rejected.remove(&*name);
                changed |= known.versions.remove(&*name).is_some();
            }
        }
        changed
    }

    fn publish(&self, changed: bool) {
        if changed {
            self.published.send_replace(Arc::new(self.snapshot.clone()));
        }
        let types = self.types.iter().map(Known::sync).collect();
        self.tell(|sync| sync.types = types);
    }

    /// Changes what is told of the connection.
    pub(crate) fn tell(&self, change: impl FnOnce(&mut Sync)) {
        self.sync.send_modify(|sync| change(Arc::make_mut(sync)));
    }

    /// Takes in what was saved. What is not understood is left out, and asked for again.
    pub(crate) fn restore(&mut self, state: State) {
        let current = state.writer == WRITER;
        for saved in state.resources {
            let Some(known) = self.types.iter_mut().find(|known| known.type_url == saved.type_url) else {
                continue;
            };
            let name: Arc<str> = saved.name.into();
            let result = M::insert(&mut self.snapshot, known.type_url, &name, &saved.body);
            if let Err((effect, reason)) = &result {
                tracing::warn!(%name, ?effect, %reason, "a saved resource is not understood");
            }
            let version = if current { saved.version } else { String::new() };
            known.took(name, version.into(), result);
        }
        for known in &mut self.types {
            known.state = TypeState::Saved;
        }
        self.publish(true);
    }

    /// What [`Store::restore`] takes, as a function that may run elsewhere: encoding takes a while.
    pub(crate) fn save(&self) -> impl FnOnce() -> Vec<u8> + Send + 'static {
        let snapshot = self.now();
        let versions: HashMap<&'static str, HashMap<Arc<str>, Arc<str>>> =
            self.types.iter().map(|known| (known.type_url, known.versions.clone())).collect();
        move || {
            let resources = M::resources(&snapshot).into_iter().map(|resource| {
                let whole = M::is_kept_whole(&snapshot, resource.type_url, &resource.name);
                let of_type = versions.get(resource.type_url).filter(|_| whole);
                let version = of_type.and_then(|versions| versions.get(&*resource.name));
                Saved {
                    version: version.map(|version| version.to_string()).unwrap_or_default(),
                    name: resource.name,
                    type_url: resource.type_url.to_owned(),
                    body: resource.body.into(),
                }
            });
            weft_proto::state::encode_state(WRITER, resources)
        }
    }
}

/// Stands for the bytes of a resource that has none of its type: no message reads like this, so a policy denies.
const UNREADABLE: &[u8] = &[0xff];

impl Known {
    /// Notes a resource that was taken in, or was not.
    fn took(
        &mut self,
        name: Arc<str>,
        version: Arc<str>,
        result: Result<(), (Effect, Arc<str>)>,
    ) -> Option<Rejected> {
        let Err((effect, reason)) = result else {
            self.rejected.remove(&name);
            self.versions.insert(name, version);
            return None;
        };
        match effect {
            // Its old version stays known, so that the next stream brings the new one again.
            Effect::Kept => {}
            Effect::Denies => _ = self.versions.insert(name.clone(), version),
        }
        let rejected = Rejected { name: name.clone(), effect, reason };
        self.rejected.insert(name, rejected.clone());
        Some(rejected)
    }

    fn sync(&self) -> TypeSync {
        TypeSync {
            type_url: self.type_url,
            state: self.state,
            resources: self.versions.len(),
            updated: self.updated,
            rejected: self.rejected.values().take(REJECTED_SHOWN_MAX).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Resource;
    use std::collections::BTreeSet;
    use weft_core::names::NetworkAddr;
    use weft_proto::ads::{self, Any};

    /// Rules, and the places that go by them.
    enum Places {}

    impl Model for Places {
        type Snapshot = BTreeSet<String>;

        const TYPES: &'static [&'static str] = &["rule", "place"];

        fn insert(
            snapshot: &mut Self::Snapshot,
            _: &'static str,
            name: &str,
            _: &[u8],
        ) -> Result<(), (Effect, Arc<str>)> {
            snapshot.insert(name.to_owned());
            Ok(())
        }

        fn remove(snapshot: &mut Self::Snapshot, _: &'static str, name: &str) {
            snapshot.remove(name);
        }

        fn resources(_: &Self::Snapshot) -> Vec<Resource> {
            Vec::new()
        }

        fn knows(_: &Self::Snapshot, _: &NetworkAddr) -> bool {
            false
        }
    }

    /// Takes in a response, and gives what is known then.
    fn told(store: &mut Store<Places>, type_url: &'static str, names: &[&str], gone: &[&str]) -> Vec<String> {
        let resource = |name: &&str| ads::Resource {
            name: (*name).to_owned(),
            version: "1".to_owned(),
            resource: Some(Any { type_url: type_url.to_owned(), ..Any::default() }),
            ..ads::Resource::default()
        };
        let response = DeltaDiscoveryResponse {
            resources: names.iter().map(resource).collect(),
            removed_resources: gone.iter().map(|name| (*name).to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        store.apply(type_url, response, SystemTime::now());
        store.now().iter().cloned().collect()
    }

    #[test]
    fn on_a_new_stream_a_rule_goes_when_the_places_have_been_told() {
        let mut store = Store::<Places>::new();
        store.begin_stream();
        told(&mut store, "rule", &["gone", "kept"], &[]);
        assert_eq!(told(&mut store, "place", &["here"], &[]), ["gone", "here", "kept"]);
        // On the same stream the server sees to the order.
        told(&mut store, "rule", &["brief"], &[]);
        assert_eq!(told(&mut store, "rule", &[], &["brief"]), ["gone", "here", "kept"]);

        store.begin_stream();
        assert_eq!(told(&mut store, "rule", &["new"], &["gone", "kept"]), ["gone", "here", "kept", "new"]);
        assert!(store.versions("rule").contains_key("gone"), "a stream that breaks here is told again");
        // It has come back before it was gone.
        told(&mut store, "rule", &["kept"], &[]);
        assert_eq!(told(&mut store, "place", &["there"], &["here"]), ["kept", "new", "there"]);
        assert!(!store.versions("rule").contains_key("gone"));

        store.begin_stream();
        told(&mut store, "rule", &[], &["kept"]);
        // That stream has broken, and the rule is there again.
        store.begin_stream();
        told(&mut store, "rule", &[], &[]);
        assert_eq!(told(&mut store, "place", &[], &[]), ["kept", "new", "there"]);
    }
}
