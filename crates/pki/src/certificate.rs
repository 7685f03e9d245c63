//! What one certificate says about itself. Reading is not believing: signatures are checked elsewhere.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use weft_core::identity::{BadIdentity, Identity};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// Longest chain that is read, in certificates, the root included: a leaf under two intermediates and a root
/// twice over. More is work that a stranger makes for us.
pub const CHAIN_CERTS_MAX: usize = 8;

/// What a certificate has to be good for (extended key usage, RFC 5280 §4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Usage {
    /// Whoever presents it accepted the connection: serverAuth.
    Server,
    /// Whoever presents it opened the connection: clientAuth.
    Client,
}

/// Why bytes are no certificate of the mesh. The fault is whoever made the certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// Not one DER certificate (RFC 5280 §4.1), or bytes follow it.
    #[error("the bytes are not one X.509 certificate")]
    Malformed,
    /// The subject alternative name does not hold one identity.
    #[error("reading the subject alternative name")]
    San(#[from] BadSan),
    /// A leaf whose key usage lacks digitalSignature (X509-SVID §4.3).
    #[error("the key usage of the leaf does not say digitalSignature")]
    KeyUsage,
    /// A leaf that may sign certificates or revocation lists (X509-SVID §4.1, §4.3).
    #[error("the leaf is also a signing certificate")]
    SigningLeaf,
}

/// Why a subject alternative name holds no identity (X509-SVID §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSan {
    /// The extension is there twice or cannot be read.
    #[error("the extension is malformed or there twice")]
    Malformed,
    /// No URI among the names, or no names at all.
    #[error("there is no URI among the names")]
    NoUri,
    /// More than one URI: X509-SVID §2 has such a certificate refused, whatever the URIs say.
    #[error("there are several URIs among the names")]
    SeveralUris,
    /// The only URI is no identity of the mesh's shape.
    #[error("the only URI is no identity of the mesh")]
    Identity(#[source] BadIdentity),
}

/// Reads the identity that a certificate claims, without checking anything else about it: neither signature
/// nor time nor usage. A claim is worth something only when [`crate::TrustBundle::verify_peer`] has said so.
///
/// Takes any bytes; a fuzz target can call it as it is.
///
/// # Errors
/// [`BadCertificate::Malformed`] or [`BadCertificate::San`].
pub fn claimed_identity(der: &[u8]) -> Result<Identity, BadCertificate> {
    Ok(san_identity(&parse(der)?)?)
}

/// What a leaf says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeafFacts {
    pub(crate) identity: Identity,
    pub(crate) validity: Validity,
    /// The serial number, big endian, as it stands in the certificate.
    pub(crate) serial: Vec<u8>,
    /// What the extended key usage names; nothing if there is none (RFC 5280 §4.2.1.12).
    pub(crate) usages: Vec<Usage>,
}

impl LeafFacts {
    /// Reads a leaf and refuses what X509-SVID §4 forbids in one.
    pub(crate) fn read(der: &[u8]) -> Result<Self, BadCertificate> {
        let cert = parse(der)?;
        let usage =
            cert.key_usage().map_err(|_| BadCertificate::Malformed)?.ok_or(BadCertificate::KeyUsage)?;
        if cert.is_ca() || usage.value.key_cert_sign() || usage.value.crl_sign() {
            return Err(BadCertificate::SigningLeaf);
        }
        if !usage.value.digital_signature() {
            return Err(BadCertificate::KeyUsage);
        }
        Ok(Self {
            usages: usages(&cert)?,
            identity: san_identity(&cert)?,
            validity: Validity::of(&cert)?,
            serial: cert.raw_serial().to_vec(),
        })
    }
}

/// When a certificate is valid, both ends included (RFC 5280 §4.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Validity {
    /// Reads the validity of any certificate.
    pub(crate) fn read(der: &[u8]) -> Result<Self, BadCertificate> {
        Self::of(&parse(der)?)
    }

    fn of(cert: &X509Certificate<'_>) -> Result<Self, BadCertificate> {
        let not_before = system_time(cert.validity().not_before).ok_or(BadCertificate::Malformed)?;
        let not_after = system_time(cert.validity().not_after).ok_or(BadCertificate::Malformed)?;
        Ok(Self { not_before, not_after })
    }

    /// Whether `now` lies within.
    pub(crate) fn holds(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// Reads a signing certificate's validity, or `None` if basic constraints do not make it one (RFC 5280 §4.2.1.9).
pub(crate) fn authority_validity(der: &[u8]) -> Result<Option<Validity>, BadCertificate> {
    let cert = parse(der)?;
    if !cert.is_ca() {
        return Ok(None);
    }
    Validity::of(&cert).map(Some)
}

/// Whether a certificate names itself as its issuer, as roots do.
pub(crate) fn is_self_issued(der: &[u8]) -> Result<bool, BadCertificate> {
    let cert = parse(der)?;
    Ok(cert.subject().as_raw() == cert.issuer().as_raw())
}

/// All certificates of a PEM text, in order. Other sections are passed over.
pub(crate) fn certificates_of_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect()
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, BadCertificate> {
    match X509Certificate::from_der(der) {
        Ok(([], cert)) => Ok(cert),
        Ok(_) | Err(_) => Err(BadCertificate::Malformed),
    }
}

fn usages(cert: &X509Certificate<'_>) -> Result<Vec<Usage>, BadCertificate> {
    let Some(extended) = cert.extended_key_usage().map_err(|_| BadCertificate::Malformed)? else {
        return Ok(Vec::new());
    };
    let named = [(Usage::Server, extended.value.server_auth), (Usage::Client, extended.value.client_auth)];
    Ok(named.into_iter().filter_map(|(usage, named)| named.then_some(usage)).collect())
}

fn san_identity(cert: &X509Certificate<'_>) -> Result<Identity, BadSan> {
    let san = cert.subject_alternative_name().map_err(|_| BadSan::Malformed)?.ok_or(BadSan::NoUri)?;
    let mut uris = Vec::new();
    for name in &san.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            // A name that cannot be read may be a second URI.
            GeneralName::Invalid(..) => return Err(BadSan::Malformed),
            _ => {}
        }
    }
    match uris.as_slice() {
        [] => Err(BadSan::NoUri),
        [uri] => uri.parse().map_err(BadSan::Identity),
        _ => Err(BadSan::SeveralUris),
    }
}

fn system_time(time: ASN1Time) -> Option<SystemTime> {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bytes_make_a_panic() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0; 64], b"-----BEGIN"] {
            assert_eq!(claimed_identity(bytes), Err(BadCertificate::Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn validity_includes_both_ends() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let validity = Validity { not_before: at(10), not_after: at(20) };
        for (case, now, want) in [
            ("before", at(9), false),
            ("first second", at(10), true),
            ("last second", at(20), true),
            ("after", at(21), false),
        ] {
            assert_eq!(validity.holds(now), want, "{case}");
        }
    }
}
