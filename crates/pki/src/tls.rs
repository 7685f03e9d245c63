//! rustls configurations for both ends of a tunnel. They work with buffered and unbuffered connections alike.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::Resumption;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;

use crate::certificate::Usage;
use crate::leaf::Leaf;
use crate::live::TrustView;
use crate::peer::{Peer, PeerError};
use crate::provider::provider;
use crate::trust::TrustBundle;
use crate::verifier::{ClientIdentity, Expect, ServerIdentity};

/// Why there is no configuration. The fault is on this side: the cryptographic library is not what it was
/// built as.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The provider does not have TLS 1.3.
    #[error("the cryptographic provider does not speak TLS 1.3")]
    Tls13(#[source] rustls::Error),
}

/// Which leaf a server presents.
pub trait LeafResolver: Send + Sync + fmt::Debug {
    /// The leaf for the server name that the client asked for ([`crate::tunnel_server_name`] for a node's
    /// tunnel, none from a client that dialled an address). `None` ends the handshake.
    fn leaf(&self, server_name: Option<&str>) -> Option<Leaf>;
}

/// A listener that has one leaf presents it whatever the name.
impl LeafResolver for Leaf {
    fn leaf(&self, _server_name: Option<&str>) -> Option<Leaf> {
        Some(self.clone())
    }
}

/// The client's end: TLS 1.3 only, presents `leaf`, accepts only servers whom a root in `trust` vouches for
/// and whom `expect` covers. No resumption, so that every connection proves who is at both ends; no early
/// data, which could be replayed (RFC 8446 §8).
///
/// The bundle is the one at hand: after a change build a new configuration.
///
/// # Errors
/// As [`ConfigError`] says.
pub fn client_config(
    leaf: &Leaf,
    trust: &Arc<TrustBundle>,
    expect: impl Into<Expect>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, ConfigError> {
    let verifier = ServerIdentity { trust: trust.clone(), expect: expect.into() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(ConfigError::Tls13)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(leaf.certified())));
    config.alpn_protocols = owned(alpn);
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // The tunnel seals its records itself.
    config.enable_secret_extraction = true;
    Ok(config)
}

/// The server's end: TLS 1.3 only, asks `leaves` what to present, requires a client certificate that a root
/// in `trust` vouches for at the time of the handshake. No tickets and no session cache.
///
/// # Errors
/// As [`ConfigError`] says.
pub fn server_config(
    leaves: Arc<dyn LeafResolver>,
    trust: TrustView,
    alpn: &[&[u8]],
) -> Result<ServerConfig, ConfigError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(ConfigError::Tls13)?
        .with_client_cert_verifier(Arc::new(ClientIdentity { trust }))
        .with_cert_resolver(Arc::new(ByServerName(leaves)));
    config.alpn_protocols = owned(alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    // The tunnel seals its records itself.
    config.enable_secret_extraction = true;
    Ok(config)
}

/// The peer of a connection whose handshake is done, from `peer_certificates()` of the connection. Checks the
/// chain (again): two signatures, some tens of microseconds, once per connection.
///
/// # Errors
/// As [`TrustBundle::verify_peer`] says.
pub fn peer_of(
    certificates: Option<&[CertificateDer<'_>]>,
    trust: &TrustBundle,
    usage: Usage,
    now: SystemTime,
) -> Result<Peer, PeerError> {
    trust.verify_peer(certificates.unwrap_or_default(), usage, now)
}

#[derive(Debug)]
struct ByServerName(Arc<dyn LeafResolver>);

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.leaf(client_hello.server_name()).map(|leaf| leaf.certified())
    }
}

pub(crate) fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}
