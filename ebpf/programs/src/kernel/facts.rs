//! What the library wants to know of a packet, fetched from the kernel.

use core::mem;

use aya_ebpf::bindings::bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 as TupleV6;
use aya_ebpf::bindings::{bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as TupleV4};
use aya_ebpf::helpers::generated::{
    bpf_get_listener_sock, bpf_sk_fullsock, bpf_sk_release, bpf_skb_load_bytes, bpf_skc_lookup_tcp,
};
use aya_ebpf::programs::TcContext;
use weft_ebpf_common::{Address, Family, Word};
use weft_ebpf_programs::packet::{Ends, Frame};
use weft_ebpf_programs::sender::{STATE_LISTEN, Sender, Socket};

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
    // The helper looks for listeners as well, and so runs this namespace's sk_lookup program.
    maps::write_word(Word::Leave);
    let mut tuple = Tuple::of(ends);
    // SAFETY: the tuple lives on this stack and has the size that says its family; the reference is released.
    unsafe {
        let socket =
            bpf_skc_lookup_tcp(ctx.skb.skb.cast(), tuple.as_mut_ptr(), tuple.size(), CURRENT_NAMESPACE, 0);
        if socket.is_null() {
            return false;
        }
        let state = (*socket).state;
        bpf_sk_release(socket.cast());
        state != STATE_LISTEN
    }
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
