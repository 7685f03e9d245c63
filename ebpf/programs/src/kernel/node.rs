//! The programs outside the pods, loaded once a node.

use core::{mem, ptr};

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_sock_ops};
use aya_ebpf::macros::{classifier, sock_ops};
use aya_ebpf::programs::{SockOpsContext, TcContext};
use weft_ebpf_common::{Address, Counter, Family, Flow, SlotFlow};
use weft_ebpf_programs::packet::{self, Link};
use weft_ebpf_programs::verdict::{self, Known, Verdict};

use super::facts::{self, Skb};
use super::{log, maps};

/// `BPF_SOCK_OPS_TCP_CONNECT_CB`: before the SYN.
const CONNECT: u32 = 3;
/// `BPF_SOCK_OPS_STATE_CB`.
const STATE: u32 = 10;
/// `BPF_SOCK_OPS_STATE_CB_FLAG`.
const STATE_FLAG: u32 = 1 << 2;
/// `TCP_CLOSE`.
const CLOSED: u32 = 7;

/// Ingress of the host's end of a pod's veth.
#[classifier]
pub(crate) fn second_lock(ctx: TcContext) -> i32 {
    let packet = packet::read(&Skb(&ctx), Link::Ethernet);
    let sender = facts::sender(&ctx);
    if verdict::is_other_past_capture(&packet, sender) && maps::drops_others() {
        maps::count(Counter::DroppedSecondLock);
        return TC_ACT_SHOT as i32;
    }
    let verdict = verdict::second_lock(&packet, sender, |ends| {
        // SAFETY: a plain read of the context.
        match maps::slot_behind(unsafe { (*ctx.skb.skb).ifindex }) {
            Some(slot) => maps::known(&SlotFlow { slot, flow: verdict::leaving(ends) }),
            None => Known::No,
        }
    });
    match verdict {
        Verdict::Pass(_) | Verdict::Exempt | Verdict::Capture(_) => TC_ACT_UNSPEC,
        Verdict::Drop(counter) => {
            log::say!("the second lock drops {:i} {} > {:i} {}", packet.ends);
            maps::count(counter);
            TC_ACT_SHOT as i32
        }
    }
}

/// Notes the connections of the kubelet's cgroup to local pods, so that health probes pass.
#[sock_ops]
pub(crate) fn probe(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        CONNECT => connects(&ctx),
        STATE if ctx.arg(1) == CLOSED => closes(&ctx),
        _ => {}
    }
    1
}

#[inline(always)]
fn connects(ctx: &SockOpsContext) {
    let Some(flow) = flow(ctx) else { return };
    if !maps::is_local_pod(flow.local) {
        return;
    }
    maps::note_probe(&flow, 0);
    log::say!("a health probe begins");
    maps::count(Counter::NotedProbe);
    // Without the flag the entry stays until it is the oldest.
    let _ = ctx.set_cb_flags((ctx.cb_flags() | STATE_FLAG) as i32);
}

#[inline(always)]
fn closes(ctx: &SockOpsContext) {
    let Some(flow) = flow(ctx) else { return };
    if maps::is_noted(&flow) {
        maps::note_probe(&flow, maps::now());
    }
}

/// The connection as the pod sees it.
#[inline(always)]
fn flow(ctx: &SockOpsContext) -> Option<Flow> {
    // All is read before the branch, and volatile: otherwise the compiler merges the branches into one load at a
    // computed offset, which the verifier refuses for a context.
    let v4 = (Address::v4(word(ctx, REMOTE_V4)), Address::v4(word(ctx, LOCAL_V4)));
    let v6 = (v6(ctx, REMOTE_V6), v6(ctx, LOCAL_V6));
    let (pod, kubelet) = match verdict::family(ctx.family())? {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    Some(Flow {
        local: pod,
        remote: kubelet,
        // The kernel gives the remote port in network order in the upper half, the local one in host order.
        local_port: u32::from_be(ctx.remote_port()) as u16,
        remote_port: ctx.local_port() as u16,
    })
}

const REMOTE_V4: usize = mem::offset_of!(bpf_sock_ops, remote_ip4);
const LOCAL_V4: usize = mem::offset_of!(bpf_sock_ops, local_ip4);
const REMOTE_V6: usize = mem::offset_of!(bpf_sock_ops, remote_ip6);
const LOCAL_V6: usize = mem::offset_of!(bpf_sock_ops, local_ip6);

#[inline(always)]
fn v6(ctx: &SockOpsContext, offset: usize) -> Address {
    let [a, b, c, d] = word(ctx, offset);
    let [e, f, g, h] = word(ctx, offset + 4);
    let [i, j, k, l] = word(ctx, offset + 8);
    let [m, n, o, p] = word(ctx, offset + 12);
    Address::v6([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// Four bytes of the context.
#[inline(always)]
fn word(ctx: &SockOpsContext, offset: usize) -> [u8; 4] {
    // SAFETY: the offsets are those of words of the context.
    unsafe { ptr::read_volatile(ctx.ops.byte_add(offset).cast::<u32>()) }.to_ne_bytes()
}
