//! The verdicts of each attach point. Facts that cost a lookup come as closures, so that a packet pays only for what
//! its verdict needs.

use weft_ebpf_common::{
    CAPTURE_MARK, Counter, DNS_LISTENER_PORT, DNS_PORT, Exemption, Family, Flow, ListenerKind,
    PROBE_LINGER_NANOS, Phase, TUNNEL_PORT, Word,
};

use crate::packet::{Ends, Kind, Packet};
use crate::sender::Sender;

/// What a device's egress program, or the second lock, does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on as it is; counted if worth it.
    Pass(Option<Counter>),
    /// Goes on, and so does what follows it: its connection is older than the capture.
    Exempt,
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
    /// An [`Exemption`].
    Established,
    /// An [`Exemption`].
    Excluded,
    /// A health probe.
    Probe,
    /// A health probe whose socket has just closed.
    ProbeEnding,
}

impl Known {
    /// From the value in the map of exemptions. Whatever it is, the weakest of them is meant.
    #[inline(always)]
    #[must_use]
    pub fn exempt(reason: u32) -> Self {
        if reason == Exemption::Excluded as u32 { Self::Excluded } else { Self::Established }
    }

    /// From the value in the map of probes: zero while the kubelet's socket lives, then the time of its end. Both are
    /// nanoseconds since boot.
    #[inline(always)]
    #[must_use]
    pub fn probe(gone_at: u64, now: u64) -> Self {
        if gone_at == 0 {
            Self::Probe
        } else if now.wrapping_sub(gone_at) < PROBE_LINGER_NANOS {
            Self::ProbeEnding
        } else {
            Self::No
        }
    }

    /// The counter under which this segment is let through, if it is. The numbers of an old connection or a probe may
    /// be taken again, and the new connection is neither.
    #[inline(always)]
    #[must_use]
    pub fn passes(self, opens: bool) -> Option<Counter> {
        match (self, opens) {
            (Self::No, _) | (Self::Established | Self::ProbeEnding, true) => None,
            (Self::Excluded, _) | (Self::Established, false) => Some(Counter::PassedExempt),
            (Self::Probe, _) | (Self::ProbeEnding, false) => Some(Counter::PassedProbe),
        }
    }
}

/// The flow of a packet that leaves the pod.
#[inline(always)]
#[must_use]
pub fn leaving(ends: &Ends) -> Flow {
    Flow { local: ends.src, remote: ends.dst, local_port: ends.src_port, remote_port: ends.dst_port }
}

/// Egress of the pod's devices. `received_here` says whether a socket of this namespace that does not listen is the
/// segment's receiver: then it is one half of a connection whose other half the mesh holds.
#[inline(always)]
pub fn egress(
    packet: &Packet,
    sender: Sender,
    phase: impl FnOnce() -> Phase,
    known: impl FnOnce(&Ends) -> Known,
    received_here: impl FnOnce(&Ends) -> bool,
) -> Verdict {
    match (packet.kind, sender) {
        (Kind::NotIp | Kind::Other | Kind::Signal, _) => Verdict::Pass(None),
        (Kind::Unreadable | Kind::TcpFragment | Kind::Tcp | Kind::Udp, Sender::Mesh) => {
            Verdict::Pass(Some(Counter::PassedMesh))
        }
        (Kind::Unreadable | Kind::TcpFragment, _) => Verdict::Drop(Counter::DroppedUnreadable),
        (Kind::Udp, _) if packet.ends.dst_port == DNS_PORT => Verdict::Capture(Counter::CapturedDns),
        (Kind::Udp, _) => Verdict::Pass(None),
        (Kind::Tcp, sender) => {
            if let Some(counter) = known(&packet.ends).passes(packet.opens) {
                return Verdict::Pass(Some(counter));
            }
            let empty = is_kernels_own(packet, sender);
            let goes_on = !packet.opens && phase() == Phase::Joining;
            if (empty || goes_on) && !received_here(&packet.ends) {
                return if empty { Verdict::Pass(Some(Counter::PassedEmpty)) } else { Verdict::Exempt };
            }
            Verdict::Capture(Counter::CapturedTcp)
        }
    }
}

/// Egress of the pod's devices: whether the mesh has no part in this packet, so that a setting decides if it leaves.
/// Without ARP, neighbour discovery and path MTU the mesh's own packets would not get far either.
#[inline(always)]
#[must_use]
pub fn is_other(packet: &Packet, sender: Sender) -> bool {
    match (packet.kind, sender) {
        (_, Sender::Mesh) => false,
        (Kind::Other, _) => true,
        (Kind::Udp, _) => packet.ends.dst_port != DNS_PORT,
        (Kind::NotIp | Kind::Signal | Kind::Unreadable | Kind::TcpFragment | Kind::Tcp, _) => false,
    }
}

/// The same at the host's end of the pod's veth. What is captured does not come there, DNS included.
#[inline(always)]
#[must_use]
pub fn is_other_past_capture(packet: &Packet, sender: Sender) -> bool {
    sender != Sender::Mesh && matches!(packet.kind, Kind::Other | Kind::Udp)
}

/// RST, TIME_WAIT's ACK, SYN-ACK with a cookie: nothing of an application's is in them, and they open nothing.
#[inline(always)]
fn is_kernels_own(packet: &Packet, sender: Sender) -> bool {
    sender == Sender::Kernel && !packet.payload && !packet.opens
}

/// Ingress of the host's end of a pod's veth: what reaches it past the programs inside goes no further.
#[inline(always)]
pub fn second_lock(packet: &Packet, sender: Sender, known: impl FnOnce(&Ends) -> Known) -> Verdict {
    match (packet.kind, sender) {
        (Kind::NotIp | Kind::Other | Kind::Signal | Kind::Udp, _) | (_, Sender::Mesh) => Verdict::Pass(None),
        (Kind::Unreadable | Kind::TcpFragment, _) => Verdict::Drop(Counter::DroppedSecondLock),
        (Kind::Tcp, sender) => {
            if is_kernels_own(packet, sender) || known(&packet.ends).passes(packet.opens).is_some() {
                return Verdict::Pass(None);
            }
            Verdict::Drop(Counter::DroppedSecondLock)
        }
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
pub fn is_dns_answer(packet: &Packet, sender: Sender) -> bool {
    packet.kind == Kind::Udp && packet.ends.src_port == DNS_LISTENER_PORT && sender == Sender::Mesh
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
    /// Nobody: the port is the mesh's own, and is not asked for.
    MeshPort,
}

/// The socket lookup of a pod's namespace. It runs only for what is delivered locally, so a packet that the pod
/// forwards never comes here; hence the destination need not be compared with the pod's addresses, and an address
/// that nobody told the agent of (link-local, a second network) is guarded as well.
///
/// `left_alone` says whether what is looked up passes by the mesh ([`is_left_alone`]); it is asked only for TCP that came in
/// from outside.
#[inline(always)]
#[must_use]
pub fn choose(
    word: Option<Word>,
    transport: Transport,
    local_port: u16,
    left_alone: impl FnOnce() -> bool,
) -> Choice {
    match (word, transport, local_port) {
        (None, _, _) => Choice::Nobody,
        // Queries reach that listener by the port that they were sent to. Whoever asks for its own would have the pod's
        // proxy resolve names for him, also from outside.
        (Some(_), Transport::Udp, DNS_LISTENER_PORT) => Choice::MeshPort,
        (Some(Word::Sent), Transport::Tcp, _) => Choice::Listener(ListenerKind::Outbound),
        (Some(Word::Sent), Transport::Udp, DNS_PORT) => Choice::Listener(ListenerKind::Dns),
        (Some(Word::Arrived), Transport::Tcp, TUNNEL_PORT) => Choice::Kernel,
        (Some(Word::Arrived), Transport::Tcp, _) => {
            if left_alone() {
                Choice::Kernel
            } else {
                Choice::Listener(ListenerKind::Inbound)
            }
        }
        (Some(Word::Sent | Word::Arrived), Transport::Udp, _) | (Some(Word::Leave), _, _) => Choice::Kernel,
    }
}

/// Whether TCP that came in from outside is the application's own: the pod is still joining, or the flow is exempt or a
/// probe's. Asked of the lookup's own numbers, not by the word: where a device hands packets up in batches, the ingress
/// program has seen all of a batch before the first of them is looked up.
///
/// It counts as a segment that opens a connection. Others find their socket and are not looked up here; one that finds none
/// is answered with an RST, whoever gets it.
#[inline(always)]
#[must_use]
pub fn is_left_alone(phase: impl FnOnce() -> Phase, known: impl FnOnce() -> Known) -> bool {
    const OPENS: bool = true;
    phase() == Phase::Joining || known().passes(OPENS).is_some()
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
