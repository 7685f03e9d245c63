//! How a leaf and its key travel to the next process, through memory that only the two of them see.
//!
//! Format, version 1: `WLF`, a version byte, then fields that begin with their length in 4 bytes, big endian:
//! the identity as text, the key as PKCS #8, and each certificate of the chain, leaf first, up to the end.
//! This is no encryption: what protects it is the memfd that it is written to.

use std::str;

use rustls_pki_types::CertificateDer;
use weft_core::identity::{BadIdentity, Identity};
use zeroize::Zeroizing;

use crate::certificate::CHAIN_CERTS_MAX;
use crate::leaf::{Leaf, LeafError};

/// Begins every sealed leaf; the last byte is the version.
const HEADER: &[u8; 4] = b"WLF\x01";

/// Why bytes are no sealed leaf. The fault is whoever wrote them; a version that is not known is no fault but
/// asks for a fresh certificate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SealedError {
    /// The bytes do not begin as a sealed leaf does.
    #[error("the bytes are no sealed leaf")]
    NotSealed,
    /// Written by a version that this one cannot read.
    #[error("the sealed leaf has version {version}")]
    Version {
        /// The version byte.
        version: u8,
    },
    /// The bytes end within a field.
    #[error("the sealed leaf ends early")]
    Truncated,
    /// More certificates than a chain may hold.
    #[error("the sealed leaf holds more than {CHAIN_CERTS_MAX} certificates")]
    TooManyCertificates,
    /// The first field is not UTF-8.
    #[error("the identity is no text")]
    IdentityText,
    /// The first field is no identity.
    #[error("the identity cannot be read")]
    Identity(#[source] BadIdentity),
    /// The parts do not make a leaf.
    #[error("the parts make no leaf")]
    Leaf(#[source] LeafError),
}

impl Leaf {
    /// Everything about this leaf, the key included. The bytes are wiped when dropped; write them nowhere but
    /// to a memfd.
    pub fn to_sealed(&self) -> Zeroizing<Vec<u8>> {
        let identity = self.identity().to_string();
        let fields = [identity.as_bytes(), self.key_pkcs8()]
            .into_iter()
            .chain(self.chain().iter().map(AsRef::as_ref))
            .collect::<Vec<&[u8]>>();
        // Sized at once: a vector that grows leaves copies of the key behind.
        let size = HEADER.len() + fields.iter().map(|field| 4 + field.len()).sum::<usize>();
        let mut bytes = Zeroizing::new(Vec::with_capacity(size));
        bytes.extend_from_slice(HEADER);
        for field in fields {
            let length = u32::try_from(field.len()).expect("identities, keys and certificates are short");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    /// Reads what [`Leaf::to_sealed`] wrote and checks it all again: key, identity, chain. Takes any bytes; a
    /// fuzz target can call it as it is.
    ///
    /// # Errors
    /// As [`SealedError`] says.
    pub fn from_sealed(bytes: &[u8]) -> Result<Self, SealedError> {
        let (version, mut rest) = match bytes {
            [b'W', b'L', b'F', version, rest @ ..] => (*version, rest),
            _ => return Err(SealedError::NotSealed),
        };
        if version != HEADER[3] {
            return Err(SealedError::Version { version });
        }
        let identity = str::from_utf8(field(&mut rest)?).map_err(|_| SealedError::IdentityText)?;
        let identity = identity.parse::<Identity>().map_err(SealedError::Identity)?;
        let key = Zeroizing::new(field(&mut rest)?.to_vec());
        let mut chain = Vec::new();
        while !rest.is_empty() {
            if chain.len() == CHAIN_CERTS_MAX {
                return Err(SealedError::TooManyCertificates);
            }
            chain.push(CertificateDer::from(field(&mut rest)?.to_vec()));
        }
        Leaf::new(identity, chain, key).map_err(SealedError::Leaf)
    }
}

/// Takes the next field off the front.
fn field<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], SealedError> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or(SealedError::Truncated)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| SealedError::Truncated)?;
    let (field, after) = after.split_at_checked(length).ok_or(SealedError::Truncated)?;
    *rest = after;
    Ok(field)
}
