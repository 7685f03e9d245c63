//! Who sent a packet, from the socket that the kernel says it belongs to.

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

/// `TCP_ESTABLISHED` of the kernel's `enum bpf_tcp_state`.
pub const STATE_ESTABLISHED: u32 = 1;
/// `TCP_TIME_WAIT` of the same.
pub const STATE_TIME_WAIT: u32 = 6;
/// `TCP_LISTEN` of the same.
pub const STATE_LISTEN: u32 = 10;
/// `TCP_NEW_SYN_RECV` of the same: a request socket, not yet a connection.
pub const STATE_REQUEST: u32 = 12;

/// A packet's socket, as a program can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// The packet has none.
    None,
    /// A full socket.
    Full {
        /// `AF_…`.
        family: u32,
        /// `SOCK_…`.
        kind: u32,
        /// `IPPROTO_…`.
        protocol: u32,
        /// It carries the storage that only the agent can set.
        owned: bool,
    },
    /// A request or TIME_WAIT socket.
    Mini {
        /// `TCP_…`.
        state: u32,
        /// Its listener carries the storage.
        listener_owned: bool,
    },
}

/// Who sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A socket of the mesh.
    Mesh,
    /// The kernel on its own account, or something that looks the same: nothing may follow from it but that a segment
    /// without payload passes.
    Kernel,
    /// Anything else, whatever it calls itself.
    Application,
}

impl Sender {
    /// Judges a socket. Storage alone is not enough: a packet socket could never carry it, but a verdict should not
    /// hang on that.
    #[inline(always)]
    #[must_use]
    pub fn of(socket: Socket) -> Self {
        match socket {
            Socket::None => Self::Kernel,
            Socket::Full { family, kind, protocol, owned } => {
                let internet = family == AF_INET || family == AF_INET6;
                let tcp = kind == SOCK_STREAM && protocol == IPPROTO_TCP;
                let udp = kind == SOCK_DGRAM && protocol == IPPROTO_UDP;
                if internet && owned && (tcp || udp) {
                    Self::Mesh
                } else if internet && kind == SOCK_RAW && protocol == IPPROTO_TCP {
                    // The kernel's control socket, which answers for closed ports. A raw socket looks the same.
                    Self::Kernel
                } else {
                    Self::Application
                }
            }
            Socket::Mini { state: STATE_TIME_WAIT, .. } => Self::Kernel,
            Socket::Mini { state: STATE_REQUEST, listener_owned: true } => Self::Mesh,
            Socket::Mini { .. } => Self::Application,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders() {
        let full = |family, kind, protocol, owned| Socket::Full { family, kind, protocol, owned };
        for (case, socket, want) in [
            ("no socket", Socket::None, Sender::Kernel),
            ("ours", full(AF_INET, SOCK_STREAM, IPPROTO_TCP, true), Sender::Mesh),
            ("ours, IPv6", full(AF_INET6, SOCK_STREAM, IPPROTO_TCP, true), Sender::Mesh),
            ("our DNS", full(AF_INET, SOCK_DGRAM, IPPROTO_UDP, true), Sender::Mesh),
            ("an application's", full(AF_INET, SOCK_STREAM, IPPROTO_TCP, false), Sender::Application),
            ("AF_PACKET", full(17, SOCK_RAW, 0, false), Sender::Application),
            ("AF_PACKET with storage", full(17, SOCK_STREAM, IPPROTO_TCP, true), Sender::Application),
            ("AF_XDP", full(44, SOCK_RAW, 0, false), Sender::Application),
            ("the control socket", full(AF_INET, SOCK_RAW, IPPROTO_TCP, false), Sender::Kernel),
            ("the IPv6 control socket", full(AF_INET6, SOCK_RAW, IPPROTO_TCP, false), Sender::Kernel),
            ("a raw socket of any protocol", full(AF_INET, SOCK_RAW, 255, false), Sender::Application),
            ("a raw socket with storage", full(AF_INET, SOCK_RAW, IPPROTO_TCP, true), Sender::Kernel),
            ("TIME_WAIT", Socket::Mini { state: STATE_TIME_WAIT, listener_owned: false }, Sender::Kernel),
            ("our SYN-ACK", Socket::Mini { state: STATE_REQUEST, listener_owned: true }, Sender::Mesh),
            (
                "its SYN-ACK",
                Socket::Mini { state: STATE_REQUEST, listener_owned: false },
                Sender::Application,
            ),
            ("unknown small socket", Socket::Mini { state: 1, listener_owned: true }, Sender::Application),
        ] {
            assert_eq!(Sender::of(socket), want, "{case}");
        }
    }
}
