//! The node's capture as a whole: which pods are enrolled, in which order things are done, and how they are undone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::{MapError, MapInfo};
use nix::sys::socket::{AddressFamily, SockaddrLike as _, SockaddrStorage, getsockname, getsockopt, sockopt};
use parking_lot::Mutex;
use weft_ebpf_common::{Acceleration, Family, ListenerKind, Phase, PodRecord};

use crate::attach::{Existing, Programs, TcMode};
use crate::bpffs::Directory;
use crate::check;
use crate::error::{EnrolError, ExemptError, OpenError, RegisterError, ReserveError};
use crate::hurry::Hurry;
use crate::key::PodKey;
use crate::log::Words;
use crate::maps::{Counters, Maps, OwnError, Owner};
use crate::netlink::Netlink;
use crate::netns;
use crate::object::{Copy, Object, OtherProtocols, PODS_MAX, names};
use crate::pod::{self, How, PodError};
use crate::sysctl;

mod accelerate;
mod exemptions;
mod probes;
mod release;

pub use exemptions::ESTABLISHED_PER_POD_MAX;

/// The programs are attached.
const ATTACHED: u32 = 1;
/// The sysctls of the record are those from before.
const SAVED: u32 = 2;
/// `RTMGRP_LINK`.
const LINK_EVENTS: u32 = 1;

/// How the node's capture is set up.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The agent's own directory on bpffs. bpffs is mounted if it is missing.
    pub bpffs_dir: PathBuf,
    /// The kubelet's cgroup (v2), whose connections to local pods are health probes. None: no probe passes.
    pub probe_cgroup: Option<PathBuf>,
    /// Pods on this node at most, and no more than 4096. What is pinned already keeps its size, and is the limit then.
    pub max_pods: u32,
    /// Whether what is neither TCP nor DNS may leave pods.
    pub other_protocols: OtherProtocols,
    /// How far connections are accelerated at most, whatever pods want.
    pub acceleration: Acceleration,
}

/// A pod to enrol.
#[derive(Debug)]
pub struct PodAttachment<'a> {
    /// Its name here.
    pub key: PodKey,
    /// Its network namespace.
    pub netns: BorrowedFd<'a>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// How far its connections are to be accelerated, as far as the node's limit and its kernel allow.
    pub acceleration: Acceleration,
}

/// A pod that was found pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptedPod {
    /// Its name here.
    pub key: PodKey,
    /// Its number.
    pub slot: u32,
    /// The cookie of its network namespace: tells whether the pod of that name is still the same.
    pub netns_cookie: u64,
}

/// The node's capture. Its calls may come from many threads: those for different pods wait for each other only where
/// they touch what the pods share.
pub struct Host {
    directory: Directory,
    object: Arc<Object>,
    hurry: Hurry,
    mode: TcMode,
    pods_max: u32,
    /// Off where the kernel cannot do it.
    acceleration: Acceleration,
    /// Held for moments, and never while a pod is waited for.
    pods: Mutex<BTreeMap<PodKey, Arc<Entry>>>,
    /// Holds the second lock, loaded once.
    node: Mutex<Programs>,
    maps: Mutex<Maps>,
    words: Mutex<Option<Words>>,
}

/// A pod and its number, which it keeps.
struct Entry {
    slot: u32,
    /// Held for as long as something is done to the pod, and taken before the host's own locks.
    pod: Mutex<Pod>,
}

struct Pod {
    record: PodRecord,
    /// Known once this process has enrolled the pod. It keeps the namespace alive until release.
    netns: Option<OwnedFd>,
    uncontained: Vec<String>,
    /// As it wants it.
    acceleration: Acceleration,
    /// Who has waited for it meanwhile begins anew.
    released: bool,
}

impl Entry {
    fn new(slot: u32, record: PodRecord) -> Arc<Self> {
        let (uncontained, acceleration) = (Vec::new(), Acceleration::Off);
        let pod = Pod { record, netns: None, uncontained, acceleration, released: false };
        Arc::new(Self { slot, pod: Mutex::new(pod) })
    }
}

impl Host {
    /// Loads what runs once a node, and takes over what is pinned.
    pub fn open(config: HostConfig) -> Result<Self, OpenError> {
        Self::open_as(config, None)
    }

    /// The same, with the way of attaching given instead of probed. For tests.
    #[doc(hidden)]
    pub fn open_as(config: HostConfig, mode: Option<TcMode>) -> Result<Self, OpenError> {
        let directory = Directory::open(&config.bpffs_dir).map_err(OpenError::Directory)?;
        let pods_max = pods_max(config.max_pods, pinned_entries(&directory));
        let object = Arc::new(
            Object::find(&directory, pods_max, config.other_protocols).map_err(OpenError::NotBuilt)?,
        );
        let acceleration = accelerate::possible(config.acceleration);
        let mut node = Programs::new(&object, Copy::Node);
        let lock = node.load_lock().map_err(OpenError::Program)?;
        let mode = mode.unwrap_or_else(|| check::tc_mode(lock));
        let ebpf = node.ebpf().map_err(OpenError::Program)?;
        let acceleration = accelerate::load(ebpf, acceleration);
        match config.probe_cgroup {
            Some(cgroup) => probes::note(ebpf, &cgroup, &directory.probe())
                .map_err(|source| OpenError::Probe { cgroup, source })?,
            None => probes::forget(ebpf, &directory.probe()).map_err(OpenError::Probes)?,
        }
        // Last: programs are loaded with the maps that are still in there.
        let maps = Maps::take(ebpf).map_err(OpenError::Maps)?;
        let words = Mutex::new(Words::take(ebpf));
        let pods = adopt(&maps).map_err(OpenError::Maps)?;
        let hurry = Hurry::new(directory.hurry());
        let (pods, node, maps) = (Mutex::new(pods), Mutex::new(node), Mutex::new(maps));
        Ok(Self { directory, object, hurry, mode, pods_max, acceleration, pods, node, maps, words })
    }

    /// The pods that are enrolled, as an earlier process left them or this one made them. Those of an earlier process
    /// should be enrolled again: that gives them newer programs, and this process their namespaces.
    #[must_use]
    pub fn adopted(&self) -> Vec<AdoptedPod> {
        let pods: Vec<_> = self.pods.lock().iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
        let known = pods.into_iter().filter_map(|(key, entry)| {
            let record = entry.pod.lock().record;
            let attached = record.state & ATTACHED != 0;
            attached.then_some(AdoptedPod { key, slot: entry.slot, netns_cookie: record.netns_cookie })
        });
        known.collect()
    }

    /// The cookie of the namespace that is captured under a name, by this process or an earlier one.
    #[must_use]
    pub fn captured_netns(&self, key: &PodKey) -> Option<u64> {
        let record = self.find(key)?.pod.lock().record;
        (record.netns_cookie != 0).then_some(record.netns_cookie)
    }

    /// What the programs say, if they are a debug build; once.
    pub fn words(&self) -> Option<Words> {
        self.words.lock().take()
    }

    /// How tc programs are attached here.
    #[must_use]
    pub fn tc_mode(&self) -> TcMode {
        self.mode
    }

    /// Captures a pod. Register its listeners before: from the moment that this returns, what has no listener is
    /// dropped. All or nothing; enrolling again completes what is missing and updates the programs.
    ///
    /// A pod that was not captured is joining then: what others open to it is not captured yet, and older connections
    /// of which it sends anything become exempt. Exempt those that are silent, and [`Host::settle`] it.
    pub fn enrol(&self, pod: &PodAttachment<'_>) -> Result<(), EnrolError> {
        let cookie = netns::netns_cookie(pod.netns).map_err(EnrolError::Cookie)?;
        loop {
            let entry = self.reserve(&pod.key).map_err(EnrolError::Reserve)?;
            let mut known = entry.pod.lock();
            if !known.released {
                return self.enrol_as(pod, cookie, entry.slot, &mut known);
            }
        }
    }

    fn enrol_as(
        &self,
        pod: &PodAttachment<'_>,
        cookie: u64,
        slot: u32,
        known: &mut Pod,
    ) -> Result<(), EnrolError> {
        if known.record.netns_cookie != 0 && known.record.netns_cookie != cookie {
            return Err(EnrolError::OtherNamespace);
        }
        let was_attached = known.record.state & ATTACHED != 0;
        let mut begun = || {
            let netns = pod.netns.try_clone_to_owned().map_err(EnrolError::Keep)?;
            known.record.netns_cookie = cookie;
            known.netns = Some(netns);
            self.maps.lock().set_addresses(slot, &pod.addresses).map_err(EnrolError::Maps)?;
            known.acceleration = pod.acceleration;
            if !was_attached {
                self.maps.lock().set_phase(slot, Phase::Joining).map_err(EnrolError::Maps)?;
            }
            self.attach(&pod.key, slot, known)
        };
        let result = begun();
        if result.is_err() && !was_attached {
            // The first error is the one to report; what release cannot undo, it logs.
            let _ = self.release_as(&pod.key, slot, known);
        }
        result
    }

    fn attach(&self, key: &PodKey, slot: u32, known: &mut Pod) -> Result<(), EnrolError> {
        let dir = self.directory.make_pod(key).map_err(EnrolError::Directory)?;
        let Some(netns) = &known.netns else { return Err(EnrolError::NamespaceUnknown) };
        let netns = netns.as_fd();
        let existing =
            if known.record.object == self.object.digest() { Existing::Keep } else { Existing::Update };
        let how = How { dir: &dir, mode: self.mode, existing };
        let mut programs = Programs::new(&self.object, Copy::Pod(slot));
        let _attaching = self.hurry.begin();
        let inside = {
            let _entered = pod::enter(netns).map_err(EnrolError::Pod)?;
            self.save(slot, &mut known.record)?;
            pod::set_up().map_err(EnrolError::Pod)?;
            let inside = pod::attach_inside(&mut programs, netns, how).map_err(EnrolError::Pod)?;
            self.accelerate(&mut programs, (slot, known.acceleration), &inside, how)?;
            inside
        };
        let (ends, uncontained) = pod::find_ends(netns, &inside).map_err(EnrolError::Pod)?;
        for end in &ends {
            self.maps.lock().set_host_end(end.index, slot).map_err(EnrolError::Maps)?;
            pod::attach_outside(&mut self.node.lock(), end, how).map_err(EnrolError::Pod)?;
        }
        known.uncontained = uncontained;
        known.record.object = self.object.digest();
        known.record.state |= ATTACHED;
        self.maps.lock().remember(slot, known.record).map_err(EnrolError::Maps)
    }

    /// Remembers the sysctls as they were, before anything changes them, where the next process finds them.
    fn save(&self, slot: u32, record: &mut PodRecord) -> Result<(), EnrolError> {
        if record.state & SAVED == 0 {
            record.sysctls =
                sysctl::read().map_err(|error| EnrolError::Pod(PodError::Sysctl(error.into())))?;
            record.state |= SAVED;
        }
        self.maps.lock().remember(slot, *record).map_err(EnrolError::Maps)
    }

    /// Whether a pod is still joining, by the word of this process or an earlier one.
    pub fn is_joining(&self, key: &PodKey) -> Result<bool, ExemptError> {
        let Some(slot) = self.find(key).map(|entry| entry.slot) else { return Ok(false) };
        Ok(self.maps.lock().phase(slot).map_err(ExemptError::Maps)? == Phase::Joining)
    }

    /// Captures from now on all of an enrolled pod but what is exempt.
    pub fn settle(&self, key: &PodKey) -> Result<(), ExemptError> {
        let Some(slot) = self.find(key).map(|entry| entry.slot) else { return Ok(()) };
        self.maps.lock().set_phase(slot, Phase::Settled).map_err(ExemptError::Maps)
    }

    /// Attaches to devices of an enrolled pod that were not there before.
    pub fn refresh_devices(&self, key: &PodKey) -> Result<(), EnrolError> {
        let entry = self.find(key).ok_or(EnrolError::NamespaceUnknown)?;
        let mut pod = entry.pod.lock();
        if pod.released { Err(EnrolError::NamespaceUnknown) } else { self.attach(key, entry.slot, &mut pod) }
    }

    /// A socket that becomes readable when a device of the pod comes, goes or changes: then read it empty and call
    /// [`Host::refresh_devices`]. It keeps the namespace alive; close it before release.
    pub fn device_events(&self, key: &PodKey) -> Result<OwnedFd, EnrolError> {
        let entry = self.find(key).ok_or(EnrolError::NamespaceUnknown)?;
        let pod = entry.pod.lock();
        let netns = pod.netns.as_ref().ok_or(EnrolError::NamespaceUnknown)?;
        let _entered = pod::enter(netns.as_fd()).map_err(EnrolError::Pod)?;
        Netlink::listen(LINK_EVENTS).map(Netlink::into_fd).map_err(EnrolError::Keep)
    }

    /// The pod's devices without an end on this host: a pod with NET_RAW or NET_ADMIN is not contained there.
    #[must_use]
    pub fn uncontained(&self, key: &PodKey) -> Vec<String> {
        self.find(key).map(|entry| entry.pod.lock().uncontained.clone()).unwrap_or_default()
    }

    /// Makes a socket the pod's listener of a kind, in place of the one before: any one member of its SO_REUSEPORT
    /// group stands for all. Call it again when that member is about to close. A socket of IPv6 serves IPv4 as well
    /// unless it is IPV6_V6ONLY. May come before [`Host::enrol`].
    pub fn register_listener(
        &self,
        key: &PodKey,
        kind: ListenerKind,
        socket: BorrowedFd<'_>,
    ) -> Result<(), RegisterError> {
        let families = families(socket)?;
        let slot = self.reserve(key).map_err(RegisterError::Reserve)?.slot;
        self.maps.lock().set_listener(slot, kind, families, socket).map_err(RegisterError::Maps)
    }

    /// Marks a socket as the mesh's own: what it sends passes, and so does what it accepts.
    pub fn own(&self, socket: BorrowedFd<'_>) -> Result<(), OwnError> {
        self.maps.lock().own(socket)
    }

    /// The same as a value of its own, for the thread that makes sockets.
    pub fn owner(&self) -> io::Result<Owner> {
        self.maps.lock().owner()
    }

    /// Makes these an enrolled pod's addresses; nothing happens if it has been released, for its number may be another's.
    pub fn set_addresses(&self, key: &PodKey, addresses: &[IpAddr]) -> Result<(), ExemptError> {
        let Some(entry) = self.find(key) else { return Ok(()) };
        let pod = entry.pod.lock();
        if pod.released {
            return Ok(());
        }
        self.maps.lock().set_addresses(entry.slot, addresses).map_err(ExemptError::Maps)
    }

    /// What happened to packets so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.maps.lock().counters()
    }

    fn find(&self, key: &PodKey) -> Option<Arc<Entry>> {
        self.pods.lock().get(key).cloned()
    }

    /// A pod, numbered now if it has no number.
    fn reserve(&self, key: &PodKey) -> Result<Arc<Entry>, ReserveError> {
        let mut pods = self.pods.lock();
        if let Some(entry) = pods.get(key) {
            return Ok(entry.clone());
        }
        let taken: BTreeSet<u32> = pods.values().map(|entry| entry.slot).collect();
        let free = (0..self.pods_max).find(|slot| !taken.contains(slot));
        let slot = free.ok_or(ReserveError::Full { pods_max: self.pods_max })?;
        let record = PodRecord {
            netns_cookie: 0,
            object: 0,
            name: key.padded(),
            sysctls: [-1; 4],
            state: 0,
            reserved: 0,
        };
        self.maps.lock().remember(slot, record).map_err(ReserveError::Maps)?;
        let entry = Entry::new(slot, record);
        pods.insert(key.clone(), entry.clone());
        Ok(entry)
    }
}

/// How many pods the map of pods has room for, if it is pinned: none of the maps grows while it is.
fn pinned_entries(directory: &Directory) -> Option<u32> {
    let map = MapInfo::from_pin(directory.maps().join(names::PODS_KNOWN)).ok()?;
    Some(map.max_entries())
}

fn pods_max(wanted: u32, pinned: Option<u32>) -> u32 {
    let wanted = wanted.min(PODS_MAX);
    let Some(pinned) = pinned.filter(|pinned| *pinned < wanted) else { return wanted };
    tracing::warn!(
        wanted,
        pinned,
        "this node has room for fewer pods than WEFT_PODS_MAX says, because pinned maps keep their size. Take the pods \
         from this node, stop the agent, run `weft-agent uninstall`, and start it again"
    );
    pinned
}

fn adopt(maps: &Maps) -> Result<BTreeMap<PodKey, Arc<Entry>>, MapError> {
    let mut pods = BTreeMap::new();
    for (slot, record) in maps.remembered()? {
        match PodKey::read(&record.name) {
            Some(key) => {
                pods.insert(key, Entry::new(slot, record));
            }
            None => tracing::warn!(slot, "a pinned pod has no readable name"),
        }
    }
    Ok(pods)
}

fn families(socket: BorrowedFd<'_>) -> Result<&'static [Family], RegisterError> {
    let address: SockaddrStorage =
        getsockname(socket.as_raw_fd()).map_err(|errno| RegisterError::Ask(errno.into()))?;
    match address.family() {
        Some(AddressFamily::Inet) => Ok(&[Family::V4]),
        Some(AddressFamily::Inet6) => {
            let only =
                getsockopt(&socket, sockopt::Ipv6V6Only).map_err(|errno| RegisterError::Ask(errno.into()))?;
            Ok(if only { &[Family::V6] } else { &[Family::V4, Family::V6] })
        }
        _ => Err(RegisterError::NotInternet),
    }
}
