//! Files that are there whole or not at all, and keys that only their owner reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Certificates.
    Everyone,
    /// Keys.
    Owner,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Self::Everyone => 0o644,
            Self::Owner => 0o600,
        }
    }
}

/// Replaces a file, or makes it: whoever opens it finds the old content or the new, also after a crash.
pub(crate) fn replace(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let fresh = write_beside(path, content, readers)?;
    fs::rename(&fresh.0, path)?;
    // Renamed: nothing is left for the guard to remove.
    std::mem::forget(fresh);
    sync_folder(path)
}

/// Makes a file unless it exists; then the error is `AlreadyExists` and the file is as it was.
pub(crate) fn create(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let fresh = write_beside(path, content, readers)?;
    // A link, unlike a rename, refuses to replace.
    fs::hard_link(&fresh.0, path)?;
    sync_folder(path)
}

/// Makes a folder that only its owner enters, with its parents. One that exists stays as it is.
pub(crate) fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads a key, and refuses one that others than its owner may read: `PermissionDenied`.
pub(crate) fn read_private(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others than its owner may read it"));
    }
    io::read_to_string(file).map(Zeroizing::new)
}

/// A file that is removed again unless it finds its place.
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        // It may be gone already; a file left behind is in nobody's way.
        let _ = fs::remove_file(&self.0);
    }
}

fn write_beside(path: &Path, content: &[u8], readers: Readers) -> io::Result<Fresh> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.tmp", u64::from_be_bytes(random)));
    let fresh = Fresh(path.with_file_name(name));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(readers.mode()).open(&fresh.0)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(fresh)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
