//! A workload's certificate with its key, and when to renew it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::InconsistentKeys;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use weft_core::identity::Identity;
use zeroize::Zeroizing;

use crate::certificate::{BadCertificate, CHAIN_CERTS_MAX, LeafFacts, Validity, is_self_issued};
use crate::provider::provider;
use crate::trust::Fingerprint;

/// A workload's certificate, the chain that it presents, and its private key. Cheap to clone. `Debug` never
/// shows the key, and the key leaves only through [`Leaf::to_sealed`].
///
/// A leaf is consistent (its key fits, its SAN is its identity), not trusted: only peers judge that.
#[derive(Clone)]
pub struct Leaf(Arc<Inner>);

struct Inner {
    identity: Identity,
    validity: Validity,
    serial: Vec<u8>,
    key_pkcs8: Zeroizing<Vec<u8>>,
    certified: Arc<CertifiedKey>,
}

/// Why a chain and a key make no leaf. The fault is whoever issued or stored them.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LeafError {
    /// There is no certificate.
    #[error("there is no certificate")]
    Empty,
    /// More than [`CHAIN_CERTS_MAX`] certificates.
    #[error("there are {length} certificates in the chain")]
    TooLong {
        /// Certificates in the chain.
        length: usize,
    },
    /// A certificate of the chain cannot be used.
    #[error("certificate {index} of the chain")]
    Certificate {
        /// Which certificate, the leaf being 0.
        index: usize,
        /// What is wrong with it.
        source: BadCertificate,
    },
    /// The leaf is someone else's.
    #[error("the certificate is for {presented} and not for {wanted}")]
    WrongIdentity {
        /// Whose it should be.
        wanted: Identity,
        /// Whose it is.
        presented: Identity,
    },
    /// The private key cannot be used.
    #[error("the private key cannot be used")]
    Key(#[source] rustls::Error),
    /// The certificate is for another key.
    #[error("the certificate is for another key")]
    WrongKey,
}

impl Leaf {
    /// Puts a leaf together. `chain` begins with the leaf; roots at its end are dropped, since every peer has
    /// its own (RFC 8446 §4.4.2).
    pub(crate) fn new(
        identity: Identity,
        mut chain: Vec<CertificateDer<'static>>,
        key_pkcs8: Zeroizing<Vec<u8>>,
    ) -> Result<Self, LeafError> {
        let Some(first) = chain.first() else {
            return Err(LeafError::Empty);
        };
        let facts = LeafFacts::read(first).map_err(|source| LeafError::Certificate { index: 0, source })?;
        if facts.identity != identity {
            return Err(LeafError::WrongIdentity { wanted: identity, presented: facts.identity });
        }
        drop_roots(&mut chain)?;
        if chain.len() > CHAIN_CERTS_MAX {
            return Err(LeafError::TooLong { length: chain.len() });
        }
        let certified = certified_key(chain, &key_pkcs8)?;
        let LeafFacts { identity, validity, serial, usages: _ } = facts;
        Ok(Self(Arc::new(Inner { identity, validity, serial, key_pkcs8, certified })))
    }

    /// Whose certificate it is.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The certificates that are presented: the leaf first, then intermediates, no root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.certified.cert
    }

    /// The first instant of validity.
    pub fn not_before(&self) -> SystemTime {
        self.0.validity.not_before
    }

    /// The last instant of validity of the leaf itself; an intermediate may expire earlier
    /// ([`crate::TrustBundle::verify_peer`] knows).
    pub fn not_after(&self) -> SystemTime {
        self.0.validity.not_after
    }

    /// The serial number, big endian (RFC 5280 §4.1.2.2).
    pub fn serial(&self) -> &[u8] {
        &self.0.serial
    }

    /// The fingerprint of the leaf certificate, to tell two apart in logs.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_bytes(self.chain().first().map_or(&[], AsRef::as_ref))
    }

    /// What rustls presents and signs with.
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.0.certified.clone()
    }

    /// The private key as PKCS #8 (RFC 5958).
    pub(crate) fn key_pkcs8(&self) -> &[u8] {
        &self.0.key_pkcs8
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("identity", self.identity())
            .field("not_before", &self.not_before())
            .field("not_after", &self.not_after())
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// When to renew a leaf: at half its life, spread over another fifth of it so that the leaves of a node do
/// not renew all at once. `spread` is a number from 0 to 1, chosen once per leaf; what lies outside counts as
/// the nearest end.
pub fn renew_at(leaf: &Leaf, spread: f64) -> SystemTime {
    renewal_time(leaf.not_before(), leaf.not_after(), spread)
}

/// [`renew_at`] for a validity that belongs to no leaf at hand. A validity that ends before it begins is due
/// at its beginning.
pub fn renewal_time(not_before: SystemTime, not_after: SystemTime, spread: f64) -> SystemTime {
    let lifetime = not_after.duration_since(not_before).unwrap_or_default();
    let spread = if spread.is_nan() { 0.0 } else { spread.clamp(0.0, 1.0) };
    not_before + lifetime.mul_f64(0.5 + 0.2 * spread)
}

fn drop_roots(chain: &mut Vec<CertificateDer<'static>>) -> Result<(), LeafError> {
    for (index, cert) in chain.iter().enumerate().skip(1) {
        Validity::read(cert).map_err(|source| LeafError::Certificate { index, source })?;
    }
    while chain.len() > 1 && chain.last().is_some_and(|last| is_self_issued(last).unwrap_or(false)) {
        chain.pop();
    }
    Ok(())
}

fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key_pkcs8: &Zeroizing<Vec<u8>>,
) -> Result<Arc<CertifiedKey>, LeafError> {
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pkcs8.to_vec()));
    let key = provider().key_provider.load_private_key(der).map_err(LeafError::Key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(LeafError::WrongKey),
        // A key that cannot be compared is not one that this crate makes.
        Err(other) => Err(LeafError::Key(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn renewal_lies_between_half_and_seven_tenths_of_a_life() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        for (case, seconds, spread, want) in [
            ("half", 100, 0.0, 50),
            ("latest", 100, 1.0, 70),
            ("middle", 100, 0.5, 60),
            ("a day", 86_400, 0.0, 43_200),
            ("below", 100, -3.0, 50),
            ("above", 100, 3.0, 70),
            ("no number", 100, f64::NAN, 50),
            ("no life", 0, 0.5, 0),
        ] {
            let got = renewal_time(start, start + Duration::from_secs(seconds), spread);
            assert_eq!(got, start + Duration::from_secs(want), "{case}");
        }
        assert_eq!(renewal_time(start, start - Duration::from_secs(5), 0.5), start, "ends before it begins");
    }
}
