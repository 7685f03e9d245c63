//! Looks through the folder and reads what is new.

use crate::directory::catalogue::FileNews;
use crate::directory::last_good::LastGood;
use crate::directory::manifest::{FILE_BYTES_MAX, Manifests, parse_manifests};
use crate::directory::naming::{is_hidden, is_manifest};
use crate::directory::watch::Pending;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weft_control_api::kind::ObjectKey;
use weft_control_api::problem::{Problem, Severity};
use weft_control_index::Index;
use weft_control_index::change::Change;
use weft_control_index::config::IndexConfig;

/// Deepest folder that is looked into: what nests deeper is no configuration but a mistake.
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
    /// What decides whether an object is refused.
    config: IndexConfig,
    /// Of each file, how it looked last.
    stamps: HashMap<Arc<str>, Stamp>,
    looks: Looks,
    /// The folders that held files when they were last seen to.
    folders: HashMap<PathBuf, FolderId>,
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
    /// What is wrong with folders, and with keeping copies.
    pub(crate) problems: Vec<Problem>,
    /// Folders that could not be looked into; what they held still holds.
    pub(crate) closed: Vec<PathBuf>,
    /// A file changed under the reader, or without word of it: look again soon.
    pub(crate) unsteady: bool,
}

/// By what a file is recognised as unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    pub(crate) fn new(root: PathBuf, config: IndexConfig) -> Self {
        let (stamps, folders, missing) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { root, config, stamps, looks: Looks::None, folders, missing }
    }

    /// A file that is not seen now counts as there: later it may be seen to be gone.
    pub(crate) fn adopt(&mut self, file: Arc<str>) {
        self.stamps.entry(file).or_default();
    }

    /// Looks through the folder, and reads files that are new, look different, or are said to have changed. What can be
    /// read is kept as the last good version of its file, by whoever keeps some.
    pub(crate) fn look(&mut self, pending: &Pending, now: SystemTime, last_good: Option<&LastGood>) -> Look {
        let listing = self.list(last_good);
        let mut look = Look { problems: listing.problems, closed: listing.closed.clone(), ..Look::default() };
        for (name, path) in &listing.files {
            let news = self.look_at((name, path.as_path()), pending, now, last_good, &mut look);
            if let Some(news) = news {
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

    /// What is in the folder, where folders that a volume seems to be missing from are closed.
    fn list(&mut self, last_good: Option<&LastGood>) -> Listing {
        let mut listing = Listing::default();
        listing.folder(&self.root, &mut Vec::new());
        let unmounted =
            listing.folders.iter().filter(|(folder, seen)| self.is_unmounted(folder, seen, last_good));
        let unmounted: Vec<_> = unmounted.map(|(folder, _)| folder.clone()).collect();
        for folder in unmounted {
            listing.close(&folder, UNMOUNTED.to_owned());
            self.folders.entry(folder).or_insert(FolderId::NOBODYS);
        }
        let closed = self
            .folders
            .extract_if(|folder, _| listing.closed.iter().any(|closed| folder.starts_with(closed)));
        let mut folders: HashMap<_, _> = closed.collect();
        let full = listing.folders.iter().filter(|(_, seen)| seen.files > 0);
        folders.extend(full.map(|(folder, seen)| (folder.clone(), seen.id)));
        self.folders = folders;
        listing
    }

    /// True for a folder without any file where there were some, and that is not the folder that held them: of a
    /// volume that is not mounted the mount point is left. What is below it may have been made anew by anybody, and
    /// counts only if it is on another device.
    fn is_unmounted(&self, folder: &Path, seen: &Seen, last_good: Option<&LastGood>) -> bool {
        if seen.files > 0 {
            return false;
        }
        match self.folders.get(folder) {
            Some(before) if folder == self.root => *before != seen.id,
            Some(before) => before.device != seen.id.device,
            // Which folder it was is not known after a start.
            None => {
                folder == self.root
                    && self.looks == Looks::None
                    && last_good.is_some_and(|kept| !kept.files(folder).is_empty())
            }
        }
    }

    /// Whether something is good in an earlier version of a file that is refused now.
    fn serves(&self, earlier: &[u8], refused_now: &BTreeSet<ObjectKey>) -> bool {
        if refused_now.is_empty() {
            return false;
        }
        parse_manifests(earlier, "").is_ok_and(|before| {
            let refused = refused(&before, &self.config);
            let mut good = before.objects.iter().map(Change::key).filter(|key| !refused.contains(key));
            good.any(|key| refused_now.contains(&key))
        })
    }

    fn look_at(
        &mut self,
        (name, path): (&Arc<str>, &Path),
        pending: &Pending,
        now: SystemTime,
        last_good: Option<&LastGood>,
        look: &mut Look,
    ) -> Option<FileNews> {
        let closed = |error: &io::Error| Some(FileNews::Unreadable(problem(path, unreadable(error))));
        let unsteady = &mut look.unsteady;
        let stamp = match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Stamp::of(&metadata, now),
            Ok(_) => return None,
            Err(error) => {
                self.adopt(name.clone());
                return closed(&error);
            }
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
            Err(error) => return closed(&error),
        };
        let after = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata, now));
        // A writer may have begun since, and may have come this far and no further.
        if after.is_none_or(|after| !after.same_file(&stamp)) || pending.is_being_written(path) {
            *unsteady = true;
            return None;
        }
        let manifests = match parse_manifests(&bytes, name) {
            Ok(manifests) => manifests,
            Err(problem) => {
                self.stamps.insert(name.clone(), Stamp { read: true, ..stamp });
                return Some(FileNews::Unreadable(problem));
            }
        };
        let keep = |kept: &LastGood| {
            let refused = refused(&manifests, &self.config);
            kept.keep(name, &bytes, |before| self.serves(before, &refused))
        };
        match last_good.map_or(Ok(()), keep) {
            Ok(()) => {
                self.stamps.insert(name.clone(), Stamp { read: true, ..stamp });
            }
            // It does not count as read, so that the next look tries again.
            Err(problem) => look.problems.push(problem),
        }
        Some(FileNews::Read(manifests))
    }
}

/// The objects of a file that are refused, and leave what they were in force. What refuses one stands in itself, so others need
/// not be known. A policy leaves nothing in force: it denies.
fn refused(manifests: &Manifests, config: &IndexConfig) -> BTreeSet<ObjectKey> {
    let mut alone = Index::new(config.clone());
    drop(alone.apply_all(manifests.objects.iter().cloned()));
    let errors = alone.problems().filter(|problem| problem.severity == Severity::Error);
    errors.filter_map(|problem| problem.object.clone()).filter(|key| !key.kind.is_policy()).collect()
}

/// Reads a file; of one that is too long only so much that this is seen.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot be read: {error}")
}

/// What is wrong with a file or a folder as a whole.
pub(crate) fn problem(path: &Path, reason: String) -> Problem {
    Problem {
        source: path.to_string_lossy().into(),
        line: None,
        object: None,
        field: String::new(),
        reason,
        severity: Severity::Error,
    }
}

/// Why a folder with nothing in it is not taken at its word.
const UNMOUNTED: &str = "is empty, and not the folder that held manifests before: a volume may not be mounted. What it \
                         held stays in force. If it is to hold nothing, put an empty file with a name such as none.yaml in it";

/// Which folder a folder is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FolderId {
    device: u64,
    inode: u64,
}

impl FolderId {
    /// Of a folder that is known by its files alone.
    const NOBODYS: Self = Self { device: 0, inode: 0 };
}

/// A folder as it was seen.
struct Seen {
    id: FolderId,
    /// In it and below.
    files: usize,
}

#[derive(Default)]
struct Listing {
    files: HashMap<Arc<str>, PathBuf>,
    folders: HashMap<PathBuf, Seen>,
    closed: Vec<PathBuf>,
    problems: Vec<Problem>,
}

impl Listing {
    /// Lists a folder; `above` are those that it is in.
    fn folder(&mut self, folder: &Path, above: &mut Vec<FolderId>) {
        let opened = fs::metadata(folder).and_then(|metadata| Ok((metadata, fs::read_dir(folder)?)));
        let (metadata, entries) = match opened {
            Ok(opened) => opened,
            // A folder below the root that is gone is gone with all that it held. The root is not: a volume
            // that is away for a moment must not empty the mesh.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !above.is_empty() => return,
            Err(error) => return self.close(folder, unreadable(&error)),
        };
        let id = FolderId { device: metadata.dev(), inode: metadata.ino() };
        if above.contains(&id) {
            return; // A link that leads back: what is there is listed already.
        }
        let (files, closed) = (self.files.len(), self.closed.len());
        above.push(id);
        self.entries(folder, entries, above);
        above.pop();
        // Of a folder that could not be looked into nobody knows how much is in it.
        if self.closed.len() == closed {
            self.folders.insert(folder.to_owned(), Seen { id, files: self.files.len() - files });
        }
    }

    fn entries(&mut self, folder: &Path, entries: fs::ReadDir, above: &mut Vec<FolderId>) {
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => return self.close(folder, unreadable(&error)),
            };
            if is_hidden(&path) {
                continue;
            }
            if path.is_dir() {
                match above.len() <= FOLDER_DEPTH_MAX {
                    true => self.folder(&path, above),
                    false => self.close(&path, "cannot be read: the folders are nested too deep".to_owned()),
                }
            } else if is_manifest(&path) {
                if self.files.len() >= FILES_MAX {
                    return self.close(folder, "cannot be read: there are too many files".to_owned());
                }
                self.files.insert(path.to_string_lossy().into(), path);
            }
        }
    }

    fn close(&mut self, folder: &Path, reason: String) {
        self.problems.push(problem(folder, reason));
        self.closed.push(folder.to_owned());
    }
}
