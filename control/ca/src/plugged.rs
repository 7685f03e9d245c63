//! An authority that the operator plugs in: an intermediate under a root of the company, in the layout of
//! Istio's `cacerts` secret.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
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

/// A folder of the four files, which whoever keeps it may change: Kubernetes puts a new secret in the place of the old
/// one. Whoever mounts the key decides who may read it, so its mode is not looked at.
#[derive(Debug)]
pub struct Cacerts {
    folder: PathBuf,
    settings: AuthoritySettings,
    /// The files that were taken last, as a hash.
    taken: [u8; SHA256_OUTPUT_LEN],
}

impl Cacerts {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// As [`PluggedError`] says.
    pub fn open(
        folder: &Path,
        settings: AuthoritySettings,
        now: SystemTime,
    ) -> Result<(Self, Authority), PluggedError> {
        let files = Files::read(folder)?;
        let taken = files.hash();
        let authority = files.authority(folder, settings.clone(), now)?;
        Ok((Self { folder: folder.to_owned(), settings, taken }, authority))
    }

    /// Reads the files again. `None` if they are those that were taken last.
    ///
    /// # Errors
    /// As [`PluggedError`] says: the authority of before stays good. So it is for a moment while files are changed one
    /// after the other.
    pub fn read_again(&mut self, now: SystemTime) -> Result<Option<Authority>, PluggedError> {
        let files = Files::read(&self.folder)?;
        let found = files.hash();
        if found == self.taken {
            return Ok(None);
        }
        let authority = files.authority(&self.folder, self.settings.clone(), now)?;
        self.taken = found;
        Ok(Some(authority))
    }
}

struct Files {
    cert_pem: String,
    key_pem: Zeroizing<String>,
    chain_pem: String,
    roots_pem: String,
}

impl Files {
    fn read(folder: &Path) -> Result<Self, PluggedError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| PluggedError::Read { path, source })
        };
        Ok(Self {
            cert_pem: read(CERT_FILE)?,
            key_pem: read(KEY_FILE).map(Zeroizing::new)?,
            chain_pem: read(CHAIN_FILE)?,
            roots_pem: read(ROOTS_FILE)?,
        })
    }

    fn hash(&self) -> [u8; SHA256_OUTPUT_LEN] {
        let mut context = Context::new(&SHA256);
        for text in [&self.cert_pem, &*self.key_pem, &self.chain_pem, &self.roots_pem] {
            // With its length in front: else what moves from one file's end to the next one's beginning is not seen.
            context.update(&text.len().to_be_bytes());
            context.update(text.as_bytes());
        }
        let mut hash = [0; SHA256_OUTPUT_LEN];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    fn authority(
        self,
        folder: &Path,
        settings: AuthoritySettings,
        now: SystemTime,
    ) -> Result<Authority, PluggedError> {
        let Self { cert_pem, key_pem, chain_pem, roots_pem } = self;
        let parts = Parts { cert_pem: &cert_pem, key_pem: &key_pem, chain_pem: &chain_pem, roots_pem };
        Authority::assemble(parts, settings, now)
            .map_err(|source| PluggedError::Authority { folder: folder.to_owned(), source })
    }
}
