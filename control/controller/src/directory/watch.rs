//! The kernel's word that files changed. It says when to look and which files to read again; what is there
//! is for the scan to see, so that a lost or misread event costs time and nothing else.

use crate::directory::naming::is_followed;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Paths that are kept apart between two looks; beyond that every file is read again.
const TOUCHED_MAX: usize = 10_000;

/// A watch on a folder and all below it; ends when dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    _watcher: RecommendedWatcher,
}

#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Notify,
    writer_max: Duration,
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Files and folders to read again, whatever their dates say.
    touched: HashSet<PathBuf>,
    /// Files that came to where they are by renaming, and that nobody was heard to write to since: they are whole.
    whole: HashSet<PathBuf>,
    /// Manifests that somebody has written to and not closed, and since when.
    writing: HashMap<PathBuf, Instant>,
    /// Events were lost: read all.
    all: bool,
    /// Where it is known who writes now.
    live: Option<Arc<Shared>>,
}

impl Watch {
    /// A writer counts as one for so long at most.
    pub(crate) fn start(root: &Path, writer_max: Duration) -> Result<Self, notify::Error> {
        let shared = Arc::new(Shared { pending: Mutex::default(), wake: Notify::new(), writer_max });
        let told = shared.clone();
        let mut watcher = notify::recommended_watcher(move |event| told.take(event))?;
        watcher.watch(root, RecursiveMode::Recursive)?;
        Ok(Self { shared, _watcher: watcher })
    }

    /// Waits until something happens. Cancel-safe: what happens meanwhile is there next time.
    pub(crate) async fn changed(&self) {
        self.shared.wake.notified().await;
    }

    /// True while somebody has a file open that he has written to.
    pub(crate) fn is_being_written(&self) -> bool {
        !self.shared.writers().writing.is_empty()
    }

    /// What happened since the last call, except for files that are being written: they stay for the next.
    pub(crate) fn take(&self) -> Pending {
        let mut pending = self.shared.writers();
        let writing = std::mem::take(&mut pending.writing);
        let left = Pending { touched: writing.keys().cloned().collect(), writing, ..Pending::default() };
        let taken = std::mem::replace(&mut *pending, left);
        Pending { live: Some(self.shared.clone()), ..taken }
    }
}

impl Shared {
    /// What is pending, without writers that have taken too long.
    fn writers(&self) -> MutexGuard<'_, Pending> {
        let mut pending = self.pending.lock();
        pending.writing.retain(|_, since| since.elapsed() < self.writer_max);
        pending
    }

    fn take(&self, event: Result<Event, notify::Error>) {
        let mut pending = self.pending.lock();
        let heard = match event {
            Ok(event) => pending.hear(event),
            Err(_) => {
                pending.all = true;
                true
            }
        };
        drop(pending);
        if heard {
            self.wake.notify_one();
        }
    }
}

impl Pending {
    /// True if there was word of a file, or of a folder that it is in (a folder that moved says no more).
    pub(crate) fn concerns(&self, path: &Path) -> bool {
        self.all || (!self.touched.is_empty() && path.ancestors().any(|path| self.touched.contains(path)))
    }

    /// True if the file was written elsewhere and moved here, so that nobody is half-way with it.
    pub(crate) fn came_whole(&self, path: &Path) -> bool {
        self.whole.contains(path)
    }

    /// True while somebody writes to the file, as of now.
    pub(crate) fn is_being_written(&self, path: &Path) -> bool {
        self.live.as_ref().is_some_and(|live| live.writers().writing.contains_key(path))
    }

    /// False for what changes nothing, such as our own reading.
    fn hear(&mut self, event: Event) -> bool {
        if event.need_rescan() {
            self.all = true;
            return true;
        }
        let writing = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(false),
            EventKind::Access(_) => return false,
            EventKind::Modify(ModifyKind::Data(_)) => Some(true),
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => Some(false),
            EventKind::Modify(_) | EventKind::Create(_) | EventKind::Any | EventKind::Other => None,
        };
        let came =
            matches!(event.kind, EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)));
        let last = event.paths.len().saturating_sub(1);
        for (place, path) in event.paths.into_iter().enumerate() {
            // A rename that names both its ends names the new one last.
            if came && place == last {
                self.whole.insert(path.clone());
            } else {
                self.whole.remove(&path);
            }
            match writing {
                // An editor has its own files open all the while; nobody has to wait for those.
                Some(true) if is_followed(&path) => {
                    self.writing.entry(path.clone()).or_insert_with(Instant::now);
                }
                Some(false) => {
                    self.writing.remove(&path);
                }
                Some(true) | None => {}
            }
            self.touched.insert(path);
        }
        if self.touched.len() > TOUCHED_MAX {
            self.touched.clear();
            self.whole.clear();
            self.all = true;
        }
        true
    }
}
