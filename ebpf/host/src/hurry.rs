//! Lets many enrolments at once not wait for each other. Attaching to a device makes the kernel wait for a grace period
//! of RCU under its one lock for all devices: about 10 ms, five times for each pod. While several pods are being
//! attached, grace periods are expedited, which shortens each to a fraction of a millisecond.

use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// The kernel's knob. Where it is read-only, or `rcu_normal` forbids it, enrolments take longer.
const KNOB: &str = "/sys/kernel/rcu_expedited";
/// As many at once are worth it: a pod that starts by itself leaves the machine alone.
const MANY: usize = 3;

/// Counts who attaches, and turns the knob.
#[derive(Debug)]
pub(crate) struct Hurry {
    /// A directory that is there while the knob is turned: the next process turns it back if this one dies.
    marker: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    attaching: usize,
    turned: bool,
}

impl Hurry {
    /// Turns back what an earlier process has left.
    pub(crate) fn new(marker: PathBuf) -> Self {
        let hurry = Self { marker, state: Mutex::default() };
        if hurry.marker.exists() {
            hurry.turn_back();
        }
        hurry
    }

    /// Somebody attaches until this is dropped.
    pub(crate) fn begin(&self) -> Attaching<'_> {
        let mut state = self.state.lock();
        state.attaching += 1;
        if state.attaching >= MANY && !state.turned {
            state.turned = self.turn();
        }
        Attaching { hurry: self }
    }

    /// Only from zero: if an operator has turned it, it stays so.
    fn turn(&self) -> bool {
        let zero = fs::read_to_string(KNOB).is_ok_and(|text| text.trim() == "0");
        zero && fs::create_dir(&self.marker).is_ok()
            && match fs::write(KNOB, "1") {
                Ok(()) => true,
                Err(error) => {
                    tracing::debug!(%error, "cannot expedite grace periods");
                    remove(&self.marker);
                    false
                }
            }
    }

    fn turn_back(&self) {
        if let Err(error) = fs::write(KNOB, "0") {
            tracing::warn!(%error, path = KNOB, "cannot restore");
        }
        remove(&self.marker);
    }
}

fn remove(marker: &Path) {
    if let Err(error) = fs::remove_dir(marker) {
        tracing::warn!(%error, path = %marker.display(), "cannot remove");
    }
}

/// See [`Hurry::begin`].
#[must_use = "the hurry ends as soon as this is dropped"]
pub(crate) struct Attaching<'a> {
    hurry: &'a Hurry,
}

impl Drop for Attaching<'_> {
    fn drop(&mut self) {
        let mut state = self.hurry.state.lock();
        state.attaching -= 1;
        if state.attaching == 0 && std::mem::take(&mut state.turned) {
            self.hurry.turn_back();
        }
    }
}
