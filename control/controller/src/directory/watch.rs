//! The kernel's word that files changed. It says when to look and which files to read again; what is there
//! is for the scan to see, so that a lost or misread event costs time and nothing else.

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// Paths that are kept apart between two looks; beyond that every file is read again.
const TOUCHED_MAX: usize = 10_000;

/// A watch on a folder and all below it; ends when dropped.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    _watcher: RecommendedWatcher,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Notify,
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Files and folders to read again, whatever their dates say.
    touched: HashSet<PathBuf>,
    /// Files that somebody has written to and not closed.
    writing: HashSet<PathBuf>,
    /// Events were lost: read all.
    all: bool,
}

impl Watch {
    pub(crate) fn start(root: &Path) -> Result<Self, notify::Error> {
        let shared = Arc::new(Shared::default());
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
        !self.shared.pending.lock().writing.is_empty()
    }

    /// What happened since the last call. Writers that have not closed are forgotten: the caller has waited.
    pub(crate) fn take(&self) -> Pending {
        std::mem::take(&mut self.shared.pending.lock())
    }
}

impl Shared {
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
        for path in event.paths {
            match writing {
                Some(true) => {
                    self.writing.insert(path.clone());
                }
                Some(false) => {
                    self.writing.remove(&path);
                }
                None => {}
            }
            self.touched.insert(path);
        }
        if self.touched.len() > TOUCHED_MAX {
            self.touched.clear();
            self.all = true;
        }
        true
    }
}
