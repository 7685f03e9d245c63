//! Servers that speak TLS with certificates of an authority of the test's own, and who asks them.

use anyhow::{Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What these servers answer with.
pub const SECRET: &str = "secret";
/// Until a server answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A new authority.
///
/// # Errors
/// If no key can be made.
pub fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A server's TLS with a certificate for these names, which asks clients for certificates of an authority if there is one.
///
/// # Errors
/// If one of the names is none.
pub fn server(
    authority: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
    clients: Option<&CertifiedIssuer<'static, KeyPair>>,
) -> Result<Arc<ServerConfig>> {
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let leaf = CertificateParams::new(names)?.signed_by(&key, authority)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone())?;
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?
        }
    };
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![leaf.der().clone()];
    Ok(Arc::new(builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?))
}

/// Answers requests within TLS, and nothing else, for ever.
///
/// # Errors
/// If nobody can be accepted any more.
pub fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let config = config.clone();
        std::thread::spawn(move || {
            // Whoever speaks no TLS, or leaves, is no concern of the others.
            let _ = answer(stream, config);
        });
    }
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        if line == "\r\n" {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{SECRET}", SECRET.len());
            stream.get_mut().write_all(answer.as_bytes())?;
            stream.get_mut().flush()?;
        }
        line.clear();
    }
    Ok(())
}

/// What a server says to a request within TLS. Call it in a namespace.
///
/// # Errors
/// If there is no TLS that this authority vouches for, or no answer.
pub fn ask(to: SocketAddr, name: &'static str, authority: CertificateDer<'static>) -> Result<String> {
    let mut store = RootCertStore::empty();
    store.add(authority)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(store).with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(name)?)?;
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes())?;
    let mut said = Vec::new();
    while !said.ends_with(SECRET.as_bytes()) {
        let mut some = [0; 512];
        let length = stream.read(&mut some)?;
        ensure!(length > 0, "it said only {:?}", String::from_utf8_lossy(&said));
        said.extend(&some[..length]);
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}
