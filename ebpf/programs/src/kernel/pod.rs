//! The programs inside a pod's namespace, one copy per pod.

use core::mem;

use aya_ebpf::bindings::{BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, TC_ACT_SHOT, TC_ACT_UNSPEC, sk_action};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::{classifier, sk_lookup};
use aya_ebpf::programs::{SkLookupContext, TcContext};
use weft_ebpf_common::{
    CAPTURE_MARK, Counter, DNS_LISTENER_PORT, DNS_PORT, Family, LOOPBACK_INDEX, SlotFlow, Word,
};
use weft_ebpf_programs::packet::{self, ETHERNET_LEN, Link};
use weft_ebpf_programs::verdict::{self, Choice, Known, Transport, Verdict};

use super::facts::{self, Skb};
use super::{log, maps};

/// `PACKET_HOST`.
const PACKET_HOST: u32 = 0;
/// Where a UDP header keeps its checksum.
const UDP_CHECKSUM: usize = 6;

const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

/// Egress of a device with Ethernet frames.
#[classifier]
pub(crate) fn egress(ctx: TcContext) -> i32 {
    leave(&ctx, Link::Ethernet)
}

/// Egress of a device whose frames begin with IP.
#[classifier]
pub(crate) fn egress_bare(ctx: TcContext) -> i32 {
    leave(&ctx, Link::Bare)
}

#[inline(always)]
fn leave(ctx: &TcContext, link: Link) -> i32 {
    let packet = packet::read(&Skb(ctx), link);
    let sender = facts::sender(ctx);
    if verdict::is_other(&packet, sender) && maps::drops_others() {
        maps::count(Counter::DroppedOther);
        return TC_ACT_SHOT as i32;
    }
    // Once for all that asks for it: there is not much of a stack.
    let flow = SlotFlow { slot: maps::slot(), flow: verdict::leaving(&packet.ends) };
    let verdict = verdict::egress(
        &packet,
        sender,
        || maps::phase(maps::slot()),
        |_| maps::known_leaving(&flow, packet.opens),
        |ends| facts::received_here(ctx, ends),
    );
    match verdict {
        Verdict::Pass(counter) => {
            if let Some(counter) = counter {
                log::say!("egress passes {:i} {} > {:i} {}", packet.ends);
                maps::count(counter);
            }
            TC_ACT_UNSPEC
        }
        // Says nothing, for the stack's sake.
        Verdict::Exempt if maps::exempt_established(&flow) => {
            maps::count(Counter::PassedExempt);
            TC_ACT_UNSPEC
        }
        Verdict::Exempt => {
            maps::count(Counter::DroppedFailed);
            TC_ACT_SHOT as i32
        }
        Verdict::Drop(counter) => {
            log::say!("egress drops {:i} {} > {:i} {}", packet.ends);
            maps::count(counter);
            TC_ACT_SHOT as i32
        }
        Verdict::Capture(counter) => {
            log::say!("egress captures {:i} {} > {:i} {}", packet.ends);
            maps::count(counter);
            capture(ctx, link)
        }
    }
}

/// Sends a packet to the ingress of `lo`, marked.
#[inline(always)]
fn capture(ctx: &TcContext, link: Link) -> i32 {
    if link == Link::Bare && add_ethernet(ctx).is_none() {
        maps::count(Counter::DroppedFailed);
        return TC_ACT_SHOT as i32;
    }
    ctx.set_mark(CAPTURE_MARK);
    // SAFETY: only asks the kernel to do it after this program.
    unsafe { bpf_redirect(LOOPBACK_INDEX, u64::from(BPF_F_INGRESS)) as i32 }
}

/// `lo` reads an Ethernet header; only its type counts.
#[inline(always)]
fn add_ethernet(ctx: &TcContext) -> Option<()> {
    // SAFETY: a plain read of the context.
    let protocol = unsafe { (*ctx.skb.skb).protocol } as u16;
    // SAFETY: the helper checks its arguments.
    let grown =
        unsafe { aya_ebpf::helpers::generated::bpf_skb_change_head(ctx.skb.skb, ETHERNET_LEN as u32, 0) };
    if grown != 0 {
        return None;
    }
    ctx.store(ETHERNET_LEN - 2, &protocol, 0).ok()
}

/// Ingress of a device, however its frames begin.
#[classifier]
pub(crate) fn arrive(_ctx: TcContext) -> i32 {
    maps::write_word(Word::Arrived);
    TC_ACT_UNSPEC
}

/// Ingress of `lo`.
#[classifier]
pub(crate) fn lo_ingress(ctx: TcContext) -> i32 {
    // SAFETY: a plain read of the context.
    let word = verdict::loopback_word(unsafe { (*ctx.skb.skb).mark });
    if word == Word::Sent && ctx.change_type(PACKET_HOST).is_err() {
        maps::count(Counter::DroppedFailed);
        return TC_ACT_SHOT as i32;
    }
    maps::write_word(word);
    TC_ACT_UNSPEC
}

/// Egress of `lo`: gives the mesh's DNS answers the port that was asked.
#[classifier]
pub(crate) fn lo_egress(ctx: TcContext) -> i32 {
    // SAFETY: a plain read of the context. A packet without a socket is nobody's answer.
    if unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk }.is_null() {
        return TC_ACT_UNSPEC;
    }
    let packet = packet::read(&Skb(&ctx), Link::Ethernet);
    if packet.ends.src_port != DNS_LISTENER_PORT || !verdict::is_dns_answer(&packet, facts::sender(&ctx)) {
        return TC_ACT_UNSPEC;
    }
    match answer(&ctx, packet.header) {
        Ok(()) => {
            maps::count(Counter::AnsweredDns);
            TC_ACT_UNSPEC
        }
        Err(_) => {
            maps::count(Counter::DroppedFailed);
            TC_ACT_SHOT as i32
        }
    }
}

/// The checksum is left to the device here (CHECKSUM_PARTIAL), where the helper rightly does nothing; it is corrected
/// where it is complete.
#[inline(always)]
fn answer(ctx: &TcContext, header: usize) -> Result<(), aya_ebpf::cty::c_long> {
    let from = u64::from(DNS_LISTENER_PORT.to_be());
    let to = u64::from(DNS_PORT.to_be());
    let flags = mem::size_of::<u16>() as u64 | u64::from(BPF_F_MARK_MANGLED_0);
    ctx.l4_csum_replace(header + UDP_CHECKSUM, from, to, flags)?;
    ctx.store(header, &DNS_PORT.to_be(), 0)
}

/// The socket lookup of the pod's namespace.
#[sk_lookup]
pub(crate) fn choose(ctx: SkLookupContext) -> u32 {
    // SAFETY: plain reads of the context.
    let (af, protocol, local_port) =
        unsafe { ((*ctx.lookup).family, (*ctx.lookup).protocol, (*ctx.lookup).local_port) };
    let transport = match protocol {
        IPPROTO_TCP => Transport::Tcp,
        IPPROTO_UDP => Transport::Udp,
        _ => return sk_action::SK_PASS,
    };
    let left_alone = || {
        let slot = maps::slot();
        let known = || facts::looked_up(&ctx).map_or(Known::No, |flow| maps::known(&SlotFlow { slot, flow }));
        verdict::is_left_alone(|| maps::phase(slot), known)
    };
    match verdict::choose(maps::read_word(), transport, local_port as u16, left_alone) {
        Choice::Kernel => sk_action::SK_PASS,
        Choice::Nobody => {
            maps::count(Counter::DroppedFailed);
            sk_action::SK_DROP
        }
        Choice::MeshPort => {
            maps::count(Counter::DroppedMeshPort);
            sk_action::SK_DROP
        }
        Choice::Listener(kind) => {
            let family: Option<Family> = verdict::family(af);
            let given = family.is_some_and(|family| maps::assign(&ctx, kind.index(maps::slot(), family)));
            if given {
                log::say!("a connection reaches a listener of the mesh");
                maps::count(verdict::chosen(kind));
                sk_action::SK_PASS
            } else {
                log::say!("a connection finds no listener of the mesh");
                maps::count(Counter::DroppedNoListener);
                sk_action::SK_DROP
            }
        }
    }
}
