//! One pod: what is wanted of it, how far it is, and why it is not further.

use super::{CniId, ProxyId};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use weft_core::enrolment::{Acceleration, Existing, PlainText};
use weft_core::names::WorkloadUid;

/// A pod that is to be enrolled, as discovery, the CNI plugin or the state file tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its key.
    pub uid: WorkloadUid,
    /// Its `metadata.uid`; empty if the CNI plugin was not told.
    pub pod_uid: Arc<str>,
    /// Its Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Where its network namespace is, as far as anyone has said.
    pub netns: Option<PathBuf>,
    /// How far its connections are to be accelerated.
    pub acceleration: Acceleration,
    /// What ends its connections that are older than its enrolment. Only discovery knows.
    pub existing: ExistingRule,
}

/// What ends connections that are older than their pod's enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExistingRule {
    /// Whether all of them are to end (`weft.dev/existing`).
    pub existing: Existing,
    /// Where plain text from others is refused (PeerAuthentication), and with it those that others have opened.
    pub plain_text: PlainText,
}

impl Wanted {
    /// True if both are one running pod; another of the same name is another.
    pub fn is_same_pod(&self, other: &Self) -> bool {
        self.netns == other.netns && may_be(&self.pod_uid, &other.pod_uid)
    }
}

/// True unless both are known and differ: the CNI plugin is not always told a pod's uid.
fn may_be(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

/// The name of a pod's pins in the kernel's file system: what the agent finds again after a restart.
///
/// It is the pod's `metadata.uid` where that can be a file's name, so that two pods that follow each other
/// under one name are apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

/// Bytes of a key: what bpffs takes.
const KEY_BYTES_MAX: usize = 63;

impl Key {
    /// The key of a pod that is not enrolled yet.
    pub fn of(wanted: &Wanted) -> Self {
        Self::parse(&wanted.pod_uid).unwrap_or_else(|| Self(format!("w-{:032x}", hash(&wanted.uid)).into()))
    }

    /// A key as it was found.
    pub fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// FNV-1a of 128 bits: the same in every version of the agent, which is all that is asked of it.
fn hash(uid: &WorkloadUid) -> u128 {
    let step = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
    uid.as_str().bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, step)
}

/// What of a pod is in the kernel before an enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing: a failed enrolment is undone.
    Nothing,
    /// Its traffic is captured, and stays so whatever fails.
    Captured,
}

/// What discovery says of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It belongs to the mesh.
    Enrolled(Wanted),
    /// It does not.
    Outside {
        /// Its `metadata.uid`.
        pod_uid: Arc<str>,
    },
}

impl Told {
    fn pod_uid(&self) -> &str {
        match self {
            Self::Enrolled(wanted) => &wanted.pod_uid,
            Self::Outside { pod_uid } => pod_uid,
        }
    }
}

/// What is to become of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Desire {
    Enrol(Wanted),
    Release,
    /// Nobody has spoken yet: it stays as an earlier agent left it.
    Unknown,
}

/// How far a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing of it is in the kernel.
    Absent,
    /// Captured since before this agent started; the proxy may still bring its listeners.
    Adopted { wanted: Wanted, until: Instant },
    /// A thread is at it.
    Enrolling { wanted: Wanted, until: Instant },
    /// Captured, with listeners.
    Enrolled { wanted: Wanted },
    /// It did not work.
    Failed { tried: Wanted, again: Instant },
    /// The proxies were told, and close its sockets.
    Leaving { waiting: BTreeSet<ProxyId>, until: Instant },
    /// A thread is at it.
    Releasing,
    /// It did not work.
    Stuck { again: Instant },
}

impl Phase {
    /// The phase as `weft status` shows it.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Adopted { .. } => "adopted",
            Self::Enrolling { .. } => "enrolling",
            Self::Enrolled { .. } => "enrolled",
            Self::Failed { .. } => "failed",
            Self::Leaving { .. } => "leaving",
            Self::Releasing => "releasing",
            Self::Stuck { .. } => "stuck",
        }
    }
}

/// A question of the CNI plugin that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pub(super) id: CniId,
    pub(super) until: Instant,
    pub(super) what: Ask,
}

/// What the CNI plugin asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Add,
    Del,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) told: Option<Told>,
    pub(super) cni: Option<Wanted>,
    /// The `metadata.uid` of a pod that the CNI plugin says is gone; empty for whichever there is.
    pub(super) deleted: Option<Arc<str>>,
    pub(super) pending: Vec<Pending>,
    pub(super) phase: Phase,
    pub(super) before: Before,
    /// Under which it is or was captured.
    pub(super) key: Option<Key>,
    /// Where its namespace was then.
    pub(super) netns: Option<PathBuf>,
    pub(super) failures: u32,
    pub(super) reason: Option<String>,
}

impl Entry {
    /// A pod of which nothing is in the kernel.
    pub(super) fn new() -> Self {
        Self {
            told: None,
            cni: None,
            deleted: None,
            pending: Vec::new(),
            phase: Phase::Absent,
            before: Before::Nothing,
            key: None,
            netns: None,
            failures: 0,
            reason: None,
        }
    }

    /// It is captured already, by an earlier agent.
    pub(super) fn adopt(&mut self, key: Key, wanted: Wanted, until: Instant) {
        self.netns.clone_from(&wanted.netns);
        self.phase = Phase::Adopted { wanted, until };
        self.before = Before::Captured;
        self.key = Some(key);
    }

    /// Takes discovery's word; what the CNI plugin said earlier gives way when discovery has moved on.
    pub(super) fn tell(&mut self, told: Option<Told>) {
        if self.told == told {
            return;
        }
        let pod_uid = told.as_ref().map(Told::pod_uid);
        let news = pod_uid != self.told.as_ref().map(Told::pod_uid);
        let agrees = |cni: &Wanted| pod_uid.is_some_and(|uid| may_be(uid, &cni.pod_uid));
        if news && self.cni.as_ref().is_some_and(|cni| !agrees(cni)) {
            self.cni = None;
        }
        if news {
            self.deleted = None;
        }
        self.told = told;
    }

    /// What is to become of it. `spoken` says whether discovery has told of every pod.
    pub(super) fn desire(&self, spoken: bool) -> Desire {
        if let Some(cni) = self.cni.as_ref().filter(|cni| self.is_newer(cni)) {
            return Desire::Enrol(cni.clone());
        }
        if self.deleted.as_ref().is_some_and(|gone| self.is_deleted(gone)) {
            return Desire::Release;
        }
        match &self.told {
            Some(Told::Enrolled(wanted)) => Desire::Enrol(self.completed(wanted)),
            Some(Told::Outside { .. }) => Desire::Release,
            None if spoken => Desire::Release,
            None => Desire::Unknown,
        }
    }

    /// The CNI plugin knows of a pod before discovery does.
    fn is_newer(&self, cni: &Wanted) -> bool {
        self.told.as_ref().is_none_or(|told| !may_be(told.pod_uid(), &cni.pod_uid))
    }

    fn is_deleted(&self, gone: &str) -> bool {
        gone.is_empty() || self.told.as_ref().is_none_or(|told| told.pod_uid() == gone)
    }

    /// Discovery's word, with what only the CNI plugin may know: it has told this agent, or one before that has
    /// captured the pod.
    fn completed(&self, wanted: &Wanted) -> Wanted {
        let mut wanted = wanted.clone();
        let captured = self.in_the_kernel().filter(|known| may_be(&known.pod_uid, &wanted.pod_uid));
        for known in self.cni.iter().chain(captured) {
            wanted.netns = wanted.netns.or_else(|| known.netns.clone());
            if wanted.addresses.is_empty() {
                wanted.addresses.clone_from(&known.addresses);
            }
        }
        wanted
    }

    /// The pod that is captured, or about to be.
    fn in_the_kernel(&self) -> Option<&Wanted> {
        match &self.phase {
            Phase::Adopted { wanted, .. } | Phase::Enrolling { wanted, .. } | Phase::Enrolled { wanted } => {
                Some(wanted)
            }
            Phase::Failed { tried, .. } => Some(tried),
            Phase::Absent | Phase::Leaving { .. } | Phase::Releasing | Phase::Stuck { .. } => None,
        }
    }

    /// When something is due after `now` without another event. What was due before has been seen to.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Adopted { until, .. } | Phase::Enrolling { until, .. } | Phase::Leaving { until, .. } => {
                Some(*until)
            }
            Phase::Failed { again, .. } | Phase::Stuck { again } => Some(*again),
            Phase::Absent | Phase::Enrolled { .. } | Phase::Releasing => None,
        };
        phase.into_iter().chain(self.pending.iter().map(|pending| pending.until)).filter(|at| *at > now).min()
    }
}
