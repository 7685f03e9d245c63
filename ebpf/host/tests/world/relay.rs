//! What the tests need of a proxy: it accepts, connects on with the mesh's own sockets, and notes what it saw.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use weft_ebpf_host::Owner;

use super::{Ns, PATIENCE, mesh_socket};

/// One accepted connection: the other end, and where it meant to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
}

/// From whose address the relay connects on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Own,
    Client,
}

/// Relays everything that a listener accepts, one request and one answer per connection. Ends with the listener.
pub(crate) fn relay(pod: &Ns, listener: Socket, owner: Owner, source: Source) -> Receiver<Seen> {
    let (tx, rx) = channel();
    pod.spawn(move || {
        let listener: TcpListener = listener.into();
        while let Ok((client, _)) = listener.accept() {
            let (owner, tx) = (owner.try_clone().unwrap(), tx.clone());
            // Threads inherit the namespace.
            std::thread::spawn(move || one(client, &owner, source, &tx));
        }
    });
    rx
}

fn one(mut client: TcpStream, owner: &Owner, source: Source, tx: &Sender<Seen>) {
    let (from, to) = (plain(client.peer_addr().unwrap()), plain(client.local_addr().unwrap()));
    let _ = tx.send(Seen { from, to });
    let socket = mesh_socket(Domain::for_address(to), Type::STREAM);
    owner.own(socket.as_fd()).unwrap();
    if source == Source::Client {
        socket.bind(&SocketAddr::new(from.ip(), 0).into()).unwrap();
    }
    if socket.connect_timeout(&to.into(), PATIENCE).is_err() {
        return;
    }
    let mut server: TcpStream = socket.into();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 64];
    let Ok(length) = client.read(&mut buffer) else { return };
    server.write_all(&buffer[..length]).unwrap();
    let length = server.read(&mut buffer).unwrap_or(0);
    client.write_all(&buffer[..length]).unwrap();
    // The relay closes first, so the TIME_WAIT is its own.
}

/// An IPv4 address out of its mapped form.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => {
            SocketAddr::new(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4), address.port())
        }
        IpAddr::V4(_) => address,
    }
}

/// A server that answers every connection with who it thinks the client is. Says on the channel whom it accepted.
pub(crate) fn server(ns: &Ns, port: u16) -> (Receiver<SocketAddr>, JoinHandle<()>) {
    let (tx, rx) = channel();
    let (ready, is_ready) = channel();
    let thread = ns.spawn(move || {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        socket.set_only_v6(false).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port).into()).unwrap();
        socket.listen(4096).unwrap();
        ready.send(()).unwrap();
        let listener: TcpListener = socket.into();
        for stream in listener.incoming().flatten() {
            let tx = tx.clone();
            std::thread::spawn(move || answer(stream, &tx));
        }
    });
    is_ready.recv_timeout(PATIENCE).unwrap();
    (rx, thread)
}

fn answer(mut stream: TcpStream, tx: &Sender<SocketAddr>) {
    let peer = plain(stream.peer_addr().unwrap());
    let _ = tx.send(peer);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(peer.ip().to_string().as_bytes()).is_err() || length == 0 {
            break;
        }
    }
}

/// Connects, asks, and returns the answer with the server's address as the client sees it.
pub(crate) fn ask(to: SocketAddr) -> std::io::Result<(String, SocketAddr)> {
    ask_within(to, PATIENCE)
}

pub(crate) fn ask_within(to: SocketAddr, patience: Duration) -> std::io::Result<(String, SocketAddr)> {
    let stream = TcpStream::connect_timeout(&to, patience)?;
    talk(stream, patience)
}

pub(crate) fn talk(mut stream: TcpStream, patience: Duration) -> std::io::Result<(String, SocketAddr)> {
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"who am I?")?;
    let mut buffer = [0; 64];
    let length = stream.read(&mut buffer)?;
    let peer = stream.peer_addr()?;
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    // The server of the relay closes; wait for it, so that the next connection may take the port again.
    let _ = stream.shutdown(Shutdown::Write);
    Ok((text, peer))
}
