//! Keys and values of the maps. All have a fixed layout, without padding, valid for every bit pattern.

/// May cross the border between kernel and user space as plain bytes.
///
/// # Safety
/// The type must be `repr(C)` or `repr(transparent)`, have no padding, and be valid for every bit pattern.
pub unsafe trait Layout: Copy + 'static {}

/// An IP address; IPv4 stands in its IPv6-mapped form, so that a dual-stack socket and its packets agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// An IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// An IPv6 address; a mapped one is the IPv4 address that it means.
    #[inline(always)]
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self(octets)
    }
}

/// A connection as its pod sees it, or a datagram's two ends. Ports are in host order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Flow {
    /// The pod's address.
    pub local: Address,
    /// The other end's address.
    pub remote: Address,
    /// The pod's port.
    pub local_port: u16,
    /// The other end's port.
    pub remote_port: u16,
}

/// A flow of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SlotFlow {
    /// The pod's number on this node.
    pub slot: u32,
    /// The flow.
    pub flow: Flow,
}

/// An address of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SlotAddress {
    /// The pod's number on this node.
    pub slot: u32,
    /// The address.
    pub address: Address,
}

/// Why a flow is left alone. Stored as `u32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Exemption {
    /// The connection is older than the pod's enrolment. It ends with it: a new connection on the same four numbers
    /// is captured.
    Established = 1,
    /// An operator excluded it.
    Excluded = 2,
}

/// How far a pod's capture has come. Stored as `u32`, by the pod's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Phase {
    /// Everything is captured but what is exempt.
    #[default]
    Settled = 0,
    /// What the pod opens is captured. What others open to it is still the application's, and a connection of which
    /// the mesh has no half is an older one: it becomes exempt as soon as it is seen.
    Joining = 1,
}

impl Phase {
    /// Reads what [`Phase`] `as u32` wrote. Whatever else there is, the one that captures is meant.
    #[inline(always)]
    #[must_use]
    pub const fn read(phase: u32) -> Self {
        if phase == Self::Joining as u32 { Self::Joining } else { Self::Settled }
    }
}

/// The word that the tc program at a device's ingress leaves for the socket lookups of what came in there, on the same
/// CPU and in the same softirq. It says by which way packets came, and nothing about a single one: a device may hand them
/// up in batches. `lo` does not. Stored as `u32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Word {
    /// The kernel's own lookup applies.
    Leave = 0,
    /// Captured: sent by the pod.
    Sent = 1,
    /// Came in from outside.
    Arrived = 2,
}

impl Word {
    /// Reads what [`Word`] `as u32` wrote; anything else is nothing that this version knows.
    #[inline(always)]
    #[must_use]
    pub const fn read(word: u32) -> Option<Self> {
        match word {
            0 => Some(Self::Leave),
            1 => Some(Self::Sent),
            2 => Some(Self::Arrived),
            _ => None,
        }
    }
}

/// What a listener of a pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ListenerKind {
    /// TCP that the pod sends.
    Outbound = 0,
    /// TCP that reaches the pod in plain text.
    Inbound = 1,
    /// DNS queries of the pod.
    Dns = 2,
}

/// The IP version of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Family {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

/// Entries that one pod takes in the map of listeners.
pub const LISTENERS_PER_POD: u32 = 6;

impl ListenerKind {
    /// Where this pod's listener for this family stands in the map.
    #[inline(always)]
    #[must_use]
    pub const fn index(self, slot: u32, family: Family) -> u32 {
        slot * LISTENERS_PER_POD + self as u32 * 2 + family as u32
    }
}

/// The longest name of a pod's directory: a Kubernetes uid has 36 characters.
pub const OBJECT_NAME_MAX: usize = 63;

/// What the agent must remember of a pod beyond its own life. The programs never read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct PodRecord {
    /// The cookie of the pod's network namespace.
    pub netns_cookie: u64,
    /// A digest of the object that its programs were loaded from.
    pub object: u64,
    /// The pod's name, padded with zeros.
    pub name: [u8; OBJECT_NAME_MAX + 1],
    /// The sysctls of the namespace before enrolment, in the order of the host crate's table; negative if absent.
    pub sysctls: [i32; 4],
    /// Bits: 1 attached, 2 sysctls saved.
    pub state: u32,
    /// Always zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Address>() == 16);
const _: () = assert!(size_of::<Flow>() == 36);
const _: () = assert!(size_of::<SlotFlow>() == 40);
const _: () = assert!(size_of::<SlotAddress>() == 20);
const _: () = assert!(size_of::<PodRecord>() == 8 + 8 + 64 + 16 + 4 + 4);

// SAFETY: transparent over an array of bytes.
unsafe impl Layout for Address {}
// SAFETY: `repr(C)`, plain integers, and the size asserted above is the sum of the fields.
unsafe impl Layout for Flow {}
// SAFETY: as for `Flow`.
unsafe impl Layout for SlotFlow {}
// SAFETY: as for `Flow`.
unsafe impl Layout for SlotAddress {}
// SAFETY: as for `Flow`.
unsafe impl Layout for PodRecord {}
