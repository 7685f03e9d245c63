//! Sockets and TLS for both ends in one thread, and noise to send through.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use weft_tunnel::accept::ALPNS;
use weft_tunnel::handle::{Handle, TunnelError};
use weft_tunnel::hbone::Hbone;
use weft_tunnel::socket::Socket;

/// A client's configuration that offers `alpn`, and the server's.
pub(crate) fn configs(alpn: &[&[u8]]) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let (client, server, _) = configs_with_certificate(alpn);
    (client, server)
}

/// The same, and the certificate that the server shows.
pub(crate) fn configs_with_certificate(
    alpn: &[&[u8]],
) -> (Arc<ClientConfig>, Arc<ServerConfig>, Arc<CertifiedKey>) {
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
    client.alpn_protocols = alpn.iter().map(|alpn| alpn.to_vec()).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let certificate = CertifiedKey::from_der(vec![cert.der().clone()], key, &provider).unwrap();
    let certificate = Arc::new(certificate);
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.clone())));
    server.alpn_protocols = ALPNS.iter().map(|alpn| alpn.to_vec()).collect();
    server.send_tls13_tickets = 0;
    (client.enable_secret_extraction, server.enable_secret_extraction) = (true, true);
    (Arc::new(client), Arc::new(server), certificate)
}

pub(crate) fn name() -> ServerName<'static> {
    "server.test".try_into().unwrap()
}

/// The client's end of a tunnel of HBONE, the only dialect that `config` offers.
pub(crate) async fn hbone(
    near: Socket,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Hbone, TunnelError> {
    let (handle, driver) = Handle::connect(near, config, name).await?;
    spawn_local(driver.run());
    match handle {
        Handle::Hbone(hbone) => Ok(hbone),
        Handle::Mux(_) => panic!("it was not offered"),
    }
}

pub(crate) fn socket(stream: TcpStream) -> Socket {
    Socket::from_nonblocking(stream.into_std().unwrap()).unwrap()
}

pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (a, b) = tokio::join!(connect, listener.accept());
    (a.unwrap(), b.unwrap().0)
}

pub(crate) async fn pair() -> (Socket, Socket) {
    let (a, b) = tcp_pair().await;
    (socket(a), socket(b))
}

/// A reproducible sequence of numbers (Knuth's MMIX constants).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

pub(crate) fn byte_at(seed: u64, position: usize) -> u8 {
    ((position as u64).wrapping_mul(seed * 2 + 1) >> 3) as u8
}

pub(crate) async fn send_noise(socket: &Socket, seed: u64, total: usize) {
    write_noise(socket, seed, total).await;
    socket.finish();
}

pub(crate) async fn write_noise(socket: &Socket, seed: u64, total: usize) {
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
}

pub(crate) async fn check_noise(socket: &Socket, seed: u64, total: usize) {
    let mut noise = Noise(seed + 100);
    let mut position = 0;
    loop {
        let mut chunk = vec![0; 1 + noise.next(70_000) as usize];
        let count = socket.read(&mut chunk).await.unwrap();
        if count == 0 {
            break;
        }
        for (offset, byte) in chunk[..count].iter().enumerate() {
            let at = position + offset;
            assert_eq!(*byte, byte_at(seed, at), "byte {at} of stream {seed}");
        }
        position += count;
        if noise.next(8) == 0 {
            tokio::time::sleep(Duration::from_micros(noise.next(900))).await;
        }
    }
    assert_eq!(position, total, "stream {seed}");
}

pub(crate) async fn read_all(socket: &Socket) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 64]);
    loop {
        match socket.read(&mut buffer).await.unwrap() {
            0 => return all,
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

pub(crate) async fn assert_reset(socket: &Socket, side: &str) {
    let error = socket.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{side}");
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("done within a minute");
    });
}
