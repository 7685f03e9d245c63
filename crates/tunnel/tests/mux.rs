//! The mux over real TLS and real sockets: integrity both ways at once, half-close, reset, refusal, a slow
//! reader that holds up nobody else, and a peer that breaks the protocol.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the message")]

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsConnector;
use weft_tunnel::end::{Carried, End, Refused, Stop};
use weft_tunnel::mux::{Mux, MuxStream, OpenRequest};
use weft_tunnel::socket::Socket;
use weft_tunnel::tls::Session;

fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["server.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    server.send_tls13_tickets = 0;
    (client.enable_secret_extraction, server.enable_secret_extraction) = (true, true);
    (Arc::new(client), Arc::new(server))
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (a, b) = tokio::join!(connect, listener.accept());
    (a.unwrap(), b.unwrap().0)
}

fn socket(stream: TcpStream) -> Socket {
    Socket::from_nonblocking(stream.into_std().unwrap()).unwrap()
}

async fn pair() -> (Socket, Socket) {
    let (near, far) = tcp_pair().await;
    (socket(near), socket(far))
}

/// A client's mux, and a server whose streams go to `on_open`.
async fn tunnel(on_open: impl FnMut(OpenRequest, MuxStream) + 'static) -> Mux {
    let (client_config, server_config) = configs();
    let (near, far) = pair().await;
    let name = "server.test".try_into().unwrap();
    let (client, server) =
        tokio::join!(Session::connect(&near, client_config, name), Session::accept(&far, server_config));
    let (session, leftover) = client.unwrap();
    let (mux, driver) = Mux::client(near, session, leftover);
    spawn_local(driver.run(|_, _| panic!("a server opens no streams")));
    let (session, leftover) = server.unwrap();
    let (_, driver) = Mux::server(far, session, leftover);
    spawn_local(async move { driver.run(on_open).await });
    mux
}

fn request() -> OpenRequest {
    let addr: SocketAddr = "10.0.0.1:80".parse().unwrap();
    OpenRequest { source: addr, destination: addr, baggage: None, traceparent: None }
}

/// An application on each side of a new stream, and the ends of both relays.
struct Line {
    near: Socket,
    far: Socket,
    near_end: tokio::task::JoinHandle<(End, u64, u64)>,
    carried: Rc<Carried>,
}

async fn line() -> Line {
    let (far, far_proxy) = pair().await;
    let mut far_proxy = Some(far_proxy);
    let mux = tunnel(move |_, mut stream| {
        let app = Rc::new(far_proxy.take().unwrap());
        spawn_local(async move {
            stream.accept();
            stream.relay(app, &Carried::default()).await
        });
    })
    .await;
    let (near, near_proxy) = pair().await;
    let stream = mux.open(&request()).unwrap();
    let carried = Rc::new(Carried::default());
    let meter = carried.clone();
    let near_end = spawn_local(async move {
        let end = stream.relay(Rc::new(near_proxy), &meter).await;
        (end, meter.from_app(), meter.to_app())
    });
    Line { near, far, near_end, carried }
}

/// A reproducible sequence of numbers (Knuth's MMIX constants).
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn byte_at(seed: u64, position: usize) -> u8 {
    ((position as u64).wrapping_mul(seed * 2 + 1) >> 3) as u8
}

async fn send_noise(socket: &Socket, seed: u64, total: usize) {
    let mut noise = Noise(seed);
    let mut position = 0;
    while position < total {
        let size = (1 + noise.next(90_000) as usize).min(total - position);
        let chunk: Vec<u8> = (position..position + size).map(|at| byte_at(seed, at)).collect();
        socket.write_all(&chunk).await.unwrap();
        position += size;
        if noise.next(4) == 0 {
            tokio::time::sleep(Duration::from_micros(noise.next(900))).await;
        }
    }
    socket.finish();
}

async fn check_noise(socket: &Socket, seed: u64, total: usize) {
    let mut noise = Noise(seed + 100);
    let mut position = 0;
    loop {
        let mut chunk = vec![0; 1 + noise.next(70_000) as usize];
        let count = socket.read(&mut chunk).await.unwrap();
        if count == 0 {
            break;
        }
        for (offset, byte) in chunk[..count].iter().enumerate() {
            assert_eq!(
                *byte,
                byte_at(seed, position + offset),
                "byte {} of stream {seed}",
                position + offset
            );
        }
        position += count;
        if noise.next(8) == 0 {
            tokio::time::sleep(Duration::from_micros(noise.next(900))).await;
        }
    }
    assert_eq!(position, total, "stream {seed}");
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("done within a minute");
    });
}

#[test]
fn bytes_arrive_whole_and_in_order_both_ways_at_once() {
    run(async {
        const TOTAL: usize = 5_000_000;
        let line = line().await;
        tokio::join!(
            send_noise(&line.near, 1, TOTAL),
            check_noise(&line.far, 1, TOTAL),
            send_noise(&line.far, 2, TOTAL),
            check_noise(&line.near, 2, TOTAL),
        );
        let want = (End::Closed, TOTAL as u64, TOTAL as u64);
        assert_eq!(line.near_end.await.unwrap(), want);
    });
}

#[test]
fn one_side_may_finish_long_before_the_other() {
    run(async {
        let line = line().await;
        line.near.write_all(b"question").await.unwrap();
        line.near.finish();
        let mut buffer = [0; 64];
        let mut got = Vec::new();
        loop {
            match line.far.read(&mut buffer).await.unwrap() {
                0 => break,
                count => got.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(got, b"question");
        line.far.write_all(b"answer").await.unwrap();
        line.far.finish();
        let count = line.near.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], b"answer");
        assert_eq!(line.near_end.await.unwrap().0, End::Closed);
    });
}

#[test]
fn a_reset_arrives_as_a_reset() {
    run(async {
        let line = line().await;
        line.near.write_all(b"x").await.unwrap();
        assert_eq!(line.far.read(&mut [0; 8]).await.unwrap(), 1);
        line.far.reset_on_close();
        drop(line.far);
        let error = line.near.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(line.near_end.await.unwrap().0, End::PeerReset);
    });
}

#[test]
fn the_owner_can_stop_a_connection() {
    run(async {
        let line = line().await;
        line.near.write_all(b"x").await.unwrap();
        assert_eq!(line.far.read(&mut [0; 8]).await.unwrap(), 1);
        line.carried.stop(Stop::Policy);
        assert_eq!(line.near_end.await.unwrap().0, End::Stopped(Stop::Policy));
        for (side, socket) in [("near", &line.near), ("far", &line.far)] {
            let error = socket.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{side}");
        }
    });
}

#[test]
fn a_refusal_names_its_reason() {
    run(async {
        let mux = tunnel(|_, stream| stream.refuse(Refused::Policy)).await;
        let (near, near_proxy) = pair().await;
        let stream = mux.open(&request()).unwrap();
        let end = stream.relay(Rc::new(near_proxy), &Carried::default()).await;
        assert_eq!(end, End::Refused(Refused::Policy));
        let error = near.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_slow_reader_holds_up_its_own_stream_only() {
    run(async {
        let streams = Rc::new(std::cell::RefCell::new(Vec::new()));
        let arrived = streams.clone();
        let (far, far_proxy) = pair().await;
        let mut far_proxy = Some(Rc::new(far_proxy));
        // The first stream is never read; the second one is carried.
        let mux = tunnel(move |_, mut stream| {
            stream.accept();
            if arrived.borrow().is_empty() {
                arrived.borrow_mut().push(stream);
                return;
            }
            let app = far_proxy.take().unwrap();
            spawn_local(async move { stream.relay(app, &Carried::default()).await });
        })
        .await;
        let (stuck, stuck_proxy) = pair().await;
        let first = mux.open(&request()).unwrap();
        spawn_local(async move { first.relay(Rc::new(stuck_proxy), &Carried::default()).await });
        let flood = spawn_local(async move {
            let block = vec![7; 65_536];
            for _ in 0..400 {
                stuck.write_all(&block).await?;
            }
            Ok::<_, std::io::Error>(())
        });
        let (near, near_proxy) = pair().await;
        let second = mux.open(&request()).unwrap();
        spawn_local(async move { second.relay(Rc::new(near_proxy), &Carried::default()).await });
        tokio::join!(send_noise(&near, 3, 2_000_000), check_noise(&far, 3, 2_000_000));
        assert!(!flood.is_finished(), "26 MB fit into no buffer of a stream that nobody reads");
        flood.abort();
        drop(streams);
    });
}

#[test]
fn a_broken_peer_ends_its_connection_and_no_process() {
    run(async {
        let (client_config, server_config) = configs();
        for (case, bytes) in [
            ("unknown kind", vec![0, 0, 0, 77, 0, 0, 0, 1]),
            ("data for a stream that never was", vec![0, 0, 1, 4, 0, 0, 0, 9, 0]),
            ("an id out of order", [vec![0, 0, 38, 1, 0, 0, 0, 5], vec![0; 38]].concat()),
            ("a server's frame", vec![0, 0, 0, 2, 0, 0, 0, 1]),
            ("an OPEN that does not read", vec![0, 0, 1, 1, 0, 0, 0, 1, 9]),
        ] {
            let (near, far) = tcp_pair().await;
            let far = socket(far);
            let client = TlsConnector::from(client_config.clone());
            let (near, server) = tokio::join!(
                client.connect("server.test".try_into().unwrap(), near),
                Session::accept(&far, server_config.clone())
            );
            let (session, leftover) = server.unwrap();
            let (_, driver) = Mux::server(far, session, leftover);
            let mut near = near.unwrap();
            near.write_all(&bytes).await.unwrap();
            near.flush().await.unwrap();
            let ended = driver.run(|_, _| panic!("nothing was opened")).await;
            assert!(ended.is_err(), "{case}");
        }
    });
}
