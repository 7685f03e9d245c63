//! Follows a folder of manifests and tells what changed in it.

use crate::directory::catalogue::{Catalogue, FileNews};
use crate::directory::last_good::LastGood;
use crate::directory::manifest::{Manifests, parse_manifests};
use crate::directory::scan::{self, Look, Scanner};
use crate::directory::watch::{Pending, Watch};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use weft_control_api::problem::{Problem, Severity};
use weft_control_index::change::Change;
use weft_control_index::config::IndexConfig;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchKind {
    /// None yet, and why: with what a file held that nobody knows, whoever went on from before would lose it.
    Waiting(String),
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
    last_good: LastGood,
    config: IndexConfig,
}

/// Whether this is a folder that can be followed.
///
/// # Errors
/// [`OpenError`] if it is not.
pub fn check_folder(root: &Path) -> Result<(), OpenError> {
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::NotAFolder { path: root.to_owned() }),
        Err(source) => Err(OpenError::Look { path: root.to_owned(), source }),
    }
}

impl DirectorySource {
    /// Takes a folder that exists, where the last good versions of its files are kept, and what decides which they are.
    ///
    /// # Errors
    /// [`OpenError`] if it is none. A folder that goes away later keeps what it held, with a problem.
    pub fn open(
        root: PathBuf,
        timing: Timing,
        last_good: LastGood,
        config: IndexConfig,
    ) -> Result<Self, OpenError> {
        check_folder(&root)?;
        Ok(Self { root, timing, last_good, config })
    }

    /// Tells of the folder until the receiver is gone: first everything, then what changes.
    pub async fn run(self, batches: mpsc::Sender<Batch>) {
        let Self { root, timing, last_good, config } = self;
        let mut watch = Watching::start(&root, &timing);
        let mut work = Work::new(root.clone(), last_good, config);
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
            let news = done.kind == BatchKind::Initial || !done.changes.is_empty();
            if news || told.as_ref() != Some(&problems) {
                let batch = Batch { changes: done.changes, problems: problems.clone(), kind: done.kind };
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
    last_good: LastGood,
    root: PathBuf,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has been told.
    Beginning,
    /// Everything has, and changes are.
    Following,
}

struct Done {
    changes: Vec<Change>,
    problems: Vec<Problem>,
    unsteady: bool,
    kind: BatchKind,
}

impl Work {
    fn new(root: PathBuf, last_good: LastGood, config: IndexConfig) -> Self {
        let (scanner, catalogue) = (Scanner::new(root.clone(), config), Catalogue::default());
        Self { scanner, catalogue, last_good, root, stage: Stage::Beginning }
    }

    fn look(mut self, pending: &Pending) -> (Self, Done) {
        let Look { news, mut problems, closed, unsteady } =
            self.scanner.look(pending, SystemTime::now(), Some(&self.last_good));
        let hidden = self.recall_hidden(&closed);
        let news = news.into_iter().map(|(file, news)| {
            let news = self.recalled(&file, news);
            (file, news)
        });
        let news: Vec<_> = news.chain(hidden).collect();
        for (file, _) in news.iter().filter(|(_, news)| *news == FileNews::Gone) {
            if let Err(error) = self.last_good.forget(file) {
                tracing::warn!(file = &**file, %error, "the last good version of a file that is gone is not forgotten");
            }
        }
        let mut changes = self.catalogue.update(news);
        problems.extend(self.catalogue.problems());
        let lost = if self.stage == Stage::Beginning { self.lost(&closed) } else { None };
        problems.extend(lost.as_ref().map(|lost| scan::problem(&self.root, lost.clone())));
        let kind = match self.stage {
            Stage::Following => BatchKind::Change,
            Stage::Beginning => match lost.or_else(|| unsteady.then(|| WRITTEN.to_owned())) {
                Some(reason) => {
                    changes.clear();
                    BatchKind::Waiting(reason)
                }
                None => {
                    self.begin();
                    // First what was in force before an object was refused, which then stays so.
                    changes = self.before_refusals();
                    changes.extend(self.catalogue.objects());
                    BatchKind::Initial
                }
            },
        };
        (self, Done { changes, problems, unsteady, kind })
    }

    /// Of a file that cannot be read, and that this process never could: what a process before it has kept.
    fn recalled(&self, file: &Arc<str>, news: FileNews) -> FileNews {
        match news {
            FileNews::Unreadable(problem) if !self.catalogue.knows(file) => match self.last_version(file) {
                Some(manifests) => FileNews::Recalled(manifests, Some(problem)),
                None => FileNews::Unreadable(problem),
            },
            news => news,
        }
    }

    /// The same for the files of folders that cannot be looked into.
    fn recall_hidden(&mut self, closed: &[PathBuf]) -> Vec<(Arc<str>, FileNews)> {
        let mut recalled = Vec::new();
        for file in closed.iter().flat_map(|folder| self.last_good.files(folder)) {
            if !self.catalogue.knows(&file)
                && let Some(manifests) = self.last_version(&file)
            {
                self.scanner.adopt(file.clone());
                recalled.push((file, FileNews::Recalled(manifests, None)));
            }
        }
        recalled
    }

    fn last_version(&self, file: &Arc<str>) -> Option<Manifests> {
        match self.last_good.recall(file) {
            Ok(content) => parse_manifests(&content?, file)
                .inspect_err(
                    |problem| tracing::error!(%problem, "the last good version of a file cannot be used"),
                )
                .ok(),
            Err(error) => {
                tracing::error!(file = &**file, %error, "the last good version of a file cannot be read");
                None
            }
        }
    }

    /// Objects of files in which something is refused, as they were in the version that has it good. Policies are not
    /// among them: one that is refused denies, whatever it said before.
    fn before_refusals(&self) -> Vec<Change> {
        let mut found = Vec::new();
        for file in self.catalogue.files() {
            let Some(content) = self.last_good.recall_earlier(file) else { continue };
            let Ok(manifests) = parse_manifests(&content, file) else { continue };
            found.extend(manifests.objects.into_iter().filter(|object| {
                let key = object.key();
                matches!(object, Change::Upsert { .. })
                    && !key.kind.is_policy()
                    && self.catalogue.counts_in(file, &key)
            }));
        }
        found
    }

    /// Why nothing can be told yet, if files are lost.
    fn lost(&self, closed: &[PathBuf]) -> Option<String> {
        let complete = self.last_good.is_complete();
        // Of what has no copy in a complete set nothing was in force. What has one that is of no use was.
        let lost = |file: &&Arc<str>| !complete || self.last_good.has(file);
        let files = self.catalogue.unknown().filter(lost).map(|file| file.to_string());
        let folders = closed.iter().filter(|_| !complete).map(|folder| folder.display().to_string());
        let lost: Vec<_> = files.chain(folders).take(LOST_SHOWN).collect();
        (!lost.is_empty()).then(|| {
            format!(
                "nothing of it is in force yet: {} cannot be read, and no good version is kept in {}; mend or remove it",
                lost.join(", "),
                self.last_good.folder().display()
            )
        })
    }

    fn begin(&mut self) {
        self.stage = Stage::Following;
        if let Err(error) = self.last_good.complete(|file| self.catalogue.knows(file)) {
            let folder = self.last_good.folder().display();
            tracing::warn!(%folder, %error, "the last good versions of manifests are not complete");
        }
    }
}

/// Why nothing can be told yet, if all can be read in a moment.
const WRITTEN: &str = "waits for files that are being written";

/// Files that are named when several are waited for.
const LOST_SHOWN: usize = 5;

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
