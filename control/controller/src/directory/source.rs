//! Follows a folder of manifests and tells what changed in it.

use crate::directory::catalogue::Catalogue;
use crate::directory::scan::{Look, Scanner};
use crate::directory::watch::{Pending, Watch};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use weft_control_api::problem::{Problem, Severity};
use weft_control_index::change::Change;

/// What changed in the folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Objects that are different; they belong together.
    pub changes: Vec<Change>,
    /// Everything that is wrong with files now, besides what is wrong with objects.
    pub problems: Vec<Problem>,
    /// Whether this is the first.
    pub kind: BatchKind,
}

/// Which batch a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchKind {
    /// The first: all that there is.
    Initial,
    /// A change since.
    Change,
}

/// How long the source waits for what.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Silence after an event before the folder is looked at: several files saved at once are one change.
    pub quiet: Duration,
    /// Longest wait for that silence.
    pub burst_max: Duration,
    /// Longest wait for a writer to close its file; until then the file may be half of what it is to be.
    pub writer_max: Duration,
    /// Time between looks without any event, a net below lost events.
    pub rescan: Duration,
    /// The same where the kernel gives no events at all.
    pub poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(30),
            burst_max: Duration::from_millis(300),
            writer_max: Duration::from_secs(2),
            rescan: Duration::from_secs(5),
            poll: Duration::from_millis(500),
        }
    }
}

/// Why a folder cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be looked at.
    #[error("looking at the folder of manifests {}", path.display())]
    Look {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no folder", path.display())]
    NotAFolder {
        /// What was to be the folder.
        path: PathBuf,
    },
}

/// A folder of manifests.
#[derive(Debug)]
pub struct DirectorySource {
    root: PathBuf,
    timing: Timing,
}

impl DirectorySource {
    /// Takes a folder that exists.
    ///
    /// # Errors
    /// [`OpenError`] if it is none. A folder that goes away later keeps what it held, with a problem.
    pub fn open(root: impl Into<PathBuf>, timing: Timing) -> Result<Self, OpenError> {
        let root = root.into();
        match fs::metadata(&root) {
            Ok(metadata) if metadata.is_dir() => Ok(Self { root, timing }),
            Ok(_) => Err(OpenError::NotAFolder { path: root }),
            Err(source) => Err(OpenError::Look { path: root, source }),
        }
    }

    /// Tells of the folder until the receiver is gone: first everything, then what changes.
    pub async fn run(self, batches: mpsc::Sender<Batch>) {
        let Self { root, timing } = self;
        let mut watch = Watching::start(&root, &timing);
        let mut work = Work { scanner: Scanner::new(root.clone()), catalogue: Catalogue::default() };
        let mut told = None;
        loop {
            let pending = watch.pending();
            let done = tokio::task::spawn_blocking(move || work.look(&pending)).await;
            let (next, done) = match done {
                Ok(done) => done,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return, // The runtime is shutting down.
            };
            work = next;
            let problems: Vec<_> = done.problems.into_iter().chain(watch.problem.clone()).collect();
            let kind = if told.is_none() { BatchKind::Initial } else { BatchKind::Change };
            if kind == BatchKind::Initial || !done.changes.is_empty() || told.as_ref() != Some(&problems) {
                let batch = Batch { changes: done.changes, problems: problems.clone(), kind };
                if batches.send(batch).await.is_err() {
                    return;
                }
            }
            told = Some(problems);
            tokio::select! {
                () = watch.settled(&timing, done.unsteady) => {}
                () = batches.closed() => return,
            }
            watch.follow(&root, &timing);
        }
    }
}

/// What is handed to a blocking thread and back.
struct Work {
    scanner: Scanner,
    catalogue: Catalogue,
}

struct Done {
    changes: Vec<Change>,
    problems: Vec<Problem>,
    unsteady: bool,
}

impl Work {
    fn look(mut self, pending: &Pending) -> (Self, Done) {
        let Look { news, mut problems, unsteady } = self.scanner.look(pending, SystemTime::now());
        let changes = self.catalogue.update(news);
        problems.extend(self.catalogue.problems());
        (self, Done { changes, problems, unsteady })
    }
}

/// A watch, or why there is none.
struct Watching {
    watch: Option<Watch>,
    problem: Option<Problem>,
    /// Device and inode of the folder that is watched.
    folder: Option<(u64, u64)>,
}

impl Watching {
    fn start(root: &Path, timing: &Timing) -> Self {
        // Taken first: a folder that is replaced right now is seen as replaced later.
        let folder = identity(root);
        match Watch::start(root, timing.writer_max) {
            Ok(watch) => Self { watch: Some(watch), problem: None, folder },
            Err(error) => Self { watch: None, problem: Some(unwatched(root, &error)), folder },
        }
    }

    /// Watches anew if the folder is another one now: a watch stays with the old one.
    fn follow(&mut self, root: &Path, timing: &Timing) {
        let now = identity(root);
        if now.is_some() && (now != self.folder || self.watch.is_none()) {
            *self = Self::start(root, timing);
        }
    }

    fn pending(&self) -> Pending {
        self.watch.as_ref().map_or_else(Pending::default, Watch::take)
    }

    /// Waits until it is worth looking again.
    async fn settled(&self, timing: &Timing, unsteady: bool) {
        let Some(watch) = &self.watch else {
            return sleep(if unsteady { timing.quiet } else { timing.poll }).await;
        };
        let rescan = match (unsteady, watch.is_being_written()) {
            (false, _) => timing.rescan,
            (true, false) => timing.quiet,
            // There will be word when the writer closes his file; if not, he has had his time.
            (true, true) => timing.writer_max,
        };
        if timeout_at(Instant::now() + rescan, watch.changed()).await.is_err() {
            return;
        }
        let first = Instant::now();
        loop {
            let waited = first.elapsed();
            let written = watch.is_being_written();
            if waited >= timing.writer_max || (!written && waited >= timing.burst_max) {
                return;
            }
            let silence = timeout_at(Instant::now() + timing.quiet, watch.changed()).await.is_err();
            if silence && !watch.is_being_written() {
                return;
            }
        }
    }
}

fn identity(root: &Path) -> Option<(u64, u64)> {
    fs::metadata(root).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn unwatched(root: &Path, error: &notify::Error) -> Problem {
    Problem {
        source: root.to_string_lossy().into(),
        line: None,
        object: None,
        field: String::new(),
        reason: format!("cannot be watched, so it is looked at in intervals: {error}"),
        severity: Severity::Warning,
    }
}

#[cfg(test)]
mod tests;
