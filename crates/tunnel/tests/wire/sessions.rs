//! Sessions of a server that gets ready for the name that its client asks for.

use crate::support::{configs_with_certificate, name, pair, run, socket, tcp_pair};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weft_tunnel::mux::ALPN;
use weft_tunnel::socket::Socket;
use weft_tunnel::tls::{Session, TlsError};

/// A certificate that is not there at first.
#[derive(Debug, Default)]
struct Late(Mutex<Option<Arc<CertifiedKey>>>);

impl ResolvesServerCert for Late {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().clone()
    }
}

/// A server that has its certificate once it was told to get ready, and for which name that was.
struct Server {
    certificate: Arc<CertifiedKey>,
    late: Arc<Late>,
    config: Arc<ServerConfig>,
    /// Every name that it was asked to get ready for.
    asked: RefCell<Vec<Option<String>>>,
}

impl Server {
    fn new(certificate: &Arc<CertifiedKey>, config: &ServerConfig) -> Self {
        let late = Arc::new(Late::default());
        let mut config = config.clone();
        config.cert_resolver = late.clone();
        Self { certificate: certificate.clone(), late, config: Arc::new(config), asked: RefCell::default() }
    }

    async fn accept(&self, far: &Socket) -> Result<(), TlsError> {
        let ready = async |name| {
            self.asked.borrow_mut().push(name);
            // Others run meanwhile.
            tokio::task::yield_now().await;
            *self.late.0.lock().unwrap() = Some(self.certificate.clone());
        };
        Session::accept_when(far, self.config.clone(), ready).await.map(drop)
    }
}

/// A client's configuration, and what servers are made of.
fn sides() -> (rustls::ClientConfig, impl Fn() -> Server) {
    let (client, server, certificate) = configs_with_certificate(&[ALPN]);
    (Arc::unwrap_or_clone(client), move || Server::new(&certificate, &server))
}

#[test]
fn the_certificate_is_chosen_when_the_server_is_ready() {
    run(async {
        let (client, server) = sides();
        let mut small_records = client.clone();
        small_records.max_fragment_size = Some(64);
        let address = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        for (case, client, wanted, asked, done) in [
            ("a name", &client, name(), Some("server.test"), true),
            // The certificate is not for an address, and there is no name to get ready for; the server is asked all the same.
            ("an address", &client, address, None, false),
            ("a hello of several records", &small_records, name(), None, true),
        ] {
            let server = server();
            let (near, far) = pair().await;
            let connect = Session::connect(&near, Arc::new(client.clone()), wanted);
            let (connected, accepted) = tokio::join!(connect, server.accept(&far));
            assert_eq!((connected.is_ok(), accepted.is_ok()), (done, done), "{case}: {accepted:?}");
            assert_eq!(*server.asked.borrow(), [asked.map(str::to_owned)], "{case}");
        }
    });
}

/// Carries what a client sends byte by byte, and what it gets as it comes.
async fn drip(client: TcpStream, server: TcpStream) {
    server.set_nodelay(true).unwrap();
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let drops = async {
        while let Ok(byte) = from_client.read_u8().await {
            // Whoever has heard enough hangs up.
            if to_server.write_u8(byte).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(drops, async { tokio::io::copy(&mut from_server, &mut to_client).await.ok() });
}

#[test]
fn a_hello_in_drops_is_waited_for() {
    run(async {
        let (client, server) = sides();
        let server = server();
        let ((near, relay_near), (relay_far, far)) = (tcp_pair().await, tcp_pair().await);
        tokio::task::spawn_local(drip(relay_near, relay_far));
        let connector = TlsConnector::from(Arc::new(client));
        let far = socket(far);
        let (connected, accepted) = tokio::join!(connector.connect(name(), near), server.accept(&far));
        accepted.unwrap();
        assert_eq!(connected.unwrap().get_ref().1.alpn_protocol(), Some(ALPN));
        assert_eq!(*server.asked.borrow(), [Some("server.test".to_owned())], "once");
    });
}

#[test]
fn what_is_no_hello_gets_an_alert_and_asks_for_nothing() {
    run(async {
        const ALERT: u8 = 21;
        let (_, server) = sides();
        for (case, record) in [
            ("data", vec![23, 3, 3, 0, 2, 1, 2]),
            ("another message", vec![22, 3, 3, 0, 4, 20, 0, 0, 0]),
            ("an empty record", vec![22, 3, 3, 0, 0]),
            ("http", b"GET / HTTP/1.1\r\n".repeat(1_200)),
        ] {
            let server = server();
            let (mut near, far) = tcp_pair().await;
            near.write_all(&record).await.unwrap();
            let far = socket(far);
            let accepted = server.accept(&far).await;
            assert!(matches!(accepted, Err(TlsError::Tls(_))), "{case}: {accepted:?}");
            assert_eq!(near.read_u8().await.unwrap(), ALERT, "{case}");
            assert!(server.asked.borrow().iter().all(Option::is_none), "{case}");
        }
    });
}

#[test]
fn a_client_that_leaves_before_its_hello_is_whole_asks_for_nothing() {
    run(async {
        let (_, server) = sides();
        for (case, part) in [("nothing", &[][..]), ("a header", &[22, 3, 1, 2, 0]), ("less", &[22])] {
            let server = server();
            let (mut near, far) = tcp_pair().await;
            near.write_all(part).await.unwrap();
            near.shutdown().await.unwrap();
            let accepted = server.accept(&socket(far)).await;
            assert!(matches!(accepted, Err(TlsError::Closed)), "{case}: {accepted:?}");
            assert!(server.asked.borrow().is_empty(), "{case}: there was no hello");
        }
    });
}
