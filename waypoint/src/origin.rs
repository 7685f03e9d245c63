//! TLS of a backend's own: begun here where what is said of its service asks for it, within the tunnel or outside the mesh.
//! What cannot be begun as it is written is refused by name; nothing goes in plain text instead.

mod verifier;

use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::sync::{Arc, LazyLock};
use verifier::{Unverified, Verifier};
use weft_l7::destination::{BackendTls, ClientIdentity, Trust};

/// Why TLS cannot be begun as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadOrigin {
    /// The name to ask for is none.
    #[error("{0:?} is no name that a server's certificate may have")]
    ServerName(Arc<str>),
    /// What should vouch for it is no list of certificates.
    #[error("the authorities of the service's TLS are no certificates in PEM: {0}")]
    Roots(String),
    /// Nobody would vouch for it.
    #[error("the service's TLS names no authority")]
    NoRoots,
    /// The same of this machine.
    #[error(
        "this machine has no authorities of its own: install ca-certificates, or name some in the service's TLS"
    )]
    NoSystemRoots,
    /// What would vouch for it is not there.
    #[error("{0}")]
    Missing(Arc<str>),
    /// What this side would show of itself is of no use. The reason says nothing of it.
    #[error("the certificate of the service's TLS, or its key, cannot be used: {0}")]
    Client(&'static str),
    /// What this side would show of itself was not kept when this waypoint ended last.
    #[error(
        "the certificate of the service's TLS comes with discovery, which has said nothing since this waypoint started"
    )]
    Withheld,
    /// rustls does not take it.
    #[error("TLS cannot be set up: {0}")]
    Config(String),
}

/// What will be spoken within TLS, which both sides agree on first (ALPN, RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Within {
    /// Whatever the client speaks; nothing is said of it.
    Bytes,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Within {
    /// Its name in ALPN.
    pub(crate) fn alpn(self) -> Option<&'static [u8]> {
        match self {
            Self::Bytes => None,
            Self::Http1 => Some(b"http/1.1"),
            Self::Http2 => Some(b"h2"),
        }
    }
}

/// How TLS is begun with the endpoints of a service.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The name that is asked for (SNI, RFC 6066 §3).
    pub(crate) server_name: ServerName<'static>,
    bytes: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Origin {
    /// As it is written; a name that is not written is the service's own.
    ///
    /// # Errors
    /// As [`BadOrigin`] says.
    pub(crate) fn new(words: &BackendTls, service: &Arc<str>) -> Result<Self, BadOrigin> {
        let name = words.server_name.as_ref().unwrap_or(service);
        let server_name = server_name(name)?;
        let config = config(words, name)?;
        let with = |within: Within| {
            let mut config = config.clone();
            config.alpn_protocols = within.alpn().map(<[u8]>::to_vec).into_iter().collect();
            Arc::new(config)
        };
        Ok(Self {
            server_name,
            bytes: with(Within::Bytes),
            http1: with(Within::Http1),
            http2: with(Within::Http2),
        })
    }

    /// The configuration of a connection.
    pub(crate) fn config(&self, within: Within) -> &Arc<ClientConfig> {
        match within {
            Within::Bytes => &self.bytes,
            Within::Http1 => &self.http1,
            Within::Http2 => &self.http2,
        }
    }
}

fn server_name(name: &Arc<str>) -> Result<ServerName<'static>, BadOrigin> {
    ServerName::try_from(name.to_string()).map_err(|_| BadOrigin::ServerName(name.clone()))
}

fn config(words: &BackendTls, name: &Arc<str>) -> Result<ClientConfig, BadOrigin> {
    // Not the mesh's own: what is outside may have no TLS 1.3 yet.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| BadOrigin::Config(error.to_string()))?.dangerous();
    let named: Vec<Arc<str>> = match words.subject_alt_names.as_slice() {
        [] => vec![name.clone()],
        names => names.to_vec(),
    };
    let verified = |roots| Arc::new(Verifier::new(roots, named, algorithms));
    let verifier: Arc<dyn ServerCertVerifier> = match &words.trust {
        Trust::System => verified(system_roots()?),
        Trust::Roots(pem) => verified(Arc::new(read_roots(pem)?)),
        Trust::Unverified => Arc::new(Unverified(algorithms)),
        Trust::Missing(why) => return Err(BadOrigin::Missing(why.clone())),
    };
    let builder = builder.with_custom_certificate_verifier(verifier);
    let (chain, key) = match &words.client {
        ClientIdentity::Nobody => return Ok(builder.with_no_client_auth()),
        ClientIdentity::Withheld => return Err(BadOrigin::Withheld),
        ClientIdentity::Certificate { chain, key } => (chain, key),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.map_err(|_| BadOrigin::Client("the certificate is none in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let key = key.map_err(|_| BadOrigin::Client("the key is none in PEM"))?;
    let with_client = builder.with_client_auth_cert(chain, key);
    with_client
        .map_err(|_| BadOrigin::Client("they do not belong together, or are of a kind that is not known"))
}

fn read_roots(pem: &str) -> Result<RootCertStore, BadOrigin> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| BadOrigin::Roots(error.to_string()))?;
        roots.add(certificate).map_err(|error| BadOrigin::Roots(error.to_string()))?;
    }
    if roots.is_empty() { Err(BadOrigin::NoRoots) } else { Ok(roots) }
}

fn system_roots() -> Result<Arc<RootCertStore>, BadOrigin> {
    /// Read once, when a service first asks for them: most waypoints never need them.
    static ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        tracing::info!(added, ignored, errors = ?found.errors, "read this machine's authorities");
        Arc::new(roots)
    });
    if ROOTS.is_empty() { Err(BadOrigin::NoSystemRoots) } else { Ok(ROOTS.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_begun_says_why() {
        let words = |name: Option<&str>, trust| BackendTls {
            server_name: name.map(Into::into),
            subject_alt_names: Vec::new(),
            trust,
            client: ClientIdentity::Nobody,
        };
        let shown = |client| BackendTls { client, ..words(None, Trust::Unverified) };
        let odd = || ClientIdentity::Certificate { chain: "".into(), key: "hidden".into() };
        for (case, words, want) in [
            (
                "a name that is none",
                words(Some("a b"), Trust::Unverified),
                BadOrigin::ServerName("a b".into()),
            ),
            ("no authority", words(None, Trust::Roots("".into())), BadOrigin::NoRoots),
            ("not there", words(None, Trust::Missing("gone".into())), BadOrigin::Missing("gone".into())),
            ("not kept", shown(ClientIdentity::Withheld), BadOrigin::Withheld),
            ("no key", shown(odd()), BadOrigin::Client("the key is none in PEM")),
        ] {
            assert_eq!(Origin::new(&words, &"web".into()).err(), Some(want), "{case}");
        }
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bad = Origin::new(&words(None, Trust::Roots(broken.into())), &"web".into());
        assert!(matches!(bad, Err(BadOrigin::Roots(_))), "{bad:?}");
    }
}
