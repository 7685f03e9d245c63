//! What the eBPF programs and the process that loads them must agree on: ports, marks, the keys and values of the maps.
//! No decision lives here, and no feature: a `user` feature would be unified into the kernel's build.
#![no_std]

mod acceleration;
mod counter;
mod layout;

pub use acceleration::{
    Acceleration, EndKey, KERNEL_FIELDS, KernelField, LIVELY_SEGMENTS, Paired, QUEUE_BYTES_MAX, Side,
};
pub use counter::{COUNTERS, Counter};
pub use layout::{
    Address, Exemption, Family, Flow, LISTENERS_PER_POD, Layout, ListenerKind, OBJECT_NAME_MAX, Phase,
    PodRecord, SlotAddress, SlotFlow, Word,
};

/// Where the outbound listener of every pod waits for what the pod sends.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where the inbound listener of every pod waits for what reaches the pod in plain text.
pub const INBOUND_PORT: u16 = 15006;
/// Where the inbound tunnel listener of every pod waits. Capture leaves it alone.
pub const TUNNEL_PORT: u16 = 15008;
/// Where the DNS listener of every pod waits. Its answers leave with [`DNS_PORT`] as their source.
pub const DNS_LISTENER_PORT: u16 = 15053;
/// The port of DNS.
pub const DNS_PORT: u16 = 53;

/// The mark on a captured packet between its redirection and its delivery ("WEFT"). It chooses the route, and proves
/// nothing: ownership is socket storage.
pub const CAPTURE_MARK: u32 = 0x5745_4654;
/// The routing table of a pod's namespace that delivers marked packets locally.
pub const CAPTURE_TABLE: u32 = 0x5745_4654;
/// The priority of the rule that leads there: before everything that a CNI or an operator adds, after `local`.
pub const CAPTURE_RULE_PRIORITY: u32 = 1;

/// The index of `lo`, the same in every network namespace.
pub const LOOPBACK_INDEX: u32 = 1;

/// How long the packets of a health probe still pass after the kubelet's socket has closed: the last segments of the
/// pod arrive behind it. Opening a connection does not pass on it.
pub const PROBE_LINGER_NANOS: u64 = 2_000_000_000;
