//! The folder of a built-in authority: self-signed roots with their keys, and the rotation from one to the
//! next.
//!
//! ```text
//! lock                          held by the process that uses the folder
//! rotation.json                 which root signs, which are trusted; replacing this file is what commits a step
//! root-cert.pem                 every trusted root, the signing one first; written after it, to be copied
//! roots/<id>/root-cert.pem
//! roots/<id>/root-key.pem       mode 0600
//! token-key.pem                 mode 0600; see `token`
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::authority::{Authority, AuthorityError, AuthoritySettings, Parts};
use crate::files::{self, Readers};
use crate::issuer::new_root;
use crate::rotation::{DropRoot, ROOT_LIFETIME, RootId, Rotation, StepError};

/// Every trusted root, to be copied to where peers find it: the folder itself lets only its owner in.
pub const ROOTS_FILE: &str = "root-cert.pem";
const STATE_FILE: &str = "rotation.json";
const LOCK_FILE: &str = "lock";
const KEY_FILE: &str = "root-key.pem";

/// What a built-in authority has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaSettings {
    /// What it signs.
    pub authority: AuthoritySettings,
    /// How long a fresh root lives.
    pub root_lifetime: Duration,
}

impl CaSettings {
    /// Leaves of 24 hours and roots of ten years in `trust_domain`.
    pub fn new(trust_domain: impl Into<Arc<str>>) -> Self {
        Self { authority: AuthoritySettings::new(trust_domain), root_lifetime: ROOT_LIFETIME }
    }
}

/// A built-in authority in its folder: the only writer there. Signing is [`CaDirectory::authority`]'s.
#[derive(Debug)]
pub struct CaDirectory {
    folder: PathBuf,
    settings: CaSettings,
    rotation: Rotation,
    authority: Authority,
    /// Unlocks when dropped.
    _lock: File,
}

/// Why a folder gives no authority. The fault is on this side: whoever keeps the folder.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or folder could not be read; `PermissionDenied` also for a key that others may read.
    #[error("reading {}", .path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("writing {}", .path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses the folder.
    #[error("another process uses {}", .folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// There are roots, and no word of which one signs. A fresh root would cut the mesh in two, so none is
    /// made.
    #[error("{} holds roots and no {STATE_FILE}", .folder.display())]
    StateMissing {
        /// The folder.
        folder: PathBuf,
    },
    /// The state cannot be understood.
    #[error("{} cannot be understood", .path.display())]
    State {
        /// The state's file.
        path: PathBuf,
    },
    /// No root could be made.
    #[error("making a root")]
    Make(#[source] rcgen::Error),
    /// The files make no authority.
    #[error("the files in {} make no authority", .folder.display())]
    Authority {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with them.
        source: AuthorityError,
    },
}

/// Why a step of a rotation was not taken; the authority is then as it was, in memory and on disk, except
/// after [`RotateError::Publish`].
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The step does not follow.
    #[error("the step does not follow")]
    Step(#[from] StepError),
    /// The step could not be prepared or written.
    #[error("preparing the step")]
    Prepare(#[source] OpenError),
    /// The step is taken, and what follows it is not done: the file of roots is still the old one (opening
    /// the folder again writes it), or the key of the old root is still on the disk.
    #[error("the step is taken; tidying up after it")]
    Publish(#[source] OpenError),
}

impl CaDirectory {
    /// Takes the authority in `folder`; makes folder, root and key if there is nothing yet.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub fn open_or_create(folder: &Path, settings: CaSettings, now: SystemTime) -> Result<Self, OpenError> {
        let roots = folder.join("roots");
        files::make_private_folder(&roots).map_err(writing(&roots))?;
        let lock = lock(folder)?;
        let state = folder.join(STATE_FILE);
        let rotation = match fs::read(&state) {
            Ok(text) => read_state(&text).ok_or(OpenError::State { path: state })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => first_root(folder, &settings, now)?,
            Err(source) => return Err(OpenError::Read { path: state, source }),
        };
        let authority = load(folder, &settings, &rotation, now)?;
        publish(folder, &authority)?;
        Ok(Self { folder: folder.to_owned(), settings, rotation, authority, _lock: lock })
    }

    /// The authority as of now. A step of the rotation makes another.
    pub fn authority(&self) -> Authority {
        self.authority.clone()
    }

    /// Where the rotation stands.
    pub fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// First step: a fresh root joins the bundle and does not sign. Take the next step when every node has the
    /// new bundle.
    ///
    /// # Errors
    /// As [`RotateError`] says.
    pub fn announce_root(&mut self, now: SystemTime) -> Result<Authority, RotateError> {
        let fresh = fresh_id().map_err(RotateError::Prepare)?;
        let next = self.rotation.announce(fresh.clone(), now)?;
        make_root(&self.folder, &fresh, &self.settings, now).map_err(RotateError::Prepare)?;
        self.commit(next, now)
    }

    /// Second step: the new root signs. Leaves of the old one stay good.
    ///
    /// # Errors
    /// As [`RotateError`] says.
    pub fn switch_root(&mut self, now: SystemTime) -> Result<Authority, RotateError> {
        let next = self.rotation.switch(now)?;
        self.commit(next, now)
    }

    /// Last step: the old root leaves the bundle, and its key the disk.
    ///
    /// # Errors
    /// As [`RotateError`] says; [`StepError::StillInUse`] tells when to come back.
    pub fn drop_old_root(&mut self, drop: DropRoot, now: SystemTime) -> Result<Authority, RotateError> {
        let leaving = self.rotation.trusted().nth(1).cloned();
        let next = self.rotation.finish(drop, self.settings.authority.leaf_lifetime_max, now)?;
        let authority = self.commit(next, now)?;
        if let Some(leaving) = leaving {
            let path = root_folder(&self.folder, &leaving);
            fs::remove_dir_all(&path).map_err(|source| RotateError::Publish(writing(&path)(source)))?;
        }
        Ok(authority)
    }

    /// Tries the next state out, writes it, and only then takes it.
    fn commit(&mut self, next: Rotation, now: SystemTime) -> Result<Authority, RotateError> {
        let authority = load(&self.folder, &self.settings, &next, now).map_err(RotateError::Prepare)?;
        write_state(&self.folder, &next).map_err(RotateError::Prepare)?;
        self.rotation = next;
        self.authority = authority;
        publish(&self.folder, &self.authority).map_err(RotateError::Publish)?;
        Ok(self.authority())
    }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(writing(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Write { path, source }),
    }
}

fn first_root(folder: &Path, settings: &CaSettings, now: SystemTime) -> Result<Rotation, OpenError> {
    let roots = folder.join("roots");
    let mut entries = fs::read_dir(&roots).map_err(|source| OpenError::Read { path: roots, source })?;
    if entries.next().is_some() {
        return Err(OpenError::StateMissing { folder: folder.to_owned() });
    }
    let id = fresh_id()?;
    make_root(folder, &id, settings, now)?;
    let rotation = Rotation::begin_with(id, now);
    write_state(folder, &rotation)?;
    Ok(rotation)
}

fn fresh_id() -> Result<RootId, OpenError> {
    let mut random = [0; 4];
    let filled = aws_lc_rs::rand::fill(&mut random);
    filled.map_err(|_| OpenError::Make(rcgen::Error::RingUnspecified))?;
    Ok(RootId::from_random(random))
}

fn make_root(folder: &Path, id: &RootId, settings: &CaSettings, now: SystemTime) -> Result<(), OpenError> {
    let root =
        new_root(&settings.authority.trust_domain, settings.root_lifetime, now).map_err(OpenError::Make)?;
    let home = root_folder(folder, id);
    files::make_private_folder(&home).map_err(writing(&home))?;
    let (key, cert) = (home.join(KEY_FILE), home.join(ROOTS_FILE));
    files::replace(&key, root.key_pem.as_bytes(), Readers::Owner).map_err(writing(&key))?;
    files::replace(&cert, root.cert_pem.as_bytes(), Readers::Everyone).map_err(writing(&cert))
}

fn load(
    folder: &Path,
    settings: &CaSettings,
    rotation: &Rotation,
    now: SystemTime,
) -> Result<Authority, OpenError> {
    let mut certs = Vec::new();
    for id in rotation.trusted() {
        let path = root_folder(folder, id).join(ROOTS_FILE);
        certs.push(fs::read_to_string(&path).map_err(|source| OpenError::Read { path, source })?);
    }
    let path = root_folder(folder, rotation.signing()).join(KEY_FILE);
    let key_pem = files::read_private(&path).map_err(|source| OpenError::Read { path, source })?;
    let roots_pem = certs.concat();
    let cert_pem = certs.swap_remove(0);
    let parts = Parts { cert_pem: &cert_pem, key_pem: &key_pem, chain_pem: "", roots_pem };
    Authority::assemble(parts, settings.authority.clone(), now)
        .map_err(|source| OpenError::Authority { folder: folder.to_owned(), source })
}

fn read_state(text: &[u8]) -> Option<Rotation> {
    serde_json::from_slice::<Rotation>(text).ok().filter(Rotation::is_consistent)
}

fn write_state(folder: &Path, rotation: &Rotation) -> Result<(), OpenError> {
    let path = folder.join(STATE_FILE);
    let written = serde_json::to_vec_pretty(rotation)
        .map_err(io::Error::from)
        .and_then(|text| files::replace(&path, &text, Readers::Everyone));
    written.map_err(writing(&path))
}

fn publish(folder: &Path, authority: &Authority) -> Result<(), OpenError> {
    let path = folder.join(ROOTS_FILE);
    files::replace(&path, authority.roots_pem().as_bytes(), Readers::Everyone).map_err(writing(&path))
}

fn root_folder(folder: &Path, id: &RootId) -> PathBuf {
    folder.join("roots").join(id.as_str())
}

fn writing(path: &Path) -> impl Fn(io::Error) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Write { path: path.clone(), source }
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
