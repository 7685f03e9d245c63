//! The frames of a mux connection that wait to go out.

use super::frame::{HEADER_BYTES, Header, Kind};
use crate::batch::Batch;
use crate::tls::{Session, TlsError};
use std::io::{IoSlice, IoSliceMut};
use std::task::Waker;

/// Frames on their way out, and who waits for room or for frames.
#[derive(Default)]
pub(super) struct Outgoing {
    batch: Batch,
    driver: Option<Waker>,
    blocked: Vec<Waker>,
    /// How often those who were blocked have been woken.
    round: u64,
}

/// Bytes of short frames that may wait behind a full batch. Ten times what can be said at once of as many streams as a
/// connection has (OPENED, CREDIT, FIN and RESET of each), and about what opening all of them takes; a peer that has
/// not read so much reads nothing.
pub(super) const BACKLOG_BYTES_MAX: usize = 1_048_576;

/// Where a stream waits for room.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    /// One more than the round in which it was taken.
    round: u64,
    index: usize,
}

impl Outgoing {
    /// So many bytes of DATA fit, up to `max`. `None` if the batch is full: `waker` is woken when there is space.
    pub(super) fn data_room(&mut self, max: usize, place: &mut Place, waker: &Waker) -> Option<usize> {
        let free = self.batch.free().saturating_sub(HEADER_BYTES);
        // A sliver of space would make slivers of frames.
        if free < max.min(4_096) {
            self.wait(place, waker);
            return None;
        }
        Some(free.min(max))
    }

    /// A stream waits in one place, however often it asks while the peer takes nothing.
    fn wait(&mut self, place: &mut Place, waker: &Waker) {
        let round = self.round + 1;
        match self.blocked.get_mut(place.index) {
            Some(known) if place.round == round => known.clone_from(waker),
            _ => {
                *place = Place { round, index: self.blocked.len() };
                self.blocked.push(waker.clone());
            }
        }
    }

    /// Appends a DATA frame with the first so many bytes of `from`, for which there is room.
    pub(super) fn push_data(&mut self, stream: u32, from: &[IoSlice<'_>], length: usize) {
        self.batch.push(&Header { kind: Kind::Data, stream, length }.bytes());
        let mut left = length;
        for slice in from {
            let now = slice.len().min(left);
            self.batch.push(&slice[..now]);
            left -= now;
        }
        self.wake_driver();
    }

    /// Lets `read` fill the payload of a DATA frame of up to `max` bytes. It counts once it is committed.
    pub(super) fn fill_data<R>(&mut self, max: usize, read: impl FnOnce(&mut [IoSliceMut<'_>]) -> R) -> R {
        self.batch.fill(HEADER_BYTES, max, read)
    }

    /// So many bytes of what was filled are the frame's payload.
    pub(super) fn commit_data(&mut self, stream: u32, length: usize) {
        self.batch.commit(&Header { kind: Kind::Data, stream, length }.bytes(), length);
        self.wake_driver();
    }

    /// True if so many short frames wait that the peer must be taking nothing. What would make more of them waits now.
    pub(super) fn is_backed_up(&self) -> bool {
        self.batch.excess() > BACKLOG_BYTES_MAX
    }

    /// Appends a short frame. These are not held up by a full batch: each stream sends few, and
    /// [`Outgoing::is_backed_up`] tells when there were too many streams.
    pub(super) fn push(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        self.batch.push(&Header { kind, stream, length: payload.len() }.bytes());
        self.batch.push(payload);
        self.wake_driver();
    }

    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    pub(super) fn wake_blocked(&mut self) {
        self.round += 1;
        for blocked in self.blocked.drain(..) {
            blocked.wake();
        }
    }

    /// The driver waits: for frames, or for somebody who closes the connection.
    pub(super) fn sleep(&mut self, driver: &Waker) {
        if !self.driver.as_ref().is_some_and(|known| known.will_wake(driver)) {
            self.driver = Some(driver.clone());
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Seals what waits. Only called when all that was sealed before is with the kernel.
    pub(super) fn seal(&mut self, session: &mut Session) -> Result<(), TlsError> {
        self.batch.seal(session)?;
        self.wake_blocked();
        Ok(())
    }

    /// Sealed bytes that the kernel has not taken yet.
    pub(super) fn unsent(&self) -> &[u8] {
        self.batch.unsent()
    }

    /// The kernel has taken so many of them.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.batch.sent(bytes);
    }
}
