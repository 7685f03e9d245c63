//! The verdicts of each attach point. Facts that cost a lookup come as closures, so that a packet pays only for what
//! its verdict needs.

use weft_ebpf_common::{
    CAPTURE_MARK, Counter, DNS_LISTENER_PORT, DNS_PORT, Exemption, Family, Flow, ListenerKind,
    PROBE_LINGER_NANOS, TUNNEL_PORT, Word,
};

use crate::packet::{Datagram, Ends, Packet, Segment};
use crate::sender::Sender;

/// What a device's egress program, or the second lock, does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on as it is; counted if worth it.
    Pass(Option<Counter>),
    /// Is marked and sent to `lo`.
    Capture(Counter),
    /// Goes no further.
    Drop(Counter),
}

/// What is known of a flow that capture leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    No,
    /// It stands in the pod's map of exemptions.
    Exempt(Exemption),
    /// A health probe. `gone_at` is zero while the kubelet's socket lives.
    Probe {
        /// When its socket closed, in nanoseconds since boot.
        gone_at: u64,
        /// Now, on the same clock.
        now: u64,
    },
}

impl Known {
    /// The counter under which this segment is let through, if it is.
    #[inline(always)]
    #[must_use]
    pub fn passes(self, segment: &Segment) -> Option<Counter> {
        match self {
            Self::No => None,
            Self::Exempt(Exemption::Excluded) => Some(Counter::PassedExempt),
            // An old connection's four numbers may be taken again; the new one is not old.
            Self::Exempt(Exemption::Established) => (!segment.opens).then_some(Counter::PassedExempt),
            Self::Probe { gone_at: 0, .. } => Some(Counter::PassedProbe),
            Self::Probe { gone_at, now } => {
                let lingers = now.wrapping_sub(gone_at) < PROBE_LINGER_NANOS;
                (lingers && !segment.opens).then_some(Counter::PassedProbe)
            }
        }
    }
}

/// The flow of a packet that leaves the pod.
#[inline(always)]
#[must_use]
pub fn leaving(ends: &Ends) -> Flow {
    Flow { local: ends.src, remote: ends.dst, local_port: ends.src_port, remote_port: ends.dst_port }
}

/// The flow of a packet that reaches the pod.
#[inline(always)]
#[must_use]
pub fn arriving(ends: &Ends) -> Flow {
    Flow { local: ends.dst, remote: ends.src, local_port: ends.dst_port, remote_port: ends.src_port }
}

/// Egress of the pod's devices. `received_here` says whether a socket of this namespace that does not listen is the
/// segment's receiver: then it is one half of a connection whose other half the mesh holds.
#[inline(always)]
pub fn egress(
    packet: &Packet,
    sender: Sender,
    known: impl FnOnce(&Segment) -> Known,
    received_here: impl FnOnce(&Segment) -> bool,
) -> Verdict {
    match (packet, sender) {
        (Packet::NotIp | Packet::Other, _) => Verdict::Pass(None),
        (Packet::Unreadable | Packet::TcpFragment | Packet::Tcp(_) | Packet::Udp(_), Sender::Mesh) => {
            Verdict::Pass(Some(Counter::PassedMesh))
        }
        (Packet::Unreadable | Packet::TcpFragment, _) => Verdict::Drop(Counter::DroppedUnreadable),
        (Packet::Udp(datagram), _) => egress_udp(datagram),
        (Packet::Tcp(segment), sender) => {
            if let Some(counter) = known(segment).passes(segment) {
                return Verdict::Pass(Some(counter));
            }
            let empty = sender == Sender::Kernel && !segment.payload && !segment.opens;
            if empty && !received_here(segment) {
                return Verdict::Pass(Some(Counter::PassedEmpty));
            }
            Verdict::Capture(Counter::CapturedTcp)
        }
    }
}

#[inline(always)]
fn egress_udp(datagram: &Datagram) -> Verdict {
    match datagram.ends.dst_port {
        DNS_PORT => Verdict::Capture(Counter::CapturedDns),
        _ => Verdict::Pass(None),
    }
}

/// Ingress of the host's end of a pod's veth: what reaches it past the programs inside goes no further.
#[inline(always)]
pub fn second_lock(packet: &Packet, sender: Sender, known: impl FnOnce(&Segment) -> Known) -> Verdict {
    match (packet, sender) {
        (Packet::NotIp | Packet::Other | Packet::Udp(_), _) | (_, Sender::Mesh) => Verdict::Pass(None),
        (Packet::Unreadable | Packet::TcpFragment, _) => Verdict::Drop(Counter::DroppedSecondLock),
        (Packet::Tcp(segment), sender) => {
            if sender == Sender::Kernel && !segment.payload && !segment.opens {
                return Verdict::Pass(None);
            }
            match known(segment).passes(segment) {
                Some(_) => Verdict::Pass(None),
                None => Verdict::Drop(Counter::DroppedSecondLock),
            }
        }
    }
}

/// Ingress of the pod's devices: the word for the lookup of the same packet.
#[inline(always)]
pub fn device_word(packet: &Packet, known: impl FnOnce(&Segment) -> Known) -> Word {
    match packet {
        Packet::Tcp(segment) if known(segment).passes(segment).is_some() => Word::Leave,
        _ => Word::Arrived,
    }
}

/// Ingress of `lo`: the word for the lookup of the same packet.
#[inline(always)]
#[must_use]
pub fn loopback_word(mark: u32) -> Word {
    if mark == CAPTURE_MARK { Word::Sent } else { Word::Leave }
}

/// Egress of `lo`: whether this is a DNS answer of the mesh, which must seem to come from the server that was asked.
#[inline(always)]
#[must_use]
pub fn is_dns_answer(datagram: &Datagram, sender: Sender) -> bool {
    sender == Sender::Mesh && datagram.ends.src_port == DNS_LISTENER_PORT
}

/// The transport of a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Who gets what no connected socket claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The kernel's own lookup decides.
    Kernel,
    /// The pod's listener of this kind, or nobody.
    Listener(ListenerKind),
    /// Nobody: there is no word to go by.
    Nobody,
}

/// The socket lookup of a pod's namespace. It runs only for what is delivered locally, so a packet that the pod
/// forwards never comes here; hence the destination need not be compared with the pod's addresses, and an address
/// that nobody told the agent of (link-local, a second network) is guarded as well.
#[inline(always)]
#[must_use]
pub fn choose(word: Option<Word>, transport: Transport, local_port: u16) -> Choice {
    match (word, transport, local_port) {
        (None, _, _) => Choice::Nobody,
        (Some(Word::Sent), Transport::Tcp, _) => Choice::Listener(ListenerKind::Outbound),
        (Some(Word::Sent), Transport::Udp, DNS_PORT) => Choice::Listener(ListenerKind::Dns),
        (Some(Word::Arrived), Transport::Tcp, TUNNEL_PORT) => Choice::Kernel,
        (Some(Word::Arrived), Transport::Tcp, _) => Choice::Listener(ListenerKind::Inbound),
        (Some(Word::Sent | Word::Arrived), Transport::Udp, _) | (Some(Word::Leave), _, _) => Choice::Kernel,
    }
}

/// The counter of a chosen listener.
#[inline(always)]
#[must_use]
pub fn chosen(kind: ListenerKind) -> Counter {
    match kind {
        ListenerKind::Outbound => Counter::ChosenOutbound,
        ListenerKind::Inbound => Counter::ChosenInbound,
        ListenerKind::Dns => Counter::ChosenDns,
    }
}

/// The family of a lookup, from its `AF_…`.
#[inline(always)]
#[must_use]
pub fn family(af: u32) -> Option<Family> {
    match af {
        2 => Some(Family::V4),
        10 => Some(Family::V6),
        _ => None,
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
