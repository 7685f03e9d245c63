//! The mesh's rules as rustls asks for them during a handshake; one judgement for both ends.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use weft_core::identity::Identity;

use crate::certificate::Usage;
use crate::live::TrustView;
use crate::peer::{PeerError, system_time};
use crate::provider::provider;
use crate::trust::TrustBundle;

/// Whom a client takes for the right server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// One of these; an empty list expects nobody, and every server is refused.
    OneOf(Vec<Identity>),
    /// Anyone of this trust domain. For probes and tools; traffic of workloads knows whom it is for.
    AnyOfTrustDomain(Arc<str>),
}

impl Expect {
    /// Whether `identity` is expected.
    pub fn covers(&self, identity: &Identity) -> bool {
        match self {
            Self::OneOf(identities) => identities.contains(identity),
            Self::AnyOfTrustDomain(trust_domain) => identity.trust_domain() == trust_domain.as_ref(),
        }
    }
}

impl From<Vec<Identity>> for Expect {
    fn from(identities: Vec<Identity>) -> Self {
        Self::OneOf(identities)
    }
}

impl From<&[Identity]> for Expect {
    fn from(identities: &[Identity]) -> Self {
        Self::OneOf(identities.to_vec())
    }
}

impl From<&Identity> for Expect {
    fn from(identity: &Identity) -> Self {
        Self::OneOf(vec![identity.clone()])
    }
}

/// A client's judgement of the server.
#[derive(Debug)]
pub(crate) struct ServerIdentity {
    pub(crate) trust: Arc<TrustBundle>,
    pub(crate) expect: Expect,
}

impl ServerCertVerifier for ServerIdentity {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        // The name only chose the certificate; who the server must be stands in `expect`.
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = chain(end_entity, intermediates);
        let judged = self.trust.verify_peer(&chain, Usage::Server, system_time(now)).and_then(|peer| {
            let covered = self.expect.covers(peer.identity());
            covered.then_some(()).ok_or_else(|| PeerError::Unexpected { presented: peer.identity().clone() })
        });
        judged.map(|()| ServerCertVerified::assertion()).map_err(|error| error.into_rustls(now))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A server's judgement of the client: any identity that is proven. Whether it may do what it asks for is
/// policy, decided later.
#[derive(Debug)]
pub(crate) struct ClientIdentity {
    pub(crate) trust: TrustView,
}

impl ClientCertVerifier for ClientIdentity {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Every peer has one certificate; a list would only tell strangers which roots there are.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain = chain(end_entity, intermediates);
        let judged = self.trust.now().verify_peer(&chain, Usage::Client, system_time(now));
        judged.map(|_| ClientCertVerified::assertion()).map_err(|error| error.into_rustls(now))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12_refused())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn chain<'a>(
    end_entity: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
) -> Vec<CertificateDer<'a>> {
    std::iter::once(end_entity).chain(intermediates).map(|cert| CertificateDer::from(cert.as_ref())).collect()
}

fn tls12_refused() -> Error {
    Error::General("the mesh speaks TLS 1.3 only".to_owned())
}
