//! The last known configuration on disk: written after a change, and not too often; read once at the start.

use crate::chain::chain;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weft_proto::state::{BadState, State, decode_state};

/// Between two writes. The first change after a quiet time is written at once: a process that dies a moment later
/// would start with an older one.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after a write that failed.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Writes the file, one at a time.
pub(crate) struct Saver {
    file: Option<PathBuf>,
    due: Option<Instant>,
    /// No write begins before.
    rest: Option<Instant>,
    writing: JoinSet<Result<(), SaveError>>,
}

/// Why the file could not be written. The fault is on this side.
#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error("writing {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("replacing {}", .path.display())]
    Replace { path: PathBuf, source: io::Error },
    #[error("making the folder {}", .path.display())]
    Folder { path: PathBuf, source: io::Error },
}

impl Saver {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file, due: None, rest: None, writing: JoinSet::new() }
    }

    /// Notes that there is something to write.
    pub(crate) fn changed(&mut self) {
        if self.file.is_some() && self.due.is_none() {
            let now = Instant::now();
            self.due = Some(self.rest.map_or(now, |rest| rest.max(now)));
        }
    }

    /// Returns when it is time to [`Saver::write`]. Cancel-safe.
    pub(crate) async fn due(&mut self) {
        while let Some(written) = self.writing.join_next().await {
            let error = match written {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => chain(&error),
                Err(error) => chain(&error),
            };
            tracing::warn!(error, "cannot save the last known configuration");
            self.due = Some(Instant::now() + RETRY_AFTER);
        }
        match self.due {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Begins to write.
    pub(crate) fn write(&mut self, encode: impl FnOnce() -> Vec<u8> + Send + 'static) {
        self.due = None;
        self.rest = Some(Instant::now() + SAVE_EVERY);
        if let Some(file) = self.file.clone() {
            self.writing.spawn_blocking(move || replace(&file, &encode()));
        }
    }
}

/// A reader sees the old file or the new one, also after a power cut.
fn replace(file: &Path, content: &[u8]) -> Result<(), SaveError> {
    if let Some(folder) = file.parent() {
        let failed = |source| SaveError::Folder { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let failed = |source| SaveError::Write { path: new.clone(), source };
    let mut out = File::create(&new).map_err(failed)?;
    out.write_all(content).and_then(|()| out.sync_all()).map_err(failed)?;
    fs::rename(&new, file).map_err(|source| SaveError::Replace { path: file.to_owned(), source })
}

/// Why there is no last known configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The file could not be read.
    #[error("reading {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file is not what was written.
    #[error("{} is corrupt", .path.display())]
    Corrupt { path: PathBuf, source: BadState },
}

/// Reads the file; `None` if there is none yet.
pub(crate) fn load(path: &Path) -> Result<Option<State>, LoadError> {
    match fs::read(path) {
        Ok(content) => decode_state(&content.into())
            .map(Some)
            .map_err(|source| LoadError::Corrupt { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LoadError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_written_at_once_and_later_ones_are_gathered() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut saver = Saver::new(Some(folder.path().join("state")));
        let begun = Instant::now();
        for (change, want) in [("the first", 0), ("the second", 1), ("the third", 2)] {
            saver.changed();
            saver.changed();
            saver.due().await;
            assert_eq!(begun.elapsed().as_secs(), want, "{change}");
            saver.write(|| change.as_bytes().to_vec());
            while let Some(written) = saver.writing.join_next().await {
                written.expect("no panic").expect("written");
            }
            assert_eq!(fs::read(folder.path().join("state")).expect("a file"), change.as_bytes());
        }
        tokio::time::advance(SAVE_EVERY * 5).await;
        saver.changed();
        saver.due().await;
        assert_eq!(begun.elapsed().as_secs(), 7, "after a quiet time at once again");
    }
}
