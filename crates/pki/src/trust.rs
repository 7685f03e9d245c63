//! Which roots vouch for which trust domain, and whether they vouch for a peer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest;
use rustls_pki_types::{CertificateDer, TrustAnchor, pem};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::certificate::{
    BadCertificate, CHAIN_CERTS_MAX, LeafFacts, Usage, Validity, authority_validity, certificates_of_pem,
};
use crate::peer::{Peer, PeerError, unix_time};
use crate::provider::provider;

/// The roots of the mesh by trust domain. A root vouches only for identities of the domain that it is listed
/// under; the same root may be listed under several. Empty by default, and then nobody is trusted.
///
/// Two bundles are equal if they hold the same certificates for the same domains, in whatever order they came.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct TrustBundle {
    roots: BTreeMap<Arc<str>, Vec<Root>>,
}

/// Most roots per trust domain: a rotation needs two, and each one may cost a signature check per handshake.
pub const ROOTS_MAX: usize = 16;

/// Why a text gives no roots. The fault is whoever wrote the bundle; the earlier bundle stays in force.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The PEM text (RFC 7468) is broken.
    #[error("the bundle of the trust domain {trust_domain} is not PEM")]
    Pem {
        /// The domain whose roots were read.
        trust_domain: Arc<str>,
        /// What is wrong with the text.
        source: pem::Error,
    },
    /// There is not one certificate in the text.
    #[error("the bundle of the trust domain {trust_domain} holds no certificate")]
    Empty {
        /// The domain whose roots were read.
        trust_domain: Arc<str>,
    },
    /// More than [`ROOTS_MAX`] roots.
    #[error("the bundle of the trust domain {trust_domain} holds more than {ROOTS_MAX} roots")]
    TooMany {
        /// The domain whose roots were read.
        trust_domain: Arc<str>,
    },
    /// A certificate cannot be read.
    #[error("certificate {index} of the trust domain {trust_domain}")]
    Certificate {
        /// The domain whose roots were read.
        trust_domain: Arc<str>,
        /// Which certificate, counted from 0.
        index: usize,
        /// What is wrong with it.
        source: BadCertificate,
    },
    /// A certificate that is not allowed to sign others stands among the roots.
    #[error("certificate {index} of the trust domain {trust_domain} is no signing certificate")]
    NotAnAuthority {
        /// The domain whose roots were read.
        trust_domain: Arc<str>,
        /// Which certificate, counted from 0.
        index: usize,
    },
}

impl TrustBundle {
    /// The bundle of one trust domain. Each text may hold several certificates.
    ///
    /// # Errors
    /// As [`BundleError`] says; a bundle is read whole or not at all.
    pub fn from_pem<T: AsRef<str>>(
        trust_domain: &str,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        bundle.add_pem(trust_domain, texts)?;
        Ok(bundle)
    }

    /// Adds roots of a trust domain to those that are there. One that is there already is no error.
    ///
    /// # Errors
    /// As [`BundleError`] says; then nothing has been added.
    pub fn add_pem<T: AsRef<str>>(
        &mut self,
        trust_domain: &str,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<(), BundleError> {
        let trust_domain: Arc<str> = trust_domain.into();
        let mut certs = Vec::new();
        for text in texts {
            let read = certificates_of_pem(text.as_ref());
            certs.extend(
                read.map_err(|source| BundleError::Pem { trust_domain: trust_domain.clone(), source })?,
            );
        }
        if certs.is_empty() {
            return Err(BundleError::Empty { trust_domain });
        }
        let mut roots = self.roots.get(&trust_domain).cloned().unwrap_or_default();
        for (index, cert) in certs.into_iter().enumerate() {
            let root = Root::read(cert, &trust_domain, index)?;
            // Sorted and without doubles, so that equality and the fingerprint do not depend on order.
            if let Err(place) = roots.binary_search_by(|known| known.cert.cmp(&root.cert)) {
                roots.insert(place, root);
            }
        }
        if roots.len() > ROOTS_MAX {
            return Err(BundleError::TooMany { trust_domain });
        }
        self.roots.insert(trust_domain, roots);
        Ok(())
    }

    /// The trust domains that have roots, in alphabetical order.
    pub fn trust_domains(&self) -> impl Iterator<Item = &str> {
        self.roots.keys().map(AsRef::as_ref)
    }

    /// The roots of a trust domain, in an order that depends on nothing but their bytes.
    pub fn roots(&self, trust_domain: &str) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.roots.get(trust_domain).into_iter().flatten().map(|root| &root.cert)
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// SHA-256 over everything in the bundle; equal bundles have equal fingerprints.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut context = digest::Context::new(&digest::SHA256);
        for (trust_domain, roots) in &self.roots {
            for root in roots {
                // Lengths first, so that no two bundles give the same bytes.
                context.update(&trust_domain.len().to_be_bytes());
                context.update(trust_domain.as_bytes());
                context.update(&root.cert.len().to_be_bytes());
                context.update(&root.cert);
            }
        }
        Fingerprint::of(&context.finish())
    }

    /// True if no root here vouches any more for a peer that one vouched for before: what is open with it ends.
    pub fn has_dropped(&self, chain: &[CertificateDer<'_>], usage: Usage, now: SystemTime) -> bool {
        // The clock may have been set back since; that is not the peer's doing.
        !matches!(self.verify_peer(chain, usage, now), Ok(_) | Err(PeerError::NotYetValid { .. }))
    }

    /// Checks a peer's chain (leaf first; intermediates may follow in any order): one URI SAN that is an
    /// identity of the mesh, a path (RFC 5280 §6) to a root of that identity's own trust domain, every
    /// certificate of the path valid at `now`, key usage and extended key usage as `usage` asks.
    ///
    /// Pure, so live connections are checked again with it when the bundle has changed.
    ///
    /// # Errors
    /// As [`PeerError`] says.
    pub fn verify_peer(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        now: SystemTime,
    ) -> Result<Peer, PeerError> {
        let (leaf, intermediates) = chain.split_first().ok_or(PeerError::NoCertificate)?;
        if chain.len() > CHAIN_CERTS_MAX {
            return Err(PeerError::ChainTooLong { length: chain.len() });
        }
        let facts = LeafFacts::read(leaf).map_err(PeerError::Leaf)?;
        // Asked of the leaf here, because webpki would ask it of intermediates as well, which seldom have any.
        if !facts.usages.contains(&usage) {
            return Err(PeerError::WrongUsage { usage });
        }
        let (roots, anchors) = self.valid_roots(facts.identity.trust_domain(), now)?;
        let end_entity = EndEntityCert::try_from(leaf).map_err(|error| PeerError::from_path(error, usage))?;
        let path = end_entity
            .verify_for_usage(
                provider().signature_verification_algorithms.all,
                &anchors,
                intermediates,
                unix_time(now),
                key_usage(usage),
                None,
                None,
            )
            .map_err(|error| PeerError::from_path(error, usage))?;
        let not_after = earliest_end(&facts, &path, &roots)?;
        Ok(Peer::new(facts.identity, not_after))
    }

    /// The roots of a trust domain that are valid now. webpki looks at a trust anchor's name and key only,
    /// so an expired root would vouch for ever.
    fn valid_roots(&self, trust_domain: &str, now: SystemTime) -> Result<ValidRoots<'_>, PeerError> {
        let Some(roots) = self.roots.get(trust_domain) else {
            return Err(PeerError::UnknownTrustDomain { trust_domain: trust_domain.into() });
        };
        let valid: Vec<&Root> = roots.iter().filter(|root| root.validity.holds(now)).collect();
        if valid.is_empty() {
            return Err(PeerError::RootsNotValid { trust_domain: trust_domain.into() });
        }
        let anchors = valid.iter().map(|root| root.anchor.clone()).collect();
        Ok((valid, anchors))
    }
}

type ValidRoots<'a> = (Vec<&'a Root>, Vec<TrustAnchor<'static>>);

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.roots.iter().map(|(trust_domain, roots)| (trust_domain, roots.len()));
        f.write_str("TrustBundle")?;
        f.debug_map().entries(counts).finish()
    }
}

/// A SHA-256, displayed in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of any bytes, such as a certificate's DER.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of(&digest::digest(&digest::SHA256, bytes))
    }

    fn of(digest: &digest::Digest) -> Self {
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, PartialEq, Eq)]
struct Root {
    cert: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    validity: Validity,
}

impl Root {
    fn read(
        cert: CertificateDer<'static>,
        trust_domain: &Arc<str>,
        index: usize,
    ) -> Result<Self, BundleError> {
        let bad = |source| BundleError::Certificate { trust_domain: trust_domain.clone(), index, source };
        let validity = authority_validity(&cert)
            .map_err(bad)?
            .ok_or_else(|| BundleError::NotAnAuthority { trust_domain: trust_domain.clone(), index })?;
        let anchor =
            webpki::anchor_from_trusted_cert(&cert).map_err(|_| bad(BadCertificate::Malformed))?.to_owned();
        Ok(Self { cert, anchor, validity })
    }
}

/// What webpki asks of intermediates: an extended key usage, where there is one, covers `usage`.
fn key_usage(usage: Usage) -> KeyUsage {
    match usage {
        Usage::Server => KeyUsage::server_auth(),
        Usage::Client => KeyUsage::client_auth(),
    }
}

/// The first of the path's certificates to expire says when the path does.
fn earliest_end(
    facts: &LeafFacts,
    path: &VerifiedPath<'_>,
    roots: &[&Root],
) -> Result<SystemTime, PeerError> {
    let mut end = facts.validity.not_after;
    for cert in path.intermediate_certificates() {
        let validity = Validity::read(&cert.der()).map_err(PeerError::Leaf)?;
        end = end.min(validity.not_after);
    }
    // A root that was issued again under the same name and key vouches as long as its longest-lived copy.
    let anchor = path.anchor();
    let root_end =
        roots.iter().filter(|root| root.anchor == *anchor).map(|root| root.validity.not_after).max();
    Ok(root_end.map_or(end, |root_end| end.min(root_end)))
}
