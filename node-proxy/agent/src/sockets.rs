//! The sockets that only root can make: listeners in a pod's namespace, and ready sockets for new
//! connections. The caller is in the right namespace already.

use crate::capture::CaptureError;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use weft_agent_link::{Listener, ListenerKind, SocketKind, Workers};
use weft_core::ports;

mod alone;

use alone::Private;

/// Connections that wait in a listener: a burst while a proxy is replaced.
pub const BACKLOG: i32 = 4096;

/// The namespace's bound on [`BACKLOG`]. The kernel reads it in `listen` and never again (listen(2)), so it
/// is raised for that moment only and nothing is left to restore later.
const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

/// Marks a socket as the mesh's own.
pub type Own<'a> = &'a dyn Fn(BorrowedFd<'_>) -> Result<(), CaptureError>;

/// A socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel has none, or no such family.
    #[error("making a {what} socket")]
    Make {
        /// What it was to be.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// An option is refused.
    #[error("setting {option} on a {what} socket")]
    Option {
        /// What it was to be.
        what: &'static str,
        /// The option.
        option: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It cannot be marked as the mesh's own.
    #[error("marking a {what} socket")]
    Own {
        /// What it was to be.
        what: &'static str,
        /// Why.
        source: CaptureError,
    },
    /// The port is taken, most likely.
    #[error("binding {addr}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It could not be kept from others.
    #[error("keeping the mesh's ports from others")]
    Close(#[source] io::Error),
    /// Someone in the pod has opened a listener while the mesh opened its own.
    #[error("someone else listens on a port of the mesh")]
    Shared,
    /// It does not listen.
    #[error("listening on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A socket in the making, with what error messages call it.
struct Draft {
    what: &'static str,
    domain: Domain,
    socket: Socket,
}

impl Draft {
    fn new(what: &'static str, domain: Domain, kind: Type, protocol: Protocol) -> Result<Self, SocketError> {
        let socket = Socket::new(domain, kind.nonblocking().cloexec(), Some(protocol));
        let socket = socket.map_err(|source| SocketError::Make { what, source })?;
        Ok(Self { what, domain, socket })
    }

    fn set(&self, option: &'static str, done: io::Result<()>) -> Result<&Self, SocketError> {
        done.map(|()| self).map_err(|source| SocketError::Option { what: self.what, option, source })
    }

    fn transparent(&self) -> Result<&Self, SocketError> {
        if self.domain == Domain::IPV6 {
            self.set("IPV6_TRANSPARENT", self.socket.set_ip_transparent_v6(true))?;
        }
        self.set("IP_TRANSPARENT", self.socket.set_ip_transparent_v4(true))
    }

    /// Several listeners share the port.
    fn shared(&self) -> Result<&Self, SocketError> {
        self.set("SO_REUSEPORT", self.socket.set_reuse_port(true))
    }

    /// Connections that an earlier listener has accepted do not matter. Not for datagrams: there it lets everyone in.
    fn again(&self) -> Result<&Self, SocketError> {
        self.set("SO_REUSEADDR", self.socket.set_reuse_address(true))
    }

    fn as_user(&self, user: Private) -> Result<&Self, SocketError> {
        self.set("the user", user.take(&self.socket))
    }

    fn v6_only(&self, only: bool) -> Result<&Self, SocketError> {
        if self.domain != Domain::IPV6 {
            return Ok(self);
        }
        self.set("IPV6_V6ONLY", self.socket.set_only_v6(only))
    }

    /// The address that a datagram was sent to comes with it.
    fn packet_info(&self) -> Result<&Self, SocketError> {
        if self.domain == Domain::IPV6 {
            let done = setsockopt(&self.socket, sockopt::Ipv6RecvPacketInfo, &true);
            self.set("IPV6_RECVPKTINFO", done.map_err(Into::into))?;
        }
        let done = setsockopt(&self.socket, sockopt::Ipv4PacketInfo, &true);
        self.set("IP_PKTINFO", done.map_err(Into::into))
    }

    fn own(&self, own: Own<'_>) -> Result<&Self, SocketError> {
        own(self.socket.as_fd()).map_err(|source| SocketError::Own { what: self.what, source })?;
        Ok(self)
    }

    fn bind(&self, addr: SocketAddr) -> Result<&Self, SocketError> {
        self.socket.bind(&addr.into()).map_err(|source| SocketError::Bind { addr, source })?;
        Ok(self)
    }

    fn listen(&self, addr: SocketAddr) -> Result<&Self, SocketError> {
        self.socket.listen(BACKLOG).map_err(|source| SocketError::Listen { addr, source })?;
        Ok(self)
    }
}

/// The port of a listener and what error messages call it.
fn about(kind: ListenerKind) -> (u16, &'static str) {
    match kind {
        ListenerKind::Outbound => (ports::OUTBOUND, "outbound"),
        ListenerKind::InboundPlain => (ports::INBOUND_PLAIN, "inbound"),
        ListenerKind::Tunnel => (ports::TUNNEL, "tunnel"),
        ListenerKind::Dns => (ports::DNS, "DNS"),
    }
}

/// Every listener of a pod: for each kind, one for each worker. Nobody else in the pod can share their ports.
///
/// # Errors
/// As [`SocketError`] says; none is left then.
pub fn listeners(workers: Workers, own: Own<'_>) -> Result<Vec<Listener>, SocketError> {
    let any = any_address();
    let _raised = Raised::new();
    let mut listeners = Vec::new();
    for kind in ListenerKind::ALL {
        let user = Private::new().map_err(SocketError::Close)?;
        let group = (0..workers.count()).map(|_| listener(kind, any, user, own));
        let group = group.collect::<Result<Vec<_>, _>>()?;
        let members: Vec<_> = group.iter().collect();
        let closed = match kind {
            ListenerKind::Dns => alone::close_datagrams(&members),
            ListenerKind::Outbound | ListenerKind::InboundPlain | ListenerKind::Tunnel => {
                alone::close(&members)
            }
        };
        closed.map_err(SocketError::Close)?;
        listeners.extend(group.into_iter().map(|socket| Listener { kind, socket }));
    }
    let sockets: Vec<_> = listeners.iter().map(|listener| &listener.socket).collect();
    let ports = ListenerKind::ALL.into_iter().map(|kind| about(kind).0).collect::<HashSet<_>>();
    match alone::is_shared(&sockets, &ports) {
        Ok(false) => Ok(listeners),
        Ok(true) => Err(SocketError::Shared),
        Err(error) => Err(SocketError::Close(error)),
    }
}

/// Puts [`SOMAXCONN`] back when dropped.
struct Raised {
    before: Option<String>,
}

impl Raised {
    /// A pod with a low bound keeps working, with a shorter queue, if it cannot be raised.
    fn new() -> Self {
        let before = std::fs::read_to_string(SOMAXCONN).ok();
        let low = before.filter(|text| text.trim().parse().is_ok_and(|bound: i32| bound < BACKLOG));
        Self { before: low.filter(|_| std::fs::write(SOMAXCONN, BACKLOG.to_string()).is_ok()) }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && let Err(error) = std::fs::write(SOMAXCONN, before.trim())
        {
            tracing::warn!(%error, path = SOMAXCONN, "cannot restore");
        }
    }
}

fn listener(kind: ListenerKind, any: IpAddr, user: Private, own: Own<'_>) -> Result<OwnedFd, SocketError> {
    let (port, what) = about(kind);
    let addr = SocketAddr::new(any, port);
    let domain = Domain::for_address(addr);
    // The mark comes before `listen`, so that what is accepted inherits it from the first SYN on.
    if kind == ListenerKind::Dns {
        let draft = Draft::new(what, domain, Type::DGRAM, Protocol::UDP)?;
        draft.v6_only(false)?.transparent()?.shared()?.as_user(user)?.packet_info()?.own(own)?.bind(addr)?;
        return Ok(draft.socket.into());
    }
    let draft = Draft::new(what, domain, Type::STREAM, Protocol::TCP)?;
    draft
        .v6_only(false)?
        .transparent()?
        .shared()?
        .again()?
        .as_user(user)?
        .own(own)?
        .bind(addr)?
        .listen(addr)?;
    Ok(draft.socket.into())
}

/// `::` where this namespace has IPv6, so that one socket takes both families.
fn any_address() -> IpAddr {
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let tried = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| socket.bind(&SocketAddr::new(v6, 0).into()));
    if tried.is_ok() { v6 } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
}

/// Sockets for connections that are still to come: they can be bound to any address, and only wait for one.
///
/// # Errors
/// As [`SocketError`] says; none is left then.
pub fn ready(kind: SocketKind, count: u16, own: Own<'_>) -> Result<Vec<OwnedFd>, SocketError> {
    (0..count).map(|_| ready_one(kind, own)).collect()
}

fn ready_one(kind: SocketKind, own: Own<'_>) -> Result<OwnedFd, SocketError> {
    let (domain, datagrams) = match kind {
        SocketKind::TcpV4 => (Domain::IPV4, false),
        SocketKind::TcpV6 => (Domain::IPV6, false),
        SocketKind::UdpV4 => (Domain::IPV4, true),
        SocketKind::UdpV6 => (Domain::IPV6, true),
    };
    let (kind, protocol) =
        if datagrams { (Type::DGRAM, Protocol::UDP) } else { (Type::STREAM, Protocol::TCP) };
    let draft = Draft::new("ready", domain, kind, protocol)?;
    draft.v6_only(true)?.transparent()?;
    // Not for datagrams: the kernel would give one port to several, and each would have answers to another's query.
    if !datagrams {
        draft.set("SO_REUSEADDR", draft.socket.set_reuse_address(true))?;
        draft.set("TCP_NODELAY", draft.socket.set_tcp_nodelay(true))?;
        // The port is chosen at connect, by the whole 4-tuple, ip(7).
        let done = setsockopt(&draft.socket, sockopt::IpBindAddressNoPort, &true);
        draft.set("IP_BIND_ADDRESS_NO_PORT", done.map_err(Into::into))?;
    }
    draft.own(own)?;
    Ok(draft.socket.into())
}

/// The listeners of the node's own tunnel, in this process's namespace: for each address, one for each worker.
///
/// # Errors
/// As [`SocketError`] says; none is left then.
pub fn node_tunnel(addresses: &[IpAddr], workers: Workers) -> Result<Vec<OwnedFd>, SocketError> {
    let any = [any_address()];
    let addresses = if addresses.is_empty() { &any } else { addresses };
    let each = addresses.iter().flat_map(|ip| std::iter::repeat_n(*ip, workers.count()));
    each.map(|ip| {
        let addr = SocketAddr::new(ip, ports::TUNNEL);
        let draft = Draft::new("node tunnel", Domain::for_address(addr), Type::STREAM, Protocol::TCP)?;
        draft.v6_only(!ip.is_unspecified())?.shared()?.again()?.bind(addr)?.listen(addr)?;
        Ok(draft.socket.into())
    })
    .collect()
}

/// A proxy brought something that is not one of the mesh's listeners.
#[derive(Debug, thiserror::Error)]
pub enum ForeignSocket {
    /// It does not say what it is.
    #[error("asking a socket about itself")]
    Ask(#[source] io::Error),
    /// It is another kind of socket, or on another port.
    #[error("not a {wanted:?} listener")]
    Kind {
        /// What it was said to be.
        wanted: ListenerKind,
    },
}

/// Checks that a socket that a proxy brought is what it says. The proxy faces hostile bytes, so its word
/// alone does not put a socket under the programs' eyes. Its mark needs no check: the programs do not
/// choose a listener without one, and nobody but the agent can set it.
///
/// # Errors
/// As [`ForeignSocket`] says.
pub fn check_held(listener: &Listener) -> Result<(), ForeignSocket> {
    let says = || -> io::Result<bool> {
        let addr = socket2::SockRef::from(&listener.socket).local_addr()?.as_socket();
        let everywhere = addr.is_some_and(|addr| addr.ip().is_unspecified());
        Ok(everywhere && is_listener(listener.socket.as_fd(), listener.kind)?)
    };
    verdict(says(), listener.kind)
}

/// The same for a listener of the node's own tunnel, on whichever address.
///
/// # Errors
/// As [`ForeignSocket`] says.
pub fn check_node_tunnel(socket: BorrowedFd<'_>) -> Result<(), ForeignSocket> {
    verdict(is_listener(socket, ListenerKind::Tunnel), ListenerKind::Tunnel)
}

fn verdict(says: io::Result<bool>, wanted: ListenerKind) -> Result<(), ForeignSocket> {
    match says {
        Ok(true) => Ok(()),
        Ok(false) => Err(ForeignSocket::Kind { wanted }),
        Err(source) => Err(ForeignSocket::Ask(source)),
    }
}

fn is_listener(socket: BorrowedFd<'_>, kind: ListenerKind) -> io::Result<bool> {
    let (port, _) = about(kind);
    let socket = socket2::SockRef::from(&socket);
    let wanted = if kind == ListenerKind::Dns { Type::DGRAM } else { Type::STREAM };
    let listens = wanted == Type::DGRAM || socket.is_listener()?;
    let bound = socket.local_addr()?.as_socket().is_some_and(|addr| addr.port() == port);
    Ok(socket.r#type()? == wanted && listens && bound)
}
