//! The last good version of each file, on disk, so that one that is broken while the control plane starts anew still
//! holds what it held.
//!
//! Whole files under the names that they have in the folder of manifests. They may hold secrets: nobody but the owner
//! reads them. What they mean is not known here.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weft_control_api::problem::{Problem, Severity};

/// Says that the whole folder has been read once. No manifest's name begins with a dot.
const COMPLETE: &str = ".complete";
/// A version that is being written. There is one writer.
const DRAFT: &str = ".draft";
/// How the name of an earlier version of a file begins, which has what a later one has no good version of. It is hidden, as
/// no manifest is.
const EARLIER: &str = ".earlier.";

/// The copies cannot be kept where they are to be.
#[derive(Debug, thiserror::Error)]
#[error("making the folder {} for the last good versions of manifests", path.display())]
pub struct LastGoodError {
    path: PathBuf,
    source: io::Error,
}

/// Copies of the files of one folder of manifests.
#[derive(Debug)]
pub struct LastGood {
    /// The folder of manifests, as its files' names begin.
    root: PathBuf,
    folder: PathBuf,
}

impl LastGood {
    /// Keeps copies of what is in `root` in `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(root: &Path, folder: PathBuf) -> Result<Self, LastGoodError> {
        match DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
            Ok(()) => Ok(Self { root: root.to_string_lossy().into_owned().into(), folder }),
            Err(source) => Err(LastGoodError { path: folder, source }),
        }
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// True once the whole folder has been read: of a file without a copy nothing was ever in force.
    pub(crate) fn is_complete(&self) -> bool {
        self.folder.join(COMPLETE).exists()
    }

    /// Notes that the whole folder has been read, and forgets files that `holds` does not know.
    pub(crate) fn complete(&self, holds: impl Fn(&str) -> bool) -> io::Result<()> {
        for file in self.files(&self.root) {
            if !holds(&file) {
                self.forget(&file)?;
            }
        }
        File::create(self.folder.join(COMPLETE))?.sync_all()
    }

    /// Keeps this version of a file; after a crash the one before is there, or this one. An earlier one stays beside it as long
    /// as it `serves`: as long as something is good in it that is refused now.
    pub(crate) fn keep(
        &self,
        file: &str,
        content: &[u8],
        serves: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Problem> {
        let kept = self.place(file).and_then(|place| {
            let earlier = earlier(&place);
            // Most files are as they were when the process before read them.
            let kept = fs::read(&place).ok();
            if kept.as_deref() != Some(content) {
                if let Some(kept) = kept.filter(|kept| !earlier.exists() && serves(kept)) {
                    self.write(&earlier, &kept)?;
                }
                self.write(&place, content)?;
            }
            match fs::read(&earlier) {
                Ok(before) if !serves(&before) => remove(&earlier),
                _ => Ok(()),
            }
        });
        kept.map_err(|error| Problem {
            source: file.into(),
            line: None,
            object: None,
            field: String::new(),
            reason: format!(
                "cannot be kept as a last good version in {}, so it holds only while the control plane runs: {error}",
                self.folder.display()
            ),
            severity: Severity::Warning,
        })
    }

    fn write(&self, place: &Path, content: &[u8]) -> io::Result<()> {
        if let Some(folder) = place.parent() {
            self.make_way(folder)?;
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        if place.is_dir() {
            fs::remove_dir_all(place)?;
        }
        let draft = self.folder.join(DRAFT);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(draft, place)
    }

    /// What was a file may be a folder now.
    fn make_way(&self, folder: &Path) -> io::Result<()> {
        let above = folder.ancestors().take_while(|above| *above != self.folder);
        for file in above.filter(|above| above.is_file()) {
            fs::remove_file(file)?;
        }
        Ok(())
    }

    /// The last good version of a file, if there is one.
    pub(crate) fn recall(&self, file: &str) -> io::Result<Option<Vec<u8>>> {
        let mut content = Vec::new();
        match File::open(self.place(file)?).and_then(|mut file| file.read_to_end(&mut content)) {
            Ok(_) => Ok(Some(content)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The earlier version of a file that has what is refused in the last one.
    pub(crate) fn recall_earlier(&self, file: &str) -> Option<Vec<u8>> {
        fs::read(earlier(&self.place(file).ok()?)).ok()
    }

    /// True if there is a version of the file, readable or not.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.place(file).is_ok_and(|place| place.exists())
    }

    /// A file is gone on purpose.
    pub(crate) fn forget(&self, file: &str) -> io::Result<()> {
        let place = self.place(file)?;
        remove(&earlier(&place))?;
        remove(&place)
    }

    /// The files below a folder of manifests that there are copies of.
    pub(crate) fn files(&self, folder: &Path) -> Vec<Arc<str>> {
        let (mut found, mut folders) = (Vec::new(), Vec::new());
        folders.extend(self.place(&folder.to_string_lossy()).ok());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind) if kind.is_file() && !hidden => found.extend(self.name(&entry.path())),
                    _ => {}
                }
            }
        }
        found
    }

    fn place(&self, file: &str) -> io::Result<PathBuf> {
        let below = Path::new(file).strip_prefix(&self.root).map_err(io::Error::other)?;
        Ok(self.folder.join(below))
    }

    fn name(&self, place: &Path) -> Option<Arc<str>> {
        let below = place.strip_prefix(&self.folder).ok()?;
        Some(self.root.join(below).to_string_lossy().into())
    }
}

/// Where an earlier version of what is kept in this place is.
fn earlier(place: &Path) -> PathBuf {
    let mut name = OsString::from(EARLIER);
    name.push(place.file_name().unwrap_or_default());
    place.with_file_name(name)
}

fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_file(place) {
        Ok(()) => Ok(()),
        // What has no place there is not there either.
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => Ok(()),
            _ => Err(error),
        },
    }
}
