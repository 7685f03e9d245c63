//! Ends TCP connections of applications (sock_diag(7)): the peer gets an RST, the application ECONNABORTED. All of it
//! happens in the namespace of the calling thread.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;

use nix::sys::socket::SockProtocol;

use crate::ends::Ends;
use crate::netlink::{Message, Netlink};
use crate::netns::{self, EnterError};

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY`, linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// `TCPF_ALL` without LISTEN, TIME_WAIT and CLOSE (include/net/tcp_states.h): what is open, or half so.
const OPEN: u32 = 0xfff & !(1 << 10 | 1 << 6 | 1 << 7);

/// `struct inet_diag_sockid`: two ports, two addresses of sixteen bytes, the device, the cookie.
const ID_LEN: usize = 48;
/// `struct inet_diag_msg` begins with family, state, timer and retransmissions.
const ID_AT: usize = 4;

/// Why connections were not ended.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// The kernel has no sock_diag for TCP.
    #[error("listing the open connections (sock_diag)")]
    List(#[source] io::Error),
    /// The kernel refused: without CONFIG_INET_DIAG_DESTROY it cannot.
    #[error("ending a connection (SOCK_DESTROY)")]
    Destroy(#[source] io::Error),
}

/// Ends those of these connections that are still open, and says how many.
///
/// A connection is asked for by its cookie: by its four numbers alone the kernel would end the application's listener
/// once the connection has closed by itself.
pub fn destroy(connections: &HashSet<Ends>) -> Result<usize, DestroyError> {
    let kernel = Netlink::connect(SockProtocol::NetlinkSockDiag, 0).map_err(DestroyError::List)?;
    let mut ended = 0;
    for family in [AF_INET, AF_INET6] {
        let mut found = Vec::new();
        let ask = Message::new(BY_FAMILY, 0, &request(family, &[0; ID_LEN]));
        let listed = kernel.dump(ask, |_, body| found.extend(open_socket(body)));
        listed.map_err(DestroyError::List)?;
        for (_, id) in found.iter().filter(|(ends, _)| connections.contains(ends)) {
            match kernel.act(Message::new(DESTROY, 0, &request(family, id))) {
                Ok(()) => ended += 1,
                // It has closed meanwhile, or another one has its numbers.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => {}
                Err(error) => return Err(DestroyError::Destroy(error)),
            }
        }
    }
    Ok(ended)
}

/// Whether the kernel ends connections at all: tried on a listener in a namespace made for it. The socket is really
/// there, so that "there is none" can only mean that nobody takes such requests.
///
/// # Errors
/// It does not, or it could not be tried.
pub fn can_destroy() -> Result<(), TrialError> {
    let scratch = netns::scratch().map_err(TrialError::Namespace)?;
    let _entered = netns::enter(scratch.as_fd()).map_err(TrialError::Enter)?;
    // Of any address: `lo` is down there.
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(TrialError::Listen)?;
    let port = listener.local_addr().map_err(TrialError::Listen)?.port();
    let mut id = [0; ID_LEN];
    id[..2].copy_from_slice(&port.to_be_bytes());
    id[ID_LEN - 8..].copy_from_slice(&NO_COOKIE);
    let ended = Netlink::connect(SockProtocol::NetlinkSockDiag, 0)
        .and_then(|kernel| kernel.act(Message::new(DESTROY, 0, &request(AF_INET, &id))));
    ended.map_err(|error| match error.raw_os_error() {
        // Without the option; without sock_diag for TCP; without sock_diag.
        Some(libc::EOPNOTSUPP | libc::ENOENT | libc::EPROTONOSUPPORT) => TrialError::Absent,
        _ => TrialError::Refused(error),
    })
}

/// `INET_DIAG_NOCOOKIE`, twice: whatever cookie the socket has.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// Why the trial did not end a connection.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// There is no namespace to try it in.
    #[error("making a namespace for a trial")]
    Namespace(#[source] io::Error),
    /// The same.
    #[error("entering the namespace of the trial")]
    Enter(#[source] EnterError),
    /// There is nothing to end.
    #[error("listening in a trial")]
    Listen(#[source] io::Error),
    /// The kernel cannot.
    #[error("the kernel does not know SOCK_DESTROY")]
    Absent,
    /// The kernel will not.
    #[error("the kernel refuses SOCK_DESTROY")]
    Refused(#[source] io::Error),
}

/// `struct inet_diag_req_v2`.
fn request(family: u8, id: &[u8; ID_LEN]) -> Vec<u8> {
    let mut bytes = vec![family, IPPROTO_TCP, 0, 0];
    bytes.extend_from_slice(&OPEN.to_ne_bytes());
    bytes.extend_from_slice(id);
    bytes
}

/// One socket of a dump: both ends, and the id by which it is asked for.
fn open_socket(body: &[u8]) -> Option<(Ends, [u8; ID_LEN])> {
    let family = *body.first()?;
    let id: [u8; ID_LEN] = *body.get(ID_AT..)?.first_chunk()?;
    let port = |at: usize| Some(u16::from_be_bytes(*id.get(at..)?.first_chunk()?));
    let ip = |at: usize| match family {
        AF_INET => Some(IpAddr::from(Ipv4Addr::from(*id.get(at..)?.first_chunk::<4>()?))),
        AF_INET6 => Some(IpAddr::from(Ipv6Addr::from(*id.get(at..)?.first_chunk::<16>()?)).to_canonical()),
        _ => None,
    };
    let ends = Ends { local: SocketAddr::new(ip(4)?, port(0)?), remote: SocketAddr::new(ip(20)?, port(2)?) };
    Some((ends, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpStream;

    #[test]
    fn sockets_of_a_dump_are_read() {
        let mut id = [0; ID_LEN];
        id[..4].copy_from_slice(&[0x1f, 0x90, 0xc3, 0x50]);
        id[4..8].copy_from_slice(&[10, 0, 0, 1]);
        id[20..24].copy_from_slice(&[10, 0, 0, 2]);
        let mut body = vec![AF_INET, 1, 0, 0];
        body.extend_from_slice(&id);
        let ends = |local: &str, remote: &str| Ends {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        assert_eq!(open_socket(&body), Some((ends("10.0.0.1:8080", "10.0.0.2:50000"), id)));
        body[0] = AF_INET6;
        body[ID_AT + 4..ID_AT + 20].copy_from_slice(&Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().octets());
        body[ID_AT + 20..ID_AT + 36].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        let want = ends("10.0.0.9:8080", "[::1]:50000");
        assert_eq!(open_socket(&body).map(|(ends, _)| ends), Some(want), "a mapped address");
        body[0] = 1;
        assert_eq!(open_socket(&body), None, "a unix socket");
        assert_eq!(open_socket(&body[..20]), None, "half a message");
    }

    #[test]
    #[ignore = "needs root; run by cargo xtask test"]
    fn both_ends_hear_of_it_and_the_listener_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let ends = Ends { local: server.local_addr().unwrap(), remote: client.local_addr().unwrap() };
        assert_eq!(destroy(&[ends].into()).unwrap(), 1);
        let failed = |stream: &mut TcpStream| stream.read(&mut [0]).unwrap_err().kind();
        assert_eq!(failed(&mut server), io::ErrorKind::ConnectionAborted);
        assert_eq!(failed(&mut client), io::ErrorKind::ConnectionReset);
        assert_eq!(destroy(&[ends].into()).unwrap(), 0, "it is over");
        TcpStream::connect(listener.local_addr().unwrap()).expect("the listener still listens");
    }
    #[test]
    #[ignore = "needs root; run by cargo xtask test"]
    fn the_trial_ends_nothing_but_its_own() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        can_destroy().unwrap();
        TcpStream::connect(("127.0.0.1", listener.local_addr().unwrap().port())).expect("it still listens");
    }
}
