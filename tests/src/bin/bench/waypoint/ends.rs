//! The nodes' proxies at both ends of a waypoint, where Weft's own dialect is spoken: as little as carries connections
//! through a tunnel. Each is this program once more, beside the waypoint that is measured.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, version::TLS13,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{LocalSet, spawn_local};
use weft_tunnel::accept::{Dialect, accept};
use weft_tunnel::end::Carried;
use weft_tunnel::handle::{Handle, Incoming};
use weft_tunnel::mux::OpenRequest;
use weft_tunnel::socket::Socket;
use weft_tunnel::words::Authority;

/// Where tunnels end.
const TUNNEL: u16 = 15008;

/// What one of them does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Takes plain connections on the loopback device, and carries each to a waypoint, which is asked for `target`.
    Enter { port: u16, gate: SocketAddr, target: SocketAddr },
    /// Takes tunnels at the pod's port for them, and carries what comes to the application at this port.
    Leave { app: u16 },
}

impl End {
    /// The command that runs it, with the papers of this name in a folder.
    pub(crate) fn command(self, core: &str, papers: (&Path, &str)) -> Result<Vec<OsString>> {
        let program = std::env::current_exe().context("finding this program")?;
        let (folder, name) = papers;
        let mut command: Vec<OsString> = ["taskset", "-c", core].map(OsString::from).to_vec();
        command.extend([program.into_os_string(), "ends".into(), folder.into(), name.into()]);
        let words = match self {
            Self::Enter { port, gate, target } => {
                vec![port.to_string(), gate.to_string(), target.to_string()]
            }
            Self::Leave { app } => vec![app.to_string()],
        };
        command.extend(words.into_iter().map(OsString::from));
        Ok(command)
    }

    fn read(words: &[String]) -> Result<Self> {
        Ok(match words {
            [port, gate, target] => {
                Self::Enter { port: port.parse()?, gate: gate.parse()?, target: target.parse()? }
            }
            [app] => Self::Leave { app: app.parse()? },
            _ => bail!("these words say nothing of an end: {words:?}"),
        })
    }
}

/// Runs what [`End::command`] asks for, until it is ended.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let [folder, name, words @ ..] = words else { bail!("whose papers?") };
    let (end, papers) = (End::read(words)?, Papers::read(Path::new(folder), name)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        match end {
            End::Enter { port, gate, target } => enter(papers, port, (gate, target)).await,
            End::Leave { app } => leave(papers, app).await,
        }
    })
}

/// The tunnel that connections enter; a new one when it takes no more.
struct Entrance {
    config: Arc<ClientConfig>,
    gate: SocketAddr,
    /// And this side's address.
    tunnel: Mutex<Option<(Handle, SocketAddr)>>,
}

async fn enter(papers: Papers, port: u16, (gate, target): (SocketAddr, SocketAddr)) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("listening")?;
    let config = Arc::new(papers.client()?);
    let entrance = Rc::new(Entrance { config, gate, tunnel: Mutex::default() });
    loop {
        let (stream, client) = listener.accept().await.context("accepting")?;
        let entrance = entrance.clone();
        spawn_local(async move {
            let carried = async {
                let (tunnel, from) = entrance.tunnel().await?;
                // As if the application had connected from the pod's address.
                let source = SocketAddr::new(from.ip(), client.port());
                let request = OpenRequest { source, connect: Authority::Addr(target).into() };
                let there = tunnel.open(&request).context("the tunnel takes no streams")?;
                Ok::<_, anyhow::Error>(there.relay(Rc::new(socket(stream)?), &Carried::default()).await)
            };
            if let Err(error) = carried.await {
                eprintln!("a connection was not carried: {error:#}");
            }
        });
    }
}

impl Entrance {
    async fn tunnel(&self) -> Result<(Handle, SocketAddr)> {
        let mut tunnel = self.tunnel.lock().await;
        if let Some(open) = tunnel.as_ref().filter(|(open, _)| open.is_usable()) {
            return Ok(open.clone());
        }
        let stream = TcpStream::connect(self.gate).await.with_context(|| format!("to {}", self.gate))?;
        let from = stream.local_addr()?;
        let name = ServerName::IpAddress(self.gate.ip().into());
        let (handle, driver) = Handle::connect(socket(stream)?, self.config.clone(), name).await?;
        spawn_local(async move {
            if let Err(error) = driver.run().await {
                eprintln!("a tunnel ended: {error}");
            }
        });
        Ok(tunnel.insert((handle, from)).clone())
    }
}

async fn leave(papers: Papers, app: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, TUNNEL)).await.context("listening")?;
    let config = Arc::new(papers.server()?);
    loop {
        let (stream, _) = listener.accept().await.context("accepting")?;
        let config = config.clone();
        spawn_local(async move {
            let served = async {
                let (_handle, driver) = accept(socket(stream)?, config).await?.into_tunnel().into_parts();
                let run = driver.run(|incoming| match incoming {
                    Incoming::Open(_, stream) => drop(spawn_local(async move {
                        let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, app)).await;
                        match connected.map_err(anyhow::Error::from).and_then(socket) {
                            Ok(socket) => {
                                stream.relay(Rc::new(socket), &Carried::default()).await;
                            }
                            Err(error) => eprintln!("no application at {app}: {error:#}"),
                        }
                    })),
                    Incoming::Bad(bad) => eprintln!("{bad}"),
                });
                Ok::<_, anyhow::Error>(run.await?)
            };
            if let Err(error) = served.await {
                eprintln!("a tunnel ended: {error:#}");
            }
        });
    }
}

fn socket(stream: TcpStream) -> Result<Socket> {
    stream.set_nodelay(true).context("setting nodelay")?;
    Ok(Socket::from_nonblocking(stream.into_std()?)?)
}

/// The files that the Envoys have too.
struct Papers {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl Papers {
    fn read(folder: &Path, name: &str) -> Result<Self> {
        let file = |name: &str, end: &str| folder.join(format!("{name}.{end}"));
        let certificates = |name: &str| -> Result<Vec<CertificateDer<'static>>> {
            let all = CertificateDer::pem_file_iter(file(name, "pem"))?;
            Ok(all.collect::<Result<_, _>>()?)
        };
        let mut roots = RootCertStore::empty();
        for root in certificates("roots")? {
            roots.add(root)?;
        }
        let key = PrivateKeyDer::from_pem_file(file(name, "key"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        Ok(Self { chain: certificates(name)?, key, roots, provider })
    }

    fn client(self) -> Result<ClientConfig> {
        let believes = Arc::new(Believes(self.provider.clone()));
        let builder = ClientConfig::builder_with_provider(self.provider).with_protocol_versions(&[&TLS13])?;
        let builder = builder.dangerous().with_custom_certificate_verifier(believes);
        let mut config = builder.with_client_auth_cert(self.chain, self.key)?;
        config.alpn_protocols = vec![Dialect::Mux.alpn().to_vec()];
        config.enable_secret_extraction = true;
        Ok(config)
    }

    fn server(self) -> Result<ServerConfig> {
        let Self { chain, key, roots, provider } = self;
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let mut config = builder.with_client_cert_verifier(clients).with_single_cert(chain, key)?;
        config.alpn_protocols = vec![Dialect::Mux.alpn().to_vec()];
        config.send_tls13_tickets = 0;
        config.enable_secret_extraction = true;
        Ok(config)
    }
}

/// Believes every server: all of them are of this world, and names in certificates of the mesh are none of TLS' own.
#[derive(Debug)]
struct Believes(Arc<CryptoProvider>);

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_commanded_is_read() {
        let (gate, target) = ("10.0.0.1:15008".parse().expect("one"), "10.96.0.1:80".parse().expect("one"));
        for end in [End::Enter { port: 20_000, gate, target }, End::Leave { app: 8080 }] {
            let command = end.command("1", (Path::new("/papers"), "client")).expect("a command");
            let words: Vec<String> =
                command.into_iter().map(|word| word.into_string().expect("text")).collect();
            assert_eq!(words[4..7], ["ends", "/papers", "client"]);
            assert_eq!(End::read(&words[7..]).expect("an end"), end);
        }
        assert!(End::read(&[]).is_err());
    }
}
