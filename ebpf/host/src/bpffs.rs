//! The agent's directory on bpffs: what is pinned there outlives the agent.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::key::PodKey;

/// Where bpffs is by convention. Anything below it is mounted there; any other directory becomes a mount of its own.
const CONVENTION: &str = "/sys/fs/bpf";

/// The layout of what is pinned. It stands in the path, so that another version never reads it by mistake.
const LAYOUT: &str = "v1";

/// Why the directory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// bpffs is not there and could not be mounted.
    #[error("mounting bpffs on {}", path.display())]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory could not be made.
    #[error("making {}", path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another version pinned its objects here; taking them for ours would misread them.
    #[error("{} holds the pinned objects of another layout than {LAYOUT}", path.display())]
    OtherLayout {
        /// Where.
        path: PathBuf,
    },
}

/// The directory.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Mounts bpffs and makes the directory, as far as they are missing.
    pub(crate) fn open(root: &Path) -> Result<Self, DirectoryError> {
        if !is_bpffs(root) {
            let at = if root.starts_with(CONVENTION) { Path::new(CONVENTION) } else { root };
            mount_at(at)?;
        }
        let directory = Self { root: root.to_owned() };
        make(root)?;
        if let Some(path) = directory.other_layout() {
            return Err(DirectoryError::OtherLayout { path });
        }
        make(&directory.maps())?;
        make(&directory.pods())?;
        Ok(directory)
    }

    fn other_layout(&self) -> Option<PathBuf> {
        let entries = fs::read_dir(&self.root).ok()?;
        entries.flatten().find(|entry| is_other_layout(&entry.file_name())).map(|entry| entry.path())
    }

    pub(crate) fn maps(&self) -> PathBuf {
        self.root.join(LAYOUT).join("maps")
    }

    fn pods(&self) -> PathBuf {
        self.root.join(LAYOUT).join("pods")
    }

    pub(crate) fn probe(&self) -> PathBuf {
        self.root.join(LAYOUT).join("probe")
    }

    /// There while grace periods are expedited.
    pub(crate) fn hurry(&self) -> PathBuf {
        self.root.join(LAYOUT).join("expedited")
    }

    pub(crate) fn pod(&self, key: &PodKey) -> PathBuf {
        self.pods().join(key.as_str())
    }

    pub(crate) fn make_pod(&self, key: &PodKey) -> Result<PathBuf, DirectoryError> {
        let path = self.pod(key);
        make(&path)?;
        Ok(path)
    }

    /// Removes everything.
    pub(crate) fn remove_all(&self) -> io::Result<()> {
        remove(&self.root.join(LAYOUT))
    }
}

/// The root of a bpffs also holds files of the kernel's own.
fn is_other_layout(name: &OsStr) -> bool {
    let version = name.to_str().and_then(|name| name.strip_prefix('v'));
    version.is_some_and(|version| version.parse::<u32>().is_ok()) && name != LAYOUT
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn make(path: &Path) -> Result<(), DirectoryError> {
    fs::create_dir_all(path).map_err(|source| DirectoryError::Make { path: path.to_owned(), source })
}

fn mount_at(path: &Path) -> Result<(), DirectoryError> {
    make(path)?;
    mount(Some("bpf"), path, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .map_err(|errno| DirectoryError::Mount { path: path.to_owned(), source: errno.into() })
}

/// Whether a path, or the nearest part of it that exists, is on bpffs.
pub(crate) fn is_bpffs(path: &Path) -> bool {
    let Some(existing) = path.ancestors().find(|path| path.exists()) else {
        return false;
    };
    let Ok(existing) = CString::new(existing.as_os_str().as_bytes()) else {
        return false;
    };
    statfs(existing.as_c_str()).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC)
}

/// Takes what a pinned link has attached off, and removes the pin. Without its pin the link ends as well, but some time
/// later, and until then the programs of a pod that is released would still see its packets.
pub(crate) fn end_link(path: &Path) -> io::Result<()> {
    match detach(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Its device may have gone, and then nothing is attached.
        Err(error) => tracing::debug!(path = %path.display(), %error, "a link ends with its pin"),
        Ok(()) => {}
    }
    remove_stale(path)
}

/// By the system calls themselves: aya only closes links.
fn detach(path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Pinned {
        path: u64,
        object: u32,
        flags: u32,
    }
    const OBJECT_GET: libc::c_long = 7;
    const LINK_DETACH: libc::c_long = 34;
    let text = CString::new(path.as_os_str().as_bytes())?;
    let pinned = Pinned { path: text.as_ptr() as u64, object: 0, flags: 0 };
    // SAFETY: `pinned` has the layout of this command, and the path outlives the call.
    let opened = unsafe { libc::syscall(libc::SYS_bpf, OBJECT_GET, &raw const pinned, size_of::<Pinned>()) };
    let fd = RawFd::try_from(Errno::result(opened)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let number: u32 = link.as_raw_fd().cast_unsigned();
    // SAFETY: this command takes the descriptor alone, which outlives the call.
    let detached = unsafe { libc::syscall(libc::SYS_bpf, LINK_DETACH, &raw const number, size_of::<u32>()) };
    Ok(Errno::result(detached).map(drop)?)
}

/// Removes a pin that a process left on its way to another name.
pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
