//! What the library wants to know of a packet, fetched from the kernel.

use core::{mem, ptr};

use aya_ebpf::bindings::bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as TupleV6;
use aya_ebpf::bindings::{bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as TupleV4};
use aya_ebpf::helpers::generated::{
    bpf_get_listener_sock, bpf_sk_fullsock, bpf_sk_release, bpf_skb_load_bytes, bpf_skc_lookup_tcp,
};
use aya_ebpf::programs::{SkLookupContext, TcContext};
use weft_ebpf_common::{Address, Family, Flow};
use weft_ebpf_programs::packet::{Ends, Frame};
use weft_ebpf_programs::sender::{STATE_LISTEN, Sender, Socket};
use weft_ebpf_programs::verdict;

use super::maps;

/// `BPF_F_CURRENT_NETNS`.
pub(super) const CURRENT_NAMESPACE: u64 = -1i32 as u64;

/// A packet's bytes.
pub(super) struct Skb<'a>(pub(super) &'a TcContext);

impl Frame for Skb<'_> {
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = [0u8; N];
        // SAFETY: the helper checks the offset against the packet and writes exactly `N` bytes.
        let result = unsafe {
            bpf_skb_load_bytes(self.0.skb.skb.cast(), offset as u32, bytes.as_mut_ptr().cast(), N as u32)
        };
        (result == 0).then_some(bytes)
    }
}

/// Who sent the packet.
#[inline(always)]
pub(super) fn sender(ctx: &TcContext) -> Sender {
    Sender::of(socket(ctx))
}

#[inline(always)]
fn socket(ctx: &TcContext) -> Socket {
    // SAFETY: the context is the kernel's and outlives the program; each pointer is checked for null before use.
    unsafe {
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return Socket::None;
        }
        let full = bpf_sk_fullsock(socket);
        if !full.is_null() {
            return Socket::Full {
                family: (*full).family,
                kind: (*full).type_,
                protocol: (*full).protocol,
                owned: maps::is_owned(full),
            };
        }
        let state = (*socket).state;
        let listener = bpf_get_listener_sock(socket);
        let listener_owned = !listener.is_null() && maps::is_owned(listener);
        Socket::Mini { state, listener_owned }
    }
}

/// Whether a socket of this namespace that does not listen would receive a segment with these ends.
#[inline(always)]
pub(super) fn received_here(ctx: &TcContext, ends: &Ends) -> bool {
    let mut tuple = Tuple::of(ends);
    // The helper looks for listeners as well, and so runs this namespace's sk_lookup program.
    maps::among_own_sockets(|| {
        // SAFETY: the tuple lives on this stack and has the size that says its family; the reference is released.
        unsafe {
            let socket = bpf_skc_lookup_tcp(
                ctx.skb.skb.cast(),
                tuple.as_mut_ptr(),
                tuple.size(),
                CURRENT_NAMESPACE,
                0,
            );
            if socket.is_null() {
                return false;
            }
            let state = (*socket).state;
            bpf_sk_release(socket.cast());
            state != STATE_LISTEN
        }
    })
}

/// The flow that a lookup of this namespace is about.
#[inline(always)]
pub(super) fn looked_up(ctx: &SkLookupContext) -> Option<Flow> {
    let of = ctx.lookup;
    // All is read before the branch, and volatile: otherwise the compiler merges the branches into one load at a
    // computed offset, which the verifier refuses for a context.
    // SAFETY: plain reads of the context.
    let (family, local_v4, remote_v4, local_v6, remote_v6, local_port, remote_port) = unsafe {
        (
            ptr::read_volatile(&raw const (*of).family),
            ptr::read_volatile(&raw const (*of).local_ip4),
            ptr::read_volatile(&raw const (*of).remote_ip4),
            words(&raw const (*of).local_ip6),
            words(&raw const (*of).remote_ip6),
            ptr::read_volatile(&raw const (*of).local_port),
            ptr::read_volatile(&raw const (*of).remote_port),
        )
    };
    let (local, remote) = match verdict::family(family)? {
        Family::V4 => (Address::v4(local_v4.to_ne_bytes()), Address::v4(remote_v4.to_ne_bytes())),
        Family::V6 => (from_words(local_v6), from_words(remote_v6)),
    };
    // The kernel gives the local port in host order, the other one in network order.
    Some(Flow { local, remote, local_port: local_port as u16, remote_port: u16::from_be(remote_port) })
}

/// # Safety
/// The words must be those of a context.
#[inline(always)]
unsafe fn words(of: *const [u32; 4]) -> [u32; 4] {
    let of: *const u32 = of.cast();
    // SAFETY: as the caller says; each word by itself, as a context is read.
    unsafe {
        [
            ptr::read_volatile(of),
            ptr::read_volatile(of.add(1)),
            ptr::read_volatile(of.add(2)),
            ptr::read_volatile(of.add(3)),
        ]
    }
}

#[inline(always)]
fn from_words(words: [u32; 4]) -> Address {
    // SAFETY: both are sixteen bytes, in network order.
    Address::v6(unsafe { mem::transmute::<[u32; 4], [u8; 16]>(words) })
}

/// Both ends of a segment, as the kernel wants them for a lookup of its receiver.
pub(super) struct Tuple {
    tuple: bpf_sock_tuple,
    family: Family,
}

impl Tuple {
    #[inline(always)]
    pub(super) fn of(ends: &Ends) -> Self {
        // SAFETY: all zeros is a tuple.
        let mut tuple: bpf_sock_tuple = unsafe { mem::zeroed() };
        match ends.family {
            Family::V4 => {
                tuple.__bindgen_anon_1.ipv4 = TupleV4 {
                    saddr: v4(ends.src),
                    daddr: v4(ends.dst),
                    sport: ends.src_port.to_be(),
                    dport: ends.dst_port.to_be(),
                };
            }
            Family::V6 => {
                tuple.__bindgen_anon_1.ipv6 = TupleV6 {
                    saddr: v6(ends.src),
                    daddr: v6(ends.dst),
                    sport: ends.src_port.to_be(),
                    dport: ends.dst_port.to_be(),
                };
            }
        }
        Self { tuple, family: ends.family }
    }

    #[inline(always)]
    pub(super) fn as_mut_ptr(&mut self) -> *mut bpf_sock_tuple {
        &mut self.tuple
    }

    /// It says the family.
    #[inline(always)]
    pub(super) fn size(&self) -> u32 {
        match self.family {
            Family::V4 => mem::size_of::<TupleV4>() as u32,
            Family::V6 => mem::size_of::<TupleV6>() as u32,
        }
    }
}

#[inline(always)]
fn v4(address: Address) -> u32 {
    let [.., a, b, c, d] = address.0;
    u32::from_ne_bytes([a, b, c, d])
}

#[inline(always)]
fn v6(address: Address) -> [u32; 4] {
    // SAFETY: both are sixteen bytes, in network order.
    unsafe { mem::transmute(address.0) }
}
