//! Bytes on their way out of a TLS session: gathered where the payloads of records lie, so that sealing moves none,
//! and sent in one write. Behind the batch that the kernel is taking, the next one is gathered.

use crate::record::{HEADER_BYTES, PAYLOAD_MAX, TRAILER_BYTES};
use crate::tls::{Session, TlsError};
use std::cell::RefCell;
use std::io::IoSliceMut;

/// Payload bytes that are gathered before they are sealed and sent: many full records, since each write wakes the
/// other side, and waking costs more than the bytes do.
pub(crate) const BATCH_BYTES: usize = RECORDS * PAYLOAD_MAX;
const RECORDS: usize = 16;
/// Bytes from one full record to the next.
const STRIDE: usize = HEADER_BYTES + PAYLOAD_MAX + TRAILER_BYTES;
/// Slices that one read can be spread over: as many records, the first of which may be begun.
const SLICES: usize = RECORDS + 1;

/// What a session sends.
#[derive(Default)]
pub(crate) struct Batch {
    gathered: Gathered,
    /// Records; the first `sealed_len` bytes count, and `sent` of them are with the kernel.
    sealed: Vec<u8>,
    sealed_len: usize,
    sent: usize,
}

/// Payloads of records to be.
#[derive(Default)]
struct Gathered {
    /// Every byte is initialised.
    memory: Vec<u8>,
    /// Payload bytes so far.
    len: usize,
}

/// Where a payload byte of the batch lies.
const fn place(payload: usize) -> usize {
    payload / PAYLOAD_MAX * STRIDE + HEADER_BYTES + payload % PAYLOAD_MAX
}

/// Bytes that the records of so much payload take.
const fn sealed_bytes(payload: usize) -> usize {
    payload + payload.div_ceil(PAYLOAD_MAX) * (HEADER_BYTES + TRAILER_BYTES)
}

impl Gathered {
    fn reserve(&mut self, bytes: usize) {
        if self.memory.is_empty() {
            self.memory = memory();
        }
        let needed = sealed_bytes(self.len + bytes);
        if self.memory.len() < needed {
            self.memory.resize(needed + STRIDE, 0);
        }
    }

    /// The parts of records that payload bytes `from..to` fill.
    fn parts(&mut self, from: usize, to: usize) -> impl Iterator<Item = &mut [u8]> {
        let records = self.memory.chunks_mut(STRIDE).enumerate();
        let records = records.skip(from / PAYLOAD_MAX).take_while(move |(index, _)| index * PAYLOAD_MAX < to);
        records.map(move |(index, record)| {
            let first = index * PAYLOAD_MAX;
            let (start, end) = (from.saturating_sub(first), (to - first).min(PAYLOAD_MAX));
            &mut record[HEADER_BYTES + start..HEADER_BYTES + end]
        })
    }

    fn write(&mut self, at: usize, mut bytes: &[u8]) {
        let end = at + bytes.len();
        if at / PAYLOAD_MAX == (end.max(1) - 1) / PAYLOAD_MAX {
            let start = place(at);
            self.memory[start..start + bytes.len()].copy_from_slice(bytes);
            return;
        }
        for part in self.parts(at, end) {
            let (now, rest) = bytes.split_at(part.len());
            part.copy_from_slice(now);
            bytes = rest;
        }
    }

    /// Seals every record in place and returns how many bytes they take.
    fn seal(&mut self, session: &mut Session) -> Result<usize, TlsError> {
        let mut left = self.len;
        for record in self.memory.chunks_mut(STRIDE) {
            if left == 0 {
                break;
            }
            let payload = left.min(PAYLOAD_MAX);
            session.seal(record, payload)?;
            left -= payload;
        }
        Ok(sealed_bytes(self.len))
    }
}

impl Batch {
    /// Payload bytes that still fit.
    pub(crate) fn free(&self) -> usize {
        BATCH_BYTES.saturating_sub(self.gathered.len)
    }

    /// Payload bytes that were appended beyond the batch's size.
    pub(crate) fn excess(&self) -> usize {
        self.gathered.len.saturating_sub(BATCH_BYTES)
    }

    /// True if nothing waits to be sealed.
    pub(crate) const fn is_empty(&self) -> bool {
        self.gathered.len == 0
    }

    /// Appends bytes, also beyond the batch's size: who appends much asks [`Batch::free`] before.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.gathered.reserve(bytes.len());
        self.gathered.write(self.gathered.len, bytes);
        self.gathered.len += bytes.len();
    }

    /// Lets `read` fill space for up to `max` bytes behind a gap of `skip`. They count once they are committed.
    pub(crate) fn fill<R>(
        &mut self,
        skip: usize,
        max: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> R,
    ) -> R {
        self.gathered.reserve(skip + max);
        let from = self.gathered.len + skip;
        let mut slices: [IoSliceMut<'_>; SLICES] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(self.gathered.parts(from, from + max)) {
            *slice = IoSliceMut::new(part);
            count += 1;
        }
        read(&mut slices[..count])
    }

    /// Fills the gap that [`Batch::fill`] has left, and takes in `length` bytes behind it.
    pub(crate) fn commit(&mut self, gap: &[u8], length: usize) {
        self.gathered.write(self.gathered.len, gap);
        self.gathered.len += gap.len() + length;
    }

    /// Seals what was gathered, or changes keys first. Only called when all that was sealed before is with the kernel.
    pub(crate) fn seal(&mut self, session: &mut Session) -> Result<(), TlsError> {
        if session.wants_key_update() {
            return self.push_key_update(session);
        }
        let length = self.gathered.seal(session)?;
        give_back(std::mem::replace(&mut self.sealed, std::mem::take(&mut self.gathered.memory)));
        self.gathered.len = 0;
        (self.sealed_len, self.sent) = (length, 0);
        Ok(())
    }

    /// Changes the keys; the word of it goes out behind what is sealed already.
    pub(crate) fn push_key_update(&mut self, session: &mut Session) -> Result<(), TlsError> {
        self.sealed.truncate(self.sealed_len);
        session.update_sending_keys(&mut self.sealed)?;
        self.sealed_len = self.sealed.len();
        Ok(())
    }

    /// Sealed bytes that the kernel has not taken yet.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.sealed[self.sent..self.sealed_len]
    }

    /// The kernel has taken so many of them. An idle session keeps no memory.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.sealed_len {
            (self.sealed_len, self.sent) = (0, 0);
            give_back(std::mem::take(&mut self.sealed));
        }
    }
}

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Batches that a thread keeps: two are in use at a time, unless a peer is slow.
const SPARE_MAX: usize = 4;

fn memory() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; sealed_bytes(BATCH_BYTES)])
}

fn give_back(memory: Vec<u8>) {
    SPARE.with_borrow_mut(|spare| {
        // Neither one that a peer's slowness has made large, nor the few bytes of a change of keys.
        if memory.len() >= BATCH_BYTES && memory.len() <= 2 * BATCH_BYTES && spare.len() < SPARE_MAX {
            spare.push(memory);
        }
    });
}
