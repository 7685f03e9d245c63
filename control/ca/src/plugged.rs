//! An authority that the operator plugs in: an intermediate under a root of the company, in the layout of
//! Istio's `cacerts` secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::authority::{Authority, AuthorityError, AuthoritySettings, Parts};

/// The intermediate that signs.
pub const CERT_FILE: &str = "ca-cert.pem";
/// Its private key: PKCS #8, SEC 1 or PKCS #1.
pub const KEY_FILE: &str = "ca-key.pem";
/// Every root of the trust domain; several while one replaces another.
pub const ROOTS_FILE: &str = "root-cert.pem";
/// What stands between the intermediate and the root.
pub const CHAIN_FILE: &str = "cert-chain.pem";

/// Why a folder holds no authority. The fault is whoever filled it; an authority that was read before stays
/// good.
#[derive(Debug, thiserror::Error)]
pub enum PluggedError {
    /// A file could not be read.
    #[error("reading {}", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The files make no authority.
    #[error("the files in {} make no authority", .folder.display())]
    Authority {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with them.
        source: AuthorityError,
    },
}

/// Reads the four files. Read them again when they change: the answer is a snapshot. Whoever mounts the key
/// decides who may read it, so its mode is not looked at.
///
/// # Errors
/// As [`PluggedError`] says.
pub fn authority_from_cacerts(
    folder: &Path,
    settings: AuthoritySettings,
    now: SystemTime,
) -> Result<Authority, PluggedError> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|source| PluggedError::Read { path, source })
    };
    let key_pem = read(KEY_FILE).map(Zeroizing::new)?;
    let (cert_pem, chain_pem, roots_pem) = (read(CERT_FILE)?, read(CHAIN_FILE)?, read(ROOTS_FILE)?);
    let parts = Parts { cert_pem: &cert_pem, key_pem: &key_pem, chain_pem: &chain_pem, roots_pem };
    Authority::assemble(parts, settings, now)
        .map_err(|source| PluggedError::Authority { folder: folder.to_owned(), source })
}
