//! What the programs of the acceleration and the agent agree on.

use crate::Layout;

/// Which ways of a connection between an application and its proxy may leave TCP out. Stored as `u32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u32)]
pub enum Acceleration {
    /// None.
    #[default]
    Off = 0,
    /// What the application sends to the proxy.
    Proxy = 1,
    /// Also what the proxy sends to the application.
    Full = 2,
}

impl Acceleration {
    /// Reads what [`Acceleration`] `as u32` wrote; anything else is nothing that this version knows.
    #[inline(always)]
    #[must_use]
    pub const fn read(level: u32) -> Self {
        match level {
            1 => Self::Proxy,
            2 => Self::Full,
            _ => Self::Off,
        }
    }

    /// Whether what this side sends may leave TCP out.
    #[inline(always)]
    #[must_use]
    pub const fn allows(self, sender: Side) -> bool {
        match (self, sender) {
            (Self::Full, _) | (Self::Proxy, Side::Application) => true,
            (Self::Off, _) | (Self::Proxy, Side::Mesh) => false,
        }
    }
}

/// Whose end of a connection it is. Stored as `u32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Side {
    /// The application's.
    Application = 0,
    /// The proxy's.
    Mesh = 1,
}

/// One end of one connection, for as long as the kernel runs: time never comes twice on one CPU, and no two
/// connections are paired there at once. Addresses and ports would not do: they are taken again, also by a pod that
/// got the number of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct EndKey {
    /// Nanoseconds since boot when the two ends were paired.
    pub paired_at: u64,
    /// On which CPU.
    pub cpu: u32,
    /// A [`Side`].
    pub side: u32,
}

/// What a paired socket carries with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Paired {
    /// Where the kernel keeps this socket.
    pub own: u64,
    /// Where it keeps the other end. Whether that still lives is known by its key: a socket that closes leaves the
    /// map by itself, so a stale address is never acted on.
    pub peer: u64,
    /// The other end.
    pub peer_key: EndKey,
    /// This end's `write_seq` when the other one was ready to be given bytes past TCP.
    pub floor: u32,
    /// The number of the pod.
    pub slot: u32,
}

/// Bytes that wait past TCP in front of one reader; beyond them TCP and its backpressure take over. No less than the
/// proxy reads at once (`weft-tunnel`, `READ_BYTES`): its reading relies on that to tell a short read that has emptied
/// both queues from one that has emptied only the first.
pub const QUEUE_BYTES_MAX: u32 = 256 * 1024;

/// Segments with data that each end must have sent before a connection is paired. Pairing costs as much as a few
/// messages save, so a connection that carries one request should not pay for it; and bulk, which only one end
/// sends, is faster by TCP.
pub const LIVELY_SEGMENTS: u32 = 4;

/// Where the running kernel keeps what the programs read of a socket. The order is that of the array that the loader
/// writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum KernelField {
    /// `tcp_sock.write_seq`: the end of what was given to TCP.
    Written = 0,
    /// `tcp_sock.copied_seq`: the end of what was read from TCP.
    Read = 1,
    /// `sock.sk_rmem_alloc`: bytes that wait to be read.
    Waiting = 2,
    /// `inet_connection_sock.icsk_ulp_ops`: something, such as the kernel's TLS, that transforms the stream.
    Transformer = 3,
    /// `sock.sk_socket`: what the process has of it.
    Socket = 4,
    /// `socket.file`: the file behind the descriptor.
    File = 5,
    /// `file.f_flags`: `O_…`.
    Flags = 6,
}

/// How many there are.
pub const KERNEL_FIELDS: usize = 7;

const _: () = assert!(size_of::<EndKey>() == 16);
const _: () = assert!(size_of::<Paired>() == 8 + 8 + 16 + 4 + 4);

// SAFETY: `repr(C)`, plain integers, and the size asserted above is the sum of the fields.
unsafe impl Layout for EndKey {}
