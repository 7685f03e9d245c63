//! Which pods are to be enrolled, and the next step for each: a state machine without I/O or clock.
//!
//! It is level-triggered: whatever happens, [`Reconcile::on_event`] compares what is wanted with how far a
//! pod is and answers with effects. At most one thread works on a pod at a time, and pods do not wait for
//! each other.

use entry::{Ask, Desire, Entry, Pending, Phase};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use weft_core::names::WorkloadUid;

mod step;
mod entry;
mod words;

pub use entry::{Before, ExistingRule, Key, Told, Wanted};
pub use words::{CniId, Effect, Event, PodState, ProxyId, Tell};

/// For a proxy to bring back listeners after this agent has started.
pub const HELD_GRACE: Duration = Duration::from_secs(3);
/// For one enrolment, before it counts as failed; its thread goes on.
pub const ENROL_WAIT: Duration = Duration::from_secs(10);
/// For the proxies to close the sockets of a pod that leaves (design §1).
pub const LEAVE_WAIT: Duration = Duration::from_secs(5);
/// For an answer to the CNI plugin; the container runtime gives up later than that.
pub const CNI_WAIT: Duration = Duration::from_secs(20);
/// After a first failure; doubled with each further one.
pub const RETRY_FIRST: Duration = Duration::from_millis(500);
/// At most between two tries.
pub const RETRY_MAX: Duration = Duration::from_secs(30);

/// Who is to be told.
struct Proxies {
    /// Of every pod.
    serving: BTreeSet<ProxyId>,
    /// Of pods that leave: all may have sockets of theirs.
    all: BTreeSet<ProxyId>,
}

#[derive(Debug)]
struct Proxy {
    /// Pods that it is owed before it is in sync; nothing once it has been told that it is.
    owed: Option<BTreeSet<WorkloadUid>>,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// It may still bring listeners.
    Greeting,
    /// It is told of every pod.
    Serving,
    /// A newer one serves: it hears only of pods that leave.
    Superseded,
}

/// The state machine.
#[derive(Debug)]
pub struct Reconcile {
    pods: BTreeMap<WorkloadUid, Entry>,
    proxies: BTreeMap<ProxyId, Proxy>,
    /// Captured since before this agent started, for a pod that nobody has named yet.
    orphans: BTreeSet<Key>,
    /// What proxies hold for pods that nobody has named yet.
    held_unknown: BTreeSet<(ProxyId, WorkloadUid)>,
    /// Until then a proxy may bring listeners back.
    grace: Instant,
    /// Discovery has told of every pod.
    spoken: bool,
}

impl Reconcile {
    /// Begins with what an earlier agent left: `adopted` is still captured, `remembered` was wanted.
    pub fn new(adopted: Vec<Key>, remembered: Vec<(Key, Wanted)>, now: Instant) -> Self {
        let mut orphans: BTreeSet<_> = adopted.into_iter().collect();
        let mut pods = BTreeMap::new();
        let grace = now + HELD_GRACE;
        for (key, wanted) in remembered {
            let mut entry = Entry::new();
            entry.told = Some(Told::Enrolled(wanted.clone()));
            let uid = wanted.uid.clone();
            if orphans.remove(&key) {
                entry.adopt(key, wanted, grace);
            }
            pods.insert(uid, entry);
        }
        let (proxies, held_unknown) = (BTreeMap::new(), BTreeSet::new());
        Self { pods, proxies, orphans, held_unknown, grace, spoken: false }
    }

    /// Takes note of what happened and says what is to be done now.
    pub fn on_event(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Told(pods) => self.told(pods, &mut effects),
            Event::Enrolled(uid, result) => self.enrolled(&uid, result, now, &mut effects),
            Event::Released(uid, result) => self.released(&uid, result, now, &mut effects),
            Event::OrphanReleased(key, Ok(())) => {
                self.orphans.remove(&key);
            }
            // Discovery's next word is the next try.
            Event::OrphanReleased(key, Err(reason)) => {
                tracing::warn!(key = key.as_str(), reason, "cannot release a pod that nobody knows");
            }
            Event::NetnsReplaced(uid) => {
                let proxies = self.proxies();
                if let Some(entry) = self.pods.get_mut(&uid) {
                    entry.netns_replaced(&uid, &proxies, now, &mut effects);
                }
            }
            Event::ProxyJoined(id) => {
                self.proxies.insert(id, Proxy { owed: None, stage: Stage::Greeting });
                effects.push(Effect::Tell(id, Tell::State));
            }
            Event::ProxyHolds(id, uid) => self.holds(id, uid, now, &mut effects),
            Event::ProxyHeldEnd(id) => self.held_end(id, now, &mut effects),
            Event::ProxyReady(id) => self.supersede(id, &mut effects),
            Event::PodReleased(id, uid) => self.closed(id, Some(&uid)),
            Event::ProxyGone(id) => {
                self.proxies.remove(&id);
                self.held_unknown.retain(|(proxy, _)| *proxy != id);
                self.closed(id, None);
            }
            Event::CniAdd(id, wanted) => self.cni_add(id, wanted, now),
            Event::CniDel(id, uid, pod_uid) => self.cni_del(id, uid, &pod_uid, now),
            Event::Tick => {}
        }
        self.step_all(now, &mut effects);
        effects
    }

    /// When [`Event::Tick`] is due, if nothing else happens; `now` is that of the last event.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.pods.values().filter_map(|entry| entry.deadline(now)).min()
    }

    /// True if listeners that a proxy brings for this pod are of use.
    pub fn wants_held(&self, uid: &WorkloadUid) -> bool {
        self.pods.get(uid).is_some_and(|entry| matches!(entry.phase, Phase::Adopted { .. }))
    }

    /// True once discovery has told of every pod of the node.
    pub fn has_spoken(&self) -> bool {
        self.spoken
    }

    /// Every pod that is or is to be in the mesh, and how far it is.
    pub fn states(&self) -> Vec<PodState> {
        let pods = self.pods.iter().filter(|(_, entry)| self.is_of_the_mesh(entry));
        let states = pods.map(|(uid, entry)| PodState {
            uid: uid.clone(),
            state: entry.phase.as_str(),
            reason: entry.reason.clone(),
            wanted: entry.known().cloned(),
        });
        states.collect()
    }

    /// The pods that the next agent should know of, with their keys in the kernel.
    pub fn remembered(&self) -> Vec<(Key, Wanted)> {
        let desired = self.pods.values().filter_map(|entry| match entry.desire(self.spoken) {
            Desire::Enrol(wanted) => Some((entry.key.clone().unwrap_or_else(|| Key::of(&wanted)), wanted)),
            Desire::Release | Desire::Unknown => None,
        });
        desired.collect()
    }

    fn is_of_the_mesh(&self, entry: &Entry) -> bool {
        entry.phase != Phase::Absent || matches!(entry.desire(self.spoken), Desire::Enrol(_))
    }

    fn told(&mut self, pods: Vec<(WorkloadUid, Told)>, effects: &mut Vec<Effect>) {
        let mut told: BTreeMap<_, _> = pods.into_iter().collect();
        self.spoken = true;
        for (uid, entry) in &mut self.pods {
            entry.tell(told.remove(uid));
        }
        for (uid, told) in told {
            let mut entry = Entry::new();
            entry.tell(Some(told));
            self.pods.insert(uid, entry);
        }
        for entry in self.pods.values_mut().filter(|entry| entry.phase == Phase::Absent) {
            if let Desire::Enrol(wanted) = entry.desire(true)
                && let Some(key) = self.orphans.take(&Key::of(&wanted))
            {
                entry.adopt(key, wanted, self.grace);
            }
        }
        effects.extend(self.orphans.iter().map(|key| Effect::ReleaseOrphan(key.clone())));
        for (id, uid) in std::mem::take(&mut self.held_unknown) {
            if !self.pods.get(&uid).is_some_and(|entry| self.is_of_the_mesh(entry)) {
                effects.push(Effect::Tell(id, Tell::PodGone(uid)));
            }
        }
    }

    fn enrolled(
        &mut self,
        uid: &WorkloadUid,
        result: Result<(), String>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        let Phase::Enrolling { wanted, .. } = entry.phase.clone() else { return };
        match result {
            Ok(()) => {
                entry.failures = 0;
                entry.reason = None;
                entry.before = Before::Captured;
                entry.phase = Phase::Enrolled { wanted };
                for (id, _) in self.proxies.iter().filter(|(_, proxy)| proxy.stage == Stage::Serving) {
                    effects.push(Effect::Tell(*id, Tell::Pod(uid.clone())));
                }
                effects.push(Effect::Remember);
            }
            Err(reason) => {
                entry.failures += 1;
                entry.reason = Some(reason);
                entry.phase = Phase::Failed { tried: wanted, again: now + retry_after(entry.failures) };
            }
        }
    }

    fn released(
        &mut self,
        uid: &WorkloadUid,
        result: Result<(), String>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        match result {
            Ok(()) => {
                entry.failures = 0;
                entry.reason = None;
                entry.before = Before::Nothing;
                entry.key = None;
                entry.netns = None;
                entry.phase = Phase::Absent;
                effects.push(Effect::Remember);
            }
            Err(reason) => {
                entry.failures += 1;
                entry.reason = Some(reason);
                entry.phase = Phase::Stuck { again: now + retry_after(entry.failures) };
            }
        }
    }

    fn holds(&mut self, id: ProxyId, uid: WorkloadUid, now: Instant, effects: &mut Vec<Effect>) {
        match self.pods.get_mut(&uid).map(|entry| &mut entry.phase) {
            // It has brought them: nothing to wait for.
            Some(Phase::Adopted { until, .. }) => *until = now,
            Some(Phase::Leaving { waiting, .. }) => {
                waiting.insert(id);
                effects.push(Effect::Tell(id, Tell::PodGone(uid)));
            }
            Some(Phase::Enrolling { .. } | Phase::Enrolled { .. } | Phase::Failed { .. }) => {}
            None if !self.spoken => {
                self.held_unknown.insert((id, uid));
            }
            Some(Phase::Absent | Phase::Releasing | Phase::Stuck { .. }) | None => {
                effects.push(Effect::Tell(id, Tell::PodGone(uid)));
            }
        }
    }

    fn held_end(&mut self, id: ProxyId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(proxy) = self.proxies.get_mut(&id).filter(|proxy| proxy.stage == Stage::Greeting) else {
            return;
        };
        proxy.stage = Stage::Serving;
        let mut owed = BTreeSet::new();
        effects.push(Effect::Tell(id, Tell::NodeTunnel));
        for (uid, entry) in &mut self.pods {
            match &mut entry.phase {
                Phase::Enrolled { .. } => effects.push(Effect::Tell(id, Tell::Pod(uid.clone()))),
                Phase::Adopted { until, .. } => {
                    *until = now;
                    owed.insert(uid.clone());
                }
                Phase::Enrolling { .. } => {
                    owed.insert(uid.clone());
                }
                Phase::Absent
                | Phase::Failed { .. }
                | Phase::Leaving { .. }
                | Phase::Releasing
                | Phase::Stuck { .. } => {}
            }
        }
        proxy.owed = Some(owed);
    }

    fn supersede(&mut self, newest: ProxyId, effects: &mut Vec<Effect>) {
        for (id, proxy) in self.proxies.range_mut(..newest) {
            if proxy.stage != Stage::Superseded {
                proxy.stage = Stage::Superseded;
                effects.push(Effect::Tell(*id, Tell::Superseded));
            }
        }
    }

    /// A proxy has closed the sockets of one pod, or is gone with all of them.
    fn closed(&mut self, id: ProxyId, uid: Option<&WorkloadUid>) {
        for (known, entry) in &mut self.pods {
            if let Phase::Leaving { waiting, .. } = &mut entry.phase
                && uid.is_none_or(|uid| uid == known)
            {
                waiting.remove(&id);
            }
        }
    }

    fn cni_add(&mut self, id: CniId, wanted: Wanted, now: Instant) {
        let entry = self.pods.entry(wanted.uid.clone()).or_insert_with(Entry::new);
        entry.deleted = None;
        entry.cni = Some(wanted);
        entry.pending.push(Pending { id, until: now + CNI_WAIT, what: Ask::Add });
    }

    fn cni_del(&mut self, id: CniId, uid: WorkloadUid, pod_uid: &str, now: Instant) {
        let entry = self.pods.entry(uid).or_insert_with(Entry::new);
        let known = entry.known().map(|wanted| wanted.pod_uid.clone()).unwrap_or_default();
        // A newer pod of the same name stays, and of the older one nothing is left once it runs.
        let other = !pod_uid.is_empty() && !known.is_empty() && *known != *pod_uid;
        if !other {
            entry.cni = None;
            entry.deleted = Some(pod_uid.into());
        }
        entry.pending.push(Pending { id, until: now + CNI_WAIT, what: Ask::Del });
    }

    fn proxies(&self) -> Proxies {
        let serving = self.proxies.iter().filter(|(_, proxy)| proxy.stage == Stage::Serving);
        Proxies { serving: serving.map(|(id, _)| *id).collect(), all: self.proxies.keys().copied().collect() }
    }

    fn step_all(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let proxies = self.proxies();
        for (uid, entry) in &mut self.pods {
            let desire = entry.desire(self.spoken);
            entry.step(uid, &desire, &proxies, now, effects);
            entry.answer(&desire, &proxies, now, effects);
        }
        self.pods
            .retain(|_, entry| entry.phase != Phase::Absent || entry.told.is_some() || entry.cni.is_some());
        for (id, proxy) in &mut self.proxies {
            let Some(owed) = &mut proxy.owed else { continue };
            owed.retain(|uid| self.pods.get(uid).is_some_and(Entry::is_under_way));
            if owed.is_empty() {
                proxy.owed = None;
                effects.push(Effect::Tell(*id, Tell::Synced));
            }
        }
    }
}

/// How long to rest after so many failures in a row.
fn retry_after(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(RETRY_MAX)
}

#[cfg(test)]
mod tests;
