//! Sessions against rustls' own record layer at the other end.

use super::TlsStream;
use crate::record::RecordError;
use crate::socket::Socket;
use crate::tls::{Session, TlsError};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::future::poll_fn;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn configs(suite: SupportedCipherSuite) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let provider = Arc::new(provider);
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["server.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    server.enable_secret_extraction = true;
    // rustls sends them right behind the handshake.
    server.send_tls13_tickets = 3;
    (Arc::new(client), Arc::new(server))
}

fn name() -> ServerName<'static> {
    "server.test".try_into().unwrap()
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(connect, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn socket(stream: TcpStream) -> Socket {
    Socket::from_nonblocking(stream.into_std().unwrap()).unwrap()
}

fn suites() -> Vec<SupportedCipherSuite> {
    let all = rustls::crypto::aws_lc_rs::default_provider().cipher_suites;
    let suites: Vec<_> = all.into_iter().filter(|suite| suite.tls13().is_some()).collect();
    assert_eq!(suites.len(), 3, "AES of both lengths and ChaCha20");
    suites
}

/// Bytes in pieces of odd sizes: empty batches, records that are not full, and some that are.
fn pieces() -> impl Iterator<Item = Vec<u8>> {
    (0..150_usize).map(|turn| {
        let length = turn * 7_919 % 40_000;
        (0..length).map(|at| (at * 31 + turn) as u8).collect()
    })
}

/// Sends every piece and expects it back, while the peer changes its keys again and again.
async fn echo(mut stream: TlsStream, flush: super::Flush) {
    for (turn, piece) in pieces().enumerate() {
        let mut back = vec![0; piece.len()];
        stream.write_all(&piece).await.unwrap();
        poll_fn(|cx| flush.poll(cx)).await.unwrap();
        stream.read_exact(&mut back).await.unwrap();
        assert!(back == piece, "piece {turn}");
        // What the peer has asked for meanwhile.
        poll_fn(|cx| flush.poll(cx)).await.unwrap();
    }
}

/// Takes a piece, changes keys if it is time, and sends it back.
macro_rules! echo_back {
    ($tls:expr) => {
        for (turn, piece) in pieces().enumerate() {
            let mut got = vec![0; piece.len()];
            $tls.read_exact(&mut got).await.unwrap();
            if turn % 5 == 0 {
                $tls.get_mut().1.refresh_traffic_keys().unwrap();
            }
            $tls.write_all(&got).await.unwrap();
            $tls.flush().await.unwrap();
        }
    };
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn a_client_carries_bytes_over_changes_of_keys() {
    run(async {
        for suite in suites() {
            let (client, server) = configs(suite);
            let (near, far) = tcp_pair().await;
            let peer = tokio::task::spawn_local(async move {
                let mut tls = TlsAcceptor::from(server).accept(far).await.unwrap();
                echo_back!(tls);
                tls.shutdown().await.unwrap();
                assert_eq!(tls.read(&mut [0; 1]).await.unwrap(), 0, "closed in good order");
            });
            let near = socket(near);
            let (session, leftover) = Session::connect(&near, client, name()).await.unwrap();
            let (stream, flush) = TlsStream::new(near, session, leftover);
            echo(stream, flush).await;
            peer.await.unwrap();
        }
    });
}

#[test]
fn a_server_carries_bytes_over_changes_of_keys() {
    run(async {
        for suite in suites() {
            let (client, server) = configs(suite);
            let (near, far) = tcp_pair().await;
            let peer = tokio::task::spawn_local(async move {
                let mut tls = TlsConnector::from(client).connect(name(), near).await.unwrap();
                echo_back!(tls);
                assert_eq!(tls.read(&mut [0; 1]).await.unwrap(), 0, "closed in good order");
            });
            let far = socket(far);
            let (session, leftover) = Session::accept(&far, server).await.unwrap();
            let (stream, flush) = TlsStream::new(far, session, leftover);
            echo(stream, flush).await;
            peer.await.unwrap();
        }
    });
}

#[test]
fn a_peer_that_closes_ends_the_stream_and_a_forged_record_breaks_it() {
    run(async {
        let (client, server) = configs(suites()[0]);
        for forged in [false, true] {
            let (near, far) = tcp_pair().await;
            let server = server.clone();
            let peer = tokio::task::spawn_local(async move {
                let mut tls = TlsAcceptor::from(server).accept(far).await.unwrap();
                tls.write_all(b"last words").await.unwrap();
                tls.flush().await.unwrap();
                if forged {
                    tls.get_mut().0.write_all(&[23, 3, 3, 0, 20, 1, 2, 3]).await.unwrap();
                    tls.get_mut().0.write_all(&[9; 17]).await.unwrap();
                } else {
                    tls.shutdown().await.unwrap();
                }
                let _ = tls.read(&mut [0; 1]).await;
            });
            let near = socket(near);
            let (session, leftover) = Session::connect(&near, client.clone(), name()).await.unwrap();
            let (mut stream, flush) = TlsStream::new(near, session, leftover);
            let mut words = [0; 10];
            stream.read_exact(&mut words).await.unwrap();
            assert_eq!(&words, b"last words");
            let end = stream.read(&mut words).await;
            if forged {
                let error = end.unwrap_err().into_inner().unwrap();
                assert!(
                    matches!(error.downcast_ref(), Some(TlsError::Record(RecordError::Forged))),
                    "{error}"
                );
            } else {
                assert_eq!(end.unwrap(), 0);
            }
            drop((stream, flush));
            peer.await.unwrap();
        }
    });
}

#[test]
fn what_is_no_handshake_is_refused_at_once() {
    run(async {
        let (_, server) = configs(suites()[0]);
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[22, 3, 1, 0xff, 0xff], &[23, 3, 3, 0, 1, 0]] {
            let (mut near, far) = tcp_pair().await;
            near.write_all(garbage).await.unwrap();
            let refused = Session::accept(&socket(far), server.clone()).await;
            assert!(matches!(refused, Err(TlsError::Tls(_))), "{garbage:?}");
        }
    });
}
