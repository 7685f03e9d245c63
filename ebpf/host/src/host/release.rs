//! Giving pods back as they were found.

use std::os::fd::AsFd as _;

use super::{Host, Pod, SAVED};
use crate::attach::Existing;
use crate::clsact::{self, Made};
use crate::error::ReleaseError;
use crate::key::PodKey;
use crate::pod::{self, How};

impl Host {
    /// Gives a pod back as it was found. Every step is taken even if one fails; the first failure is reported. A pod
    /// that is not enrolled is released already.
    pub fn release(&self, key: &PodKey) -> Result<(), ReleaseError> {
        let Some(entry) = self.find(key) else { return Ok(()) };
        let mut pod = entry.pod.lock();
        if pod.released { Ok(()) } else { self.release_as(key, entry.slot, &mut pod) }
    }

    pub(super) fn release_as(&self, key: &PodKey, slot: u32, pod: &mut Pod) -> Result<(), ReleaseError> {
        let dir = self.directory.pod(key);
        let how = How { dir: &dir, mode: self.mode, existing: Existing::Keep };
        let ends = self.maps.lock().host_ends(slot);
        // Before their notes go with the pins.
        let made = clsact::take_notes(&dir);
        let _attaching = self.hurry.begin();
        let steps = [
            pod::detach_filters_outside(how, &made, &ends).map_err(ReleaseError::Pod),
            pod::unpin(&dir).map_err(ReleaseError::Pod),
            leave(pod, how, &made),
            self.maps.lock().forget(slot).map_err(ReleaseError::Maps),
        ];
        pod.released = true;
        pod.netns = None;
        // Last: until then the number is not given to another pod.
        self.pods.lock().remove(key);
        let mut first = Ok(());
        for step in steps {
            if let Err(error) = &step {
                tracing::warn!(pod = %key, error = error as &dyn std::error::Error, "release is incomplete");
            }
            first = first.and(step);
        }
        first
    }

    /// Uninstalls: releases every pod and removes every pin of this directory. What cannot be undone is logged.
    pub fn close_all(&self) {
        let keys: Vec<PodKey> = self.pods.lock().keys().cloned().collect();
        for key in keys {
            // Logged there.
            let _ = self.release(&key);
        }
        if let Err(error) = self.directory.remove_all() {
            tracing::warn!(%error, "cannot remove the pinned objects");
        }
    }
}

/// Restores a pod's namespace.
fn leave(pod: &Pod, how: How<'_>, made: &Made) -> Result<(), ReleaseError> {
    let saved = (pod.record.state & SAVED != 0).then_some(pod.record.sysctls);
    let Some(netns) = &pod.netns else {
        return if saved.is_some() { Err(ReleaseError::NotRestored) } else { Ok(()) };
    };
    let _entered = pod::enter(netns.as_fd()).map_err(ReleaseError::Pod)?;
    let filters = pod::detach_filters_inside(how, made).map_err(ReleaseError::Pod);
    let restored = match saved {
        Some(saved) => pod::tear_down(Some(saved)).map_err(ReleaseError::Pod),
        None => Ok(()),
    };
    filters.and(restored)
}
