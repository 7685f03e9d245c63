//! The kernel's programs as bytes, and loading them with the maps that all copies share.

use std::sync::OnceLock;

use aya::{Btf, Ebpf, EbpfLoader};
use parking_lot::Mutex;
use weft_ebpf_common::{KERNEL_FIELDS, LISTENERS_PER_POD};

use crate::bpffs::Directory;
use crate::btf::{self, BtfError};

#[cfg(weft_ebpf_object)]
static OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!("WEFT_EBPF_OBJECT_PATH")));
#[cfg(not(weft_ebpf_object))]
static OBJECT: Option<&[u8]> = None;

/// The maps by their names in the object.
pub(crate) mod names {
    pub(crate) const OWNED: &str = "OWNED";
    pub(crate) const LISTENERS: &str = "LISTENERS";
    pub(crate) const ADDRESSES: &str = "ADDRESSES";
    pub(crate) const LOCAL_ADDRESSES: &str = "LOCAL_ADDRESSES";
    pub(crate) const EXEMPT: &str = "EXEMPT";
    pub(crate) const PROBES: &str = "PROBES";
    pub(crate) const HOST_ENDS: &str = "HOST_ENDS";
    pub(crate) const WORD: &str = "WORD";
    pub(crate) const COUNTS: &str = "COUNTS";
    pub(crate) const PODS_KNOWN: &str = "PODS_KNOWN";
    pub(crate) const PAIRED: &str = "PAIRED";
    pub(crate) const RECEIVERS: &str = "RECEIVERS";
    pub(crate) const SENDERS: &str = "SENDERS";
    pub(crate) const LEVELS: &str = "LEVELS";
    pub(crate) const PHASES: &str = "PHASES";

    pub(super) const ALL: [&str; 15] = [
        OWNED,
        LISTENERS,
        ADDRESSES,
        LOCAL_ADDRESSES,
        EXEMPT,
        PROBES,
        HOST_ENDS,
        WORD,
        COUNTS,
        PODS_KNOWN,
        PAIRED,
        RECEIVERS,
        SENDERS,
        LEVELS,
        PHASES,
    ];
}

/// The kernel's programs have not been built into this binary.
#[derive(Debug, thiserror::Error)]
#[error("this build has no eBPF programs in it: run `cargo xtask build-ebpf` and build again")]
pub struct NotBuilt;

/// Pods on one node at most: many times what Kubernetes supports.
pub(crate) const PODS_MAX: u32 = 4096;

/// The numbers of pods. The loader borrows the one that it writes into a copy for as long as it lives.
static SLOTS: [u32; PODS_MAX as usize] = {
    let mut slots = [0; PODS_MAX as usize];
    let mut slot = 0;
    while slot < slots.len() {
        slots[slot] = slot as u32;
        slot += 1;
    }
    slots
};

/// The number in the copy that is no pod's.
static NO_SLOT: u32 = u32::MAX;

/// Whether what is neither TCP nor DNS may leave pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtherProtocols {
    /// It passes by the mesh.
    #[default]
    Pass,
    /// It is dropped, but for what IP itself needs.
    Drop,
}

impl OtherProtocols {
    /// As the programs read it.
    fn global(self) -> &'static u32 {
        match self {
            Self::Pass => &0,
            Self::Drop => &1,
        }
    }
}

/// Where the kernel keeps the fields that the acceleration reads. It stays where it is while the kernel runs.
static OFFSETS: OnceLock<[u32; KERNEL_FIELDS]> = OnceLock::new();

/// Finds [`OFFSETS`], which copies that are loaded afterwards have.
pub(crate) fn kernel_offsets() -> Result<&'static [u32; KERNEL_FIELDS], BtfError> {
    match OFFSETS.get() {
        Some(offsets) => Ok(offsets),
        None => btf::offsets().map(|offsets| OFFSETS.get_or_init(|| offsets)),
    }
}

/// Whose copy of the programs it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    /// The node's own.
    Node,
    /// That of the pod with this number.
    Pod(u32),
}

impl Copy {
    fn slot(self) -> &'static u32 {
        match self {
            Self::Node => &NO_SLOT,
            // No pod has a number beyond the table: [`Object::find`] bounds them.
            Self::Pod(slot) => SLOTS.get(slot as usize).unwrap_or(&NO_SLOT),
        }
    }
}

/// The object, and where its maps are.
#[derive(Debug)]
pub(crate) struct Object {
    bytes: &'static [u8],
    digest: u64,
    /// One for all copies: making a loader reads all types of the kernel, 30 MB of them, wanted or not.
    loader: Mutex<EbpfLoader<'static>>,
}

impl Object {
    pub(crate) fn find(
        directory: &Directory,
        pods_max: u32,
        others: OtherProtocols,
    ) -> Result<Self, NotBuilt> {
        let bytes = embedded()?;
        let mut loader = EbpfLoader::new();
        // Nothing here depends on the kernel's own types.
        loader.btf(None::<&Btf>);
        for name in names::ALL {
            loader.map_pin_path(name, directory.maps().join(name));
        }
        loader.map_pin_path(crate::log::MAP, directory.maps().join(crate::log::MAP));
        for (name, entries) in sizes(pods_max) {
            loader.map_max_entries(name, entries);
        }
        loader.override_global("DROP_OTHERS", others.global(), true);
        // Another setting makes other programs: those of pods that are captured already are replaced.
        let digest = digest(bytes).wrapping_add(u64::from(*others.global()));
        Ok(Self { bytes, digest, loader: Mutex::new(loader) })
    }

    /// For a trial: its maps are its own and go with it.
    pub(crate) fn load_unpinned(bytes: &[u8]) -> Result<Ebpf, aya::EbpfError> {
        EbpfLoader::new().btf(None::<&Btf>).override_global("POD_SLOT", &u32::MAX, true).load(bytes)
    }

    /// The same for a trial of the acceleration, which has a pod.
    pub(crate) fn load_trial(
        bytes: &[u8],
        offsets: &[u32; KERNEL_FIELDS],
        slot: &u32,
    ) -> Result<Ebpf, aya::EbpfError> {
        let mut loader = EbpfLoader::new();
        loader.btf(None::<&Btf>).override_global("KERNEL_OFFSETS", offsets, true);
        loader.override_global("POD_SLOT", slot, true).load(bytes)
    }

    /// Tells this object's programs from another's.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Loads a copy with the number of its pod. Maps that are pinned are taken over, others made and pinned.
    pub(crate) fn load(&self, copy: Copy) -> Result<Ebpf, aya::EbpfError> {
        let mut loader = self.loader.lock();
        if let Some(offsets) = OFFSETS.get() {
            loader.override_global("KERNEL_OFFSETS", offsets, true);
        }
        loader.override_global("POD_SLOT", copy.slot(), true).load(self.bytes)
    }
}

/// Whatever can grow, by the number of pods.
fn sizes(pods: u32) -> [(&'static str, u32); 7] {
    [
        (names::LISTENERS, pods * LISTENERS_PER_POD),
        (names::ADDRESSES, pods * 8),
        (names::LOCAL_ADDRESSES, pods * 8),
        (names::HOST_ENDS, pods * 4),
        (names::PODS_KNOWN, pods),
        (names::LEVELS, pods),
        (names::PHASES, pods),
    ]
}

pub(crate) fn embedded() -> Result<&'static [u8], NotBuilt> {
    OBJECT.ok_or(NotBuilt)
}

/// FNV-1a: it tells builds apart, and no one gains from forging it.
fn digest(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
