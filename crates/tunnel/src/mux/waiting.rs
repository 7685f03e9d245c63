//! Bytes that have come for an application and that it has not taken yet. A thread counts those of all its streams: a client
//! may open as many connections as it likes to a server that reads none of them.

use bytes::{Buf as _, Bytes};
use std::cell::Cell;

/// What all streams of a thread may have waiting. Beyond it a stream that has more than [`SMALL`] of it is reset when more
/// comes.
pub const WAITING_BYTES_MAX: usize = 268_435_456;
/// What a stream may have waiting in any case.
pub const SMALL: usize = 65_536;

thread_local! {
    static ALL: Cell<usize> = const { Cell::new(0) };
}

/// What waits for one application. An empty one keeps no buffer.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bytes: Vec<u8>,
    /// How many of them it has taken.
    taken: usize,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is still to be taken.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Whether there is room for so many more.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes.len() + bytes <= SMALL || ALL.get() + bytes <= WAITING_BYTES_MAX
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        ALL.set(ALL.get() + bytes.len());
    }

    /// So many more are taken. A slow application has only kept what it has not taken.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.taken == self.bytes.len() {
            self.clear();
        } else if self.taken > self.bytes.len() / 2 {
            ALL.set(ALL.get() - self.taken);
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Takes all that is left, without a copy.
    pub(super) fn take_all(&mut self) -> Bytes {
        ALL.set(ALL.get() - self.bytes.len());
        let mut bytes = Bytes::from(std::mem::take(&mut self.bytes));
        bytes.advance(std::mem::take(&mut self.taken));
        bytes
    }

    pub(super) fn clear(&mut self) {
        drop(self.take_all());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_until_it_is_taken() {
        let before = ALL.get();
        let (mut one, mut other) = (Waiting::default(), Waiting::default());
        one.push(&[1; 1_000]);
        other.push(&[2; 500]);
        assert_eq!(ALL.get() - before, 1_500);
        one.take(400);
        assert_eq!((one.rest().len(), ALL.get() - before), (600, 1_500), "the buffer is as large as it was");
        one.take(200);
        assert_eq!((one.rest().len(), ALL.get() - before), (400, 900));
        assert_eq!(other.take_all().len(), 500);
        assert!(other.is_empty());
        drop(one);
        assert_eq!(ALL.get(), before);
    }

    #[test]
    fn a_stream_with_little_is_never_too_much() {
        let before = ALL.replace(WAITING_BYTES_MAX);
        let mut one = Waiting::default();
        assert!(one.has_room(SMALL));
        one.push(&[0; SMALL]);
        assert!(!one.has_room(1));
        drop(one);
        ALL.set(before);
    }
}
