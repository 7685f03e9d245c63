//! The indices of the per-CPU array of counters. The names are those of the metric's label.

/// What happened to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// A TCP packet of the pod was sent to the outbound listener or to the mesh's half of a connection.
    CapturedTcp,
    /// A DNS query of the pod was sent to the DNS listener.
    CapturedDns,
    /// A connection was given to the outbound listener.
    ChosenOutbound,
    /// A connection was given to the inbound listener.
    ChosenInbound,
    /// A datagram was given to the DNS listener.
    ChosenDns,
    /// Sent by the mesh's own socket.
    PassedMesh,
    /// Belongs to a connection older than the enrolment, or to an exclusion.
    PassedExempt,
    /// Belongs to a noted health probe.
    PassedProbe,
    /// Sent by the kernel itself, without payload.
    PassedEmpty,
    /// A DNS answer whose source port was set back.
    AnsweredDns,
    /// The kubelet opened a connection to a local pod.
    NotedProbe,
    /// Could not be read as IP, or is a fragment of TCP.
    DroppedUnreadable,
    /// There was no listener to give it to.
    DroppedNoListener,
    /// Stopped on the host's end of the veth.
    DroppedSecondLock,
    /// A helper of the kernel refused; the packet was dropped.
    DroppedFailed,
    /// A datagram for a port that is the mesh's own.
    DroppedMeshPort,
    /// Neither TCP nor DNS, and the node's setting says that nothing else leaves a pod.
    DroppedOther,
    /// The two ends of a connection between an application and its proxy were paired.
    PairedEnds,
    /// A message went past TCP to the other end.
    Accelerated,
}

/// Every counter with its name, in the order of the array.
pub const COUNTERS: [(Counter, &str); 19] = [
    (Counter::CapturedTcp, "captured_tcp"),
    (Counter::CapturedDns, "captured_dns"),
    (Counter::ChosenOutbound, "chosen_outbound"),
    (Counter::ChosenInbound, "chosen_inbound"),
    (Counter::ChosenDns, "chosen_dns"),
    (Counter::PassedMesh, "passed_mesh"),
    (Counter::PassedExempt, "passed_exempt"),
    (Counter::PassedProbe, "passed_probe"),
    (Counter::PassedEmpty, "passed_empty"),
    (Counter::AnsweredDns, "answered_dns"),
    (Counter::NotedProbe, "noted_probe"),
    (Counter::DroppedUnreadable, "dropped_unreadable"),
    (Counter::DroppedNoListener, "dropped_no_listener"),
    (Counter::DroppedSecondLock, "dropped_second_lock"),
    (Counter::DroppedFailed, "dropped_failed"),
    (Counter::DroppedMeshPort, "dropped_mesh_port"),
    (Counter::DroppedOther, "dropped_other"),
    (Counter::PairedEnds, "paired_ends"),
    (Counter::Accelerated, "accelerated"),
];

const _: () = {
    let mut index = 0;
    while index < COUNTERS.len() {
        assert!(COUNTERS[index].0 as usize == index, "the table stands in the order of the enum");
        index += 1;
    }
};
