//! The maps, and access to them in the words of the library. Their sizes are defaults; the loader may set others.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_SK_STORAGE;
use aya_ebpf::bindings::{BPF_F_CLONE, BPF_F_NO_PREALLOC, bpf_sock};
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, SockMap};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::SkLookupContext;
use weft_ebpf_common::{
    Address, COUNTERS, Counter, Exemption, Flow, LISTENERS_PER_POD, Phase, PodRecord, SlotAddress, SlotFlow,
    Word,
};
use weft_ebpf_programs::verdict::Known;

/// Pods per node, unless the loader says otherwise.
const PODS: usize = 512;

/// The number of this copy's pod. A copy of the per-pod programs is loaded for every pod, because neither a tc nor an
/// sk_lookup program of kernel 6.1 can tell which namespace it runs in, and addresses can be forged.
#[unsafe(no_mangle)]
static POD_SLOT: u32 = u32::MAX;

#[inline(always)]
pub(super) fn slot() -> u32 {
    // SAFETY: a static of our own. Volatile, because the loader writes it after the compiler has seen its value.
    unsafe { ptr::read_volatile(&raw const POD_SLOT) }
}

/// Whether what is neither TCP nor DNS may leave a pod: zero if it may. The loader writes it.
#[unsafe(no_mangle)]
static DROP_OTHERS: u32 = 0;

#[inline(always)]
pub(super) fn drops_others() -> bool {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(&raw const DROP_OTHERS) != 0 }
}

/// Socket storage that accepted sockets inherit: aya's own type has no `BPF_F_CLONE`. The fields are what the loader
/// reads from BTF; nothing reads them here.
#[repr(C)]
pub(super) struct Ownership {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const u32,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

// SAFETY: the pointers are null and stand only for the types behind them.
unsafe impl Sync for Ownership {}

/// The mesh's own sockets.
#[btf_map]
static OWNED: Ownership = Ownership {
    r#type: ptr::null(),
    key: ptr::null(),
    value: ptr::null(),
    max_entries: ptr::null(),
    map_flags: ptr::null(),
};

/// # Safety
/// `socket` must be a full socket that the kernel has given to this program and that was found not to be null.
#[inline(always)]
pub(super) unsafe fn is_owned(socket: *mut bpf_sock) -> bool {
    let map: *mut c_void = (&raw const OWNED).cast_mut().cast();
    // SAFETY: the map is what the helper expects and the caller vouches for the socket.
    !unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), 0) }.is_null()
}

/// The listeners, by [`weft_ebpf_common::ListenerKind::index`]. A closed one leaves by itself.
#[btf_map]
static LISTENERS: SockMap<{ PODS * LISTENERS_PER_POD as usize }> = SockMap::new();

/// `BPF_SK_LOOKUP_F_REPLACE`: without it the kernel refuses if another program has chosen before, as this program's
/// older copy has while it is being replaced. The flag that would bypass SO_REUSEPORT is not set: a group shares the
/// load.
const REPLACE: u64 = 1;

/// Gives the packet of a lookup to a listener.
#[inline(always)]
pub(super) fn assign(ctx: &SkLookupContext, index: u32) -> bool {
    LISTENERS.redirect_sk_lookup(ctx, index, REPLACE).is_ok()
}

/// The addresses of each pod.
#[btf_map]
static ADDRESSES: HashMap<SlotAddress, u32, { PODS * 8 }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// The addresses of all pods.
#[btf_map]
static LOCAL_ADDRESSES: HashMap<Address, u32, { PODS * 8 }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

#[inline(always)]
pub(super) fn is_local_pod(address: Address) -> bool {
    LOCAL_ADDRESSES.get_ptr(address).is_some()
}

/// Flows that capture leaves alone, with an [`Exemption`].
#[btf_map]
static EXEMPT: HashMap<SlotFlow, u32, 65_536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// Connections that the kubelet opened to local pods, by the pod's view, with the time of their end or zero. The
/// oldest give way: a full map must not stop probes.
#[btf_map]
static PROBES: LruHashMap<Flow, u64, 16_384> = LruHashMap::new();

#[inline(always)]
pub(super) fn note_probe(flow: &Flow, gone_at: u64) {
    // An error means that the probe will be treated as any other connection.
    let _ = PROBES.insert(flow, gone_at, 0);
}

#[inline(always)]
pub(super) fn is_noted(flow: &Flow) -> bool {
    PROBES.get_ptr(flow).is_some()
}

#[inline(always)]
pub(super) fn now() -> u64 {
    // SAFETY: has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// How far each pod's capture has come, by its number: a [`Phase`].
#[btf_map]
static PHASES: Array<u32, PODS> = Array::new();

#[inline(always)]
pub(super) fn phase(slot: u32) -> Phase {
    PHASES.get(slot).map_or(Phase::Settled, |phase| Phase::read(*phase))
}

/// Lets an older connection of a joining pod go on.
#[inline(always)]
pub(super) fn exempt_established(of: &SlotFlow) -> bool {
    EXEMPT.insert(of, Exemption::Established as u32, 0).is_ok()
}

/// What is known of a flow of which this pod sends a segment. One that opens a connection on an older one's numbers
/// ends its exemption: the answer would not be captured otherwise.
#[inline(always)]
pub(super) fn known_leaving(of: &SlotFlow, opens: bool) -> Known {
    let known = known(of);
    if opens && known == Known::Established {
        // An error means that it is gone already.
        let _ = EXEMPT.remove(of);
        return Known::No;
    }
    known
}

/// What is known of a flow of this pod. A probe counts only on an address that is the pod's own, or one pod could
/// take another's name.
#[inline(always)]
pub(super) fn known(of: &SlotFlow) -> Known {
    if let Some(reason) = EXEMPT.get_ptr(of) {
        // SAFETY: the map gave the pointer; its values are plain integers that are replaced whole.
        return Known::exempt(unsafe { *reason });
    }
    let Some(gone_at) = PROBES.get_ptr(&of.flow) else {
        return Known::No;
    };
    // SAFETY: as above.
    let gone_at = unsafe { *gone_at };
    if ADDRESSES.get_ptr(&SlotAddress { slot: of.slot, address: of.flow.local }).is_none() {
        return Known::No;
    }
    Known::probe(gone_at, now())
}

/// The pod behind a host's end of a veth, by its interface index.
#[btf_map]
static HOST_ENDS: HashMap<u32, u32, { PODS * 4 }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

#[inline(always)]
pub(super) fn slot_behind(interface: u32) -> Option<u32> {
    let slot = HOST_ENDS.get_ptr(interface)?;
    // SAFETY: the map gave the pointer; its values are plain integers that are replaced whole.
    Some(unsafe { *slot })
}

/// The word between the ingress program of a device and the lookups of what came in there.
#[btf_map]
static WORD: PerCpuArray<u32, 1> = PerCpuArray::new();

#[inline(always)]
pub(super) fn write_word(word: Word) {
    if let Some(place) = WORD.get_ptr_mut(0) {
        // SAFETY: the map gave the pointer, and it is this CPU's own.
        unsafe { *place = word as u32 }
    }
}

#[inline(always)]
pub(super) fn read_word() -> Option<Word> {
    let place = WORD.get_ptr(0)?;
    // SAFETY: the map gave the pointer, and it is this CPU's own.
    Word::read(unsafe { *place })
}

/// Does something that looks for sockets as the namespace has them, without its sk_lookup program. The word is as it was
/// afterwards: packets that have come in may still wait for their own lookup.
#[inline(always)]
pub(super) fn among_own_sockets<T>(work: impl FnOnce() -> T) -> T {
    let word = read_word();
    write_word(Word::Leave);
    let done = work();
    write_word(word.unwrap_or(Word::Leave));
    done
}

/// What happened to packets, by [`Counter`].
#[btf_map]
static COUNTS: PerCpuArray<u64, { COUNTERS.len() }> = PerCpuArray::new();

#[inline(always)]
pub(super) fn count(counter: Counter) {
    if let Some(place) = COUNTS.get_ptr_mut(counter as u32) {
        // SAFETY: the map gave the pointer, and it is this CPU's own. An interrupted addition may lose one count.
        unsafe { *place += 1 }
    }
}

/// What the agent remembers of its pods. No program reads it; it stands here so that one object declares every map.
#[btf_map]
static PODS_KNOWN: HashMap<u32, PodRecord, PODS, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
