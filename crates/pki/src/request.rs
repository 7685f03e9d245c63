//! Asking for a certificate: a fresh key, the signing request, and the leaf that comes of the answer.

use std::fmt;

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls_pki_types::pem;
use weft_core::identity::Identity;
use zeroize::{Zeroize, Zeroizing};

use crate::certificate::certificates_of_pem;
use crate::leaf::{Leaf, LeafError};

/// A fresh ECDSA P-256 key and the signing request (RFC 2986) for it. The key never leaves this process
/// except in the [`Leaf`] that [`CertificateRequest::complete`] makes of it.
pub struct CertificateRequest {
    identity: Identity,
    key: KeyPair,
    csr_pem: String,
}

/// Why there is no request. The fault is on this side: the random source or the cryptographic library.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// No key could be made.
    #[error("making a key pair")]
    Key(#[source] rcgen::Error),
    /// The request could not be written or signed.
    #[error("writing the signing request")]
    Csr(#[source] rcgen::Error),
}

/// Why an answer of the certificate authority is refused. The fault is the authority's; asking again, with a
/// new request, may help.
#[derive(Debug, thiserror::Error)]
pub enum CompleteError {
    /// An element of the answer is not PEM (RFC 7468).
    #[error("element {index} of the certificate chain is not PEM")]
    Pem {
        /// Which element, the leaf being 0.
        index: usize,
        /// What is wrong with the text.
        source: pem::Error,
    },
    /// An element of the answer holds no certificate.
    #[error("element {index} of the certificate chain holds no certificate")]
    Empty {
        /// Which element, the leaf being 0.
        index: usize,
    },
    /// The certificates do not fit the request.
    #[error("the certificate does not fit the request")]
    Leaf(#[from] LeafError),
}

impl CertificateRequest {
    /// Makes a key and a request for `identity`.
    ///
    /// # Errors
    /// As [`GenerateError`] says.
    pub fn generate(identity: &Identity) -> Result<Self, GenerateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(GenerateError::Key)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = Ia5String::try_from(identity.to_string()).map_err(GenerateError::Csr)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let csr = params.serialize_request(&key).map_err(GenerateError::Csr)?;
        let csr_pem = csr.pem().map_err(GenerateError::Csr)?;
        Ok(Self { identity: identity.clone(), key, csr_pem })
    }

    /// The request as PEM, for `CreateCertificate`.
    pub fn csr_pem(&self) -> &str {
        &self.csr_pem
    }

    /// Whom the request is for.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes the leaf from the authority's answer: leaf first, root last (dropped: the trust bundle says who is
    /// trusted). An element may hold several certificates.
    ///
    /// # Errors
    /// [`CompleteError`] if the certificate is for another key or identity, or cannot be read.
    pub fn complete<T: AsRef<str>>(self, chain_pem: &[T]) -> Result<Leaf, CompleteError> {
        let mut chain = Vec::new();
        for (index, text) in chain_pem.iter().enumerate() {
            let certs =
                certificates_of_pem(text.as_ref()).map_err(|source| CompleteError::Pem { index, source })?;
            if certs.is_empty() {
                return Err(CompleteError::Empty { index });
            }
            chain.extend(certs);
        }
        let key = Zeroizing::new(self.key.serialized_der().to_vec());
        Ok(Leaf::new(self.identity.clone(), chain, key)?)
    }
}

impl Drop for CertificateRequest {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for CertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateRequest").field("identity", &self.identity).finish_non_exhaustive()
    }
}
