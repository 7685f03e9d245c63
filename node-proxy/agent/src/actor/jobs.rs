//! The actor's threads: each does one thing that may block, and comes back with the result.

use super::words::Tried;
use super::{Actor, Batch, Done, NETNS_EVERY, Remembering};
use crate::enrol::{EnrolError, Task, chain, leads_elsewhere};
use crate::reconcile::Key;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use tokio::task::AbortHandle;
use weft_core::enrolment::Acceleration;
use weft_core::names::WorkloadUid;
use weft_ebpf_host::memory;
use weft_runtime::fds::Watched;

/// Runs work whose result somebody waits for, also if it panics.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // What it held is dropped with it; the pod is tried again from the beginning.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("a bug: the thread panicked".to_owned()))
}

impl Actor {
    pub(super) fn enrol(&mut self, task: Task) {
        let enroller = self.parts.enroller.clone();
        let uid = task.wanted.uid.clone();
        self.working += 1;
        self.jobs.spawn_blocking(move || {
            let mut failed: fn(String) -> Tried = Tried::Failed;
            let enrolled = guarded(|| {
                enroller.enrol(task).map(Box::new).map_err(|error| {
                    if matches!(error, EnrolError::Replaced) {
                        failed = Tried::Replaced;
                    }
                    chain(&error)
                })
            });
            Done::Enrolled(uid, enrolled.map_or_else(failed, Tried::Enrolled))
        });
    }

    /// Looks whether the namespaces of pods are still where they were, if it is time: one that was removed and made
    /// again under its name is in plain text, and nobody tells of it.
    pub(super) fn look_for_replaced(&mut self) {
        if self.netns_due > self.now {
            return;
        }
        self.netns_due = self.now + NETNS_EVERY;
        if std::mem::replace(&mut self.looking, true) {
            return;
        }
        let pods = self
            .kept
            .iter()
            .filter_map(|(uid, kept)| Some((uid.clone(), kept.path.clone()?, kept.netns.clone())));
        let pods: Vec<_> = pods.collect();
        self.jobs.spawn_blocking(move || {
            let replaced = pods.into_iter().filter(|(_, path, netns)| leads_elsewhere(path, netns));
            Done::Replaced(replaced.map(|(uid, _, netns)| (uid, netns.cookie)).collect())
        });
    }

    pub(super) fn release(&mut self, uid: WorkloadUid, key: Key, netns: Option<PathBuf>) {
        let enroller = self.parts.enroller.clone();
        self.working += 1;
        self.jobs.spawn_blocking(move || {
            let released =
                guarded(|| enroller.release(&uid, &key, netns.as_deref()).map_err(|error| chain(&error)));
            Done::Released(uid, released)
        });
    }

    /// One of the threads of [`Actor::enrol`] or [`Actor::release`] is done.
    pub(super) fn worked(&mut self) {
        self.working = self.working.saturating_sub(1);
        if self.working == 0 {
            self.jobs.spawn_blocking(|| {
                memory::give_back();
                Done::Nothing
            });
        }
    }

    pub(super) fn release_orphan(&mut self, key: Key) {
        let enroller = self.parts.enroller.clone();
        self.jobs.spawn_blocking(move || {
            let released = guarded(|| enroller.release_orphan(&key).map_err(|error| chain(&error)));
            Done::OrphanReleased(key, released)
        });
    }

    pub(super) fn set_addresses(&mut self, uid: &WorkloadUid, addresses: Vec<IpAddr>) {
        let Some(kept) = self.kept.get_mut(uid) else { return };
        kept.addresses.clone_from(&addresses);
        let (enroller, key, uid) = (self.parts.enroller.clone(), kept.key.clone(), uid.clone());
        self.jobs.spawn_blocking(move || {
            if let Err(error) = enroller.capture().set_addresses(&key, &addresses) {
                tracing::error!(pod = %uid, error = chain(&error), "addresses not set");
            }
            Done::Nothing
        });
    }

    pub(super) fn set_acceleration(&mut self, uid: &WorkloadUid, acceleration: Acceleration) {
        let Some(key) = self.kept.get(uid).map(|kept| kept.key.clone()) else { return };
        let (enroller, uid) = (self.parts.enroller.clone(), uid.clone());
        self.jobs.spawn_blocking(move || {
            if let Err(error) = enroller.capture().set_acceleration(&key, acceleration) {
                tracing::error!(pod = %uid, error = chain(&error), "acceleration not changed");
            }
            Done::Nothing
        });
    }

    pub(super) fn make(&mut self, batch: Batch, count: u16) {
        let Some(kept) = self.kept.get(&batch.uid) else { return };
        let (enroller, netns) = (self.parts.enroller.clone(), kept.netns.clone());
        self.jobs.spawn_blocking(move || {
            let kind = batch.kind;
            let made = guarded(|| enroller.ready(&netns, kind, count).map_err(|error| chain(&error)));
            Done::Made(batch, made)
        });
    }

    /// New devices of a pod are captured as soon as the kernel tells of them; until then the second lock
    /// holds their traffic (design §2).
    pub(super) fn watch_devices(&mut self, uid: &WorkloadUid, watched: Watched) -> AbortHandle {
        let uid = uid.clone();
        self.jobs.spawn(async move {
            match watched.happened().await {
                Ok(()) => Done::DevicesChanged(uid, watched),
                Err(error) => {
                    tracing::warn!(pod = %uid, %error, "new devices of a pod are not seen");
                    Done::Nothing
                }
            }
        })
    }

    pub(super) fn devices_changed(&mut self, uid: WorkloadUid, watched: Watched) {
        let Some(key) = self.kept.get(&uid).map(|kept| kept.key.clone()) else { return };
        let devices = self.watch_devices(&uid, watched);
        if let Some(kept) = self.kept.get_mut(&uid) {
            kept.devices = Some(devices);
        }
        let enroller = self.parts.enroller.clone();
        self.jobs.spawn_blocking(move || {
            let refreshed = guarded(|| enroller.refresh_devices(&key).map_err(|error| chain(&error)));
            match refreshed {
                Ok(not_contained) => Done::Contained(uid, not_contained),
                Err(reason) => {
                    tracing::error!(pod = %uid, reason, "a new device is not captured");
                    Done::Nothing
                }
            }
        });
    }

    pub(super) fn remember(&mut self) {
        if self.remembering != Remembering::No {
            self.remembering = Remembering::Again;
            return;
        }
        self.remembering = Remembering::Writing;
        let (memory, remembered) = (self.parts.memory.clone(), self.remembered());
        let wanted = |uid: &WorkloadUid| remembered.pods.iter().any(|(_, pod)| pod.uid == *uid);
        self.passed.retain(|uid, _| wanted(uid));
        self.jobs.spawn_blocking(move || {
            if let Err(error) = memory.write(&remembered) {
                tracing::warn!(error = chain(&error), "pods not written down");
            }
            Done::Remembered
        });
    }
}
