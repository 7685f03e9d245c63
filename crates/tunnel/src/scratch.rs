//! Buffers for bytes under way. An idle connection keeps none: a buffer is borrowed from the worker's thread
//! for as long as something is in it.

use std::cell::RefCell;

/// Bytes that one read may take from the kernel: enough to empty a socket's queue at full speed in a few calls. No more
/// than `weft_ebpf_common::QUEUE_BYTES_MAX`, which `Socket::poll_read` relies on.
pub const READ_BYTES: usize = 262_144;
/// Buffers that a thread keeps for the next reader. One is in use at a time, unless records are cut in two.
const SPARE_MAX: usize = 4;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` with the thread's scratch memory of [`READ_BYTES`]; nothing in it outlives the call.
///
/// # Panics
/// If `work` asks for the scratch memory again.
pub fn with_scratch<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with(|scratch| {
        let mut scratch = scratch.borrow_mut();
        if scratch.is_empty() {
            scratch.resize(READ_BYTES, 0);
        }
        work(&mut scratch)
    })
}

/// Bytes that were read and not all used yet: a TLS record may be incomplete.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    /// Every byte of it is initialised; `start..end` is filled.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    /// The bytes that wait.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The bytes that wait, for decryption in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    /// Free space of at least `min` bytes behind what waits.
    pub fn space(&mut self, min: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < min && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < min {
            self.bytes.resize(self.end + min, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// So many bytes of the space have been filled.
    pub fn advance(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// So many bytes from the front are done with. An empty buffer goes back to the thread.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Takes a full-sized buffer from the thread if this one is empty and small.
    pub fn borrow_memory(&mut self) {
        if self.bytes.len() >= READ_BYTES {
            return;
        }
        let mut large = SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_BYTES]);
        let filled = self.end - self.start;
        large[..filled].copy_from_slice(self.filled());
        *self = Self { bytes: large, start: 0, end: filled };
    }

    /// Gives the memory back to the thread. What still waits (part of a record) is kept in a buffer of its size.
    pub fn return_memory(&mut self) {
        let rest = self.filled().to_vec();
        let end = rest.len();
        let large = std::mem::replace(self, Self { bytes: rest, start: 0, end }).bytes;
        SPARE.with_borrow_mut(|spare| {
            if large.len() == READ_BYTES && spare.len() < SPARE_MAX {
                spare.push(large);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_survives_the_change_of_memory() {
        let mut buffer = ReadBuffer::default();
        buffer.space(8)[..3].copy_from_slice(b"abc");
        buffer.advance(3);
        buffer.consume(1);
        buffer.borrow_memory();
        assert_eq!(buffer.filled(), b"bc");
        buffer.space(1)[0] = b'd';
        buffer.advance(1);
        buffer.return_memory();
        assert_eq!(buffer.filled(), b"bcd");
        assert!(buffer.bytes.len() < 10, "an idle buffer is small");
        buffer.consume(3);
        assert_eq!(buffer.filled(), b"");
    }
}
