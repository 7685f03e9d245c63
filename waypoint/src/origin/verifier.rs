//! Who a backend outside the mesh's own identities is: its certificate comes from an authority that was named, and has one
//! of the names that were asked for.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Verifies certificates.
#[derive(Debug)]
pub(super) struct Verifier {
    roots: Arc<RootCertStore>,
    names: Vec<Arc<str>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// One of the names has to be in the certificate: a host, an address or a URI.
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        names: Vec<Arc<str>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self { roots, names, algorithms }
    }

    fn has_name(&self, certificate: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>) -> bool {
        let Ok(own) = webpki::EndEntityCert::try_from(certificate) else { return false };
        self.names.iter().any(|name| {
            let is_uri = own.valid_uri_names().any(|uri| uri == &**name);
            let names = ServerName::try_from(&**name);
            is_uri
                || names.is_ok_and(|name| verify_server_name(parsed, &name).is_ok())
                || own.valid_dns_names().any(|own| is_below(own, name))
        })
    }
}

/// Whether a certificate's name is one that `*.shop.org` stands for: itself, or one label in the star's place.
fn is_below(own: &str, name: &str) -> bool {
    let Some(end) = name.strip_prefix("*.") else { return false };
    own.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(end))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let all = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, all)?;
        if self.has_name(end_entity, &parsed) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Takes any certificate, because a rule says so (`insecureSkipVerify`). Whoever shows it still has to have its key.
#[derive(Debug)]
pub(super) struct Unverified(pub(super) WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        for (own, name, want) in [
            ("a.shop.org", "*.shop.org", true),
            ("A.Shop.Org", "*.shop.org", true),
            ("*.shop.org", "*.shop.org", true),
            ("a.b.shop.org", "*.shop.org", false),
            ("shop.org", "*.shop.org", false),
            (".shop.org", "*.shop.org", false),
            ("a.shop.org", "a.shop.org", false),
        ] {
            assert_eq!(is_below(own, name), want, "{own} for {name}");
        }
    }
}
