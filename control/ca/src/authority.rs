//! An authority that signs: one issuer, its chain, and the roots of its trust domain, at one moment.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SubjectPublicKeyInfo};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use weft_core::identity::Identity;
use weft_pki::{BundleError, PeerError, TrustBundle, Usage};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::grant::Granted;
use crate::issuer::{Validity, certificate_pem, leaf_params, serving_params};

/// Longest leaf lifetime unless configured otherwise.
pub const LEAF_LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest signing request that is read, in bytes. One with an RSA key of 8192 bits has some 3000.
pub const CSR_BYTES_MAX: usize = 16 * 1024;

/// What an authority has to know besides its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthoritySettings {
    /// The only domain for whose identities it signs.
    pub trust_domain: Arc<str>,
    /// No leaf lives longer, whatever is asked for; also what is given if nothing is asked for.
    pub leaf_lifetime_max: Duration,
}

impl AuthoritySettings {
    /// Leaves of 24 hours in `trust_domain`.
    pub fn new(trust_domain: impl Into<Arc<str>>) -> Self {
        Self { trust_domain: trust_domain.into(), leaf_lifetime_max: LEAF_LIFETIME_MAX }
    }
}

/// Signs certificates. A snapshot: it does not change when roots rotate, [`crate::CaDirectory`] gives another.
/// Cheap to clone. `Debug` never shows the key.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    settings: AuthoritySettings,
    issuer: Issuer<'static, KeyPair>,
    issuer_validity: Validity,
    /// Between leaf and root, the issuer's own certificate first; empty if a root signs.
    intermediates_pem: Vec<String>,
    roots_pem: String,
    trust: TrustBundle,
}

/// Why keys and certificates make no authority. The fault is whoever put them there.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The signing certificate is not PEM.
    #[error("the signing certificate is not PEM")]
    CertPem(#[source] pem::Error),
    /// The signing certificate cannot be read.
    #[error("the signing certificate cannot be read")]
    Cert,
    /// The private key cannot be read.
    #[error("the private key cannot be read")]
    Key(#[source] rcgen::Error),
    /// Certificate and key do not belong together.
    #[error("the private key is not the one of the signing certificate")]
    KeyMismatch,
    /// rcgen cannot sign under this certificate.
    #[error("the signing certificate cannot be used")]
    Issuer(#[source] rcgen::Error),
    /// The intermediates are not PEM.
    #[error("the certificate chain is not PEM")]
    ChainPem(#[source] pem::Error),
    /// The roots make no bundle.
    #[error("the roots make no trust bundle")]
    Roots(#[from] BundleError),
    /// A leaf for a trial could not be signed.
    #[error("signing a leaf for a trial")]
    Trial(#[source] SignError),
    /// A leaf that this authority signs would be refused by every peer.
    #[error("peers would refuse what this authority signs")]
    Refused(#[source] PeerError),
}

/// Why a certificate is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The identity is of another trust domain: the caller's fault.
    #[error("{identity} is not of the trust domain {trust_domain}")]
    ForeignTrustDomain {
        /// Whose certificate was asked for.
        identity: Identity,
        /// The domain that this authority signs for.
        trust_domain: Arc<str>,
    },
    /// The request is not PEM, too long or no PKCS #10 (RFC 2986): the caller's fault.
    #[error("the signing request cannot be read")]
    Request,
    /// The request is not signed with its own key: the caller's fault.
    #[error("the signing request is not signed with the key that it asks for")]
    RequestSignature,
    /// A kind of key that the mesh does not use: the caller's fault.
    #[error("the key in the signing request is of an unknown kind")]
    RequestKey(#[source] rcgen::Error),
    /// The signing certificate has expired or is not valid yet: our fault.
    #[error("the signing certificate is not valid now")]
    IssuerNotValid,
    /// The library would not sign: our fault.
    #[error("signing a certificate")]
    Sign(#[source] rcgen::Error),
}

/// What an authority is made of, as PEM.
pub(crate) struct Parts<'a> {
    pub(crate) cert_pem: &'a str,
    pub(crate) key_pem: &'a str,
    /// Certificates between the signing one and the root; it may hold the signing one and roots as well.
    pub(crate) chain_pem: &'a str,
    /// Every root of the trust domain.
    pub(crate) roots_pem: String,
}

/// The certificate and key of the control plane's own port, as tonic's `Identity::from_pem` takes them.
pub struct ServingCertificate {
    /// The leaf and its intermediates.
    pub chain_pem: String,
    /// The key as PKCS #8; wiped when dropped.
    pub key_pem: Zeroizing<String>,
    /// When it has to be replaced.
    pub not_after: SystemTime,
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Authority {
    /// Puts an authority together and tries it out: a leaf is signed and judged as a peer would.
    pub(crate) fn assemble(
        parts: Parts<'_>,
        settings: AuthoritySettings,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let cert =
            CertificateDer::from_pem_slice(parts.cert_pem.as_bytes()).map_err(AuthorityError::CertPem)?;
        let key = KeyPair::from_pem(parts.key_pem).map_err(AuthorityError::Key)?;
        if !is_key_of(&key, &cert)? {
            return Err(AuthorityError::KeyMismatch);
        }
        let issuer_validity = Validity::of(&cert).ok_or(AuthorityError::Cert)?;
        let trust = TrustBundle::from_pem(&settings.trust_domain, [&parts.roots_pem])?;
        let intermediates_pem = intermediates(&cert, parts.chain_pem)?;
        let issuer = Issuer::from_ca_cert_der(&cert, key).map_err(AuthorityError::Issuer)?;
        let roots_pem = parts.roots_pem;
        let authority =
            Self(Arc::new(Inner { settings, issuer, issuer_validity, intermediates_pem, roots_pem, trust }));
        authority.try_out(now)?;
        Ok(authority)
    }

    /// The domain for whose identities it signs.
    pub fn trust_domain(&self) -> &str {
        &self.0.settings.trust_domain
    }

    /// The roots of the trust domain, those that are on their way in or out included.
    pub fn trust(&self) -> &TrustBundle {
        &self.0.trust
    }

    /// The roots as PEM, the signing one first.
    pub fn roots_pem(&self) -> &str {
        &self.0.roots_pem
    }

    /// When the signing certificate expires: no leaf lives longer.
    pub fn not_after(&self) -> SystemTime {
        self.0.issuer_validity.not_after
    }

    /// Signs a leaf for the granted identity. Of the request only the public key is taken, once its signature
    /// has proven that the caller holds the private key. `lifetime` is clamped to the configured maximum;
    /// `None` asks for that maximum.
    ///
    /// Gives PEM texts, leaf first; the last one holds every root of the trust domain, the signing one first.
    ///
    /// # Errors
    /// As [`SignError`] says.
    pub fn sign(
        &self,
        csr_pem: &str,
        granted: &Granted,
        lifetime: Option<Duration>,
        now: SystemTime,
    ) -> Result<Vec<String>, SignError> {
        let identity = granted.identity();
        if identity.trust_domain() != self.trust_domain() {
            let trust_domain = self.0.settings.trust_domain.clone();
            return Err(SignError::ForeignTrustDomain { identity: identity.clone(), trust_domain });
        }
        let key = requested_key(csr_pem)?;
        let params = leaf_params(identity, self.validity(lifetime, now)?).map_err(SignError::Sign)?;
        let leaf = params.signed_by(&key, &self.0.issuer).map_err(SignError::Sign)?;
        let mut chain = vec![leaf.pem()];
        chain.extend(self.0.intermediates_pem.iter().cloned());
        chain.push(self.0.roots_pem.clone());
        Ok(chain)
    }

    /// Makes a key and a certificate for the control plane's own port. `names` are DNS names and addresses.
    /// The certificate carries no identity, so it never passes for a workload. Renew it as a leaf, and after
    /// every step of a rotation.
    ///
    /// # Errors
    /// [`SignError::IssuerNotValid`] and [`SignError::Sign`]; the latter also for a name that is none.
    pub fn serving_certificate(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<ServingCertificate, SignError> {
        let validity = self.validity(None, now)?;
        let mut key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SignError::Sign)?;
        let params = serving_params(names, validity).map_err(SignError::Sign)?;
        let leaf = params.signed_by(&key, &self.0.issuer).map_err(SignError::Sign)?;
        let chain_pem = leaf.pem() + &self.0.intermediates_pem.concat();
        let key_pem = Zeroizing::new(key.serialize_pem());
        key.zeroize();
        Ok(ServingCertificate { chain_pem, key_pem, not_after: validity.not_after })
    }

    fn validity(&self, lifetime: Option<Duration>, now: SystemTime) -> Result<Validity, SignError> {
        let max = self.0.settings.leaf_lifetime_max;
        // Istio's clients ask for zero when they do not mind.
        let lifetime = lifetime.filter(|lifetime| !lifetime.is_zero()).unwrap_or(max).min(max);
        Validity::within(self.0.issuer_validity, lifetime, now).ok_or(SignError::IssuerNotValid)
    }

    /// Names that rcgen cannot write as they were, a root that is not this issuer's, an intermediate that may
    /// not sign: all of it shows here and not in every handshake of the mesh.
    fn try_out(&self, now: SystemTime) -> Result<(), AuthorityError> {
        let trial = |error| AuthorityError::Trial(SignError::Sign(error));
        let identity = Identity::new(self.0.settings.trust_domain.clone(), "weft-system", "trial")
            .map_err(|_| trial(rcgen::Error::InvalidNameType))?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(trial)?;
        let validity = self.validity(None, now).map_err(AuthorityError::Trial)?;
        let params = leaf_params(&identity, validity).map_err(trial)?;
        let leaf = params.signed_by(&key, &self.0.issuer).map_err(trial)?;
        let mut chain = vec![leaf.der().clone()];
        for pem in &self.0.intermediates_pem {
            chain.push(CertificateDer::from_pem_slice(pem.as_bytes()).map_err(AuthorityError::ChainPem)?);
        }
        let judged = self.0.trust.verify_peer(&chain, Usage::Server, now);
        judged.map(|_| ()).map_err(AuthorityError::Refused)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("settings", &self.0.settings)
            .field("not_after", &self.not_after())
            .field("trust", &self.0.trust.fingerprint())
            .finish_non_exhaustive()
    }
}

fn is_key_of(key: &KeyPair, cert: &CertificateDer<'_>) -> Result<bool, AuthorityError> {
    let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| AuthorityError::Cert)?;
    Ok(parsed.public_key().raw == key.subject_public_key_info())
}

/// The certificates that peers need between leaf and root: the signing one first, no roots.
fn intermediates(cert: &CertificateDer<'_>, chain_pem: &str) -> Result<Vec<String>, AuthorityError> {
    let mut chain = vec![cert.clone().into_owned()];
    for other in CertificateDer::pem_slice_iter(chain_pem.as_bytes()) {
        let other = other.map_err(AuthorityError::ChainPem)?;
        if !chain.contains(&other) {
            chain.push(other);
        }
    }
    let mut texts = Vec::new();
    for cert in &chain {
        let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| AuthorityError::Cert)?;
        if parsed.subject().as_raw() != parsed.issuer().as_raw() {
            texts.push(certificate_pem(cert));
        }
    }
    Ok(texts)
}

/// The public key of a request that is signed with its private half. Nothing else of it is looked at.
fn requested_key(csr_pem: &str) -> Result<SubjectPublicKeyInfo, SignError> {
    if csr_pem.len() > CSR_BYTES_MAX {
        return Err(SignError::Request);
    }
    let der =
        CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes()).map_err(|_| SignError::Request)?;
    let Ok(([], request)) = X509CertificationRequest::from_der(&der) else {
        return Err(SignError::Request);
    };
    request.verify_signature().map_err(|_| SignError::RequestSignature)?;
    let key = request.certification_request_info.subject_pki.raw;
    SubjectPublicKeyInfo::from_der(key).map_err(SignError::RequestKey)
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
