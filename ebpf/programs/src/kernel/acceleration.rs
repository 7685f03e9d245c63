//! Leaves TCP out between an application and its proxy.
//!
//! The two ends are paired by a tc program at the ingress of the pod's `lo`, which both directions cross. `sock_ops`
//! would not do: the kernel takes a socket from it only in the moment that its connection is established, so every new
//! connection would pay; and it sees sockets by cgroup, of which a pod's need not be known, while the mesh's sockets
//! belong to whichever agent made them. On `lo` both ends can be looked up once the connection has shown that it
//! lives, by the kernel's own lookup, which knows that a dual-stack socket may be meant by an IPv4 packet; and only
//! in this namespace, so that a hop between nodes is never cut short. Packets come here without a lock on a socket,
//! which putting one into a map takes.

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::{
    BPF_F_INGRESS, BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE, TC_ACT_UNSPEC, bpf_sock, bpf_sock_tuple,
    sk_action,
};
use aya_ebpf::btf_maps::{Array, SkStorage, SockHash};
use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_map_update_elem, bpf_msg_redirect_hash, bpf_probe_read_kernel,
    bpf_sk_lookup_tcp, bpf_sk_release, bpf_sk_storage_get, bpf_tcp_sock,
};
use aya_ebpf::macros::{btf_map, classifier, sk_msg};
use aya_ebpf::programs::{SkMsgContext, TcContext};
use weft_ebpf_common::{Acceleration, Counter, EndKey, KERNEL_FIELDS, KernelField, Paired, Side};
use weft_ebpf_programs::acceleration::{self, End, Moment, Way};
use weft_ebpf_programs::packet::{self, Ends, Kind, Link};

use super::facts::{CURRENT_NAMESPACE, Skb, Tuple};
use super::{log, maps};

/// Connections that can be paired at once on a node.
const CONNECTIONS: usize = 65_536;
/// Pods per node, unless the loader says otherwise.
const PODS: usize = 512;

/// What each paired socket carries with it. It goes with the socket.
#[btf_map]
static PAIRED: SkStorage<Paired> = SkStorage::new();

/// The paired sockets that may be given bytes past TCP. No program hangs on this map: what they send is TCP's.
#[btf_map]
static RECEIVERS: SockHash<EndKey, CONNECTIONS> = SockHash::new();

/// The paired sockets whose messages [`accelerate`] sees.
#[btf_map]
static SENDERS: SockHash<EndKey, CONNECTIONS> = SockHash::new();

/// What each pod says, by its number: an [`Acceleration`].
#[btf_map]
static LEVELS: Array<u32, PODS> = Array::new();

/// Where this kernel keeps each [`KernelField`].
#[unsafe(no_mangle)]
static KERNEL_OFFSETS: [u32; KERNEL_FIELDS] = [0; KERNEL_FIELDS];

#[inline(always)]
fn level(slot: u32) -> Acceleration {
    LEVELS.get(slot).map_or(Acceleration::Off, |level| Acceleration::read(*level))
}

/// Reads a field of a socket. The address may be that of a socket that is gone: then what comes is of no meaning, and
/// the caller must not rely on it alone.
#[inline(always)]
fn read<T>(socket: u64, field: KernelField, mut into: T) -> Option<T> {
    // SAFETY: a static of our own. Volatile, because the loader writes it after the compiler has seen its value.
    let offset = unsafe { ptr::read_volatile((&raw const KERNEL_OFFSETS).cast::<u32>().add(field as usize)) };
    let from = socket + u64::from(offset);
    // SAFETY: the helper writes exactly this many bytes, and does not fault whatever the address is.
    let done = unsafe {
        bpf_probe_read_kernel((&raw mut into).cast(), size_of::<T>() as u32, from as *const c_void)
    };
    (done == 0).then_some(into)
}

/// A socket that was looked up, and is held while something is done with it.
struct Held(*mut bpf_sock);

/// Works with the socket that a packet between these ends would reach, if there is one. The kernel wants it back on
/// every path; the verifier does not follow a `Drop` that the compiler has merged with another one.
#[inline(always)]
fn with_receiver(ctx: &TcContext, ends: &Ends, work: impl FnOnce(&Held)) {
    let mut tuple = Tuple::of(ends);
    // SAFETY: the tuple lives on this stack and has the size that says its family; the socket is given back once.
    unsafe {
        let of: *mut bpf_sock_tuple = tuple.as_mut_ptr();
        let socket = bpf_sk_lookup_tcp(ctx.skb.skb.cast(), of, tuple.size(), CURRENT_NAMESPACE, 0);
        if !socket.is_null() {
            work(&Held(socket));
            bpf_sk_release(socket.cast());
        }
    }
}

impl Held {
    #[inline(always)]
    fn is_paired(&self) -> bool {
        // SAFETY: a socket that the kernel has given to this program, and no value to copy.
        !unsafe {
            bpf_sk_storage_get((&raw const PAIRED).cast_mut().cast(), self.0.cast(), ptr::null_mut(), 0)
        }
        .is_null()
    }

    /// What is known of it, if it may be paired now.
    #[inline(always)]
    fn fresh_end(&self) -> Option<End> {
        if self.is_paired() {
            return None;
        }
        self.end().filter(|end| acceleration::is_lively(*end))
    }

    #[inline(always)]
    fn end(&self) -> Option<End> {
        // SAFETY: a full socket that the kernel has given to this program; the other pointer is checked for null.
        unsafe {
            let tcp = bpf_tcp_sock(self.0);
            if tcp.is_null() {
                return None;
            }
            let (sent, received) = ((*tcp).data_segs_out, (*tcp).data_segs_in);
            Some(End { state: (*self.0).state, owned: maps::is_owned(self.0), sent, received })
        }
    }

    /// Makes room for what it carries.
    #[inline(always)]
    fn paired(&self) -> Option<*mut Paired> {
        let map: *mut c_void = (&raw const PAIRED).cast_mut().cast();
        // SAFETY: a socket that the kernel has given to this program, and no value to copy.
        let place = unsafe {
            bpf_sk_storage_get(map, self.0.cast(), ptr::null_mut(), BPF_SK_STORAGE_GET_F_CREATE.into())
        };
        (!place.is_null()).then_some(place.cast())
    }

    #[inline(always)]
    fn put(&self, map: *mut c_void, key: &EndKey) -> bool {
        // SAFETY: the map takes sockets by this key, and the key lives on this stack.
        let put = unsafe {
            bpf_map_update_elem(
                map,
                ptr::from_ref(key).cast(),
                self.0.cast_const().cast(),
                BPF_NOEXIST.into(),
            )
        };
        put == 0
    }
}

/// Ingress of `lo`, beside [`super::pod::lo_ingress`]: pairs the two ends of a connection that has shown that it
/// lives. It changes nothing about the packet.
#[classifier]
pub(crate) fn pair(ctx: TcContext) -> i32 {
    let level = level(maps::slot());
    if level == Acceleration::Off {
        return TC_ACT_UNSPEC;
    }
    let packet = packet::read(&Skb(&ctx), Link::Ethernet);
    if packet.kind == Kind::Tcp && packet.payload && !packet.opens {
        // The lookups also look for listeners, by the word.
        maps::among_own_sockets(|| pair_ends(&ctx, &packet.ends, level));
    }
    TC_ACT_UNSPEC
}

#[inline(always)]
fn pair_ends(ctx: &TcContext, ends: &Ends, level: Acceleration) {
    let back =
        Ends { src: ends.dst, dst: ends.src, src_port: ends.dst_port, dst_port: ends.src_port, ..*ends };
    with_receiver(ctx, ends, |to| {
        let Some(to_end) = to.fresh_end() else { return };
        with_receiver(ctx, &back, |from| {
            let Some(from_end) = from.fresh_end() else { return };
            let done = match acceleration::side(to_end.owned, from_end.owned) {
                Some(Side::Mesh) => pair_sides(from, to, level),
                Some(Side::Application) => pair_sides(to, from, level),
                None => None,
            };
            if done.is_some() {
                log::say!("two ends are paired");
                maps::count(Counter::PairedEnds);
            }
        });
    });
}

/// First all that a receiver needs, then the sender: from that moment on its messages may take the other way.
#[inline(always)]
fn pair_sides(application: &Held, mesh: &Held, level: Acceleration) -> Option<()> {
    // SAFETY: has no precondition.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let paired_at = maps::now();
    let key = |side: Side| EndKey { paired_at, cpu, side: side as u32 };
    let (application_key, mesh_key) = (key(Side::Application), key(Side::Mesh));
    let (at_application, at_mesh) = (application.paired()?, mesh.paired()?);
    write(at_application, application, mesh, mesh_key);
    write(at_mesh, mesh, application, application_key);
    never_waits(at_application)?;
    mesh.put((&raw const RECEIVERS).cast_mut().cast(), &mesh_key).then_some(())?;
    set_floor(at_application)?;
    if level == Acceleration::Full {
        application.put((&raw const RECEIVERS).cast_mut().cast(), &application_key).then_some(())?;
        set_floor(at_mesh)?;
        mesh.put((&raw const SENDERS).cast_mut().cast(), &mesh_key).then_some(())?;
    }
    application.put((&raw const SENDERS).cast_mut().cast(), &application_key).then_some(())
}

#[inline(always)]
fn write(place: *mut Paired, own: &Held, peer: &Held, peer_key: EndKey) {
    // SAFETY: the kernel gave the place, which is this big, and nobody else knows of the sockets yet.
    unsafe {
        (*place).own = own.0 as u64;
        (*place).peer = peer.0 as u64;
        (*place).peer_key = peer_key;
        (*place).slot = maps::slot();
    }
}

#[inline(always)]
fn set_floor(place: *mut Paired) -> Option<()> {
    // SAFETY: as for `write`. Volatile, so that what is added to is a number and not the socket that was written.
    unsafe {
        let own = ptr::read_volatile(&raw const (*place).own);
        (*place).floor = read(own, KernelField::Written, 0u32)?;
    }
    Some(())
}

/// Whether nobody sleeps in a read of this socket: it is O_NONBLOCK. To one who does, the kernel answers EAGAIN where
/// TCP would go on waiting, as soon as the socket is in a map and anything wakes it: a signal, a reset, room to write.
#[inline(always)]
fn never_waits(place: *mut Paired) -> Option<()> {
    const O_NONBLOCK: u32 = 0o4000;
    // SAFETY: as for `set_floor`.
    let own = unsafe { ptr::read_volatile(&raw const (*place).own) };
    let socket = read(own, KernelField::Socket, 0u64)?;
    let file = read(socket, KernelField::File, 0u64)?;
    let flags = read(file, KernelField::Flags, 0u32)?;
    (flags & O_NONBLOCK != 0).then_some(())
}

/// Sees every message of the sockets in [`SENDERS`].
#[sk_msg]
pub(crate) fn accelerate(ctx: SkMsgContext) -> u32 {
    // SAFETY: plain reads of the context, which always has a socket; the place is checked for null, and only `pair`
    // has written it, before the socket came here.
    let paired = unsafe {
        let socket = (*ctx.msg).__bindgen_anon_3.sk;
        let place =
            bpf_sk_storage_get((&raw const PAIRED).cast_mut().cast(), socket.cast(), ptr::null_mut(), 0);
        let place: *const Paired = place.cast();
        if place.is_null() {
            return sk_action::SK_PASS;
        }
        *place
    };
    if let Some(moment) = moment(&paired)
        && acceleration::way(&moment) == Way::Queue
    {
        let mut key = paired.peer_key;
        let map: *mut c_void = (&raw const RECEIVERS).cast_mut().cast();
        // SAFETY: the map has this key, which lives on this stack.
        let done =
            unsafe { bpf_msg_redirect_hash(ctx.msg, map, (&raw mut key).cast(), BPF_F_INGRESS.into()) };
        // If the other end has closed meanwhile, TCP says so as it always does.
        if done == sk_action::SK_PASS.into() {
            maps::count(Counter::Accelerated);
        }
    }
    sk_action::SK_PASS
}

#[inline(always)]
fn moment(paired: &Paired) -> Option<Moment> {
    let sender = if paired.peer_key.side == Side::Mesh as u32 { Side::Application } else { Side::Mesh };
    let transformers = read(paired.own, KernelField::Transformer, 0u64)?
        | read(paired.peer, KernelField::Transformer, 0u64)?;
    Some(Moment {
        level: level(paired.slot),
        sender,
        written: read(paired.own, KernelField::Written, 0u32)?,
        floor: paired.floor,
        read: read(paired.peer, KernelField::Read, 0u32)?,
        waiting: read(paired.peer, KernelField::Waiting, 0u32)?,
        transformed: transformers != 0,
    })
}
