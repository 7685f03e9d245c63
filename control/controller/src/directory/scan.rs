//! Looks through the folder and reads what is new.

use crate::directory::catalogue::FileNews;
use crate::directory::manifest::{FILE_BYTES_MAX, parse_manifests};
use crate::directory::watch::Pending;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weft_control_api::problem::{Problem, Severity};

/// Deepest folder that is looked into. Links may lead back to a folder above; this ends it.
const FOLDER_DEPTH_MAX: usize = 16;

/// Files that are looked at. More are no configuration but a mistake, such as `/` for a folder.
pub(crate) const FILES_MAX: usize = 100_000;

/// A file as young as this when it was read may have changed since without another date.
const DATE_GRAIN: Duration = Duration::from_secs(2);

/// The word that somebody writes takes a moment to be heard: what changed so shortly ago may be half of what it is to be.
const HEARSAY: Duration = Duration::from_millis(20);

/// What was seen of the files so far.
#[derive(Debug)]
pub(crate) struct Scanner {
    root: PathBuf,
    /// Of each file, how it looked last.
    stamps: HashMap<Arc<str>, Stamp>,
    looks: Looks,
    /// Files that were not there at the last look, while something was unsteady: they may have moved.
    missing: HashSet<Arc<str>>,
}

/// Whether the folder has been looked through before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
    None,
    Some,
}

/// What one look brought.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) news: Vec<(Arc<str>, FileNews)>,
    /// Folders that could not be looked into; what they held still holds.
    pub(crate) problems: Vec<Problem>,
    /// A file changed under the reader, or without word of it: look again soon.
    pub(crate) unsteady: bool,
}

/// By what a file is recognised as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Its dates may not tell the next change.
    young: bool,
    /// It was read like this.
    read: bool,
}

impl Stamp {
    fn of(metadata: &Metadata, now: SystemTime) -> Self {
        let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            young: age.is_none_or(|age| age < DATE_GRAIN),
            read: false,
        }
    }

    /// It was written to a moment ago. A date from the future says nothing: the clock was set back.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.modified;
        let since = u64::try_from(seconds).ok().zip(u32::try_from(nanoseconds).ok());
        let written =
            since.map(|(seconds, nanoseconds)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds));
        let age = written.and_then(|written| now.duration_since(written).ok());
        age.is_some_and(|age| age < HEARSAY)
    }

    fn same_file(&self, other: &Self) -> bool {
        Self { young: other.young, read: other.read, ..*self } == *other
    }
}

impl Scanner {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, stamps: HashMap::new(), looks: Looks::None, missing: HashSet::new() }
    }

    /// Looks through the folder, and reads files that are new, look different, or are said to have changed.
    pub(crate) fn look(&mut self, pending: &Pending, now: SystemTime) -> Look {
        let mut listing = Listing::default();
        listing.folder(&self.root, 0);
        let mut look = Look { problems: listing.problems, ..Look::default() };
        for (name, path) in &listing.files {
            if let Some(news) = self.look_at(name, path, pending, now, &mut look.unsteady) {
                look.news.push((name.clone(), news));
            }
        }
        let here = |name: &Arc<str>| listing.files.contains_key(name);
        let hidden =
            |name: &Arc<str>| listing.closed.iter().any(|folder| Path::new(&**name).starts_with(folder));
        let gone: Vec<_> = self.stamps.keys().filter(|name| !here(name) && !hidden(name)).cloned().collect();
        let missed = std::mem::take(&mut self.missing);
        for name in gone {
            // What it held may be in the file that is not steady yet; twice missing is gone.
            if look.unsteady && !missed.contains(&name) {
                self.missing.insert(name);
                continue;
            }
            self.stamps.remove(&name);
            look.news.push((name, FileNews::Gone));
        }
        self.looks = Looks::Some;
        look
    }

    fn look_at(
        &mut self,
        name: &Arc<str>,
        path: &Path,
        pending: &Pending,
        now: SystemTime,
        unsteady: &mut bool,
    ) -> Option<FileNews> {
        let unreadable = |error: &io::Error| Some(FileNews::Unreadable(cannot(path, &error.to_string())));
        let stamp = match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Stamp::of(&metadata, now),
            Ok(_) => return None,
            Err(error) => return unreadable(&error),
        };
        if pending.is_being_written(path) {
            *unsteady = true;
            return None;
        }
        let force = pending.concerns(path);
        let known = self.stamps.get(name).copied().filter(|known| known.same_file(&stamp));
        if !force && known.is_some_and(|known| known.read && !known.young) {
            return None;
        }
        // From here on the file counts as known, so that it can be told as gone.
        self.stamps.insert(name.clone(), stamp);
        if !force && known.is_none() && self.looks == Looks::Some {
            // Changed without word of it: the word may be on its way, and the writer at work. It is read once
            // it looks the same twice.
            *unsteady = true;
            return None;
        }
        // What is replaced by renaming is whole, and may be replaced again before it has rested for a moment.
        let fresh = !pending.came_whole(path) && stamp.is_fresh(SystemTime::now());
        if self.looks == Looks::Some && fresh {
            *unsteady = true;
            return None;
        }
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) => return unreadable(&error),
        };
        let after = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata, now));
        // A writer may have begun since, and may have come this far and no further.
        if after.is_none_or(|after| !after.same_file(&stamp)) || pending.is_being_written(path) {
            *unsteady = true;
            return None;
        }
        self.stamps.insert(name.clone(), Stamp { read: true, ..stamp });
        Some(parse_manifests(&bytes, name).map_or_else(FileNews::Unreadable, FileNews::Read))
    }
}

/// Reads a file; of one that is too long only so much that this is seen.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn cannot(path: &Path, reason: &str) -> Problem {
    Problem {
        source: path.to_string_lossy().into(),
        line: None,
        object: None,
        field: String::new(),
        reason: format!("cannot be read: {reason}"),
        severity: Severity::Error,
    }
}

#[derive(Default)]
struct Listing {
    files: HashMap<Arc<str>, PathBuf>,
    closed: Vec<PathBuf>,
    problems: Vec<Problem>,
}

impl Listing {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // A folder below the root that is gone is gone with all that it held. The root is not: a volume
            // that is away for a moment must not empty the mesh.
            Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => return,
            Err(error) => return self.close(folder, &error.to_string()),
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => return self.close(folder, &error.to_string()),
            };
            if is_hidden(&path) {
                continue;
            }
            if path.is_dir() {
                match depth < FOLDER_DEPTH_MAX {
                    true => self.folder(&path, depth + 1),
                    false => self.close(&path, "the folders are nested too deep"),
                }
            } else if is_manifest(&path) {
                if self.files.len() >= FILES_MAX {
                    return self.close(folder, "there are too many files");
                }
                self.files.insert(path.to_string_lossy().into(), path);
            }
        }
    }

    fn close(&mut self, folder: &Path, reason: &str) {
        self.problems.push(cannot(folder, reason));
        self.closed.push(folder.to_owned());
    }
}

/// Editors' and Kubernetes' own files (`.x.swp`, `..data`) begin with a dot.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}
