//! TLS of the control plane's port (discovery, certificates): the server proves a DNS name under the mesh's
//! own roots, the client proves itself with a token inside. No workload identity is involved.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::{self, PemObject as _};

use crate::certificate::certificates_of_pem;
use crate::provider::provider;
use crate::tls::{ConfigError, owned};
use crate::trust::TrustBundle;

/// The certificate that the control plane's port presents. It can be replaced while connections are accepted,
/// so that neither its renewal nor a rotation of roots needs a restart.
pub struct ServingSlot(ArcSwap<CertifiedKey>);

/// Why a certificate cannot be served. The fault is whoever issued or stored it.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// The chain is not PEM.
    #[error("the certificate chain is not PEM")]
    ChainPem(#[source] pem::Error),
    /// The key is not PEM, or none of the kinds that rustls knows.
    #[error("the private key is not PEM")]
    KeyPem(#[source] pem::Error),
    /// Chain and key do not fit, or one of them cannot be used.
    #[error("the certificate and its key cannot be used")]
    Unusable(#[source] rustls::Error),
}

impl ServingSlot {
    /// A slot that holds this certificate.
    ///
    /// # Errors
    /// As [`ServingError`] says.
    pub fn new(chain_pem: &str, key_pem: &str) -> Result<Self, ServingError> {
        Ok(Self(ArcSwap::new(certified(chain_pem, key_pem)?)))
    }

    /// Puts another certificate in force for handshakes from now on.
    ///
    /// # Errors
    /// As [`ServingError`] says; then the one before stays in force.
    pub fn replace(&self, chain_pem: &str, key_pem: &str) -> Result<(), ServingError> {
        self.0.store(certified(chain_pem, key_pem)?);
        Ok(())
    }
}

impl ResolvesServerCert for ServingSlot {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for ServingSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingSlot").finish_non_exhaustive()
    }
}

/// The control plane's end: TLS 1.3, no client certificate.
///
/// # Errors
/// As [`ConfigError`] says.
pub fn control_server_config(slot: Arc<ServingSlot>, alpn: &[&[u8]]) -> Result<ServerConfig, ConfigError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(ConfigError::Tls13)?
        .with_no_client_auth()
        .with_cert_resolver(slot);
    config.alpn_protocols = owned(alpn);
    Ok(config)
}

/// The other end of [`control_server_config`]: believes the roots of `trust_domain`, and the server name that
/// the connection is made with must stand in the certificate. With no roots nobody is believed.
///
/// # Errors
/// As [`ConfigError`] says.
pub fn control_client_config(
    trust: &TrustBundle,
    trust_domain: &str,
    alpn: &[&[u8]],
) -> Result<ClientConfig, ConfigError> {
    let mut roots = RootCertStore::empty();
    // What the bundle has read, this reads as well; one that it did not would only be missing.
    roots.add_parsable_certificates(trust.roots(trust_domain).cloned());
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(ConfigError::Tls13)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = owned(alpn);
    Ok(config)
}

fn certified(chain_pem: &str, key_pem: &str) -> Result<Arc<CertifiedKey>, ServingError> {
    let chain = certificates_of_pem(chain_pem).map_err(ServingError::ChainPem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(ServingError::KeyPem)?;
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(ServingError::Unusable)
}
