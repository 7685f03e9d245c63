//! What is known of a peer whose certificates have been checked, and why others are refused.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::{CertificateError, OtherError};
use rustls_pki_types::UnixTime;
use weft_core::identity::Identity;

use crate::certificate::{BadCertificate, Usage};

/// A peer whose chain a root of its own trust domain vouches for. Only
/// [`crate::TrustBundle::verify_peer`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    identity: Identity,
    not_after: SystemTime,
}

impl Peer {
    pub(crate) fn new(identity: Identity, not_after: SystemTime) -> Self {
        Self { identity, not_after }
    }

    /// Who the peer is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The last instant at which every certificate of the chain, the root included, is still valid. A
    /// connection ends no later.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

/// Why a peer's certificates are refused. The fault is the peer's unless the variant says otherwise, and
/// trying again with the same certificates helps only for [`PeerError::NotYetValid`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The peer presented no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The chain is longer than [`crate::certificate::CHAIN_CERTS_MAX`].
    #[error("the peer's chain holds {length} certificates")]
    ChainTooLong {
        /// Certificates in the chain.
        length: usize,
    },
    /// The leaf is no certificate of a workload.
    #[error("the peer's leaf is no certificate of a workload")]
    Leaf(#[source] BadCertificate),
    /// The bundle has no root for the trust domain. Whose fault it is depends on what was agreed.
    #[error("no root is known for the trust domain {trust_domain}")]
    UnknownTrustDomain {
        /// The domain of the claimed identity.
        trust_domain: Arc<str>,
    },
    /// Every root of the trust domain is outside its own validity: our fault, roots must be rotated in time.
    #[error("every root of the trust domain {trust_domain} has expired or is not valid yet")]
    RootsNotValid {
        /// The domain of the claimed identity.
        trust_domain: Arc<str>,
    },
    /// No root of the identity's own trust domain stands at the end of the chain.
    #[error("no root of the identity's own trust domain vouches for the chain")]
    UnknownIssuer,
    /// A signature in the chain is wrong.
    #[error("a signature in the chain is wrong")]
    BadSignature,
    /// A certificate of the chain has expired.
    #[error("a certificate of the chain has expired")]
    Expired {
        /// When it did.
        not_after: SystemTime,
    },
    /// A certificate of the chain is not valid yet; also what a clock that runs late shows.
    #[error("a certificate of the chain is not valid yet")]
    NotYetValid {
        /// When it will be.
        not_before: SystemTime,
    },
    /// The certificate is not made for this end of a connection.
    #[error("the extended key usage does not cover {usage:?}")]
    WrongUsage {
        /// What the peer was used as.
        usage: Usage,
    },
    /// The chain is fine, and the peer is someone else than expected.
    #[error("the peer is {presented}, which is not expected here")]
    Unexpected {
        /// Who the peer proved to be.
        presented: Identity,
    },
    /// Any other rule of path building (RFC 5280 §6).
    #[error("the chain breaks a rule of path building")]
    Path(#[source] webpki::Error),
}

impl PeerError {
    pub(crate) fn from_path(error: webpki::Error, usage: Usage) -> Self {
        match error {
            webpki::Error::UnknownIssuer => Self::UnknownIssuer,
            webpki::Error::InvalidSignatureForPublicKey => Self::BadSignature,
            webpki::Error::CertExpired { not_after, .. } => {
                Self::Expired { not_after: system_time(not_after) }
            }
            webpki::Error::CertNotValidYet { not_before, .. } => {
                Self::NotYetValid { not_before: system_time(not_before) }
            }
            webpki::Error::CaUsedAsEndEntity => Self::Leaf(BadCertificate::SigningLeaf),
            webpki::Error::RequiredEkuNotFoundContext(_) | webpki::Error::EmptyEkuExtension => {
                Self::WrongUsage { usage }
            }
            other => Self::Path(other),
        }
    }

    /// The error for rustls, chosen so that the alert tells the peer what it can act on (RFC 8446 §6.2).
    pub(crate) fn into_rustls(self, now: UnixTime) -> rustls::Error {
        let reason = match self {
            Self::NoCertificate => return rustls::Error::NoCertificatesPresented,
            Self::UnknownIssuer => CertificateError::UnknownIssuer,
            Self::BadSignature => CertificateError::BadSignature,
            Self::Expired { not_after } => {
                CertificateError::ExpiredContext { time: now, not_after: unix_time(not_after) }
            }
            Self::NotYetValid { not_before } => {
                CertificateError::NotValidYetContext { time: now, not_before: unix_time(not_before) }
            }
            other => CertificateError::Other(OtherError(Arc::new(other))),
        };
        rustls::Error::InvalidCertificate(reason)
    }

    /// Finds the reason again in the error with which rustls ended a handshake; `None` if it ended for a
    /// reason of its own (an alert from the peer, no common ALPN, garbage).
    pub fn from_rustls(error: &rustls::Error) -> Option<Self> {
        let reason = match error {
            rustls::Error::NoCertificatesPresented => return Some(Self::NoCertificate),
            rustls::Error::InvalidCertificate(reason) => reason,
            _ => return None,
        };
        match reason {
            CertificateError::UnknownIssuer => Some(Self::UnknownIssuer),
            CertificateError::BadSignature => Some(Self::BadSignature),
            CertificateError::ExpiredContext { not_after, .. } => {
                Some(Self::Expired { not_after: system_time(*not_after) })
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                Some(Self::NotYetValid { not_before: system_time(*not_before) })
            }
            CertificateError::Other(OtherError(other)) => other.downcast_ref::<Self>().cloned(),
            _ => None,
        }
    }
}

/// A time for rustls and webpki; before 1970 there are no certificates, so all of it counts as 1970.
pub(crate) fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// The time of rustls and webpki as the rest of the mesh counts it.
pub(crate) fn system_time(time: UnixTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs())
}
